//! Reads the beginning of a request's body: as much as tells its model, and all of it where it is short.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use hyper::body::Incoming;

use crate::answer::Problem;
use crate::kept::{Allowance, KEPT_BYTES_MAX, Kept, Source, Stop};
use crate::request::{Scan, ScanError, Scanner, form, scan};

/// A body of up to this much is read whole before anything is decided: one or two reads of a socket, and all
/// but prompts of books.
const WHOLE_BYTES_MAX: u64 = 64 << 10;
/// Bodies below this are not counted against the gateway's memory: what 20,000 connections can hold of them
/// (160 MB) is within their own allowance.
const COUNTED_BYTES_MIN: u64 = 8 << 10;

/// What reading the beginning of a body came to.
pub(crate) struct Opened {
    pub(crate) kept: Kept,
    pub(crate) scan: Scan,
    /// Hash of the head of the prompt.
    pub(crate) prefix: Option<u64>,
}

/// Why there is no request in a body. The rest of it, where some may come, is given back to be thrown away.
pub(crate) struct Unread {
    pub(crate) problem: Box<Problem>,
    pub(crate) rest: Option<Incoming>,
}

/// Reads a body until its model is known: all of it where it is short.
pub(crate) async fn open(
    mut incoming: Incoming,
    is_form: bool,
    may: Allowance<'_>,
) -> Result<Opened, Unread> {
    let hint = incoming.size_hint().exact();
    if hint.is_some_and(|length| length > may.body_max) {
        return Err(Unread { problem: Box::new(Problem::too_large(may.body_max)), rest: Some(incoming) });
    }
    // Nearly every body is here already, in the packet that brought the head.
    let first = match poll_now(&mut incoming).await {
        Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        Some(Err(_)) => return Err(Unread { problem: Box::new(Problem::body_stalled()), rest: None }),
        None => Bytes::new(),
    };
    if incoming.is_end_stream() && (first.len() as u64) < COUNTED_BYTES_MIN {
        let scan = scan_whole(&first, is_form).map_err(unreadable)?;
        let prefix = prefix(&first, &scan);
        return Ok(Opened { kept: Kept::Whole(first), scan, prefix });
    }
    read_more(incoming, first, is_form, may).await
}

async fn poll_now(incoming: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    poll_fn(|cx| match Pin::new(&mut *incoming).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(frame),
        Poll::Pending => Poll::Ready(Some(Ok(Frame::data(Bytes::new())))),
    })
    .await
}

async fn read_more(
    incoming: Incoming,
    first: Bytes,
    is_form: bool,
    may: Allowance<'_>,
) -> Result<Opened, Unread> {
    let mut source = Source::new(incoming, &first, &may);
    if !source.count(first.len() as u64) {
        return Err(Unread { problem: Box::new(Problem::no_memory()), rest: take_rest(source) });
    }
    let mut reader = Reader::new(is_form);
    let mut fed = reader.feed(&first);
    if !first.is_empty() {
        source.parts.push(first);
    }
    loop {
        if let Err(error) = fed {
            return Err(Unread { problem: Box::new(Problem::body(error)), rest: take_rest(source) });
        }
        if source.bytes > WHOLE_BYTES_MAX && reader.has_model() {
            break;
        }
        match poll_fn(|cx| source.poll_next(cx)).await {
            Ok(Some(part)) => {
                fed = reader.feed(&part);
                source.parts.push(part);
            }
            Ok(None) => break,
            Err(stop) => {
                let over = matches!(stop, Stop::Gone | Stop::Stalled);
                let rest = if over { None } else { take_rest(source) };
                return Err(Unread { problem: Box::new(stop.problem(may.body_max)), rest });
            }
        }
    }
    if !source.over {
        let scan = reader.so_far();
        let head = source.parts.first().cloned().unwrap_or_default();
        let prefix = prefix(&head, &scan);
        return Ok(Opened { kept: Kept::Part(Rc::new(RefCell::new(source))), scan, prefix });
    }
    whole(source, reader)
}

