//! What is to be written to a socket: small pieces in one buffer, a large one beside it.
//!
//! Copying 16 KiB takes half a microsecond, and a write of one buffer is cheaper than one of several; so whatever
//! is smaller is joined, and a burst of a stream's chunks goes out in one call.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_write_buf;

/// Pieces up to this are copied.
const COPIED_BYTES_MAX: usize = 16 << 10;
/// A buffer that grew beyond this is given back once it is empty: 10,000 streams shall not keep 320 MB because
/// each of them had one burst.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// What is to be written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    front: Vec<u8>,
    piece: Bytes,
    /// What comes after the piece.
    after: &'static [u8],
    written: usize,
}

impl Outbox {
    /// Where small things go. Only while there is no piece behind them: see [`Outbox::is_joinable`].
    pub(crate) fn front(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.piece.is_empty(), "this would overtake a piece");
        &mut self.front
    }

    /// A piece, and what comes after it.
    pub(crate) fn push(&mut self, piece: Bytes, after: &'static [u8]) {
        if piece.len() <= COPIED_BYTES_MAX {
            self.front().extend_from_slice(&piece);
            self.front.extend_from_slice(after);
        } else {
            debug_assert!(self.piece.is_empty(), "one piece at a time");
            self.piece = piece;
            self.after = after;
        }
    }

    /// A piece as a chunk of a chunked body; of nothing it makes nothing, for an empty chunk is the end.
    pub(crate) fn push_chunk(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            push_hex(piece.len(), self.front());
            self.push(piece, b"\r\n");
        }
    }

    /// Whether more may be added before it is written.
    pub(crate) fn is_joinable(&self) -> bool {
        self.piece.is_empty() && self.front.len() < COPIED_BYTES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.piece.is_empty() && self.written == self.front.len() && self.after.is_empty()
    }

    /// Forgets all of it.
    pub(crate) fn clear(&mut self) {
        self.front.clear();
        if self.front.capacity() > KEPT_BYTES_MAX {
            self.front = Vec::new();
        }
        self.piece = Bytes::new();
        self.after = b"";
        self.written = 0;
    }

    /// Writes all of it.
    pub(crate) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let n = if self.piece.is_empty() && self.after.is_empty() {
                let n = ready!(Pin::new(&mut *stream).poll_write(cx, &self.front[self.written..]))?;
                self.written += n;
                n
            } else {
                ready!(self.poll_write_all(stream, cx))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        self.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_write_all(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut rest = self.front[self.written..].chain(&mut self.piece).chain(self.after);
        let n = ready!(poll_write_buf(Pin::new(stream), cx, &mut rest))?;
        let (front_left, after_left) = (rest.first_ref().first_ref().len(), rest.last_ref().len());
        self.written = self.front.len() - front_left;
        self.after = &self.after[self.after.len() - after_left..];
        Poll::Ready(Ok(n))
    }
}

/// A chunk's size line.
fn push_hex(size: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[size >> (4 * digit) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Takes at most so many bytes a call.
    struct Slow(Vec<u8>, usize);

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let n = buf.len().min(self.1);
            self.0.extend_from_slice(&buf[..n]);
            Poll::Ready(Ok(n))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn everything_is_written_once_and_in_order_however_little_is_taken_at_a_time() {
        for (size, step) in [(0, 3), (1, 1), (15, 2), (16, 7), (4096, 1000), (100_000, 1), (100_000, 99_999)]
        {
            let piece = Bytes::from(vec![b'x'; size]);
            let (mut outbox, mut socket) = (Outbox::default(), Slow(Vec::new(), step));
            outbox.front().extend_from_slice(b"head");
            outbox.push_chunk(piece.clone());
            assert_eq!(outbox.is_joinable(), size < 16 << 10);
            let done = outbox.poll_write(&mut socket, &mut Context::from_waker(Waker::noop()));
            assert!(matches!(done, Poll::Ready(Ok(()))) && outbox.is_empty());
            let mut wanted = b"head".to_vec();
            if size > 0 {
                wanted.extend(format!("{size:x}\r\n").into_bytes());
                wanted.extend(&piece);
                wanted.extend(b"\r\n");
            }
            assert!(socket.0 == wanted, "{size} by {step}");
        }
    }
}
