//! AMQP 0-9-1 on the wire, as far as asking for a queue's length needs it: eight methods.
//!
//! Written here because a whole client brings a thread of the system with each connection and a TLS of its
//! own, which can be told neither to trust whatever it is shown nor to take a key under a password.

use bytes::{Buf, BufMut};

/// The longest frame taken, its end not counted. RabbitMQ's own default, and what we tell it: its longest
/// frame here is the greeting, with some 500 bytes of properties.
pub const FRAME_BYTES_MAX: usize = 128 << 10;

/// The bytes before a frame's payload: type, channel, length.
pub const HEAD_BYTES: usize = 7;

/// What each frame ends with.
pub const END: u8 = 0xCE;

/// How a connection begins.
pub(super) const GREETING: &[u8; 8] = b"AMQP\x00\x00\x09\x01";

const METHOD: u8 = 1;
const HEARTBEAT: u8 = 8;

/// The length of a short string, and so of a queue's and a virtual host's name.
pub(super) const SHORT_BYTES_MAX: usize = 255;

/// Why bytes are not a frame that is expected here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {bytes} bytes, and {FRAME_BYTES_MAX} are allowed")]
    TooLong {
        /// As the head says.
        bytes: u32,
    },
    /// Something else than AMQP: the port may be another protocol's.
    #[error("not AMQP 0-9-1")]
    NotAmqp,
    /// Cut off in the middle.
    #[error("a frame that is cut off")]
    Cut,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it carries.
    pub kind: u8,
    /// 0 for the connection itself.
    pub channel: u16,
    /// Bytes that follow, the end not counted; at most [`FRAME_BYTES_MAX`].
    pub bytes: usize,
}

/// Reads a head.
///
/// # Errors
/// When this is no AMQP, or a frame that is too long.
pub fn head(bytes: &[u8; HEAD_BYTES]) -> Result<Head, Error> {
    let mut rest = &bytes[..];
    let (kind, channel, length) = (rest.get_u8(), rest.get_u16(), rest.get_u32());
    // A server that speaks another version answers "AMQP" and its own.
    if !matches!(kind, 1..=3 | HEARTBEAT) {
        return Err(Error::NotAmqp);
    }
    match usize::try_from(length) {
        Ok(bytes) if bytes <= FRAME_BYTES_MAX => Ok(Head { kind, channel, bytes }),
        _ => Err(Error::TooLong { bytes: length }),
    }
}

/// What a server says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Who it is and which sign-ins it takes, separated by blanks.
    Start {
        /// Such as `PLAIN AMQPLAIN`.
        mechanisms: String,
    },
    /// Its limits.
    Tune {
        /// Channels; 0 for no limit.
        channels_max: u16,
        /// Bytes of a frame; 0 for no limit.
        frame_bytes_max: u32,
        /// Seconds between signs of life; 0 for none.
        heartbeat_s: u16,
    },
    /// The virtual host is open.
    Opened,
    /// The channel is open.
    ChannelOpened,
    /// The queue is there.
    Queue {
        /// Messages ready to be delivered.
        messages: u32,
    },
    /// Refused: the whole connection, or this channel.
    Closed {
        /// AMQP's reply code.
        code: u16,
        /// In the server's words.
        text: String,
    },
    /// Anything else, heartbeats among it.
    Other,
}

/// Reads a frame's payload.
///
/// # Errors
/// When it is cut off.
pub fn said(kind: u8, mut payload: &[u8]) -> Result<Said, Error> {
    if kind != METHOD {
        return Ok(Said::Other);
    }
    let rest = &mut payload;
    let method = (u16_of(rest)?, u16_of(rest)?);
    Ok(match method {
        (10, 10) => {
            take(rest, 2)?;
            long(rest)?;
            Said::Start { mechanisms: String::from_utf8_lossy(long(rest)?).into_owned() }
        }
        (10, 30) => Said::Tune {
            channels_max: u16_of(rest)?,
            frame_bytes_max: u32_of(rest)?,
            heartbeat_s: u16_of(rest)?,
        },
        (10, 41) => Said::Opened,
        (20, 11) => Said::ChannelOpened,
        (50, 11) => {
            short(rest)?;
            Said::Queue { messages: u32_of(rest)? }
        }
        (10, 50) | (20, 40) => {
            let code = u16_of(rest)?;
            Said::Closed { code, text: String::from_utf8_lossy(short(rest)?).into_owned() }
        }
        _ => Said::Other,
    })
}

fn take<'b>(rest: &mut &'b [u8], bytes: usize) -> Result<&'b [u8], Error> {
    let (taken, left) = rest.split_at_checked(bytes).ok_or(Error::Cut)?;
    *rest = left;
    Ok(taken)
}

fn u16_of(rest: &mut &[u8]) -> Result<u16, Error> {
    rest.try_get_u16().map_err(|_| Error::Cut)
}

fn u32_of(rest: &mut &[u8]) -> Result<u32, Error> {
    rest.try_get_u32().map_err(|_| Error::Cut)
}

