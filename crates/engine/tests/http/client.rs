//! A client for the tests: one connection a request.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tidegate_engine::{Engine, Options, Running};
use tidegate_sim::Profile;
use tokio::net::TcpStream;

pub(crate) async fn start(options: Options) -> Running {
    Engine::start(options).await.expect("the engine starts")
}

/// 20 ms a token: slow enough to be caught in the middle.
pub(crate) fn slow() -> Profile {
    Profile { cold_start: tidegate_sim::ColdStart::NONE, ..Profile::demo() }
}

/// Sends a request and returns the answer's head, its body still to be read.
pub(crate) async fn open(
    addr: SocketAddr,
    method: Method,
    path: &str,
    body: impl Into<Bytes>,
) -> Result<Response<Incoming>, String> {
    let stream = TcpStream::connect(addr).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("authorization", "Bearer secret")
        .body(Full::new(body.into()))
        .map_err(|error| error.to_string())?;
    sender.send_request(request).await.map_err(|error| error.to_string())
}

pub(crate) async fn text(response: Response<Incoming>) -> Result<String, String> {
    let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}

pub(crate) async fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let response = open(addr, Method::GET, path, Bytes::new()).await.expect("an answer");
    (response.status().as_u16(), text(response).await.expect("a whole body"))
}

pub(crate) async fn post(addr: SocketAddr, path: &str, body: &Value) -> (u16, Value) {
    let response = open(addr, Method::POST, path, body.to_string()).await.expect("an answer");
    let status = response.status().as_u16();
    let text = text(response).await.expect("a whole body");
    (status, serde_json::from_str(&text).expect("JSON"))
}

pub(crate) fn chat(max_tokens: u32) -> Value {
    json!({
        "model": "tiny", "messages": [{ "role": "user", "content": "How high is the tide?" }],
        "max_tokens": max_tokens, "ignore_eos": true,
    })
}

pub(crate) fn streamed(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    body
}

pub(crate) async fn stream(addr: SocketAddr, path: &str, body: &Value) -> String {
    let response = open(addr, Method::POST, path, body.to_string()).await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    text(response).await.expect("a whole body")
}

/// The JSON of each event; the end mark is not one.
pub(crate) fn events(stream: &str) -> Vec<Value> {
    stream
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}

/// The text all events carry together.
pub(crate) fn content(events: &[Value]) -> String {
    let piece = |event: &Value| {
        let choice = &event["choices"][0];
        choice["delta"]["content"].as_str().or(choice["text"].as_str()).unwrap_or_default().to_owned()
    };
    events.iter().map(piece).collect()
}

/// The value of a series in `/metrics`, by the beginning of its line.
pub(crate) async fn metric(addr: SocketAddr, series: &str) -> f64 {
    let (_, page) = get(addr, "/metrics").await;
    let line = page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no series {series}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// Asks until the series has the value.
pub(crate) async fn until(addr: SocketAddr, series: &str, value: f64) {
    for _ in 0..10_000 {
        if (metric(addr, series).await - value).abs() < 1e-9 {
            return;
        }
    }
    panic!("{series} never was {value}");
}
