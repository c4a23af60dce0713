//! The bodies clients get: ours in one piece, an engine's as it comes, and what stands in for one that is waited for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::answer::error_event;
use crate::config::KeepAlive;
use crate::live::Live;
use crate::sse::Dialect;
use crate::wheel::{Timer, Wheel};

/// The engine is gone in the middle of what is no event stream: only a cut connection tells the client.
#[derive(Debug, thiserror::Error)]
#[error("the replica was lost in the middle of its answer")]
pub(crate) struct Cut;

/// A body on its way to a client.
pub(crate) enum Out {
    Full(Option<Bytes>),
    Live(Box<Live>),
    Waiting(Box<Waiting>),
    Linger(Box<Linger>),
}

impl Out {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Out::Full(Some(bytes))
    }
}

impl Body for Out {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let frame = match self.get_mut() {
            Out::Full(bytes) => return Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Out::Live(live) => ready!(live.poll_bytes(cx)),
            Out::Waiting(waiting) => ready!(waiting.poll_bytes(cx)),
            Out::Linger(linger) => ready!(linger.poll_bytes(cx)).map(Ok),
        };
        Poll::Ready(frame.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Out::Full(bytes) => bytes.is_none(),
            Out::Live(live) => live.is_over(),
            Out::Waiting(waiting) => waiting.over,
            Out::Linger(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Out::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Out::Live(live) => live.length().map_or_else(SizeHint::default, SizeHint::with_exact),
            Out::Waiting(_) | Out::Linger(_) => SizeHint::default(),
        }
    }
}

/// A stream whose client has its headers, and whose answer has not begun.
pub(crate) struct Waiting {
    rest: Option<LocalBoxFuture<'static, Response<Out>>>,
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
        rest: LocalBoxFuture<'static, Response<Out>>,
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
                let frame = ready!(Pin::new(then).poll_frame(cx));
                self.over = frame.is_none();
                return Poll::Ready(frame.map(|f| f.map(|f| f.into_data().unwrap_or_default())));
            }
            let Some(rest) = &mut self.rest else {
                self.over = true;
                continue;
            };
            match rest.as_mut().poll(cx) {
                Poll::Ready(response) => {
                    self.rest = None;
                    return Poll::Ready(self.begin(response).map(Ok));
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
    fn begin(&mut self, response: Response<Out>) -> Option<Bytes> {
        let (head, body) = response.into_parts();
        match body {
            Out::Full(json) => {
                self.over = true;
                let json = json.unwrap_or_default();
                Some(if head.status == StatusCode::OK {
                    // The engine answered a streaming request in one piece: so be it.
                    [b"data: ", &*json, b"\n\ndata: [DONE]\n\n"].concat().into()
                } else {
                    error_event(self.dialect, &json)
                })
            }
            other => {
                self.then = Some(other);
                // An empty frame would be taken for the end of a chunked body; a comment is skipped.
                Some(Bytes::from_static(b": ready\n\n"))
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

/// An answer to a body that is not wanted. Closing at once would reset the connection, and the client, still
/// sending, would lose the answer; so what comes is thrown away for a little.
pub(crate) struct Linger {
    answer: Option<Bytes>,
    rest: Incoming,
    left: u64,
    until: Timer,
    quiet: Timer,
}

/// What is thrown away at the most: a body of 100 MB sent without asking first.
const LINGER_BYTES_MAX: u64 = 128 << 20;
/// For how long, and for how long without a byte: then the client is reading, and waits for the end.
const LINGER_TIME: Duration = Duration::from_secs(10);
const LINGER_QUIET: Duration = Duration::from_secs(1);

impl Linger {
    pub(crate) fn new(answer: Bytes, rest: Incoming, wheel: &Wheel) -> Self {
        let (until, quiet) = (wheel.after(LINGER_TIME), wheel.after(LINGER_QUIET));
        Linger { answer: Some(answer), rest, left: LINGER_BYTES_MAX, until, quiet }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(answer) = self.answer.take() {
            return Poll::Ready(Some(answer));
        }
        loop {
            match Pin::new(&mut self.rest).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let len = frame.data_ref().map_or(0, |d| d.len() as u64);
                    self.left = self.left.saturating_sub(len);
                    if self.left == 0 {
                        return Poll::Ready(None);
                    }
                    self.quiet.reset(LINGER_QUIET);
                }
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => {
                    let over = self.until.poll_due(cx).is_ready() || self.quiet.poll_due(cx).is_ready();
                    return if over { Poll::Ready(None) } else { Poll::Pending };
                }
            }
        }
    }
}
