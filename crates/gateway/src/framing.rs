//! HTTP/1.1 as engines speak it, without a socket: the head of an answer, and where its body ends.
//!
//! # Why not hyper here
//! Towards clients the gateway speaks through hyper, which has met every client there is. Towards engines, hyper's
//! client was measured at 15,000 instructions of the 57,000 a small request cost (nginx needs 21,000 for all of
//! it): a channel to its connection, a channel back, one for the body, a copy of all headers. Here heads are
//! parsed by `httparse` out of the buffer they were read into, and what is left to know of HTTP is two hundred
//! lines that need no clock and no socket, and are tested byte by byte.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use memchr::{memchr, memmem};

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Headers of an answer; engines send a dozen.
const HEADERS_MAX: usize = 100;
/// Bytes of a line that gives a chunk's size: 16 digits, and room for extensions nobody uses.
const SIZE_LINE_MAX: usize = 256;
/// Bytes of all trailers.
const TRAILERS_MAX: usize = 8 << 10;
/// Chunks that came together go on together, up to this much: 100 events of a stream.
const JOINED_BYTES_MAX: usize = 32 << 10;

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
    BadChunk,
    /// The connection ended first.
    #[error("the connection ended before the engine's answer did")]
    CutOff,
}

/// The head of an answer, without what is between engine and gateway only.
#[derive(Debug)]
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, with room for ours.
    pub headers: HeaderMap,
    /// How its body ends.
    pub body: Decoder,
    /// The connection may carry another request after it.
    pub keep: bool,
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
        let Some(end) = memmem::find(read, b"\r\n\r\n") else {
            return if read.len() > HEAD_BYTES_MAX { Err(Error::HeadTooLarge) } else { Ok(None) };
        };
        if end > HEAD_BYTES_MAX {
            return Err(Error::HeadTooLarge);
        }
        let head = parse(&read.split_to(end + 4).freeze())?;
        // 100 Continue and its like announce the answer; they are not it.
        if !head.status.is_informational() {
            return Ok(Some(head));
        }
    }
}

fn parse(bytes: &Bytes) -> Result<Head, Error> {
    let mut parsed = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut parsed);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Error::HeadTooLarge),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Error::NotHttp),
    }
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Error::NotHttp)?;
    let (mut length, mut chunked, mut keep) = (None, false, response.version == Some(1));
    // Four of ours follow.
    let mut headers = HeaderMap::with_capacity(response.headers.len() + 4);
    for header in response.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Error::NotHttp)?;
        if name == CONNECTION {
            keep &= !contains(header.value, b"close");
        } else if name == TRANSFER_ENCODING {
            chunked = header.value.trim_ascii().to_ascii_lowercase().ends_with(b"chunked");
            keep &= chunked;
            length = length.or(Some(u64::MAX));
        } else if name == CONTENT_LENGTH {
            let said = number(header.value.trim_ascii()).ok_or(Error::BadLength)?;
            if length.replace(said).is_some_and(|before| before != said) {
                return Err(Error::BadLength);
            }
        } else if name != TRAILER && name != UPGRADE && name.as_str() != "keep-alive" {
            let value =
                HeaderValue::from_maybe_shared(bytes.slice_ref(header.value)).map_err(|_| Error::NotHttp)?;
            headers.append(name, value);
        }
    }
    let bodyless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let body = match length {
        _ if bodyless => Decoder::Over,
        _ if chunked => Decoder::Size,
        Some(0) => Decoder::Over,
        Some(u64::MAX) | None => Decoder::ToTheEnd,
        Some(length) => Decoder::Length(length),
    };
    keep &= body != Decoder::ToTheEnd;
    Ok(Head { status, headers, body, keep })
}

/// Digits only: `+5` and `0x5` are numbers to some, and lengths to nobody.
fn number(digits: &[u8]) -> Option<u64> {
    let all = !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

fn contains(value: &[u8], word: &[u8]) -> bool {
    value.split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
}

/// Where in a body one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    /// So many bytes are left.
    Length(u64),
    /// It ends with the connection.
    ToTheEnd,
    /// Chunked: a size is next.
    Size,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The line end after a chunk is next.
    ChunkEnd,
    /// So many bytes of trailers were passed over.
    Trailers(u16),
    /// Nothing more.
    Over,
}

