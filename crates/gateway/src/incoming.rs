//! A request's body: read until the model is known, kept while it may have to be sent again, passed on.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use hyper::body::Incoming;

use crate::answer::Problem;
use crate::request::{Scan, ScanError, Scanner, form, scan};
use crate::wheel::{Timer, Wheel};

/// A body of up to this much is read whole before anything is decided: one or two reads of a socket, and all
/// but prompts of books.
const WHOLE_BYTES_MAX: u64 = 64 << 10;
/// A longer one is kept for a second try up to this much: 250,000 tokens of text. What is longer still is sent
/// once.
const KEPT_BYTES_MAX: u64 = 1 << 20;
/// Bodies below this are not counted against the gateway's memory: what 20,000 connections can hold of them
/// (160 MB) is within their own allowance.
const COUNTED_BYTES_MIN: u64 = 8 << 10;

/// Bytes of bodies kept by the whole gateway.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicU64,
    max: u64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Budget { used: AtomicU64::new(0), max }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.max {
            return true;
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        false
    }
}

/// Why the rest of a body does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    TooLarge,
    NoMemory,
    Stalled,
    /// The client left, or sent what is no HTTP.
    Gone,
}

impl Stop {
    pub(crate) fn problem(self, body_max: u64) -> Problem {
        match self {
            Stop::TooLarge => Problem::too_large(body_max),
            Stop::NoMemory => Problem::no_memory(),
            Stop::Stalled | Stop::Gone => Problem::body_stalled(),
        }
    }
}

/// Limits of one body.
pub(crate) struct Allowance<'a> {
    pub(crate) body_max: u64,
    pub(crate) idle: Duration,
    pub(crate) budget: &'a Arc<Budget>,
    pub(crate) wheel: &'a Wheel,
}

/// A body that is at least partly here.
#[derive(Clone)]
pub(crate) enum Kept {
    /// All of it, in one piece.
    Whole(Bytes),
    /// Some of it; the rest is read as it is passed on.
    Part(Rc<RefCell<Source>>),
}

/// Where a body comes from, and what has come.
pub(crate) struct Source {
    /// `None` once it was given away.
    incoming: Option<Incoming>,
    /// Its length, where the client said so.
    length: Option<u64>,
    parts: Vec<Bytes>,
    bytes: u64,
    over: bool,
    /// Some of what has come is no longer kept, so it can be sent only by the one who has it.
    forgotten: bool,
    pub(crate) stop: Option<Stop>,
    idle: Duration,
    timer: Timer,
    max: u64,
    budget: Arc<Budget>,
    counted: u64,
}

impl Source {
    /// Part `i`, or the next of what comes, or nothing when it is over.
    fn poll_part(&mut self, i: usize, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Stop>> {
        if let Some(part) = self.parts.get(i) {
            return Poll::Ready(Ok(Some(part.clone())));
        }
        let part = ready!(self.poll_next(cx))?;
        if let Some(part) = &part {
            if self.forgotten || self.bytes > KEPT_BYTES_MAX {
                self.forget();
            } else {
                self.parts.push(part.clone());
            }
        }
        Poll::Ready(Ok(part))
    }

    /// The next bytes from the client, counted.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Stop>> {
        loop {
            if let Some(stop) = self.stop {
                return Poll::Ready(Err(stop));
            }
            if self.over {
                return Poll::Ready(Ok(None));
            }
            let Some(incoming) = &mut self.incoming else {
                self.over = true;
                continue;
            };
            match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer.reset(self.idle);
                    let Ok(data) = frame.into_data() else { continue };
                    self.bytes += data.len() as u64;
                    self.over = incoming.is_end_stream();
                    if self.bytes > self.max {
                        self.stop = Some(Stop::TooLarge);
                    } else if !self.forgotten && !self.count(data.len() as u64) {
                        self.stop = Some(Stop::NoMemory);
                    } else {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Poll::Ready(Some(Err(_))) => self.stop = Some(Stop::Gone),
                Poll::Ready(None) => self.over = true,
                Poll::Pending => {
                    ready!(self.timer.poll_due(cx));
                    self.stop = Some(Stop::Stalled);
                }
            }
        }
    }

