//! A light look at a stream of server-sent events on its way through.
//!
//! # Why look at all
//! An engine that is stopped ends its streams in ways a client takes for success: vLLM sends the finish reason
//! `abort` and then `[DONE]`, llama.cpp just ends the body. A stream is whole only if it says why it ended, in
//! words of the client's own (`stop`, `length`, `tool_calls`), and ends as its protocol ends.
//!
//! # What passes
//! Frames pass untouched as long as they end where an event ends, which is how engines write. The part of a
//! frame after its last whole event waits for the rest of that event: no reader of SSE could use it sooner,
//! and an error event can then always follow without tearing a line.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::{self, Finder};

/// An event that is not over after this many bytes passes as it is: 1 MiB is 4,000 times a usual one.
const EVENT_BYTES_MAX: usize = 1 << 20;

// Made once: to make one costs as much as to search a small answer.
static REASON: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"finish_reason\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static ABORT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"abort\""));
static NEXT_DATA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\ndata:"));

/// How a stream of this kind ends when it is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI chat and completions: a finish reason, then `data: [DONE]`.
    OpenAi,
    /// OpenAI responses: `response.completed`, `.incomplete` or `.failed`.
    Responses,
    /// Anthropic messages: `message_stop`.
    Messages,
    /// Anything else: the end of the body is all there is.
    Other,
}

/// Tokens an engine says it counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Written.
    pub output_tokens: Option<u32>,
}

/// Why a stream is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The engine says it gave up (`abort`).
    Aborted,
    /// It ended without saying why.
    Unfinished,
}

/// What to do with a frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// Whole events, to be passed on; may be empty.
    pub pass: Bytes,
    /// How many of them carry data.
    pub events: u32,
    /// The stream is broken here: after `pass` comes an error event, and nothing else.
    pub broken: Option<Broken>,
}

/// Follows one stream.
#[derive(Debug)]
pub struct Watcher {
    dialect: Dialect,
    /// The beginning of an event whose end has not come.
    carry: BytesMut,
    finished: bool,
    failed: bool,
    done: bool,
    events: u32,
    usage: Usage,
}

impl Watcher {
    /// At the start of a stream.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Watcher {
            dialect,
            carry: BytesMut::new(),
            finished: false,
            failed: false,
            done: false,
            events: 0,
            usage: Usage::default(),
        }
    }

    /// Takes the next frame.
    pub fn feed(&mut self, frame: Bytes) -> Fed {
        let frame = if self.carry.is_empty() {
            frame
        } else {
            self.carry.extend_from_slice(&frame);
            self.carry.split().freeze()
        };
        let mut pass = frame;
        let end = last_event_end(&pass);
        if end < pass.len() {
            if pass.len() - end > EVENT_BYTES_MAX {
                return Fed { pass, ..Fed::default() };
            }
            let rest = pass.split_off(end);
            self.carry.extend_from_slice(&rest);
        }
        self.look(pass)
    }

    /// The body is over: what is left of it, and whether the stream was whole.
    ///
    /// # Errors
    /// When it was not.
    pub fn end(&mut self) -> Result<Bytes, Broken> {
        let mut rest = self.carry.split().freeze();
        if !rest.is_empty() {
            // The last event may lack its empty line; whether it is one shows in what it says.
            let fed = self.look(std::mem::take(&mut rest));
            if let Some(broken) = fed.broken {
                return Err(broken);
            }
            rest = fed.pass;
        }
        let whole = match self.dialect {
            Dialect::OpenAi => self.done,
            Dialect::Responses | Dialect::Messages => self.finished || self.failed,
            Dialect::Other => true,
        };
        if whole { Ok(rest) } else { Err(Broken::Unfinished) }
    }

    /// Whether the last event of the protocol has passed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.done
    }

    /// Tokens counted: what the engine said, else one for each event with data, which is how engines stream.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage { output_tokens: self.usage.output_tokens.or(Some(self.events)), ..self.usage }
    }

    fn look(&mut self, pass: Bytes) -> Fed {
        let fed = match self.dialect {
            Dialect::OpenAi => self.look_openai(pass),
            Dialect::Responses => self.look_responses(pass),
            Dialect::Messages => self.look_messages(pass),
            Dialect::Other => Fed { events: count_events(&pass), pass, broken: None },
        };
        self.events = self.events.saturating_add(fed.events);
        fed
    }

    fn look_openai(&mut self, mut pass: Bytes) -> Fed {
        // Engines give every choice a finish reason, mostly null; so choices can be counted on the way.
        let mut events = 0;
        let mut ended_at = self.finished.then_some(0);
        for at in REASON.find_iter(&pass) {
            match string_after_colon(&pass[at + REASON.needle().len()..]) {
                Some(b"abort" | b"error") => {
                    let cut = event_start(&pass, at);
                    pass.truncate(cut);
                    return Fed { pass, events, broken: Some(Broken::Aborted) };
                }
                Some(_) => {
                    self.finished = true;
                    ended_at.get_or_insert(at);
                }
                None => {}
            }
            events += 1;
        }
        let tail = pass.trim_ascii_end();
        let done = tail.ends_with(b"[DONE]");
        if events == 0 {
            events = count_events(&pass).saturating_sub(u32::from(done));
            self.failed |= pass.starts_with(b"data: {\"error\"");
        }
        // Counts stand in the event that ends, or behind it: what came with it is not searched for them.
        if let Some(at) = ended_at {
            let from = event_start(&pass, at);
            self.take_usage(&pass[from..]);
        }
        if done && !self.finished && !self.failed {
            // An engine's own error event, then `[DONE]`, is the engine's answer; nothing at all is not.
            self.failed = memmem::find(&pass, b"\"error\"").is_some();
            if !self.failed {
                let cut = event_start(&pass, tail.len() - 1);
                pass.truncate(cut);
                return Fed { pass, events, broken: Some(Broken::Unfinished) };
            }
        }
        self.done |= done;
        Fed { pass, events, broken: None }
    }

    fn look_responses(&mut self, bytes: Bytes) -> Fed {
        for (needle, failed) in
            [(&b"response.completed"[..], false), (b"response.incomplete", false), (b"response.failed", true)]
        {
            if let Some(at) = memmem::find(&bytes, needle) {
                self.finished = true;
                self.failed |= failed;
                self.take_usage(&bytes[at..]);
            }
        }
        Fed { events: count_events(&bytes), pass: bytes, broken: None }
    }

    fn look_messages(&mut self, mut bytes: Bytes) -> Fed {
        let mut broken = None;
        if let Some(at) = memmem::find(&bytes, b"\"stop_reason\"") {
            if let Some(b"abort") = string_after_colon(&bytes[at + 13..]) {
                let cut = event_start(&bytes, at);
                bytes.truncate(cut);
                broken = Some(Broken::Aborted);
            }
            self.take_usage(&bytes);
        }
        self.finished |= memmem::find(&bytes, b"message_stop").is_some();
        self.failed |= memmem::find(&bytes, b"event: error").is_some();
        Fed { events: count_events(&bytes), pass: bytes, broken }
    }

    fn take_usage(&mut self, bytes: &[u8]) {
        // Some engines count in every chunk; the last is the whole.
        if let Some(usage) = usages(bytes).last().map(counts) {
            self.usage = Usage {
                prompt_tokens: usage.prompt_tokens.or(self.usage.prompt_tokens),
                output_tokens: usage.output_tokens.or(self.usage.output_tokens),
            };
        }
    }
}