impl Decoder {
    /// Bytes of the body, where they are known before it is read.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Decoder::Length(left) => Some(*left),
            Decoder::Over => Some(0),
            _ => None,
        }
    }

    /// Takes what there is of the body from the front of what was read; `None` where more must be read first,
    /// or nothing is left to come. Chunks that came together are given together.
    ///
    /// # Errors
    /// When chunks do not fit together.
    pub fn decode(&mut self, read: &mut BytesMut) -> Result<Option<Bytes>, Error> {
        let mut at = 0;
        let Some(first) = self.span(read, &mut at)? else {
            read.advance(at);
            return Ok(None);
        };
        let start = at;
        at += first;
        // Behind the one there may be another, or the end: seeing it now spares a look later.
        let mut more = self.span(read, &mut at)?;
        if more.is_none() {
            read.advance(start);
            let data = read.split_to(first).freeze();
            read.advance(at - start - first);
            return Ok(Some(data));
        }
        let mut joined = BytesMut::with_capacity((read.len() - start).min(JOINED_BYTES_MAX));
        joined.extend_from_slice(&read[start..start + first]);
        while let Some(next) = more {
            joined.extend_from_slice(&read[at..at + next]);
            at += next;
            more = if joined.len() < JOINED_BYTES_MAX { self.span(read, &mut at)? } else { None };
        }
        read.advance(at);
        Ok(Some(joined.freeze()))
    }

    /// Moves `at` to the next data, and says how much of it is there.
    fn span(&mut self, read: &[u8], at: &mut usize) -> Result<Option<usize>, Error> {
        loop {
            let rest = &read[*at..];
            if rest.is_empty() {
                return Ok(None);
            }
            match *self {
                Decoder::Over => return Ok(None),
                Decoder::ToTheEnd => return Ok(Some(rest.len())),
                Decoder::Length(left) => {
                    let (take, left) = take(rest, left);
                    *self = if left == 0 { Decoder::Over } else { Decoder::Length(left) };
                    return Ok(Some(take));
                }
                Decoder::Chunk(left) => {
                    let (take, left) = take(rest, left);
                    *self = if left == 0 { Decoder::ChunkEnd } else { Decoder::Chunk(left) };
                    return Ok(Some(take));
                }
                Decoder::ChunkEnd => match line(rest, 0)? {
                    None => return Ok(None),
                    Some(0) => {
                        *at += 2;
                        *self = Decoder::Size;
                    }
                    Some(_) => return Err(Error::BadChunk),
                },
                Decoder::Size => match line(rest, SIZE_LINE_MAX)? {
                    None => return Ok(None),
                    Some(end) => {
                        *at += end + 2;
                        *self = match size(&rest[..end])? {
                            0 => Decoder::Trailers(0),
                            size => Decoder::Chunk(size),
                        };
                    }
                },
                Decoder::Trailers(passed) => match line(rest, TRAILERS_MAX)? {
                    None => return Ok(None),
                    Some(end) => {
                        *at += end + 2;
                        let passed = usize::from(passed) + end + 2;
                        if passed > TRAILERS_MAX {
                            return Err(Error::BadChunk);
                        }
                        *self = match end {
                            0 => Decoder::Over,
                            _ => Decoder::Trailers(u16::try_from(passed).unwrap_or(u16::MAX)),
                        };
                    }
                },
            }
        }
    }
}

fn take(rest: &[u8], left: u64) -> (usize, u64) {
    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    (take, left - take as u64)
}

/// The length of a whole line without its end, if it is there and no longer than may be.
fn line(rest: &[u8], max: usize) -> Result<Option<usize>, Error> {
    match memchr(b'\n', &rest[..rest.len().min(max + 2)]) {
        Some(end) if end > 0 && rest[end - 1] == b'\r' => Ok(Some(end - 1)),
        Some(_) => Err(Error::BadChunk),
        None if rest.len() > max + 1 => Err(Error::BadChunk),
        None => Ok(None),
    }
}

fn size(line: &[u8]) -> Result<u64, Error> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    // 15 digits are a petabyte.
    if digits.is_empty() || digits.len() > 15 {
        return Err(Error::BadChunk);
    }
    digits.iter().try_fold(0, |size, digit| {
        let value = (*digit as char).to_digit(16).ok_or(Error::BadChunk)?;
        Ok(size << 4 | u64::from(value))
    })
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
