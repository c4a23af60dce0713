//! HTTP/1.1 without a socket: heads of requests and of answers, and where their bodies end.
//!
//! # Why not hyper
//! hyper speaks HTTP/2 to clients. HTTP/1 was measured, in instructions of a small JSON request that passes
//! through (callgrind; nginx needs 21,000 for all of it): with hyper on both sides 57,000, with hyper towards
//! clients only 41,000. What it cost was not parsing, which is `httparse` here and there, but maps of headers
//! that are built to be written out again, channels between a connection and its request, and futures in boxes.
//! A gateway needs no map: it copies most lines as they came and looks at a dozen names on the way.
//!
//! # What is refused
//! Whatever could make two readers see two different requests: two lengths, a length that is no plain number, a
//! length beside chunks (read as chunks, and the connection ends), a coding that is not `chunked`, lines that end
//! in a bare line feed, folded lines, two hosts.
//!
//! Nothing here has a clock or a socket; all of it is tested and fuzzed byte by byte.

pub mod answer;
mod decoder;
mod fields;
pub mod request;

pub use decoder::{Decoder, Misfit};
pub use fields::{Fields, decimal};

/// Headers of one head. Clients and engines send a dozen.
const HEADERS_MAX: usize = 100;

/// Whether a header is between two neighbours only and goes no further.
#[must_use]
pub fn is_hop(name: &[u8]) -> bool {
    let among = |names: &[&[u8]]| names.iter().any(|n| name.eq_ignore_ascii_case(n));
    match name.len() {
        2 => among(&[b"te"]),
        6 => among(&[b"expect"]),
        7 => among(&[b"trailer", b"upgrade"]),
        10 => among(&[b"connection", b"keep-alive"]),
        14 => among(&[b"content-length"]),
        16 => among(&[b"proxy-connection"]),
        17 => among(&[b"transfer-encoding"]),
        18 => among(&[b"proxy-authenticate"]),
        19 => among(&[b"proxy-authorization"]),
        _ => false,
    }
}

/// Where a head ends that may begin anywhere: after its empty line. What comes before `looked` was searched.
///
/// Line by line, for a searcher of substrings takes longer to make than a head to read.
fn end_of_head(read: &[u8], looked: usize) -> Option<usize> {
    let mut ends = memchr::memchr_iter(b'\n', &read[looked..]).map(|at| looked + at + 1);
    ends.find(|end| read[..*end].ends_with(b"\r\n\r\n"))
}

/// Digits only: `+5` and `0x5` are numbers to some, and lengths to nobody.
fn number(digits: &[u8]) -> Option<u64> {
    let all = !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
    all.then(|| digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

/// The words of a list such as `Connection` has.
fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

fn contains(value: &[u8], word: &[u8]) -> bool {
    words(value).any(|part| part.eq_ignore_ascii_case(word))
}
