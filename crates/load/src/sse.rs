//! Server-sent events out of bytes as they come, however they are cut.

/// Bytes of one event. A chunk of a chat is some 300; a list of log probabilities or a tool call's arguments
/// may be long; a megabyte is neither.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// An event is longer than [`EVENT_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
pub struct TooLong;

/// Reads a stream: bytes in, the data of each event out.
///
/// As the HTML standard has it: lines end in LF, CR LF or CR; an empty line ends an event; the values of
/// several `data:` lines are joined by LF; a line that begins with a colon is a comment. Other fields
/// (`event`, `id`, `retry`) say nothing an OpenAI client needs. What follows the last empty line is no event.
#[derive(Debug, Default)]
pub struct Reader {
    /// The line that has begun.
    line: Vec<u8>,
    /// The event that has begun; `None` until its first `data:` line.
    data: Option<Vec<u8>>,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
    /// Past the first line, where a byte order mark may stand.
    begun: bool,
    comments: u64,
}

impl Reader {
    /// Takes the next bytes and calls `event` with the data of each event they complete.
    ///
    /// # Errors
    /// When an event or a line is too long; the reader is of no use after it.
    pub fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(&[u8])) -> Result<(), TooLong> {
        if self.after_cr && bytes.first() == Some(&b'\n') {
            bytes = &bytes[1..];
        }
        self.after_cr &= bytes.is_empty();
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            if self.line.is_empty() {
                self.line(line, &mut event)?;
            } else {
                self.keep(line)?;
                let whole = std::mem::take(&mut self.line);
                self.line(&whole, &mut event)?;
                self.line = whole;
                self.line.clear();
            }
            bytes = match rest {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, after @ ..] => after,
                [] => &[],
            };
        }
        self.keep(bytes)
    }

    /// Comments seen so far: a gateway's sign that it is still there.
    #[must_use]
    pub fn comments(&self) -> u64 {
        self.comments
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + part.len() > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn line(&mut self, mut line: &[u8], event: &mut impl FnMut(&[u8])) -> Result<(), TooLong> {
        if !self.begun {
            self.begun = true;
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            if let Some(data) = self.data.take() {
                event(&data);
            }
            return Ok(());
        }
        if line[0] == b':' {
            self.comments += 1;
            return Ok(());
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[][..],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            _ => return Ok(()),
        };
        if self.data.as_ref().map_or(0, Vec::len) + value.len() >= EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        match &mut self.data {
            None => self.data = Some(value.to_vec()),
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT_BYTES_MAX, Reader, TooLong};
    use proptest::prelude::*;

    fn events(parts: &[&[u8]]) -> Vec<String> {
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        for part in parts {
            reader.feed(part, |data| seen.push(String::from_utf8_lossy(data).into_owned())).unwrap();
        }
        seen
    }

    #[test]
    fn an_event_ends_at_an_empty_line_whatever_ends_its_lines() {
        for text in ["data: a\n\ndata: b\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\rdata: b\r\r"] {
            assert_eq!(events(&[text.as_bytes()]), ["a", "b"], "{text:?}");
        }
    }

    #[test]
    fn comments_and_other_fields_are_no_events() {
        let mut reader = Reader::default();
        let mut count = 0;
        reader.feed(b": waiting\n\nid: 3\nevent: ping\nretry: 5\n\n: still\n\n", |_| count += 1).unwrap();
        assert_eq!((count, reader.comments()), (0, 2));
    }

    #[test]
    fn several_data_lines_are_one_event() {
        assert_eq!(events(&[b"data: a\ndata\ndata:b\n\n"]), ["a\n\nb"]);
    }

    #[test]
    fn a_byte_order_mark_and_one_blank_are_no_data() {
        assert_eq!(events(&[b"\xef\xbb\xbfdata:  a\n\n"]), [" a"]);
    }

    #[test]
    fn what_no_empty_line_ends_is_no_event() {
        assert!(events(&[b"data: a\n"]).is_empty());
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut reader = Reader::default();
        let part = vec![b'x'; EVENT_BYTES_MAX / 2 + 1];
        assert_eq!(reader.feed(&part, |_| ()), Ok(()));
        assert_eq!(reader.feed(&part, |_| ()), Err(TooLong));
        let mut reader = Reader::default();
        let line = [b"data: ".as_slice(), &part, b"\n"].concat();
        assert_eq!(reader.feed(&line, |_| ()), Ok(()));
        assert_eq!(reader.feed(&line, |_| ()), Err(TooLong));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(
            text in "(data: [a-c]{0,3}(\n|\r\n|\r)|: x\n|\n|\r\n|\r|data){0,12}",
            cuts in proptest::collection::vec(0..100_usize, 0..6),
        ) {
            let whole = events(&[text.as_bytes()]);
            let mut places: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            places.extend([0, text.len()]);
            places.sort_unstable();
            let parts: Vec<&[u8]> = places.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(events(&parts), whole);
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::default();
            prop_assert_eq!(reader.feed(&bytes, |_| ()), Ok(()));
        }
    }
}