/// The first `usage` object in some JSON, by either of the names its fields have. A `usage` in the text itself
/// is no match: its quotes are escaped.
#[must_use]
pub fn usage(json: &[u8]) -> Option<Usage> {
    usages(json).next().map(counts)
}

fn usages(json: &[u8]) -> impl Iterator<Item = &[u8]> {
    USAGE.find_iter(json).filter_map(|at| {
        let value =
            json[at + USAGE.needle().len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        (value.first() == Some(&b'{')).then_some(value)
    })
}

/// Whether a whole answer says the engine gave it up.
#[must_use]
pub fn is_aborted(json: &[u8]) -> bool {
    // One search says no to nearly all of them; the word in the text itself has its quotes escaped.
    ABORT.find(json).is_some()
        && REASON
            .find_iter(json)
            .any(|at| matches!(string_after_colon(&json[at + REASON.needle().len()..]), Some(b"abort")))
}

/// The numbers of a `usage` object. What else is in it, and whether it is well formed, is the client's business.
fn counts(object: &[u8]) -> Usage {
    // One object holds a dozen numbers and two small objects inside.
    const OBJECT_BYTES_MAX: usize = 4096;
    let object = &object[..object.len().min(OBJECT_BYTES_MAX)];
    let (mut usage, mut depth, mut i) = (Usage::default(), 0u32, 0);
    while let Some(byte) = object.get(i) {
        i += 1;
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => break,
            b'}' => depth -= 1,
            b'"' => {
                let Some(end) = memchr::memchr(b'"', &object[i..]) else { break };
                let name = &object[i..i + end];
                i += end + 1;
                let place = match name {
                    b"prompt_tokens" | b"input_tokens" => &mut usage.prompt_tokens,
                    b"completion_tokens" | b"output_tokens" => &mut usage.output_tokens,
                    _ => continue,
                };
                if depth == 1
                    && let Some(value) = object[i..].trim_ascii_start().strip_prefix(b":")
                {
                    *place = leading_number(value.trim_ascii_start()).or(*place);
                    if usage.prompt_tokens.is_some() && usage.output_tokens.is_some() {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    usage
}

fn leading_number(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let number =
        bytes[..digits].iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0')));
    (digits > 0).then(|| u32::try_from(number).unwrap_or(u32::MAX))
}

/// The string after `:`; `None` for `null` and whatever else.
fn string_after_colon(bytes: &[u8]) -> Option<&[u8]> {
    let value = bytes.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    memchr::memchr(b'"', value).map(|end| &value[..end])
}

/// Where the last whole event ends: after its empty line.
fn last_event_end(bytes: &[u8]) -> usize {
    if bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n") || bytes.ends_with(b"\r\r") {
        return bytes.len();
    }
    let lf = memmem::rfind(bytes, b"\n\n").map_or(0, |i| i + 2);
    let crlf = memmem::rfind(bytes, b"\r\n\r\n").map_or(0, |i| i + 4);
    let cr = memmem::rfind(bytes, b"\r\r").map_or(0, |i| i + 2);
    lf.max(crlf).max(cr)
}

/// Where the event around a byte starts.
fn event_start(bytes: &[u8], at: usize) -> usize {
    last_event_end(&bytes[..at])
}

/// Events with data: each has at least one line that begins so, and engines write exactly one.
fn count_events(bytes: &[u8]) -> u32 {
    let first = u32::from(bytes.starts_with(b"data:"));
    // Most frames are one event, and one look at its first line's end says so.
    match memchr::memchr(b'\n', bytes) {
        Some(end) if end + 2 >= bytes.len() => first,
        _ => first + u32::try_from(NEXT_DATA.find_iter(bytes).count()).unwrap_or(u32::MAX - 1),
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
