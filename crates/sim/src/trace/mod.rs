//! Request logs as they were published, read as one kind of stream.
//!
//! Three forms are known, and told apart by their first line: the Azure LLM traces (CSV with
//! `ContextTokens`), Mooncake (JSON lines with `input_length`) and BurstGPT (CSV with `Request tokens`).
//! ServeGen's tables hold no requests but laws; [`ServeGen`] draws requests of them, and [`Synth`] of a shape and a
//! seed.

mod instant;
mod part;
pub mod plan;
mod scaled;
mod servegen;
mod spread;
mod synth;

pub use part::Stretch;
pub use scaled::{BadFactor, Scaled};
pub use servegen::{Lengths, Part, ServeGen};
pub use spread::Spread;
pub use synth::{BadSynth, SHAPES, Synth};

use std::io::{self, BufRead};

use serde::Deserialize;
use tidegate_core::time::{Span, Time};

/// A line longer than this is no request: Mooncake's longest has some 250 hashes of 8 digits, 2.5 KB.
const LINE_BYTES_MAX: u64 = 256 * 1024;
/// No request for longer than this is a slip in a date: the published traces are silent for hours at most.
const GAP_MAX: Span = Span::from_secs(31 * 86_400);

/// One request of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceRequest {
    /// When it came, counted from the first request.
    pub at: Span,
    /// Tokens in the prompt.
    pub prompt_tokens: u32,
    /// Tokens in the answer.
    pub output_tokens: u32,
    /// Mooncake only: the prompt as a chain of stretches of 512 tokens, equal where prompts are.
    pub hash_ids: Vec<u64>,
}

/// A trace that cannot be read, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source failed.
    #[error("line {line}: cannot read the trace: {source}")]
    Read {
        /// Counted from 1.
        line: u64,
        /// What happened.
        source: io::Error,
    },
    /// The first line belongs to no form we know.
    #[error(
        "line 1: not a trace we know; expected the header of an Azure LLM trace (TIMESTAMP,ContextTokens,\
         GeneratedTokens) or of BurstGPT (Timestamp, …, Request tokens, Response tokens, …), or the JSON \
         lines of Mooncake"
    )]
    UnknownForm,
    /// A line that is not of its form.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Mooncake,
    /// Columns of time, prompt and output; BurstGPT counts seconds, Azure writes dates.
    Csv {
        time: usize,
        prompt: usize,
        output: usize,
        dates: bool,
    },
}

/// The requests of a trace in order. After an error it ends.
#[derive(Debug)]
pub struct Trace<R> {
    reader: R,
    form: Form,
    line: u64,
    /// The first line of a form without a header, until it is asked for.
    pending: Option<String>,
    origin: Option<Time>,
    last: Span,
    ended: bool,
}

impl<R: BufRead> Trace<R> {
    /// Looks at the first line to tell the form.
    ///
    /// # Errors
    /// [`Error::UnknownForm`], or the source failed.
    pub fn open(mut reader: R) -> Result<Trace<R>, Error> {
        let first = read_line(&mut reader, 1)?.ok_or(Error::UnknownForm)?;
        let first = first.trim_start_matches('\u{feff}').to_owned();
        let (form, pending) = if first.starts_with('{') {
            (Form::Mooncake, Some(first))
        } else {
            (columns(&first).ok_or(Error::UnknownForm)?, None)
        };
        Ok(Trace { reader, form, line: 1, pending, origin: None, last: Span::ZERO, ended: false })
    }

    /// Whether its times are written in steps of three seconds, as Mooncake's are: see [`Spread`].
    #[must_use]
    pub fn is_coarse(&self) -> bool {
        matches!(self.form, Form::Mooncake)
    }

