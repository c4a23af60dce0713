//! A connection to a replica: one request out, one answer in, all of it polled by the request's own task.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use crate::framing::Decoder;
use crate::framing::answer::{self, Error, Head};
use crate::kept::{Sending, Stop};
use crate::outbox::Outbox;

/// Bytes of one read at first: an event of a stream, many times over. 10,000 streams hold 40 MiB of them.
const READ_MIN: usize = 4 << 10;
/// And of one read of a long answer.
const READ_MAX: usize = 64 << 10;

/// Why an exchange came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Answer(#[from] Error),
    /// It is the client's body that failed.
    #[error("the client's body ended early")]
    Client(Stop),
}

/// A connection, before, in or after an exchange.
pub(crate) struct Upstream {
    stream: TcpStream,
    read: BytesMut,
    read_size: usize,
    /// What is being written: the head, or a piece of the body with what stands around it.
    out: Outbox,
    sent: bool,
    body: Decoder,
    keep: bool,
    /// It carried a request before: if it fails now, that may be no fault of the engine.
    pub(crate) reused: bool,
    pub(crate) idle_since: Instant,
}

impl Upstream {
    pub(crate) async fn connect(addr: SocketAddr) -> io::Result<Box<Self>> {
        let stream = TcpStream::connect(addr).await?;
        // Nagle's algorithm holds a small write back until the last is acknowledged: 40 ms on some streams.
        stream.set_nodelay(true)?;
        // Boxed: it moves through five hands a request.
        Ok(Box::new(Upstream {
            stream,
            read: BytesMut::new(),
            read_size: READ_MIN,
            out: Outbox::default(),
            sent: true,
            body: Decoder::Over,
            keep: true,
            reused: false,
            idle_since: Instant::now(),
        }))
    }

    /// Begins a request: `write` writes its head. The first piece of the body goes out with it.
    pub(crate) fn begin(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.clear();
        write(self.out.front());
        self.sent = false;
    }

    /// Sends what is left of the request and waits for the head of its answer.
    pub(crate) fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Sending,
    ) -> Poll<Result<Head, Lost>> {
        if !self.sent {
            match self.poll_send(cx, body) {
                Poll::Ready(Ok(())) => self.sent = true,
                Poll::Ready(Err(Lost::Io(error))) => {
                    // An engine that refuses a body half way answers and closes: its word may be here already.
                    return match self.poll_head(cx) {
                        Poll::Ready(Ok(head)) => Poll::Ready(Ok(head)),
                        _ => Poll::Ready(Err(error.into())),
                    };
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        self.poll_head(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, body: &mut Sending) -> Poll<Result<(), Lost>> {
        let chunked = body.is_chunked();
        loop {
            while self.out.is_joinable() && !body.is_over() {
                match body.poll_part(cx) {
                    Poll::Ready(Ok(Some(piece))) if chunked => self.out.push_chunk(piece),
                    Poll::Ready(Ok(Some(piece))) => self.out.push(piece, b""),
                    Poll::Ready(Ok(None)) if chunked => self.out.front().extend_from_slice(b"0\r\n\r\n"),
                    Poll::Ready(Ok(None)) => {}
                    Poll::Ready(Err(stop)) => return Poll::Ready(Err(Lost::Client(stop))),
                    // What is here need not wait for the rest.
                    Poll::Pending => {
                        ready!(self.poll_write(cx))?;
                        return Poll::Pending;
                    }
                }
            }
            ready!(self.poll_write(cx))?;
            if body.is_over() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_write(&mut self.stream, cx)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Lost>> {
        loop {
            if let Some(head) = answer::head(&mut self.read)? {
                self.body = head.body;
                // What was not sent when the answer came will not be; the connection is of no more use.
                self.keep = head.keep && self.sent;
                return Poll::Ready(Ok(head));
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(Error::CutOff.into()));
            }
        }
    }

    /// The next bytes of the answer's body; `None` at its proper end.
    pub(crate) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Lost>> {
        loop {
            if let Some(data) = self.body.decode(&mut self.read).map_err(Error::from)? {
                return Poll::Ready(Ok(Some(data)));
            }
            if self.body == Decoder::Over {
                return Poll::Ready(Ok(None));
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(if self.body == Decoder::ToTheEnd {
                    self.body = Decoder::Over;
                    Ok(None)
                } else {
                    Err(Error::CutOff.into())
                });
            }
        }
    }

    /// Whether the answer's body is over: nothing need be read to know it.
    pub(crate) fn is_over(&self) -> bool {
        self.body == Decoder::Over
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
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

    /// Whether it can carry another request: its last is over, and nothing came since, not even its end.
    pub(crate) fn is_reusable(&mut self) -> bool {
        if !self.keep || !self.sent || !self.is_over() || !self.read.is_empty() {
            return false;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // No system call: the reactor knows whether anything came.
        let mut byte = [0; 1];
        let mut byte = tokio::io::ReadBuf::new(&mut byte);
        Pin::new(&mut self.stream).poll_read(&mut cx, &mut byte).is_pending()
    }
}
