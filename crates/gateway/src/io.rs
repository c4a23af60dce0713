//! A client's socket with the two limits hyper leaves to others: on a head that trickles in, and on a client
//! that takes nothing of its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Sleep, Timer as HyperTimer, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::wheel::{Timer, Wheel};

/// A client's socket.
pub(crate) struct ClientIo<S> {
    inner: TokioIo<S>,
    seen: Arc<Seen>,
    wheel: Wheel,
    stall: Duration,
    stalled: Option<Timer>,
}

impl<S> ClientIo<S> {
    pub(crate) fn new(stream: S, seen: Arc<Seen>, wheel: Wheel, stall: Duration) -> Self {
        ClientIo { inner: TokioIo::new(stream), seen, wheel, stall, stalled: None }
    }

    /// After a write: a client that takes something is well; one that takes nothing for long is let go.
    fn watch<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let stalled = self.stalled.get_or_insert_with(|| self.wheel.after(self.stall));
        ready!(stalled.poll_due(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes of its answer")))
    }
}

impl<S: AsyncRead + Unpin> Read for ClientIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.inner).poll_read(cx, buf));
        this.seen.bytes.store(true, Ordering::Relaxed);
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> Write for ClientIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.watch(cx, result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.watch(cx, result)
    }
}

/// What a connection's reader tells its timer.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Bytes came since the timer was set.
    bytes: AtomicBool,
    /// A request was read before on this connection.
    before: AtomicBool,
}

/// hyper sets one timer for the time it waits for a head, be it for its first byte or its last. Here these are
/// two: an open connection may be idle for a minute, a head that has begun must be over in seconds.
pub(crate) struct HeadTimer {
    pub(crate) wheel: Wheel,
    pub(crate) seen: Arc<Seen>,
    pub(crate) header: Duration,
    pub(crate) idle: Duration,
}

impl HyperTimer for HeadTimer {
    fn now(&self) -> Instant {
        // Only ever added to: `sleep_until` does not look at it.
        self.wheel.now()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Plain(self.wheel.after(duration)))
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        self.seen.bytes.store(false, Ordering::Relaxed);
        let idle = if self.seen.before.swap(true, Ordering::Relaxed) { self.idle } else { self.header };
        let timer = self.wheel.after(idle);
        Box::pin(HeadSleep { timer, seen: self.seen.clone(), header: self.header, begun: false })
    }
}

struct HeadSleep {
    timer: Timer,
    seen: Arc<Seen>,
    header: Duration,
    begun: bool,
}

impl Future for HeadSleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.begun && this.seen.bytes.load(Ordering::Relaxed) {
            this.begun = true;
            this.timer.reset(this.header);
        }
        this.timer.poll_due(cx)
    }
}

impl Sleep for HeadSleep {}

struct Plain(Timer);

impl Future for Plain {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().0.poll_due(cx)
    }
}

impl Sleep for Plain {}
