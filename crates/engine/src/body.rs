//! What goes back to the client: bytes at once, tokens as they come, or one byte a second.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Interval};

use crate::api::stream::Stream;
use crate::machine::Machine;
use crate::metrics::http::Answer;

/// A response body.
#[derive(Debug)]
pub(crate) struct Body {
    kind: Kind,
    served: Option<Served>,
}

#[derive(Debug)]
enum Kind {
    Whole(Option<Bytes>),
    Stream(Box<Stream>),
    Trickle(Bytes, Interval),
}

/// Counts an answer when its body is gone, however that came.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) machine: Arc<Machine>,
    pub(crate) began: Instant,
    pub(crate) answer: Answer,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.answer.seconds = self.began.elapsed().as_secs_f64();
        self.machine.record(|recorder| recorder.answered(&self.answer));
    }
}

impl Body {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
        Body { kind: Kind::Whole(Some(bytes.into())), served: None }
    }

    pub(crate) fn stream(stream: Stream) -> Body {
        Body { kind: Kind::Stream(Box::new(stream)), served: None }
    }

    pub(crate) fn trickle(bytes: Bytes, interval: Interval) -> Body {
        Body { kind: Kind::Trickle(bytes, interval), served: None }
    }

    pub(crate) fn counted_by(mut self, served: Served) -> Body {
        self.served = Some(served);
        self
    }

    /// Bytes, where known beforehand.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.kind {
            Kind::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Kind::Stream(_) | Kind::Trickle(..) => 0,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut self.kind {
            Kind::Whole(bytes) => Poll::Ready(bytes.take()),
            Kind::Stream(stream) => stream.poll(context),
            Kind::Trickle(bytes, _) if bytes.is_empty() => Poll::Ready(None),
            Kind::Trickle(bytes, interval) => interval.poll_tick(context).map(|_| Some(bytes.split_to(1))),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Stream(_) => false,
            Kind::Trickle(bytes, _) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Stream(_) | Kind::Trickle(..) => http_body::SizeHint::default(),
        }
    }
}
