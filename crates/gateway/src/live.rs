//! An engine's answer on its way to the client, frame by frame.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_core::route::{EndpointId, Outcome};

use crate::answer::Problem;
use crate::outgoing::Cut;
use crate::sse::{Broken, Dialect, Usage, Watcher};
use crate::stats::{GAPS_KEPT, Stats};
use crate::ticket::Ticket;
use crate::upstream::Upstream;
use crate::wheel::Timer;
use crate::worker::Worker;

/// A request's end, told once to the machine and to the counters, whatever way it comes.
pub(crate) struct Account {
    pub(crate) ticket: Ticket,
    pub(crate) stats: Arc<Stats>,
    pub(crate) arrived: Instant,
    /// When it was sent to the engine that answers it; `None` where that was at once.
    placed: Option<Instant>,
    /// Whether it was counted as one in time or late.
    judged: bool,
    ended: bool,
}

/// What counts as the status of a request whose client left before it was answered, after nginx.
const LEFT: u16 = 499;

impl Account {
    pub(crate) fn new(ticket: Ticket, stats: Arc<Stats>, arrived: Instant) -> Self {
        Account { ticket, stats, arrived, placed: None, judged: false, ended: false }
    }

    /// It goes to an engine now, and had to wait, or was with another before.
    pub(crate) fn placed(&mut self) {
        self.placed = Some(Instant::now());
    }

    /// The first token of a stream came.
    fn first_token(&mut self, now: Instant) {
        let wait = now.duration_since(self.arrived);
        self.stats.first_token(wait, now);
        self.judge(self.stats.is_late(wait));
    }

    fn judge(&mut self, late: bool) {
        if !std::mem::replace(&mut self.judged, true) {
            self.stats.judged(late);
        }
    }

    /// Judges by its end a request of which no first token was seen. An answer that comes whole says nothing of
    /// its first token, but that it came after the wait in the gateway; what the engine took is in the engine's own
    /// count.
    fn judge_end(&mut self, code: u16, wait: Duration) {
        let held = self.placed.map_or(Duration::ZERO, |placed| placed.duration_since(self.arrived));
        match code {
            200..400 => self.judge(self.stats.is_late(held)),
            500.. => self.judge(true),
            // Who leaves early did not wait for us; who leaves late did.
            LEFT if self.stats.is_late(wait) => self.judge(true),
            // The request itself was wrong, or its tenant had too many.
            _ => {}
        }
    }

    /// It is over at its endpoint, and the client got this status.
    pub(crate) fn finish(&mut self, outcome: Outcome, code: u16) {
        if let Outcome::Answered { prompt_tokens, output_tokens } = outcome {
            self.stats.tokens(prompt_tokens, output_tokens);
        }
        let now = Instant::now();
        // Counted first: who is told that demand has gone finds the request among those that ended.
        self.end(code, now);
        self.ticket.finish(outcome, now);
    }

    /// It is over without an endpoint.
    pub(crate) fn count(&mut self, code: u16) {
        self.end(code, Instant::now());
    }

    fn end(&mut self, code: u16, now: Instant) {
        if !self.ended {
            self.ended = true;
            let wait = now.duration_since(self.arrived);
            self.judge_end(code, wait);
            self.stats.ended(code, wait, now);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.ended {
            self.count(LEFT);
        }
    }
}

/// What an engine said, and how to go on from there.
pub(crate) struct Live {
    pub(crate) worker: Rc<Worker>,
    pub(crate) endpoint: EndpointId,
    pub(crate) account: Account,
    /// `None` once the answer is over.
    upstream: Option<Box<Upstream>>,
    /// Read before the client got its headers.
    first: std::vec::IntoIter<Bytes>,
    watcher: Option<Watcher>,
    dialect: Dialect,
    status: u16,
    length: Option<u64>,
    idle: Timer,
    last: Instant,
    gaps: Vec<(Duration, u32)>,
    over: bool,
}

/// An answer whose beginning was read.
pub(crate) struct Begun {
    pub(crate) upstream: Box<Upstream>,
    pub(crate) first: Vec<Bytes>,
    pub(crate) watcher: Option<Watcher>,
    pub(crate) dialect: Dialect,
    pub(crate) status: u16,
    pub(crate) length: Option<u64>,
}

impl Live {
    pub(crate) fn new(worker: Rc<Worker>, endpoint: EndpointId, mut account: Account, begun: Begun) -> Self {
        let now = Instant::now();
        account.ticket.first_byte(now);
        if begun.watcher.is_some() {
            account.first_token(now);
        }
        let idle = worker.wheel.after(worker.times().chunk_idle);
        Live {
            worker,
            endpoint,
            account,
            upstream: Some(begun.upstream),
            first: begun.first.into_iter(),
            watcher: begun.watcher,
            dialect: begun.dialect,
            status: begun.status,
            length: begun.length,
            idle,
            last: now,
            gaps: Vec::new(),
            over: false,
        }
    }