    fn read(&mut self) -> Result<Option<TraceRequest>, Error> {
        loop {
            let text = match self.pending.take() {
                Some(text) => text,
                None => {
                    self.line += 1;
                    match read_line(&mut self.reader, self.line)? {
                        Some(text) => text,
                        None => return Ok(None),
                    }
                }
            };
            if text.is_empty() {
                continue;
            }
            let (at, mut request) = match self.form {
                Form::Mooncake => mooncake(&text),
                Form::Csv { time, prompt, output, dates } => row(&text, time, prompt, output, dates),
            }
            .map_err(|what| Error::Line { line: self.line, what })?;
            let origin = *self.origin.get_or_insert(at);
            // BurstGPT writes no answer where the service failed: nothing to play again.
            if request.output_tokens == 0 {
                continue;
            }
            request.at = at.since(origin);
            if request.at < self.last {
                return Err(Error::Line {
                    line: self.line,
                    what: "earlier than the line before it; sort the file by time".to_owned(),
                });
            }
            if request.at.as_micros() - self.last.as_micros() > GAP_MAX.as_micros() {
                let days = (request.at.as_micros() - self.last.as_micros()) / 86_400_000_000;
                let what = format!(
                    "{days} days after the request before it; more than 31 are taken for a slip in the date: \
                     mend it, or cut the trace there"
                );
                return Err(Error::Line { line: self.line, what });
            }
            self.last = request.at;
            return Ok(Some(request));
        }
    }
}

impl<R: BufRead> Iterator for Trace<R> {
    type Item = Result<TraceRequest, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

/// The first 15 minutes of the Azure conversation trace of 2023: 4,424 requests. See `data/traces/README.md`.
///
/// # Errors
/// Only when the built-in file is damaged.
pub fn demo_trace() -> Result<Vec<TraceRequest>, Error> {
    Trace::open(include_str!("../../data/traces/azure-conv-15min.csv").as_bytes())?.collect()
}

fn read_line(reader: &mut impl BufRead, line: u64) -> Result<Option<String>, Error> {
    let mut text = String::new();
    let mut limited = io::Read::take(reader, LINE_BYTES_MAX);
    let read = limited.read_line(&mut text).map_err(|source| match source.kind() {
        io::ErrorKind::UnexpectedEof => {
            let what = "the compressed file ends in the middle of it; fetch the file again".to_owned();
            Error::Line { line, what }
        }
        io::ErrorKind::InvalidData => {
            Error::Line { line, what: format!("not text, or damaged: {source}; fetch the file again") }
        }
        _ => Error::Read { line, source },
    })?;
    if read as u64 == LINE_BYTES_MAX && !text.ends_with('\n') {
        return Err(Error::Line { line, what: format!("longer than {LINE_BYTES_MAX} bytes") });
    }
    text.truncate(text.trim_end().len());
    Ok((read > 0).then_some(text))
}

fn columns(header: &str) -> Option<Form> {
    let fields = fields(header)?;
    let place = |name: &str| fields.iter().position(|field| field.trim().eq_ignore_ascii_case(name));
    let time = place("timestamp")?;
    if let (Some(prompt), Some(output)) = (place("contexttokens"), place("generatedtokens")) {
        return Some(Form::Csv { time, prompt, output, dates: true });
    }
    let (prompt, output) = (place("request tokens")?, place("response tokens")?);
    Some(Form::Csv { time, prompt, output, dates: false })
}

fn fields(text: &str) -> Option<csv::StringRecord> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    reader.records().next()?.ok()
}

fn row(
    text: &str,
    time: usize,
    prompt: usize,
    output: usize,
    dates: bool,
) -> Result<(Time, TraceRequest), String> {
    let record = fields(text).ok_or("not a line of CSV")?;
    let field = |place: usize| {
        record.get(place).map(str::trim).ok_or_else(|| format!("column {} is missing", place + 1))
    };
    let stamp = field(time)?;
    let at = if dates { instant::parse(stamp) } else { seconds(stamp) };
    let at = at.ok_or_else(|| format!("`{stamp}` is not a time"))?;
    let request = TraceRequest {
        prompt_tokens: tokens(field(prompt)?)?,
        output_tokens: tokens(field(output)?)?,
        ..TraceRequest::default()
    };
    Ok((at, request))
}

fn seconds(text: &str) -> Option<Time> {
    Time::try_from_secs_f64(text.parse().ok()?)
}

fn tokens(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number of tokens"))
}

#[derive(Deserialize)]
struct MooncakeLine {
    /// Milliseconds.
    timestamp: f64,
    input_length: u32,
    output_length: u32,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

fn mooncake(text: &str) -> Result<(Time, TraceRequest), String> {
    let line: MooncakeLine = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let at = Time::try_from_secs_f64(line.timestamp / 1e3).ok_or("timestamp is out of range")?;
    let request = TraceRequest {
        at: Span::ZERO,
        prompt_tokens: line.input_length,
        output_tokens: line.output_length,
        hash_ids: line.hash_ids,
    };
    Ok((at, request))
}
