//! Headers as HTTP/1 writes them.

/// Headers, as lines ready to be sent. HTTP/1 copies them; only HTTP/2 takes them apart again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// None yet, with room for so many bytes of them.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        Fields(Vec::with_capacity(bytes))
    }

    /// Adds a line. Name and value come from a parsed head or from our own constants: a line end in either
    /// would be another header.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        debug_assert!(
            !value.iter().chain(name).any(|b| matches!(b, b'\r' | b'\n')),
            "a line end in a header"
        );
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    /// Adds whole lines that were made before, each with its end.
    pub fn push_lines(&mut self, lines: &[u8]) {
        debug_assert!(lines.ends_with(b"\r\n"), "lines without an end");
        self.0.extend_from_slice(lines);
    }

    /// All lines, each with its end.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.split(|b| *b == b'\n').filter_map(|line| {
            let line = line.strip_suffix(b"\r")?;
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    }

    /// The value of the first header of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }
}

/// A number's digits, without the machinery of formatting: it is needed twice a request.
pub fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        // A digit is below ten.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_apart_as_they_were_put_together() {
        let mut fields = Fields::default();
        fields.push(b"A", b"1: 2");
        fields.push(b"empty", b"");
        fields.push_lines(b"x-y: z\r\n");
        let apart: Vec<_> = fields.iter().collect();
        assert_eq!(apart, [(&b"A"[..], &b"1: 2"[..]), (b"empty", b""), (b"x-y", b"z")]);
        assert_eq!(
            (fields.get("a"), fields.get("X-Y"), fields.get("no")),
            (Some(&b"1: 2"[..]), Some(&b"z"[..]), None)
        );
    }

    #[test]
    fn numbers_are_written_as_everyone_writes_them() {
        for number in [0, 7, 10, 4096, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