    /// Bytes of the whole answer, where the engine said so.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            if let Some(first) = self.first.next() {
                return Poll::Ready(Some(Ok(first)));
            }
            if self.over {
                return Poll::Ready(None);
            }
            let Some(upstream) = &mut self.upstream else { return Poll::Ready(None) };
            match upstream.poll_body(cx) {
                Poll::Ready(Ok(Some(data))) => {
                    if let Some(passed) = self.pass(data) {
                        return Poll::Ready(Some(Ok(passed)));
                    }
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(self.end()),
                Poll::Ready(Err(_)) => return Poll::Ready(Some(self.lost(Broken::Unfinished))),
                Poll::Pending => {
                    ready!(self.idle.poll_due(cx));
                    // The timer is not moved with every frame: it looks here when it ends.
                    let since = self.last.elapsed();
                    let left = self.worker.times().chunk_idle.saturating_sub(since);
                    if !left.is_zero() {
                        self.idle.reset(left);
                        continue;
                    }
                    return Poll::Ready(Some(self.give_up(&Problem::chunk_late())));
                }
            }
        }
    }

    /// What of a frame goes on to the client now.
    fn pass(&mut self, data: Bytes) -> Option<Bytes> {
        let now = Instant::now();
        let Some(watcher) = &mut self.watcher else {
            self.last = now;
            return Some(data);
        };
        let fed = watcher.feed(data);
        if let Some(broken) = fed.broken {
            let event = self.lost(broken).ok()?;
            return Some(if fed.pass.is_empty() { event } else { [&*fed.pass, &*event].concat().into() });
        }
        if fed.events > 0 {
            self.gap(now, fed.events);
        }
        self.last = now;
        (!fed.pass.is_empty()).then_some(fed.pass)
    }

    /// Events that came together share the time since the last.
    fn gap(&mut self, now: Instant, events: u32) {
        self.gaps.push((now.duration_since(self.last) / events, events));
        if self.gaps.len() == GAPS_KEPT {
            self.account.stats.gaps(&self.gaps, now);
            self.gaps.clear();
        }
    }

    /// The engine's body is over.
    fn end(&mut self) -> Option<Result<Bytes, Cut>> {
        let rest = match &mut self.watcher {
            None => Bytes::new(),
            Some(watcher) => match watcher.end() {
                Ok(rest) => rest,
                Err(broken) => return Some(self.lost(broken)),
            },
        };
        self.over = true;
        if let Some(upstream) = self.upstream.take() {
            self.worker.pool.borrow_mut().put(self.endpoint, upstream, self.worker.wheel.now());
        }
        let usage = self.watcher.as_ref().map_or(Usage::default(), Watcher::usage);
        let outcome = if self.status >= 500 {
            Outcome::Failed
        } else {
            Outcome::Answered { prompt_tokens: usage.prompt_tokens, output_tokens: usage.output_tokens }
        };
        self.report(outcome, self.status);
        (!rest.is_empty()).then_some(Ok(rest))
    }

    fn lost(&mut self, broken: Broken) -> Result<Bytes, Cut> {
        self.account.stats.broken_streams.fetch_add(1, Ordering::Relaxed);
        self.give_up(&Problem::broken(broken))
    }

    /// Ends the answer with an error event, and the connection to the engine with it.
    fn give_up(&mut self, problem: &Problem) -> Result<Bytes, Cut> {
        self.over = true;
        self.upstream = None;
        self.report(Outcome::Failed, problem.status.as_u16());
        if self.watcher.is_some() { Ok(problem.event(self.dialect)) } else { Err(Cut) }
    }

    fn report(&mut self, outcome: Outcome, code: u16) {
        if !self.gaps.is_empty() {
            self.account.stats.gaps(&self.gaps, Instant::now());
            self.gaps.clear();
        }
        self.account.finish(outcome, code);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // The protocol's last event has passed, and the client need not wait for the body's end: it was answered.
        if !self.over && self.watcher.as_ref().is_some_and(Watcher::is_over) {
            let _ = self.end();
        }
    }
}
