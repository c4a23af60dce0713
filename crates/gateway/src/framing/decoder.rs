//! Where a body ends: by its length, by its chunks, or with its connection.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// Bytes of a line that gives a chunk's size: 16 digits, and room for extensions nobody uses.
const SIZE_LINE_MAX: usize = 256;
/// Bytes of all trailers.
const TRAILERS_MAX: usize = 8 << 10;
/// Chunks that came together go on together, up to this much: 100 events of a stream.
const JOINED_BYTES_MAX: usize = 32 << 10;

/// A body that is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the body do not fit together")]
pub struct Misfit;

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
    pub fn decode(&mut self, read: &mut BytesMut) -> Result<Option<Bytes>, Misfit> {
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
    fn span(&mut self, read: &[u8], at: &mut usize) -> Result<Option<usize>, Misfit> {
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
                Decoder::ChunkEnd if rest.starts_with(b"\r\n") => {
                    *at += 2;
                    *self = Decoder::Size;
                }
                Decoder::ChunkEnd => match line(rest, 0)? {
                    None => return Ok(None),
                    Some(0) => {
                        *at += 2;
                        *self = Decoder::Size;
                    }
                    Some(_) => return Err(Misfit),
                },
                Decoder::Size => match size_line(rest)? {
                    None => return Ok(None),
                    Some((size, length)) => {
                        *at += length;
                        *self = match size {
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
                            return Err(Misfit);
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
fn line(rest: &[u8], max: usize) -> Result<Option<usize>, Misfit> {
    match memchr(b'\n', &rest[..rest.len().min(max + 2)]) {
        Some(end) if end > 0 && rest[end - 1] == b'\r' => Ok(Some(end - 1)),
        Some(_) => Err(Misfit),
        None if rest.len() > max + 1 => Err(Misfit),
        None => Ok(None),
    }
}

/// A chunk's size and the length of its line, if that is whole.
fn size_line(rest: &[u8]) -> Result<Option<(u64, usize)>, Misfit> {
    // Nearly all are a few digits and nothing else; the general way costs four times as much.
    const DIGITS_MAX: usize = 8;
    let mut known = 0;
    for (i, byte) in rest.iter().take(DIGITS_MAX).enumerate() {
        match (*byte as char).to_digit(16) {
            Some(digit) => known = known << 4 | u64::from(digit),
            None if i > 0 && rest[i..].starts_with(b"\r\n") => return Ok(Some((known, i + 2))),
            None => break,
        }
    }
    match line(rest, SIZE_LINE_MAX)? {
        Some(end) => Ok(Some((size(&rest[..end])?, end + 2))),
        None => Ok(None),
    }
}

fn size(line: &[u8]) -> Result<u64, Misfit> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    // 15 digits are a petabyte.
    if digits.is_empty() || digits.len() > 15 {
        return Err(Misfit);
    }
    digits.iter().try_fold(0, |size, digit| {
        let value = (*digit as char).to_digit(16).ok_or(Misfit)?;
        Ok(size << 4 | u64::from(value))
    })
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
