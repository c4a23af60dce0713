//! A request's body while it is sent, or may have to be sent again: what is here of it, and what still comes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use crate::answer::Problem;
use crate::inbound::Inbound;
use crate::wheel::{Timer, Wheel};

/// A body is kept for a second try up to this much: 250,000 tokens of text. What is longer still is sent
/// once.
pub(crate) const KEPT_BYTES_MAX: u64 = 1 << 20;

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
    /// Its chunks do not fit together.
    Misfit,
    /// The client left.
    Gone,
}

impl Stop {
    pub(crate) fn problem(self, body_max: u64) -> Problem {
        match self {
            Stop::TooLarge => Problem::too_large(body_max),
            Stop::NoMemory => Problem::no_memory(),
            Stop::Misfit => Problem::misfit(),
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
    pub(crate) inbound: Option<Inbound>,
    /// Its length, where the client said so.
    length: Option<u64>,
    pub(crate) parts: Vec<Bytes>,
    pub(crate) bytes: u64,
    pub(crate) over: bool,
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
    /// A body whose beginning has come; the beginning is not yet counted or kept.
    pub(crate) fn new(inbound: Inbound, first: &Bytes, may: &Allowance<'_>) -> Self {
        Source {
            over: inbound.is_over(),
            length: inbound.left().map(|left| left + first.len() as u64),
            inbound: Some(inbound),
            bytes: first.len() as u64,
            parts: Vec::new(),
            forgotten: false,
            stop: None,
            idle: may.idle,
            timer: may.wheel.after(may.idle),
            max: may.body_max,
            budget: may.budget.clone(),
            counted: 0,
        }
    }

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
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Stop>> {
        loop {
            if let Some(stop) = self.stop {
                return Poll::Ready(Err(stop));
            }
            if self.over {
                return Poll::Ready(Ok(None));
            }
            let Some(inbound) = &mut self.inbound else {
                self.over = true;
                continue;
            };
            match inbound.poll_data(cx) {
                Poll::Ready(Ok(Some(data))) => {
                    self.timer.reset(self.idle);
                    self.bytes += data.len() as u64;
                    self.over = inbound.is_over();
                    if self.bytes > self.max {
                        self.stop = Some(Stop::TooLarge);
                    } else if !self.forgotten && !self.count(data.len() as u64) {
                        self.stop = Some(Stop::NoMemory);
                    } else {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Poll::Ready(Err(stop)) => self.stop = Some(stop),
                Poll::Ready(Ok(None)) => self.over = true,
                Poll::Pending => {
                    ready!(self.timer.poll_due(cx));
                    self.stop = Some(Stop::Stalled);
                }
            }
        }
    }

    pub(crate) fn count(&mut self, bytes: u64) -> bool {
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
