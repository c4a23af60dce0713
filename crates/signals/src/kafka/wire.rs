//! Kafka's numbers, texts and lists on the wire, read within what has come.
//!
//! Written here because the library for it trusts the lengths it reads: a list said to have two thousand
//! million entries is allocated before the first of them is there.

use bytes::{Buf, BufMut};

/// The longest answer taken. A partition takes 40 bytes of metadata with three copies, a committed offset
/// 20 and a topic's name: 8 MiB is more than a hundred thousand partitions.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;

/// The answer ends too early, or has lengths that do not fit into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an answer of Kafka: it ends too early or its lengths do not fit")]
pub struct Malformed;

/// What is left of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn i8(&mut self) -> Result<i8, Malformed> {
        self.0.try_get_i8().map_err(|_| Malformed)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.0.try_get_i16().map_err(|_| Malformed)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.0.try_get_i32().map_err(|_| Malformed)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.0.try_get_i64().map_err(|_| Malformed)
    }

    /// A text; `None` for one that is null.
    pub(super) fn nullable_text(&mut self) -> Result<Option<&'b str>, Malformed> {
        let length = self.i16()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| Malformed)
    }

    pub(super) fn text(&mut self) -> Result<&'b str, Malformed> {
        self.nullable_text()?.ok_or(Malformed)
    }

    pub(super) fn bytes(&mut self) -> Result<&'b [u8], Malformed> {
        let length = usize::try_from(self.i32()?).map_err(|_| Malformed)?;
        self.take(length)
    }

    /// A list; nothing is set aside for entries that have not come. A null one is empty.
    pub(super) fn list<T>(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let mut list = Vec::new();
        for _ in 0..self.i32()?.max(0) {
            list.push(entry(self)?);
        }
        Ok(list)
    }

    fn take(&mut self, bytes: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// A request's body. Texts and lists of ours come from a manifest or from an answer of at most
/// [`ANSWER_BYTES_MAX`], so their lengths fit.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn i8(&mut self, number: i8) {
        self.0.put_i8(number);
    }

    pub(super) fn i16(&mut self, number: i16) {
        self.0.put_i16(number);
    }

    pub(super) fn i32(&mut self, number: i32) {
        self.0.put_i32(number);
    }

    pub(super) fn i64(&mut self, number: i64) {
        self.0.put_i64(number);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.0.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.0.put_slice(&text.as_bytes()[..text.len().min(TEXT_BYTES_MAX)]);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.put_slice(bytes);
    }

    /// How many entries follow.
    pub(super) fn length(&mut self, entries: usize) {
        self.i32(i32::try_from(entries).unwrap_or(i32::MAX));
    }
}

/// The longest text Kafka can carry.
pub(super) const TEXT_BYTES_MAX: usize = 32_767;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.text("jobs");
        writer.i64(-1);
        writer.length(2);
        writer.i32(7);
        writer.i32(8);
        writer.bytes(b"\x01");
        let mut reader = Reader(&writer.0);
        assert_eq!(reader.text(), Ok("jobs"));
        assert_eq!(reader.i64(), Ok(-1));
        assert_eq!(reader.list(Reader::i32), Ok(vec![7, 8]));
        assert_eq!(reader.bytes(), Ok(&b"\x01"[..]));
        assert_eq!(reader.i8(), Err(Malformed));
    }

    #[test]
    fn a_list_that_promises_more_than_has_come_is_refused() {
        assert_eq!(Reader(b"\x7f\xff\xff\xff\x00\x00\x00\x01").list(Reader::i32), Err(Malformed));
        assert_eq!(Reader(b"\x7f\xff").text(), Err(Malformed));
        assert_eq!(Reader(b"\xff\xff").nullable_text(), Ok(None));
        assert_eq!(Reader(b"\xff\xff\xff\xff").list(Reader::i32), Ok(Vec::new()));
    }
}