fn short<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], Error> {
    let bytes = rest.try_get_u8().map_err(|_| Error::Cut)?;
    take(rest, usize::from(bytes))
}

fn long<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8], Error> {
    let bytes = usize::try_from(u32_of(rest)?).map_err(|_| Error::Cut)?;
    take(rest, bytes)
}

/// A frame with one method.
fn method(channel: u16, class: u16, id: u16, arguments: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut payload = Vec::with_capacity(64);
    payload.put_u16(class);
    payload.put_u16(id);
    arguments(&mut payload);
    let mut frame = Vec::with_capacity(HEAD_BYTES + payload.len() + 1);
    frame.put_u8(METHOD);
    frame.put_u16(channel);
    put_length(&mut frame, payload.len());
    frame.put_slice(&payload);
    frame.put_u8(END);
    frame
}

/// Our texts are names and passwords; one of 4 GB cannot come from a manifest.
fn put_length(into: &mut Vec<u8>, bytes: usize) {
    into.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
}

/// A short string, cut at what fits: names are checked before they come here.
fn put_short(into: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(SHORT_BYTES_MAX)];
    into.put_u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    into.put_slice(bytes);
}

fn put_long(into: &mut Vec<u8>, bytes: &[u8]) {
    put_length(into, bytes.len());
    into.put_slice(bytes);
}

/// Signs in with user and password, and asks to be told when that fails: a server that is not asked
/// closes the connection without a word.
pub(super) fn start_ok(user: &str, password: &str) -> Vec<u8> {
    let mut capabilities = Vec::new();
    put_short(&mut capabilities, "authentication_failure_close");
    capabilities.put_slice(b"t\x01");
    let mut properties = Vec::new();
    put_short(&mut properties, "product");
    properties.put_u8(b'S');
    put_long(&mut properties, b"tidegate");
    put_short(&mut properties, "capabilities");
    properties.put_u8(b'F');
    put_long(&mut properties, &capabilities);
    method(0, 10, 11, |into| {
        put_long(into, &properties);
        put_short(into, "PLAIN");
        put_long(into, format!("\0{user}\0{password}").as_bytes());
        put_short(into, "en_US");
    })
}

pub(super) fn tune_ok(channels_max: u16, frame_bytes_max: u32, heartbeat_s: u16) -> Vec<u8> {
    method(0, 10, 31, |into| {
        into.put_u16(channels_max);
        into.put_u32(frame_bytes_max);
        into.put_u16(heartbeat_s);
    })
}

pub(super) fn open(vhost: &str) -> Vec<u8> {
    method(0, 10, 40, |into| {
        put_short(into, vhost);
        into.put_slice(&[0, 0]);
    })
}

pub(super) fn open_channel(channel: u16) -> Vec<u8> {
    method(channel, 20, 10, |into| into.put_u8(0))
}

pub(super) fn close_channel_ok(channel: u16) -> Vec<u8> {
    method(channel, 20, 41, |_| {})
}

/// A passive declaration: how long is it, and is it there at all?
pub(super) fn declare(channel: u16, queue: &str) -> Vec<u8> {
    method(channel, 50, 10, |into| {
        into.put_u16(0);
        put_short(into, queue);
        into.put_u8(1);
        into.put_u32(0);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(frame: &[u8]) -> (Head, &[u8]) {
        let head = head(frame[..HEAD_BYTES].try_into().expect("seven bytes")).expect("a frame of ours");
        assert_eq!(frame.len(), HEAD_BYTES + head.bytes + 1);
        assert_eq!(frame.last(), Some(&END));
        (head, &frame[HEAD_BYTES..HEAD_BYTES + head.bytes])
    }

    #[test]
    fn a_declaration_is_passive_and_names_the_queue() {
        let frame = declare(1, "jobs");
        let (head, payload) = payload(&frame);
        assert_eq!((head.kind, head.channel), (METHOD, 1));
        assert_eq!(payload, b"\x00\x32\x00\x0a\x00\x00\x04jobs\x01\x00\x00\x00\x00");
    }

    #[test]
    fn a_length_and_a_refusal_are_read() {
        let ok = method(1, 50, 11, |into| {
            put_short(into, "jobs");
            into.put_u32(7);
            into.put_u32(2);
        });
        assert_eq!(said(METHOD, payload(&ok).1), Ok(Said::Queue { messages: 7 }));
        let refused = method(1, 20, 40, |into| {
            into.put_u16(404);
            put_short(into, "NOT_FOUND");
            into.put_u32(0);
        });
        let expected = Said::Closed { code: 404, text: "NOT_FOUND".to_owned() };
        assert_eq!(said(METHOD, payload(&refused).1), Ok(expected));
        assert_eq!(said(METHOD, b"\x00\x32\x00\x0b\x04jo"), Err(Error::Cut));
    }

    #[test]
    fn another_protocol_and_a_long_frame_are_refused_before_anything_is_kept() {
        assert_eq!(head(b"HTTP/1."), Err(Error::NotAmqp));
        assert_eq!(head(b"\x01\x00\x00\xff\xff\xff\xff"), Err(Error::TooLong { bytes: u32::MAX }));
    }
}
