//! One request, from its sending to the end of its answer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::time::Instant;

use crate::answer::{self, Answer, Wrong};
use crate::options::{Api, Options};
use crate::prompt;
use crate::report::Kind;
use crate::schedule::Planned;
use crate::sse;

/// Bytes of an answer that is no stream: a million tokens of text are some 5 MB.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes of an error's body that are read for its message.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Gaps between tokens that one request keeps, at 4 bytes: 256 KB. A longer answer's later gaps are not
/// counted.
const GAPS_MAX: usize = 65_536;
/// How long a connection may take to open before that is the failure.
const CONNECT_MAX: Duration = Duration::from_secs(10);

const COLD_START: HeaderName = HeaderName::from_static("x-tidegate-cold-start");
const EXPECTED_WAIT: HeaderName = HeaderName::from_static("x-tidegate-expected-wait-s");
const PRIORITY: HeaderName = HeaderName::from_static("x-tidegate-priority");

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
}

/// What became of one request.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) planned: Planned,
    /// When it was to leave, and when it left.
    pub(crate) intended: Instant,
    pub(crate) sent: Instant,
    /// The first token of a stream.
    pub(crate) first: Option<Instant>,
    /// The last token of a stream.
    pub(crate) last: Option<Instant>,
    pub(crate) end: Instant,
    pub(crate) gaps_us: Vec<u32>,
    pub(crate) answer: Answer,
    /// The server said that the request waited for a replica to start.
    pub(crate) cold: bool,
    pub(crate) expected_wait_s: Option<f64>,
    pub(crate) result: Result<(), Failure>,
}

impl Outcome {
    pub(crate) fn new(planned: Planned, intended: Instant) -> Outcome {
        let now = Instant::now();
        Outcome {
            planned,
            intended,
            sent: now,
            first: None,
            last: None,
            end: now,
            gaps_us: Vec::new(),
            answer: Answer::default(),
            cold: false,
            expected_wait_s: None,
            result: Ok(()),
        }
    }

    pub(crate) fn failed(mut self, kind: Kind, detail: &str) -> Outcome {
        self.result = Err(Failure { kind, detail: detail.to_owned() });
        self
    }

    /// Takes bytes of the stream that came at `now`. Several tokens that come together came at one time.
    fn bytes(&mut self, reader: &mut sse::Reader, bytes: &[u8], now: Instant) -> Result<(), Failure> {
        let Outcome { answer, first, last, gaps_us, .. } = self;
        let fed = reader.feed(bytes, |data| {
            if !answer.event(data) {
                return;
            }
            match *last {
                None => *first = Some(now),
                Some(last) if gaps_us.len() < GAPS_MAX => {
                    gaps_us.push(u32::try_from(now.duration_since(last).as_micros()).unwrap_or(u32::MAX));
                }
                Some(_) => {}
            }
            *last = Some(now);
        });
        fed.map_err(|error| Failure { kind: Kind::BadAnswer, detail: error.to_string() })
    }
}

/// Sends requests and reads answers; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    api: Api,
    ignore_eos: bool,
    timeout: Duration,
}

impl Exchange {
    /// `None` when the options hold no address that requests can go to.
    pub(crate) fn new(options: &Options) -> Option<Exchange> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX.min(options.timeout)));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config((*options.tls).clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(options.in_flight_max)
            .build(connector);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &options.headers {
            headers.insert(name.clone(), value.clone());
        }
        Some(Exchange {
            client,
            uri: options.uri()?,
            headers,
            api: options.api,
            ignore_eos: options.ignore_eos,
            timeout: options.timeout,
        })
    }

    /// Plays one request; whatever happens is in the outcome.
    pub(crate) async fn play(self, planned: Planned, intended: Instant) -> Outcome {
        let request = self.request(&planned);
        let mut outcome = Outcome::new(planned, intended);
        let result = match tokio::time::timeout(self.timeout, self.talk(request, &mut outcome)).await {
            Ok(result) => result,
            Err(_) => Err(Failure {
                kind: Kind::TimedOut,
                detail: format!("no end after {} s", self.timeout.as_secs_f64()),
            }),
        };
        outcome.result = result;
        outcome.end = Instant::now();
        outcome
    }

    fn request(&self, planned: &Planned) -> Request<Full<Bytes>> {
        let text = prompt::text(planned.number, planned.prompt_tokens, &planned.stretches);
        let mut body = json!({
            "model": &*planned.model,
            "max_tokens": planned.output_tokens,
            "stream": planned.stream,
        });
        match self.api {
            Api::Chat => body["messages"] = json!([{"role": "user", "content": text}]),
            Api::Completions => body["prompt"] = text.into(),
        }
        if planned.stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        if self.ignore_eos {
            body["ignore_eos"] = true.into();
        }
        let mut request = Request::new(Full::new(Bytes::from(body.to_string())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let accepted = if planned.stream { "text/event-stream" } else { "application/json" };
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accepted));
        if let Some(priority) = planned.priority.as_deref().and_then(|it| HeaderValue::from_str(it).ok()) {
            request.headers_mut().insert(PRIORITY, priority);
        }
        request
    }

    async fn talk(&self, request: Request<Full<Bytes>>, outcome: &mut Outcome) -> Result<(), Failure> {
        outcome.sent = Instant::now();
        let response = self.client.request(request).await.map_err(|error| {
            let kind = if error.is_connect() { Kind::NotConnected } else { Kind::Cut };
            Failure { kind, detail: causes(&error) }
        })?;
        let (status, headers) = (response.status(), response.headers());
        outcome.cold = headers.get(COLD_START).is_some_and(|value| value == "true");
        let wait = headers.get(EXPECTED_WAIT).and_then(|value| value.to_str().ok()?.parse().ok());
        outcome.expected_wait_s = wait.filter(|wait_s: &f64| wait_s.is_finite() && *wait_s >= 0.0);
        if !status.is_success() {
            let body = read(response, ERROR_BYTES_MAX).await.unwrap_or_default();
            return Err(Failure { kind: Kind::Status(status.as_u16()), detail: answer::message(&body) });
        }
        if outcome.planned.stream {
            let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("nothing");
            if !kind.starts_with("text/event-stream") {
                let detail = format!("asked for a stream, answered with {kind}");
                return Err(Failure { kind: Kind::BadAnswer, detail });
            }
            stream(response.into_body(), outcome).await?;
        } else {
            let body = read(response, BODY_BYTES_MAX).await?;
            outcome.answer.whole(&body);
        }
        outcome.answer.clone().judge().map_err(|wrong| {
            let (kind, detail) = match wrong {
                Wrong::Error(detail) => (Kind::ErrorEvent, detail),
                Wrong::Broken(detail) => (Kind::StreamBroken, detail),
                Wrong::Bad(detail) => (Kind::BadAnswer, detail),
            };
            Failure { kind, detail }
        })
    }
}

