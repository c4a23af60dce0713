//! As little HTTP/1.1 as both ends of the bench need: heads, fixed and chunked bodies, keep-alive.
//!
//! A library would be better manners, but the load generator shares two cores with what it measures:
//! each microsecond spent here is taken from the peer.

use std::ops::Range;

use memchr::memmem;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::error::Error;

/// The most a head may take. The peers add a few hundred bytes to ours of about 200.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// One side's view of a connection: the socket and what was read from it but not used.
pub(crate) struct Wire {
    /// The socket, for writing.
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    unread: Range<usize>,
}

/// The part of a message before its body.
pub(crate) struct Head {
    /// Bytes it takes, blank line included.
    len: usize,
    /// The second word of the first line: a status code or a path.
    second: Range<usize>,
    /// How its body ends.
    pub(crate) body: Body,
}

/// How far a body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// That many bytes are left.
    Fixed(u64),
    /// In the line with a chunk's size; `true` once an extension began.
    Size(u64, bool),
    /// That many bytes of a chunk are left.
    Data(u64),
    /// Before the line end after a chunk.
    DataEnd,
    /// In the lines after the last chunk; how long the current one is.
    Trailer(usize),
    /// Nothing is left.
    Done,
}

impl Body {
    /// Uses bytes up to the end of the body; gives how many, and each piece of content to `content`.
    pub(crate) fn feed(&mut self, input: &[u8], mut content: impl FnMut(&[u8])) -> Result<usize, Error> {
        let mut used = 0;
        while used < input.len() && !self.is_done() {
            let rest = &input[used..];
            match *self {
                Self::Fixed(left) | Self::Data(left) => {
                    let take = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    content(&rest[..take]);
                    used += take;
                    let left = left - take as u64;
                    *self = match (*self, left) {
                        (Self::Fixed(_), left) => Self::Fixed(left),
                        (_, 0) => Self::DataEnd,
                        (_, left) => Self::Data(left),
                    };
                }
                Self::Size(size, extension) => {
                    used += 1;
                    *self = match rest[0] {
                        b'\n' if size == 0 => Self::Trailer(0),
                        b'\n' => Self::Data(size),
                        b'\r' => Self::Size(size, extension),
                        _ if extension => Self::Size(size, true),
                        b';' | b' ' => Self::Size(size, true),
                        digit => {
                            let value =
                                char::from(digit).to_digit(16).ok_or(Error::Http("a chunk's size"))?;
                            Self::Size((size << 4) | u64::from(value), false)
                        }
                    };
                }
                Self::DataEnd => {
                    used += 1;
                    if rest[0] == b'\n' {
                        *self = Self::Size(0, false);
                    }
                }
                Self::Trailer(length) => {
                    used += 1;
                    *self = match (rest[0], length) {
                        (b'\n', 0) => Self::Done,
                        (b'\n', _) => Self::Trailer(0),
                        (b'\r', length) => Self::Trailer(length),
                        (_, length) => Self::Trailer(length + 1),
                    };
                }
                Self::Done => {}
            }
        }
        Ok(used)
    }

    /// Whether the body is complete.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::Fixed(0))
    }
}

/// Reads a head from the start of `bytes`; `None` while it is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Error> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let start = memchr::memchr(b' ', first).ok_or(Error::Http("its first line"))? + 1;
    let stop = memchr::memchr(b' ', &first[start..]).map_or(first.len(), |length| start + length);
    let mut body = Body::Fixed(0);
    for line in lines {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            body = Body::Fixed(value.ok_or(Error::Http("its content-length"))?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") && value.eq_ignore_ascii_case(b"chunked") {
            body = Body::Size(0, false);
        }
    }
    Ok(Some(Head { len: end + 4, second: start..stop, body }))
}

impl Wire {
    /// Takes over a socket. `buffer_bytes` is what one read can bring.
    pub(crate) fn new(stream: TcpStream, buffer_bytes: usize) -> Result<Self, Error> {
        stream.set_nodelay(true).map_err(Error::io("set TCP_NODELAY"))?;
        Ok(Self { stream, buffer: vec![0; buffer_bytes.max(1024)], unread: 0..0 })
    }

    /// The next head; its words stay readable by [`Wire::second`] until the body is read.
    /// `None` when the other side closed between two messages.
    pub(crate) async fn head(&mut self) -> Result<Option<Head>, Error> {
        loop {
            if let Some(head) = parse_head(&self.buffer[self.unread.clone()])? {
                return Ok(Some(head));
            }
            if self.unread.len() >= HEAD_BYTES_MAX.min(self.buffer.len()) {
                return Err(Error::Http("a head that is too long"));
            }
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
            if self.read().await? == 0 {
                return if self.unread.is_empty() { Ok(None) } else { Err(Error::Closed) };
            }
        }
    }

    /// The status code or the path of a head just read.
    pub(crate) fn second(&self, head: &Head) -> &[u8] {
        &self.buffer[self.unread.start + head.second.start..self.unread.start + head.second.end]
    }

    /// Reads the body to its end. `content` gets each piece; `read_done` is called after each read.
    pub(crate) async fn body(
        &mut self,
        head: &Head,
        mut content: impl FnMut(&[u8]),
        mut read_done: impl FnMut(),
    ) -> Result<(), Error> {
        self.unread.start += head.len;
        let mut body = head.body;
        loop {
            let used = body.feed(&self.buffer[self.unread.clone()], &mut content)?;
            if used > 0 {
                read_done();
            }
            self.unread.start += used;
            if body.is_done() {
                return Ok(());
            }
            self.unread = 0..0;
            if self.read().await? == 0 {
                return Err(Error::Closed);
            }
        }
    }

    async fn read(&mut self) -> Result<usize, Error> {
        let free = &mut self.buffer[self.unread.end..];
        let count = self.stream.read(free).await.map_err(Error::io("read"))?;
        self.unread.end += count;
        Ok(count)
    }
}
