//! The HTTP API: which path does what.

pub(crate) mod embeddings;
mod generate;
pub(crate) mod refusal;
pub(crate) mod request;
pub(crate) mod shape;
pub(crate) mod stream;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::body::{Body, Served};
use crate::log::Log;
use crate::machine::{Clock, Machine};
use crate::metrics::http::Answer;
use crate::metrics::{self, View};
use crate::options::{Dialect, Fault, Options};
use crate::text::mix;
use refusal::Refusal;

/// The longest prompt is 131,072 tokens, some 512 KiB of text; pictures in base64 may add some megabytes.
/// Longer bodies are refused with 413.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) options: Options,
    pub(crate) machine: Arc<Machine>,
    pub(crate) clock: Clock,
    pub(crate) block_tokens: u32,
    /// When the engine started, in seconds since 1970.
    pub(crate) created_s: u64,
    /// False while it loads; only llama.cpp answers then.
    pub(crate) ready: AtomicBool,
    /// Requests that wanted the model, for `crash-after`.
    pub(crate) asked: AtomicU64,
    pub(crate) crash: CancellationToken,
}

type Outcome = Result<Response<Body>, Refusal>;

/// Answers one request.
pub(crate) async fn serve(app: Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let began = Instant::now();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        _ => "other",
    };
    let handler = route(request.uri().path());
    let request_bytes = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    let response =
        answer(&app, handler, request).await.unwrap_or_else(|refusal| refused(app.options.dialect, &refusal));
    // Probes and scrapes are not counted, as in vLLM.
    if matches!(handler, "/health" | "/metrics") {
        return response;
    }
    let answer = Answer {
        handler,
        method,
        status: response.status().as_u16(),
        seconds: 0.0,
        request_bytes,
        response_bytes: response.body().bytes(),
    };
    let served = Served { machine: Arc::clone(&app.machine), began, answer };
    response.map(|body| body.counted_by(served))
}

/// The path as a route; every path nobody serves is `none`.
fn route(path: &str) -> &'static str {
    const ROUTES: [&str; 7] = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/models",
        "/health",
        "/metrics",
        "/version",
    ];
    ROUTES.into_iter().find(|route| *route == path).unwrap_or("none")
}

async fn answer(app: &Arc<App>, handler: &'static str, request: Request<Incoming>) -> Outcome {
    if !app.ready.load(Ordering::Acquire) {
        return Err(Refusal::loading());
    }
    if handler.starts_with("/v1/") && !authorised(app, &request) {
        return Err(Refusal::unauthorised());
    }
    let expected = match handler {
        "none" => return Err(Refusal::unknown_path()),
        "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" => Method::POST,
        _ => Method::GET,
    };
    if *request.method() != expected {
        return Err(Refusal::method());
    }
    match handler {
        "/health" => Ok(health(app.options.dialect)),
        "/metrics" => Ok(exposition(app)),
        "/version" => Ok(json_answer(&json!({ "version": shape::fingerprint(app.options.dialect) }))),
        "/v1/models" => {
            let tokens_max = app.machine.tokens_max();
            let models = &app.options.models;
            Ok(json_answer(&whole::models(models, app.created_s, app.options.dialect, tokens_max)))
        }
        _ => {
            app.misbehave().await;
            let id = request_id(app, &request);
            let body = read(request).await?;
            if app.options.log_requests {
                Log { on: app.options.log }.info(&format!("Received request {id}"));
            }
            match handler {
                "/v1/embeddings" => generate::embed(app, &body).await,
                "/v1/chat/completions" => generate::complete(app, request::Kind::Chat, &id, &body).await,
                _ => generate::complete(app, request::Kind::Text, &id, &body).await,
            }
        }
    }
}

impl App {
    /// Those faults that strike before an answer.
    async fn misbehave(&self) {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        match self.options.fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::CrashAfter(count)) if asked >= count => {
                self.crash.cancel();
                std::future::pending().await
            }
            _ => {}
        }
    }

    /// The model's name as the client is told it; OpenAI's own servers need one, vLLM takes its first.
    fn model(&self, asked: Option<&String>) -> Result<String, Refusal> {
        match asked {
            None => Ok(self.options.models.first().cloned().unwrap_or_default()),
            Some(name) if self.options.models.contains(name) => Ok(name.clone()),
            Some(name) => Err(Refusal::unknown_model(name)),
        }
    }

    fn now_s(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(self.created_s, |since| since.as_secs())
    }

    /// A name for an answer that no other engine gives.
    fn id(&self) -> String {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        format!("{:016x}", mix(nanos, u64::from(std::process::id())))
    }
}

/// What vLLM calls a request: what the client calls it, if it does. A UUID has 36 characters.
const REQUEST_ID_CHARS_MAX: usize = 128;

fn request_id(app: &App, request: &Request<Incoming>) -> String {
    let given = request.headers().get("x-request-id").and_then(|value| value.to_str().ok());
    let given = given.filter(|text| (1..=REQUEST_ID_CHARS_MAX).contains(&text.len()));
    match given.filter(|_| app.options.dialect == Dialect::Vllm) {
        Some(given) => given.to_owned(),
        None => app.id(),
    }
}

fn authorised(app: &App, request: &Request<Incoming>) -> bool {
    let Some(key) = &app.options.api_key else { return true };
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|given| given == key)
}

async fn read(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large(BODY_BYTES_MAX)),
        Err(_) => Err(Refusal::cut_short()),
    }
}

fn health(dialect: Dialect) -> Response<Body> {
    match dialect {
        Dialect::LlamaCpp => json_answer(&json!({ "status": "ok" })),
        Dialect::Vllm | Dialect::Sglang | Dialect::Tgi => Response::new(Body::whole(Bytes::new())),
    }
}

fn exposition(app: &App) -> Response<Body> {
    let text = app.machine.observe(|recorder, stats, reserved_tokens| {
        metrics::render(&View { recorder, stats, reserved_tokens })
    });
    let mut response = Response::new(Body::whole(text));
    let kind = HeaderValue::from_static(metrics::content_type(app.options.dialect));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn json_answer(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::whole(value.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refused(dialect: Dialect, refusal: &Refusal) -> Response<Body> {
    let mut response = json_answer(&refusal.body());
    *response.status_mut() = refusal.status;
    if refusal.status == StatusCode::SERVICE_UNAVAILABLE && dialect != Dialect::LlamaCpp {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
