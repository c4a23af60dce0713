//! How far a request has come: written by the machine, read by whoever answers the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tidegate_sim::Finish;

use crate::machine::Machine;

/// Tokens ready and the end, in one word so that both are seen together: the low half counts tokens, the
/// bits above say how it ended.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    word: AtomicU64,
    waker: AtomicWaker,
}

const END: u32 = 32;

impl Progress {
    pub(crate) fn tokens(&self, tokens: u32) {
        // Only the machine writes, under its lock.
        let end = self.word.load(Ordering::Relaxed) >> END << END;
        self.word.store(end | u64::from(tokens), Ordering::Release);
    }

    pub(crate) fn end(&self, finish: Finish) {
        let code: u64 = match finish {
            Finish::Stop => 1,
            Finish::Length => 2,
            Finish::Abort => 3,
        };
        self.word.fetch_or(code << END, Ordering::Release);
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    fn read(&self) -> (u32, Option<Finish>) {
        let word = self.word.load(Ordering::Acquire);
        let finish = match word >> END {
            1 => Some(Finish::Stop),
            2 => Some(Finish::Length),
            3 => Some(Finish::Abort),
            _ => None,
        };
        (word as u32, finish)
    }
}

/// A request inside the machine. Dropped before its end, the request is cancelled: the client left.
#[derive(Debug)]
pub(crate) struct Ticket {
    machine: Arc<Machine>,
    progress: Arc<Progress>,
    id: u64,
    seen: u32,
    ended: bool,
}

impl Ticket {
    pub(crate) fn new(machine: Arc<Machine>, progress: Arc<Progress>, id: u64) -> Ticket {
        Ticket { machine, progress, id, seen: 0, ended: false }
    }

    /// Waits until there is more than was seen before: all tokens ready now, and the end if it is reached.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<(u32, Option<Finish>)> {
        self.progress.waker.register(context.waker());
        let (tokens, finish) = self.progress.read();
        if tokens == self.seen && finish.is_none() {
            return Poll::Pending;
        }
        self.seen = tokens;
        self.ended = finish.is_some();
        Poll::Ready((tokens, finish))
    }

    /// Waits for the end: tokens written and why it ended.
    pub(crate) async fn end(mut self) -> (u32, Finish) {
        loop {
            let (tokens, finish) = std::future::poll_fn(|context| self.poll(context)).await;
            if let Some(finish) = finish {
                return (tokens, finish);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            self.machine.cancel(self.id);
        }
    }
}
