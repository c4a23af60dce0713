//! Finds what the gateway must know in a JSON body, as it arrives, and reads no more than it must.
//!
//! Only the top level is looked at: strings are jumped over with `memchr`, deeper values by their brackets.
//! What the gateway does not ask for is the engine's to judge, so `[1,,2]` inside a message passes; what would
//! make gateway and engine see two different requests (a second `model`, an end that is none) does not.

use memchr::memchr2;

/// Brackets within brackets: as deep as serde_json goes.
const DEPTH_MAX: u32 = 128;
/// Bytes of a top-level key that are kept; ours are shorter, and a longer one is none of ours.
const KEY_BYTES_MAX: usize = 64;
/// Bytes of a value that are kept: a model name, a number, `stream_options`.
const VALUE_BYTES_MAX: usize = 512;

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It is not a JSON object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// It is not JSON.
    #[error("the body is not valid JSON: unexpected byte at {at}")]
    Malformed {
        /// Bytes before the one that does not fit.
        at: usize,
    },
    /// It ends before it is over.
    #[error("the body is not valid JSON: it ends too early")]
    Unfinished,
    /// It nests deeper than 128.
    #[error("the body nests deeper than 128 levels")]
    TooDeep,
    /// `model` is there twice, and engines differ in which they take.
    #[error("the body has the key \"model\" twice")]
    TwoModels,
    /// `model` is not a string, or longer than any name.
    #[error("\"model\" must be a string of at most 512 bytes")]
    BadModel,
    /// It is not UTF-8.
    #[error("the body is not valid UTF-8")]
    NotUtf8,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The model asked for.
    pub model: Option<String>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The most tokens it may write, by any of the names engines have for it.
    pub max_tokens: Option<u32>,
    /// `stream_options.include_usage`.
    pub include_usage: bool,
    /// Where the value of `messages`, `prompt` or `input` starts, in bytes.
    pub prompt_at: Option<usize>,
}

/// Scans a whole body.
///
/// # Errors
/// When it is no JSON object, not UTF-8, or gives two models.
pub fn scan(body: &[u8]) -> Result<Scan, ScanError> {
    let mut scanner = Scanner::new();
    scanner.feed(body)?;
    if std::str::from_utf8(body).is_err() {
        return Err(ScanError::NotUtf8);
    }
    scanner.finish()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    KeyOrEnd,
    Key,
    Colon,
    Value,
    Text,
    Escape,
    Scalar,
    Nested,
    After,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Model,
    Stream,
    MaxTokens,
    StreamOptions,
    Prompt,
    Other,
}

/// The same for a body that comes in pieces.
#[derive(Debug)]
pub struct Scanner {
    at: At,
    /// The string being read is a key of the top level.
    in_key: bool,
    field: Field,
    /// Kept bytes of the key or the value; `None` once it is longer than is kept.
    kept: Option<Vec<u8>>,
    escaped: bool,
    /// Open brackets, one bit each: set for an object.
    stack: u128,
    depth: u32,
    offset: usize,
    found: Scan,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Scanner {
            at: At::Start,
            in_key: false,
            field: Field::Other,
            // Room for a key or a usual name: one allocation instead of three.
            kept: Some(Vec::with_capacity(KEY_BYTES_MAX)),
            escaped: false,
            stack: 0,
            depth: 0,
            offset: 0,
            found: Scan::default(),
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn found(&self) -> &Scan {
        &self.found
    }

    /// What was found in the whole.
    ///
    /// # Errors
    /// When the body is not over.
    pub fn finish(self) -> Result<Scan, ScanError> {
        match self.at {
            At::Done => Ok(self.found),
            At::Start => Err(ScanError::NotAnObject),
            _ => Err(ScanError::Unfinished),
        }
    }

    /// Reads on.
    ///
    /// # Errors
    /// At the first byte that shows the body to be unusable.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        let base = self.offset;
        let mut i = 0;
        while i < bytes.len() {
            self.offset = base + i;
            i += match self.at {
                At::Text => self.text(&bytes[i..])?,
                At::Nested => self.nested(&bytes[i..])?,
                _ => self.byte(bytes[i])?,
            };
        }
        self.offset = base + bytes.len();
        Ok(())
    }

    /// Inside a string: to its end, or the next backslash, or the end of what is here.
    fn text(&mut self, bytes: &[u8]) -> Result<usize, ScanError> {
        let Some(end) = memchr2(b'"', b'\\', bytes) else {
            self.keep(bytes);
            return Ok(bytes.len());
        };
        if bytes[end] == b'\\' {
            self.keep(&bytes[..=end]);
            self.escaped = true;
            self.at = At::Escape;
        } else {
            self.keep(&bytes[..end]);
            self.end_of_text()?;
        }
        Ok(end + 1)
    }

