//! A stream that gives no more than a budget of bytes.
//!
//! A client that keeps a whole message in memory would keep a gigabyte of it, if somebody's query returns
//! one. The budget is set anew for each question; past it, reading fails and so does the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What may still be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<AtomicUsize>);

/// More than any budget: it was passed.
const PASSED: usize = usize::MAX;

impl Budget {
    /// Allows this many bytes from now on.
    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Whether somebody tried to read more. A client may tell it as "connection closed".
    pub(crate) fn is_passed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == PASSED
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let left = self.0.load(Ordering::Relaxed);
        let rest = if left == PASSED { None } else { left.checked_sub(bytes) };
        self.0.store(rest.unwrap_or(PASSED), Ordering::Relaxed);
        rest.map(drop).ok_or_else(|| io::Error::other("the answer is longer than one number can be"))
    }
}

/// A stream with a budget.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    inner: S,
    budget: Budget,
}

impl<S> Metered<S> {
    pub(crate) const fn new(inner: S, budget: Budget) -> Self {
        Metered { inner, budget }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.budget.take(buffer.filled().len() - before)?;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_stream_ends_in_an_error_where_its_budget_does() {
        let budget = Budget::default();
        let mut stream = Metered::new(&b"0123456789"[..], budget.clone());
        let mut four = [0; 4];
        budget.set(4);
        stream.read_exact(&mut four).await.expect("four bytes are allowed");
        assert!(!budget.is_passed());
        assert!(stream.read_exact(&mut four).await.is_err(), "and no fifth");
        assert!(budget.is_passed());
        budget.set(4);
        assert!(stream.read_exact(&mut [0; 2]).await.is_ok(), "another question has another budget");
    }
}