/// The models a server lists at `/v1/models`.
///
/// # Errors
/// In words, when it cannot be asked or lists none.
pub(crate) async fn models(options: &Options) -> Result<Vec<String>, String> {
    let exchange = Exchange::new(options).ok_or("the address leads nowhere")?;
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = options.uri_of("models").ok_or("the address leads nowhere")?;
    *request.headers_mut() = exchange.headers.clone();
    let ask = async {
        let response = exchange.client.request(request).await.map_err(|error| causes(&error))?;
        let status = response.status();
        let body = read(response, BODY_BYTES_MAX).await.map_err(|failure| failure.detail)?;
        if status.is_success() { Ok(body) } else { Err(format!("{status}: {}", answer::message(&body))) }
    };
    let body = tokio::time::timeout(CONNECT_MAX, ask).await;
    let body = body.map_err(|_| format!("no answer within {} s", CONNECT_MAX.as_secs()))??;
    let list: serde_json::Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let entries = list["data"].as_array().into_iter().flatten();
    Ok(entries.filter_map(|entry| entry["id"].as_str()).map(str::to_owned).collect())
}

/// Reads a stream to its end, taking the time of each token.
async fn stream(mut body: Incoming, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut reader = sse::Reader::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure { kind: Kind::Cut, detail: causes(&error) })?;
        let Some(bytes) = frame.data_ref() else { continue };
        outcome.bytes(&mut reader, bytes, Instant::now())?;
    }
    Ok(())
}

/// A body of at most `limit` bytes.
async fn read(response: Response<Incoming>, limit: usize) -> Result<BytesMut, Failure> {
    let mut body = response.into_body();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure { kind: Kind::Cut, detail: causes(&error) })?;
        let Some(bytes) = frame.data_ref() else { continue };
        if all.len() + bytes.len() > limit {
            let detail = format!("a body of more than {limit} bytes");
            return Err(Failure { kind: Kind::BadAnswer, detail });
        }
        all.extend_from_slice(bytes);
    }
    Ok(all)
}

/// An error with what is behind it: hyper's own words alone say only where it happened.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::schedule::{Arrivals, Mix, Schedule};

    fn planned() -> Planned {
        let plan = Plan::parse("0s:1rps 9s:1rps").unwrap();
        let mix = Mix { stream_share: 0.0, ..Mix::of("m") };
        Schedule::from_plan(plan, Arrivals::Uniform, 0, mix).next().unwrap()
    }

    #[test]
    fn the_first_token_is_neither_a_comment_nor_a_role() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut outcome = Outcome::new(planned(), start);
        let mut reader = sse::Reader::default();
        let role = br#"data: {"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
        let token = br#"data: {"choices":[{"delta":{"content":"a"}}]}"#;
        let parts: [(u64, &[u8]); 7] = [
            (1, b": waiting\n\n"),
            (2, role),
            (3, b"\n\n"),
            (10, token),
            (11, b"\n\n"),
            (30, token),
            (31, b"\n\n"),
        ];
        for (ms, bytes) in parts {
            outcome.bytes(&mut reader, bytes, at(ms)).unwrap();
        }
        assert_eq!((outcome.first, outcome.last), (Some(at(11)), Some(at(31))));
        assert_eq!(outcome.gaps_us, [20_000]);
        assert_eq!(reader.comments(), 1);
    }

    #[test]
    fn a_request_says_what_was_planned() {
        let mut options = Options::to("http://h:1").unwrap();
        options.header("X-Tenant: a").unwrap();
        let exchange = Exchange::new(&options).unwrap();
        let request = exchange.request(&Planned { priority: Some("high".into()), ..planned() });
        assert_eq!(request.headers()["x-tenant"], "a");
        assert_eq!(request.headers()[PRIORITY], "high");
        assert_eq!(request.headers()[ACCEPT], "application/json");
        assert_eq!(request.uri().path(), "/v1/chat/completions");
    }
}