    /// Below the top level: to the next string, or to where the top level goes on.
    fn nested(&mut self, bytes: &[u8]) -> Result<usize, ScanError> {
        let mut i = 0;
        while let Some(&byte) = bytes.get(i) {
            i += 1;
            match byte {
                // A string that ends here is jumped over; one with more to it is read as strings are.
                b'"' => match memchr2(b'"', b'\\', &bytes[i..]) {
                    Some(end) if bytes[i + end] == b'"' => i += end + 1,
                    _ => {
                        self.keep(&bytes[..i]);
                        self.at = At::Text;
                        return Ok(i);
                    }
                },
                b'{' | b'[' => self.open(byte)?,
                b'}' | b']' => {
                    self.close(byte, i - 1)?;
                    if self.depth == 1 {
                        self.keep(&bytes[..i]);
                        self.end_of_value()?;
                        return Ok(i);
                    }
                }
                _ => {}
            }
        }
        self.keep(bytes);
        Ok(bytes.len())
    }

    /// Everywhere else a byte at a time: there are few of them. Says how many were used: a scalar ends at a
    /// byte that is not its own.
    fn byte(&mut self, byte: u8) -> Result<usize, ScanError> {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') && !matches!(self.at, At::Escape | At::Scalar) {
            return Ok(1);
        }
        match (self.at, byte) {
            (At::Escape, _) => {
                self.keep(&[byte]);
                self.at = At::Text;
            }
            (At::Start, b'{') => {
                self.open(byte)?;
                self.at = At::KeyOrEnd;
            }
            (At::Start, _) => return Err(ScanError::NotAnObject),
            (At::KeyOrEnd | At::Key, b'"') => self.begin_text(true),
            (At::KeyOrEnd | At::After, b'}') => {
                self.close(byte, 0)?;
                self.at = At::Done;
            }
            (At::Colon, b':') => self.at = At::Value,
            (At::Value, _) => self.begin_value(byte)?,
            (At::After, b',') => self.at = At::Key,
            (At::Scalar, b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n') => {
                self.end_of_value()?;
                return Ok(0);
            }
            (At::Scalar, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.') => self.keep(&[byte]),
            _ => return Err(ScanError::Malformed { at: self.offset }),
        }
        Ok(1)
    }

    fn begin_value(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.field == Field::Prompt {
            self.found.prompt_at.get_or_insert(self.offset);
        }
        if self.field == Field::Model && byte != b'"' {
            return Err(ScanError::BadModel);
        }
        match byte {
            b'"' => self.begin_text(false),
            b'{' | b'[' => {
                self.begin(&[byte]);
                self.open(byte)?;
                self.at = At::Nested;
            }
            b't' | b'f' | b'n' | b'-' | b'0'..=b'9' => {
                self.begin(&[byte]);
                self.at = At::Scalar;
            }
            _ => return Err(ScanError::Malformed { at: self.offset }),
        }
        Ok(())
    }

    fn begin_text(&mut self, in_key: bool) {
        self.in_key = in_key;
        self.begin(&[]);
        self.at = At::Text;
    }

    /// Starts keeping, where what follows is wanted.
    fn begin(&mut self, first: &[u8]) {
        self.escaped = false;
        if self.in_key || !matches!(self.field, Field::Prompt | Field::Other) {
            let mut kept = self.kept.take().unwrap_or_default();
            kept.clear();
            self.kept = Some(kept);
            self.keep(first);
        } else {
            self.kept = None;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let max = if self.in_key { KEY_BYTES_MAX } else { VALUE_BYTES_MAX };
        match &mut self.kept {
            Some(kept) if kept.len() + bytes.len() <= max => kept.extend_from_slice(bytes),
            kept => *kept = None,
        }
    }

    fn end_of_text(&mut self) -> Result<(), ScanError> {
        if self.depth > 1 {
            self.keep(b"\"");
            self.at = At::Nested;
            return Ok(());
        }
        if !self.in_key {
            return self.end_of_value();
        }
        self.in_key = false;
        self.at = At::Colon;
        self.field = match &self.kept {
            None => Field::Other,
            // `"mod\u0065l"` is `"model"` to every engine, so it must be to us.
            Some(raw) if self.escaped => unescape(raw).map_or(Field::Other, |key| field(key.as_bytes())),
            Some(raw) => field(raw),
        };
        if self.field == Field::Model && self.found.model.is_some() {
            return Err(ScanError::TwoModels);
        }
        Ok(())
    }

    fn end_of_value(&mut self) -> Result<(), ScanError> {
        self.at = At::After;
        let kept = self.kept.as_deref();
        match self.field {
            Field::Model => {
                let raw = kept.ok_or(ScanError::BadModel)?;
                let name = if self.escaped {
                    unescape(raw)
                } else {
                    std::str::from_utf8(raw).ok().map(str::to_owned)
                };
                self.found.model = Some(name.ok_or(ScanError::BadModel)?);
            }
            Field::Stream => self.found.stream = kept == Some(b"true"),
            Field::MaxTokens => {
                let number = kept.and_then(|raw| std::str::from_utf8(raw).ok()?.parse::<u64>().ok());
                if let Some(n) = number {
                    self.found.max_tokens = Some(u32::try_from(n).unwrap_or(u32::MAX));
                }
            }
            Field::StreamOptions => {
                #[derive(serde::Deserialize)]
                struct Options {
                    #[serde(default)]
                    include_usage: bool,
                }
                let options = kept.and_then(|raw| serde_json::from_slice::<Options>(raw).ok());
                self.found.include_usage = options.is_some_and(|o| o.include_usage);
            }
            Field::Prompt | Field::Other => {}
        }
        Ok(())
    }

    fn open(&mut self, byte: u8) -> Result<(), ScanError> {
        if self.depth == DEPTH_MAX {
            return Err(ScanError::TooDeep);
        }
        self.stack = (self.stack << 1) | u128::from(byte == b'{');
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self, byte: u8, ahead: usize) -> Result<(), ScanError> {
        let object = self.stack & 1 == 1;
        if self.depth == 0 || object != (byte == b'}') {
            return Err(ScanError::Malformed { at: self.offset + ahead });
        }
        self.stack >>= 1;
        self.depth -= 1;
        Ok(())
    }
}

fn field(key: &[u8]) -> Field {
    match key {
        b"model" => Field::Model,
        b"stream" => Field::Stream,
        b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" | b"n_predict" => Field::MaxTokens,
        b"stream_options" => Field::StreamOptions,
        b"messages" | b"prompt" | b"input" => Field::Prompt,
        _ => Field::Other,
    }
}

fn unescape(raw: &[u8]) -> Option<String> {
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model(body: &str) -> Result<Option<String>, ScanError> {
        scan(body.as_bytes()).map(|s| s.model)
    }

    #[test]
    fn the_top_level_is_found_and_what_lies_deeper_is_not() {
        let body = br#" {"messages":[{"role":"user","content":"say \"model\": {x]","model":"inner"}],
            "model" : "llama", "stream":true ,"max_completion_tokens":17,
            "stream_options":{"include_usage": true},"metadata":{"stream":false}} "#;
        let found = scan(body).unwrap();
        assert_eq!(found.model.as_deref(), Some("llama"));
        assert!(found.stream && found.include_usage);
        assert_eq!(found.max_tokens, Some(17));
        assert_eq!(found.prompt_at, Some(13));
    }