/// The body is over: checked as a whole where it is short, and kept in the pieces it came in.
fn whole(source: Source, reader: Reader) -> Result<Opened, Unread> {
    let joined = if source.bytes <= WHOLE_BYTES_MAX { source.parts.concat() } else { Vec::new() };
    if matches!(reader, Reader::Json(_)) && std::str::from_utf8(&joined).is_err() {
        return Err(unreadable(ScanError::NotUtf8));
    }
    let scan = reader.finish().map_err(unreadable)?;
    let head = if joined.is_empty() { source.parts.first().map_or(&[][..], |p| p) } else { &joined };
    let prefix = prefix(head, &scan);
    Ok(Opened { kept: Kept::Part(Rc::new(RefCell::new(source))), scan, prefix })
}

fn unreadable(error: ScanError) -> Unread {
    Unread { problem: Box::new(Problem::body(error)), rest: None }
}

/// What is left of the client's body, to be thrown away.
fn take_rest(mut source: Source) -> Option<Incoming> {
    source.incoming.take()
}

/// Looks for the model in whatever kind of body it is.
enum Reader {
    Json(Scanner),
    /// Forms are short up to their file, and the model usually stands before it; kept to look again.
    Form(BytesMut, Option<Scan>),
}

impl Reader {
    fn new(is_form: bool) -> Self {
        if is_form { Reader::Form(BytesMut::new(), None) } else { Reader::Json(Scanner::new()) }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        match self {
            Reader::Json(scanner) => scanner.feed(bytes),
            Reader::Form(_, Some(_)) => Ok(()),
            Reader::Form(seen, found) => {
                seen.extend_from_slice(bytes);
                if let Some(scan) = form_scan(seen) {
                    *found = Some(scan);
                    *seen = BytesMut::new();
                } else if seen.len() as u64 > KEPT_BYTES_MAX {
                    // No model in the first megabyte: it would stand after the file. Looking on would be
                    // quadratic.
                    *found = Some(Scan::default());
                    *seen = BytesMut::new();
                }
                Ok(())
            }
        }
    }

    fn has_model(&self) -> bool {
        match self {
            Reader::Json(scanner) => scanner.found().model.is_some(),
            Reader::Form(_, found) => found.is_some(),
        }
    }

    fn so_far(&self) -> Scan {
        match self {
            Reader::Json(scanner) => scanner.found().clone(),
            Reader::Form(_, found) => found.clone().unwrap_or_default(),
        }
    }

    fn finish(self) -> Result<Scan, ScanError> {
        match self {
            Reader::Json(scanner) => scanner.finish(),
            Reader::Form(_, found) => Ok(found.unwrap_or_default()),
        }
    }
}

fn form_scan(seen: &[u8]) -> Option<Scan> {
    form::model(seen).map(|model| Scan { model: Some(model), stream: form::stream(seen), ..Scan::default() })
}

fn scan_whole(bytes: &[u8], is_form: bool) -> Result<Scan, ScanError> {
    if is_form && bytes.first() != Some(&b'{') {
        return Ok(form_scan(bytes).unwrap_or_default());
    }
    scan(bytes)
}

/// Hash of the first half kilobyte of a prompt, some 120 tokens: what requests of one conversation or one
/// system prompt have in common. Shorter prompts have no head worth a detour.
///
/// Eight bytes at a time, as FxHash does: who makes two prompts collide sends them both to one replica, and that
/// is all. SipHash took 1,400 instructions for the same.
fn prefix(bytes: &[u8], scan: &Scan) -> Option<u64> {
    const HEAD_BYTES: usize = 512;
    const ODD: u64 = 0xf135_7aea_2e62_a9c5;
    let head = bytes.get(scan.prompt_at?..)?.get(..HEAD_BYTES)?;
    let words = head.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)));
    Some(words.fold(0, |hash: u64, word| (hash.rotate_left(5) ^ word).wrapping_mul(ODD)))
}
