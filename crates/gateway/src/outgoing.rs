//! The bodies clients get: ours in one piece, an engine's as it comes, and what stands in for one that is waited for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use crate::answer::error_event;
use crate::config::KeepAlive;
use crate::live::Live;
use crate::reply::Reply;
use crate::sse::Dialect;
use crate::wheel::Timer;

/// The engine is gone in the middle of what is no event stream: only a cut connection tells the client.
#[derive(Debug, thiserror::Error)]
#[error("the replica was lost in the middle of its answer")]
pub(crate) struct Cut;

/// A body on its way to a client.
pub(crate) enum Out {
    Full(Option<Bytes>),
    Live(Box<Live>),
    Waiting(Box<Waiting>),
}

impl Out {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Out::Full(Some(bytes))
    }

    /// The next bytes; `None` at the end.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        match self {
            Out::Full(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Out::Live(live) => live.poll_bytes(cx),
            Out::Waiting(waiting) => waiting.poll_bytes(cx),
        }
    }

    /// Bytes of all of it, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Out::Full(bytes) => Some(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Out::Live(live) => live.length(),
            Out::Waiting(_) => None,
        }
    }
}

/// As hyper wants it, for HTTP/2.
impl Body for Out {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.get_mut().poll_bytes(cx).map(|frame| frame.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Out::Full(bytes) => bytes.is_none(),
            Out::Live(live) => live.is_over(),
            Out::Waiting(waiting) => waiting.over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A stream whose client has its headers, and whose answer has not begun.
pub(crate) struct Waiting {
    rest: Option<LocalBoxFuture<'static, Reply>>,
    then: Option<Out>,
    beat: Timer,
    every: Duration,
    sign: Bytes,
    dialect: Dialect,
    started: bool,
    over: bool,
}

impl Waiting {
    pub(crate) fn new(
        rest: LocalBoxFuture<'static, Reply>,
        beat: Timer,
        every: Duration,
        sign: Bytes,
        dialect: Dialect,
    ) -> Self {
        Waiting { rest: Some(rest), then: None, beat, every, sign, dialect, started: false, over: false }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            if self.over {
                return Poll::Ready(None);
            }
            if let Some(then) = &mut self.then {
                let bytes = ready!(then.poll_bytes(cx));
                self.over = bytes.is_none();
                return Poll::Ready(bytes);
            }
            let Some(rest) = &mut self.rest else {
                self.over = true;
                continue;
            };
            match rest.as_mut().poll(cx) {
                Poll::Ready(reply) => {
                    self.rest = None;
                    return Poll::Ready(Some(Ok(self.begin(reply))));
                }
                Poll::Pending => {
                    if self.started {
                        ready!(self.beat.poll_due(cx));
                    }
                    self.started = true;
                    self.beat.reset(self.every);
                    return Poll::Ready(Some(Ok(self.sign.clone())));
                }
            }
        }
    }

    /// The answer is there. Its status can no longer be told, so an error becomes an event.
    fn begin(&mut self, reply: Reply) -> Bytes {
        match reply.body {
            Out::Full(json) => {
                self.over = true;
                let json = json.unwrap_or_default();
                if reply.status == StatusCode::OK {
                    // The engine answered a streaming request in one piece: so be it.
                    [b"data: ", &*json, b"\n\ndata: [DONE]\n\n"].concat().into()
                } else {
                    error_event(self.dialect, &json)
                }
            }
            other => {
                self.then = Some(other);
                // An empty frame would be taken for the end of a chunked body; a comment is skipped.
                Bytes::from_static(b": ready\n\n")
            }
        }
    }
}

/// A sign of life, in whichever form is set.
pub(crate) fn sign(kind: KeepAlive, path: &str, model: &str, expected_s: Option<f64>) -> Bytes {
    let comment = || match expected_s {
        Some(s) => format!(": waiting for a replica, expected to take {s:.0} s\n\n"),
        None => ": waiting for a replica\n\n".to_owned(),
    };
    let model = serde_json::Value::from(model);
    match (kind, path) {
        (KeepAlive::Chunks, "/v1/chat/completions") => format!(
            "data: {{\"id\":\"waiting\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":{model},\
             \"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":null}}]}}\n\n"
        ),
        (KeepAlive::Chunks, "/v1/completions") => format!(
            "data: {{\"id\":\"waiting\",\"object\":\"text_completion\",\"created\":0,\"model\":{model},\
             \"choices\":[{{\"index\":0,\"text\":\"\",\"finish_reason\":null}}]}}\n\n"
        ),
        _ => comment(),
    }
    .into()
}
