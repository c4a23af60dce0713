//! A client's body as it comes, over either version of HTTP.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;

use crate::framing::Decoder;
use crate::kept::Stop;
use crate::wire::{Ended, Wire};

/// A body that comes.
pub(crate) enum Inbound {
    Http1(Rc<RefCell<Wire>>),
    Http2(Incoming),
}

impl Inbound {
    /// The next bytes; `None` at its proper end.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Stop>> {
        match self {
            Inbound::Http1(wire) => {
                Poll::Ready(ready!(wire.borrow_mut().poll_body(cx)).map_err(|ended| match ended {
                    Ended::Misfit(_) => Stop::Misfit,
                    Ended::Io(_) | Ended::CutOff => Stop::Gone,
                }))
            }
            Inbound::Http2(incoming) => loop {
                match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            return Poll::Ready(Ok(Some(data)));
                        }
                    }
                    Some(Err(_)) => return Poll::Ready(Err(Stop::Gone)),
                    None => return Poll::Ready(Ok(None)),
                }
            },
        }
    }

    /// Whether it is over: nothing need be read to know it.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Inbound::Http1(wire) => wire.borrow().body == Decoder::Over,
            Inbound::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    /// How much is left, where the client said so.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Inbound::Http1(wire) => wire.borrow().body.length(),
            Inbound::Http2(incoming) => incoming.size_hint().exact(),
        }
    }
}
