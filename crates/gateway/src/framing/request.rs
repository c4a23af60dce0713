//! The head of a client's request.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::Method;
use memchr::{memchr, memchr_iter};

use super::{Decoder, HEADERS_MAX, contains, end_of_head, is_hop, number, words};

/// Why a client's bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They are not HTTP/1.
    #[error("this is not an HTTP/1.1 request")]
    NotHttp,
    /// There is more head than a request may have.
    #[error("the request's head is too large, or has more than 100 headers")]
    HeadTooLarge,
    /// Its length is given twice, or is no number, or it is coded in a way nobody here reads.
    #[error("the request has no length that can be trusted")]
    BadLength,
    /// It asks for an address that is none, or names two hosts.
    #[error("the request has no address that can be trusted")]
    BadAddress,
}

/// The head of a request, without its headers: those were shown to a visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its method.
    pub method: Method,
    /// Path and query, from the first slash on; `*` for all of the server.
    pub target: String,
    /// How its body ends.
    pub body: Decoder,
    /// The connection may carry another request after it.
    pub keep: bool,
    /// It is HTTP/1.0: no chunks for it, and the end of the connection is the end of the answer.
    pub is_old: bool,
    /// It waits for a word before it sends its body.
    pub expects: bool,
}

/// Finds heads in what is read. It remembers how far it looked, so that a head that comes byte by byte is
/// looked at once and not once a byte.
#[derive(Debug)]
pub struct Reader {
    bytes_max: usize,
    looked: usize,
}

impl Reader {
    /// One that takes heads of at most so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Reader { bytes_max, looked: 0 }
    }

    /// Takes a head from the front of what was read, and shows its headers to the visitor, name and value, without
    /// those that are the connection's own; `None` where it is not all there. After an error the connection is of
    /// no more use.
    ///
    /// # Errors
    /// When what was read is no head, or not one that can be trusted.
    pub fn head(
        &mut self,
        read: &mut BytesMut,
        visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<Option<Head>, Error> {
        // Some send an empty line after a body; all who read must pass over it.
        while read.starts_with(b"\r\n") {
            self.looked = 0;
            read.advance(2);
        }
        let Some(first) = read.first() else { return Ok(None) };
        // Not before its second byte is a line feed known to be one.
        let may_begin = first.is_ascii_alphabetic() || (*first == b'\r' && read.len() == 1);
        if !may_begin {
            return Err(Error::NotHttp);
        }
        let Some(end) = end_of_head(read, self.looked) else {
            self.looked = read.len();
            return if read.len() > self.bytes_max { Err(Error::HeadTooLarge) } else { Ok(None) };
        };
        self.looked = 0;
        if end > self.bytes_max {
            return Err(Error::HeadTooLarge);
        }
        let head = parse(&read[..end], visit)?;
        read.advance(end);
        Ok(Some(head))
    }
}

fn parse(bytes: &[u8], mut visit: impl FnMut(&[u8], &[u8])) -> Result<Head, Error> {
    // httparse takes a bare line feed for a line's end; whoever stands behind or before us may not.
    if memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r') {
        return Err(Error::NotHttp);
    }
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut room) {
        Ok(httparse::Status::Complete(used)) if used == bytes.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Error::HeadTooLarge),
        Ok(_) | Err(_) => return Err(Error::NotHttp),
    }
    let method = request.method.and_then(|m| Method::from_bytes(m.as_bytes()).ok()).ok_or(Error::NotHttp)?;
    let target = request.path.and_then(target).ok_or(Error::BadAddress)?.to_owned();
    let is_old = request.version != Some(1);
    let mut own = Own { keep: !is_old, ..Own::default() };
    for header in request.headers.iter() {
        own.look(header.name.as_bytes(), header.value)?;
    }
    let (body, keep) = own.framing(is_old)?;
    for header in request.headers.iter() {
        let name = header.name.as_bytes();
        if !is_hop(name) && !own.named.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            visit(name, header.value);
        }
    }
    Ok(Head { method, target, body, keep, is_old, expects: own.expects && !is_old && body != Decoder::Over })
}

/// What a head says of its own connection.
#[derive(Default)]
struct Own<'a> {
    length: Option<u64>,
    chunked: bool,
    keep: bool,
    expects: bool,
    host: bool,
    /// Headers that `Connection` names are the connection's too.
    named: Vec<&'a [u8]>,
}

impl<'a> Own<'a> {
    fn look(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Error> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            4 if is("host") => return once(&mut self.host, Error::BadAddress),
            6 if is("expect") => self.expects |= value.eq_ignore_ascii_case(b"100-continue"),
            10 if is("connection") => self.connection(value),
            14 if is("content-length") => {
                let said = number(value.trim_ascii()).ok_or(Error::BadLength)?;
                if self.length.replace(said).is_some_and(|before| before != said) {
                    return Err(Error::BadLength);
                }
            }
            17 if is("transfer-encoding") && !value.trim_ascii().eq_ignore_ascii_case(b"chunked") => {
                return Err(Error::BadLength);
            }
            17 if is("transfer-encoding") => return once(&mut self.chunked, Error::BadLength),
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &'a [u8]) {
        for word in words(value) {
            if word.eq_ignore_ascii_case(b"keep-alive") {
                self.keep |= !contains(value, b"close");
            } else if word.eq_ignore_ascii_case(b"close") {
                self.keep = false;
            } else if !word.eq_ignore_ascii_case(b"host") {
                self.named.push(word);
            }
        }
    }

    /// How the body ends, and whether anything can come behind it.
    fn framing(&self, is_old: bool) -> Result<(Decoder, bool), Error> {
        match self.length {
            _ if self.chunked && is_old => Err(Error::BadLength),
            // RFC 9112, 6.3: chunks count. Who sends both may mean to smuggle, so nothing behind it is read.
            Some(_) if self.chunked => Ok((Decoder::Size, false)),
            None if self.chunked => Ok((Decoder::Size, self.keep)),
            None | Some(0) => Ok((Decoder::Over, self.keep)),
            Some(length) => Ok((Decoder::Length(length), self.keep)),
        }
    }
}

/// Marks what may be there once.
fn once(seen: &mut bool, error: Error) -> Result<(), Error> {
    if std::mem::replace(seen, true) { Err(error) } else { Ok(()) }
}

/// The path of an address. As proxies are asked it may be a whole one, of which only the path counts here.
fn target(raw: &str) -> Option<&str> {
    let raw = raw.split_once('#').map_or(raw, |(front, _)| front);
    if raw.starts_with('/') || raw == "*" {
        return Some(raw);
    }
    let (scheme, rest) = raw.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    Some(memchr(b'/', rest.as_bytes()).map_or("/", |slash| &rest[slash..]))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
