//! A real server on loopback that answers as the model's name tells it to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

type Body = BoxBody<Bytes, std::io::Error>;

/// The server; `gate` opens for those who wait at it.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) gate: watch::Sender<bool>,
    pub(crate) asked: Arc<AtomicU64>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let (gate, opened) = watch::channel(false);
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let (opened, count) = (opened.clone(), count.clone());
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(request, opened.clone(), count.clone()));
                    // A cut connection is an error here and the very thing some tests are about.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Server { addr, gate, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

async fn answer(
    request: Request<Incoming>,
    mut opened: watch::Receiver<bool>,
    asked: Arc<AtomicU64>,
) -> Result<Response<Body>, Infallible> {
    asked.fetch_add(1, Ordering::SeqCst);
    let key = request.headers().get("authorization").cloned();
    if request.uri().path() == "/v1/models" {
        let list = json!({"object": "list", "data": [{"id": "a", "object": "model"}, {"id": "b"}]});
        return Ok(full(StatusCode::OK, "application/json", list.to_string()));
    }
    let body = request.into_body().collect().await.expect("the load sends whole bodies").to_bytes();
    let asked: Value = serde_json::from_slice(&body).expect("the load sends JSON");
    let model = asked["model"].as_str().expect("a model is named").to_owned();
    let tokens = asked["max_tokens"].as_u64().expect("a length is asked for");
    if model == "gated" {
        opened.wait_for(|open| *open).await.expect("the gate outlives its requests");
    }
    let reply = match model.as_str() {
        "busy" => status(StatusCode::SERVICE_UNAVAILABLE, "all replicas are busy"),
        "locked" if key.is_none_or(|key| key != "Bearer sk-1") => {
            status(StatusCode::UNAUTHORIZED, "no such key")
        }
        "html" => full(StatusCode::OK, "text/html", "<h1>hello</h1>".to_owned()),
        _ if asked["stream"] == true => stream(&model, tokens),
        _ => whole(&model, tokens),
    };
    Ok(reply)
}

fn full(status: StatusCode, kind: &str, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
    Response::builder().status(status).header("content-type", kind).body(body).expect("the headers are good")
}

fn status(status: StatusCode, message: &str) -> Response<Body> {
    full(status, "application/json", json!({"error": {"message": message}}).to_string())
}

fn usage(tokens: u64) -> Value {
    json!({"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": tokens + 7})
}

fn whole(model: &str, tokens: u64) -> Response<Body> {
    let end = if model == "abort" { "abort" } else { "length" };
    let body =
        json!({"choices": [{"message": {"content": "hi"}, "finish_reason": end}], "usage": usage(tokens)});
    full(StatusCode::OK, "application/json", body.to_string())
}

/// A stream with what the model's name leaves out or puts in.
fn stream(model: &str, tokens: u64) -> Response<Body> {
    let data = |value: &Value| format!("data: {value}\n\n");
    let end = |reason: &str| data(&json!({"choices": [{"delta": {}, "finish_reason": reason}]}));
    let mut parts = vec![": waiting\n\n".to_owned()];
    parts.push(data(&json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]})));
    let sent = if model == "loses-a-token" { tokens - 1 } else { tokens };
    parts.extend((0..sent).map(|_| data(&json!({"choices": [{"delta": {"content": "a"}}]}))));
    match model {
        "abort" => parts.push(end("abort")),
        "no-finish" | "cut" => {}
        "error-event" => parts.push(data(&json!({"error": {"message": "the replica was lost"}}))),
        "garbage" => parts.push("data: {nonsense\n\n".to_owned()),
        _ => parts.push(end("length")),
    }
    if model != "no-usage" {
        parts.push(data(&json!({"choices": [], "usage": usage(sent)})));
    }
    if !matches!(model, "no-done" | "cut" | "error-event") {
        parts.push("data: [DONE]\n\n".to_owned());
    }
    let (sender, mut receiver) = mpsc::unbounded_channel();
    for part in parts {
        sender.send(Ok(Frame::data(Bytes::from(part)))).expect("the receiver is there");
    }
    if model == "cut" {
        sender.send(Err(std::io::Error::other("cut"))).expect("the receiver is there");
    }
    drop(sender);
    let frames = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    let cold = model == "cold";
    Response::builder()
        .header("content-type", "text/event-stream; charset=utf-8")
        .header("x-tidegate-cold-start", cold.to_string())
        .header("x-tidegate-expected-wait-s", if cold { "2.5" } else { "0" })
        .body(BodyExt::boxed(StreamBody::new(frames)))
        .expect("the headers are good")
}
