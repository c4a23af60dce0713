//! Reads the beginning of a request's body: as much as tells its model, and all of it where it is short.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};

use crate::answer::Problem;
use crate::inbound::Inbound;
use crate::kept::{Allowance, KEPT_BYTES_MAX, Kept, Source};
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

/// Reads a body until its model is known: all of it where it is short.
pub(crate) async fn open(
    mut inbound: Inbound,
    is_form: bool,
    may: Allowance<'_>,
) -> Result<Opened, Box<Problem>> {
    if inbound.left().is_some_and(|length| length > may.body_max) {
        return Err(Problem::too_large(may.body_max).into());
    }
    // Nearly every body is here already, in the packet that brought the head.
    let first = poll_fn(|cx| match inbound.poll_data(cx) {
        Poll::Ready(data) => Poll::Ready(data),
        Poll::Pending => Poll::Ready(Ok(None)),
    })
    .await
    .map_err(|stop| stop.problem(may.body_max))?
    .unwrap_or_default();
    if inbound.is_over() && (first.len() as u64) < COUNTED_BYTES_MIN {
        let scan = scan_whole(&first, is_form).map_err(unreadable)?;
        let prefix = prefix(&first, &scan);
        return Ok(Opened { kept: Kept::Whole(first), scan, prefix });
    }
    read_more(inbound, first, is_form, may).await
}

async fn read_more(
    inbound: Inbound,
    first: Bytes,
    is_form: bool,
    may: Allowance<'_>,
) -> Result<Opened, Box<Problem>> {
    let mut source = Source::new(inbound, &first, &may);
    if !source.count(first.len() as u64) {
        return Err(Problem::no_memory().into());
    }
    let mut reader = Reader::new(is_form);
    let mut fed = reader.feed(&first);
    if !first.is_empty() {
        source.parts.push(first);
    }
    loop {
        fed.map_err(unreadable)?;
        if source.bytes > WHOLE_BYTES_MAX && reader.has_model() {
            break;
        }
        let next = poll_fn(|cx| source.poll_next(cx)).await;
        let Some(part) = next.map_err(|stop| stop.problem(may.body_max))? else { break };
        fed = reader.feed(&part);
        source.parts.push(part);
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
fn whole(source: Source, reader: Reader) -> Result<Opened, Box<Problem>> {
    let joined = if source.bytes <= WHOLE_BYTES_MAX { source.parts.concat() } else { Vec::new() };
    if matches!(reader, Reader::Json(_)) && std::str::from_utf8(&joined).is_err() {
        return Err(unreadable(ScanError::NotUtf8));
    }
    let scan = reader.finish().map_err(unreadable)?;
    let head = if joined.is_empty() { source.parts.first().map_or(&[][..], |p| p) } else { &joined };
    let prefix = prefix(head, &scan);
    Ok(Opened { kept: Kept::Part(Rc::new(RefCell::new(source))), scan, prefix })
}

fn unreadable(error: ScanError) -> Box<Problem> {
    Problem::body(error).into()
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
