//! The head of an engine's answer.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::StatusCode;

use super::{Decoder, Fields, HEADERS_MAX, Misfit, contains, end_of_head, is_hop, number};

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of the headers the gateway adds, so that adding them moves nothing.
const OWN_BYTES: usize = 256;

/// Why an engine's bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They are not HTTP/1.
    #[error("the engine's answer is not HTTP/1.1")]
    NotHttp,
    /// There is more head than an answer may have.
    #[error("the head of the engine's answer is larger than 64 KiB or has more than 100 headers")]
    HeadTooLarge,
    /// Its length is given twice, or is no number.
    #[error("the engine's answer has no length that can be trusted")]
    BadLength,
    /// The chunks of its body do not fit together.
    #[error("the chunks of the engine's answer do not fit together")]
    BadChunk(#[from] Misfit),
    /// The connection ended first.
    #[error("the connection ended before the engine's answer did")]
    CutOff,
}

/// The head of an answer, without what is between engine and gateway only.
#[derive(Debug)]
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, with room for ours. Those whose names are the gateway's to give are left out.
    pub fields: Fields,
    /// What kind of content its body is.
    pub kind: Kind,
    /// It says when it was made.
    pub has_date: bool,
    /// How its body ends.
    pub body: Decoder,
    /// The connection may carry another request after it.
    pub keep: bool,
}

/// What is in a body, as far as it is treated differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `text/event-stream`.
    Events,
    /// `application/json`.
    Json,
    /// Anything else, or nothing said.
    Other,
}

impl Kind {
    fn of(value: &[u8]) -> Self {
        let is = |kind: &str| {
            value.get(..kind.len()).is_some_and(|front| front.eq_ignore_ascii_case(kind.as_bytes()))
        };
        if is("text/event-stream") {
            Kind::Events
        } else if is("application/json") {
            Kind::Json
        } else {
            Kind::Other
        }
    }
}

/// Takes the head of an answer from the front of what was read; `None` where it is not all there.
///
/// # Errors
/// When what was read is no head.
pub fn head(read: &mut BytesMut) -> Result<Option<Head>, Error> {
    loop {
        let known = read.len().min(7);
        if read[..known] != b"HTTP/1."[..known] {
            return Err(Error::NotHttp);
        }
        let Some(end) = end_of_head(read, 0) else {
            return if read.len() > HEAD_BYTES_MAX { Err(Error::HeadTooLarge) } else { Ok(None) };
        };
        if end > HEAD_BYTES_MAX {
            return Err(Error::HeadTooLarge);
        }
        let head = parse(&read[..end])?;
        read.advance(end);
        // 100 Continue and its like announce the answer; they are not it.
        if !head.status.is_informational() {
            return Ok(Some(head));
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Head, Error> {
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    match parser.parse_response_with_uninit_headers(&mut response, bytes, &mut room) {
        Ok(httparse::Status::Complete(used)) if used == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Error::HeadTooLarge),
        Ok(_) | Err(_) => return Err(Error::NotHttp),
    }
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Error::NotHttp)?;
    let mut fields = Fields::with_room(bytes.len() + OWN_BYTES);
    let (mut kind, mut has_date) = (Kind::Other, false);
    let mut own = Own { keep: response.version == Some(1), ..Own::default() };
    for header in response.headers.iter() {
        let (name, value) = (header.name.as_bytes(), header.value);
        if is_hop(name) {
            own.look(name, value)?;
        } else if !is_ours(name) {
            match name.len() {
                12 if name.eq_ignore_ascii_case(b"content-type") => kind = Kind::of(value),
                4 if name.eq_ignore_ascii_case(b"date") => has_date = true,
                _ => {}
            }
            fields.push(name, value);
        }
    }
    let bodyless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let body = match own.length {
        _ if bodyless => Decoder::Over,
        _ if own.chunked => Decoder::Size,
        Some(0) => Decoder::Over,
        Some(u64::MAX) | None => Decoder::ToTheEnd,
        Some(length) => Decoder::Length(length),
    };
    let keep = own.keep && body != Decoder::ToTheEnd;
    Ok(Head { status, fields, kind, has_date, body, keep })
}

/// What a head says of its own connection.
#[derive(Default)]
struct Own {
    /// `u64::MAX` where a coding takes its place.
    length: Option<u64>,
    chunked: bool,
    keep: bool,
}

impl Own {
    fn look(&mut self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        if name.eq_ignore_ascii_case(b"connection") {
            self.keep &= !contains(value, b"close");
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = value.trim_ascii().to_ascii_lowercase().ends_with(b"chunked");
            self.keep &= self.chunked;
            self.length = self.length.or(Some(u64::MAX));
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let said = number(value.trim_ascii()).ok_or(Error::BadLength)?;
            if self.length.replace(said).is_some_and(|before| before != said) {
                return Err(Error::BadLength);
            }
        }
        Ok(())
    }
}

/// Whether a header is the gateway's to give.
fn is_ours(name: &[u8]) -> bool {
    const OURS: &[u8] = b"x-tidegate-";
    name.get(..OURS.len()).is_some_and(|front| front.eq_ignore_ascii_case(OURS))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
