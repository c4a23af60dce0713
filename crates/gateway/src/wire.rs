//! A client's HTTP/1 connection: its socket, what was read of it, what is to be written to it.
//!
//! It is shared by the task of the connection and the body of the request under way, which that same task polls;
//! so a cell is enough, and whoever waits for bytes waits in the right task.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

use crate::framing::{Decoder, Misfit, request};
use crate::outbox::Outbox;
use crate::wheel::{Timer, Wheel};

/// Bytes of one read at first: a head and a short body. 20,000 connections hold 80 MB of them.
const READ_MIN: usize = 4 << 10;
/// And of one read of a long body.
const READ_MAX: usize = 64 << 10;

/// A client's socket.
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Boxed: its buffers would otherwise be part of every plain connection.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}

/// Why no more of a body comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the connection ended: {0}")]
    Io(#[from] io::Error),
    #[error("the connection ended before the body did")]
    CutOff,
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

/// A client's connection.
pub(crate) struct Wire {
    stream: Stream,
    pub(crate) read: BytesMut,
    read_size: usize,
    pub(crate) reader: request::Reader,
    /// Where in the body of the request under way one is.
    pub(crate) body: Decoder,
    /// The client waits for a word before it sends its body.
    pub(crate) expects: bool,
    pub(crate) out: Outbox,
    wheel: Wheel,
    stall: Duration,
    stalled: Option<Timer>,
}

impl Wire {
    pub(crate) fn new(
        stream: Stream,
        head_bytes_max: usize,
        wheel: &Wheel,
        stall: Duration,
    ) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Wire {
            stream,
            read: BytesMut::new(),
            read_size: READ_MIN,
            reader: request::Reader::new(head_bytes_max),
            body: Decoder::Over,
            expects: false,
            out: Outbox::default(),
            wheel: wheel.clone(),
            stall,
            stalled: None,
        }))
    }

    /// Reads what there is; 0 is the end of the connection.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < self.read_size / 4 {
            self.read.reserve(self.read_size);
        }
        let room = self.read.capacity() - self.read.len();
        let n = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read))?;
        if n == room {
            self.read_size = (self.read_size * 2).min(READ_MAX);
        }
        Poll::Ready(Ok(n))
    }

    /// The next bytes of the request's body; `None` at its proper end.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Ended>> {
        loop {
            if let Some(data) = self.body.decode(&mut self.read)? {
                return Poll::Ready(Ok(Some(data)));
            }
            if self.body == Decoder::Over {
                return Poll::Ready(Ok(None));
            }
            if self.expects {
                self.expects = false;
                self.out.front().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                // 25 bytes into an empty socket buffer; what is left of them goes out with the answer.
                let _ = self.poll_flush(cx)?;
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(Ended::CutOff));
            }
        }
    }

    /// Whether the client left while its request is answered. What it sends ahead is read once, up to one read's
    /// size, and waits; then its leaving shows only when it is written to.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.body == Decoder::Over && self.read.is_empty() {
            match ready!(self.poll_read(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Writes what there is to write. A client that takes nothing for long is let go.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = match self.out.poll_write(&mut self.stream, cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_flush(cx),
            other => other,
        };
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        let stalled = self.stalled.get_or_insert_with(|| self.wheel.after(self.stall));
        ready!(stalled.poll_due(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes of its answer")))
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Makes the connection's end look like what it is to a client that knows no other sign of a broken answer.
    pub(crate) fn reset(&self) {
        // Where it fails the client sees a plain end: there is nothing more to be done for it.
        let _ = socket2::SockRef::from(self.stream.tcp()).set_linger(Some(Duration::ZERO));
    }
}