    #[test]
    fn two_models_are_refused_even_when_one_is_written_with_escapes() {
        assert_eq!(model(r#"{"model":"a","model":"b"}"#), Err(ScanError::TwoModels));
        assert_eq!(model(r#"{"model":"a","mod\u0065l":"b"}"#), Err(ScanError::TwoModels));
        assert_eq!(model(r#"{"mod\u0065l":"\u0062"}"#), Ok(Some("b".into())));
    }

    #[test]
    fn what_is_no_json_object_is_refused_with_its_place() {
        assert_eq!(model(""), Err(ScanError::NotAnObject));
        assert_eq!(model("[1]"), Err(ScanError::NotAnObject));
        assert_eq!(model(r#"{"a":1"#), Err(ScanError::Unfinished));
        assert_eq!(model(r#"{"a":[1}}"#), Err(ScanError::Malformed { at: 7 }));
        assert_eq!(model(r#"{"a":1} x"#), Err(ScanError::Malformed { at: 8 }));
        assert_eq!(model(r#"{a:1}"#), Err(ScanError::Malformed { at: 1 }));
        assert_eq!(model(r#"{"model":null}"#), Err(ScanError::BadModel));
        assert_eq!(scan(b"{\"a\":\"\xff\"}"), Err(ScanError::NotUtf8));
    }

    #[test]
    fn deep_nesting_is_refused_and_costs_no_stack() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert_eq!(scan(deep.as_bytes()), Err(ScanError::TooDeep));
        let fine = format!("{{\"a\":{}{}}}", "[".repeat(127), "]".repeat(127));
        assert_eq!(model(&fine), Ok(None));
    }

    #[test]
    fn a_model_name_longer_than_any_is_refused() {
        let body = format!("{{\"model\":\"{}\"}}", "x".repeat(600));
        assert_eq!(model(&body), Err(ScanError::BadModel));
    }

    proptest! {
        #[test]
        fn pieces_say_the_same_as_the_whole(body in any::<Vec<u8>>(), cut in 0usize..64) {
            let cut = cut.min(body.len());
            let mut whole = Scanner::new();
            let mut parts = Scanner::new();
            let one = whole.feed(&body).and_then(|()| whole.finish());
            let two = parts.feed(&body[..cut]).and_then(|()| parts.feed(&body[cut..])).and_then(|()| parts.finish());
            prop_assert_eq!(one, two);
        }

        #[test]
        fn whatever_serde_reads_is_read_alike(
            model in "\\PC{0,20}", stream in any::<bool>(), text in "\\PC{0,60}", n in any::<u32>(), cut in 0usize..300
        ) {
            let value = serde_json::json!({
                "messages": [{"role": "user", "content": text}], "max_tokens": n, "model": model, "stream": stream,
            });
            let body = serde_json::to_vec_pretty(&value).unwrap();
            let cut = cut.min(body.len());
            let mut parts = Scanner::new();
            parts.feed(&body[..cut]).unwrap();
            parts.feed(&body[cut..]).unwrap();
            let found = parts.finish().unwrap();
            prop_assert_eq!(found.model, Some(model));
            prop_assert_eq!(found.stream, stream);
            prop_assert_eq!(found.max_tokens, Some(n));
        }
    }
}