    fn count(&mut self, bytes: u64) -> bool {
        let ok = self.budget.take(bytes);
        if ok {
            self.counted += bytes;
        }
        ok
    }

    fn forget(&mut self) {
        self.forgotten = true;
        self.parts = Vec::new();
        self.budget.used.fetch_sub(self.counted, Ordering::Relaxed);
        self.counted = 0;
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

impl Kept {
    /// Whether it can be sent once more.
    pub(crate) fn is_replayable(&self) -> bool {
        match self {
            Kept::Whole(_) => true,
            Kept::Part(source) => !source.borrow().forgotten,
        }
    }

    /// Bytes it has, or is said to have.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Kept::Whole(bytes) => bytes.len() as u64,
            Kept::Part(source) => {
                let source = source.borrow();
                source.length.unwrap_or(source.bytes)
            }
        }
    }

    /// Its length, where it is known before it is sent.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Kept::Whole(bytes) => Some(bytes.len() as u64),
            Kept::Part(source) => {
                let source = source.borrow();
                if source.over { Some(source.bytes) } else { source.length }
            }
        }
    }

    /// The body, from its beginning.
    pub(crate) fn send(&self) -> Sending {
        match self {
            Kept::Whole(bytes) => Sending::Whole { bytes: bytes.clone(), sent: false },
            Kept::Part(source) => Sending::Part {
                source: source.clone(),
                next: 0,
                chunked: self.length().is_none(),
                ended: false,
            },
        }
    }

    /// Reads on while its request waits, and ends only if the client's part fails: that it left shows in
    /// nothing else while its body is not read to the end.
    ///
    /// Only where the length was told, and so was counted when the request was let in.
    pub(crate) async fn read_on(&self) -> Stop {
        if let Kept::Part(source) = self {
            let failed = poll_fn(|cx| {
                let mut source = source.borrow_mut();
                while source.length.is_some_and(|l| l <= KEPT_BYTES_MAX) && !source.over {
                    let at = source.parts.len();
                    if let Err(stop) = ready!(source.poll_part(at, cx)) {
                        return Poll::Ready(Some(stop));
                    }
                }
                Poll::Ready(None)
            })
            .await;
            if let Some(stop) = failed {
                return stop;
            }
        }
        std::future::pending().await
    }
}

/// A body on its way to an engine.
pub(crate) enum Sending {
    Whole {
        bytes: Bytes,
        sent: bool,
    },
    Part {
        source: Rc<RefCell<Source>>,
        next: usize,
        /// Nobody told its length, so it goes in chunks and its end must be said.
        chunked: bool,
        ended: bool,
    },
}

impl Sending {
    /// The next piece; nothing when it is over.
    pub(crate) fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Stop>> {
        match self {
            Sending::Whole { sent: true, .. } => Poll::Ready(Ok(None)),
            Sending::Whole { bytes, sent } => {
                *sent = true;
                Poll::Ready(Ok(Some(std::mem::take(bytes))))
            }
            Sending::Part { source, next, ended, .. } => {
                let part = ready!(source.borrow_mut().poll_part(*next, cx))?;
                *next += 1;
                *ended = part.is_none();
                Poll::Ready(Ok(part))
            }
        }
    }

    /// Whether the last piece was given, and for chunks the end after it.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Sending::Whole { sent, .. } => *sent,
            Sending::Part { chunked: true, ended, .. } => *ended,
            Sending::Part { source, next, .. } => {
                let source = source.borrow();
                source.over && *next >= source.parts.len()
            }
        }
    }

    pub(crate) fn is_chunked(&self) -> bool {
        matches!(self, Sending::Part { chunked: true, .. })
    }
}

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
    read_more(incoming, first, hint, is_form, may).await
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
    length: Option<u64>,
    is_form: bool,
    may: Allowance<'_>,
) -> Result<Opened, Unread> {
    let mut source = Source {
        over: incoming.is_end_stream(),
        incoming: Some(incoming),
        length,
        bytes: first.len() as u64,
        parts: Vec::new(),
        forgotten: false,
        stop: None,
        idle: may.idle,
        timer: may.wheel.after(may.idle),
        max: may.body_max,
        budget: may.budget.clone(),
        counted: 0,
    };
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
