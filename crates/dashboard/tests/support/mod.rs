//! What the tests of this crate share.
#![expect(dead_code, reason = "each test file uses its part")]

pub(crate) mod browser;
pub(crate) mod fleet;

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tidegate_dashboard::{Board, Config, Running, serve};

/// A listener on loopback that shows the made-up fleet.
pub(crate) async fn shown() -> (Arc<Board>, Running) {
    let board = Arc::new(fleet::board());
    let running = on(board.clone(), "127.0.0.1:0", None).await.expect("a free port");
    (board, running)
}

pub(crate) async fn on(
    board: Arc<Board>,
    addr: &str,
    token: Option<&str>,
) -> Result<Running, tidegate_dashboard::Error> {
    let addr: SocketAddr = addr.parse().expect("an address");
    serve(Config { addr, token: token.map(str::to_owned), tls: None, push: None }, board).await
}

/// Status, headers and body of a request.
pub(crate) async fn send(request: http::Request<Full<bytes::Bytes>>) -> http::Response<String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (head, body) = client.request(request).await.expect("the listener answers").into_parts();
    let body = body.collect().await.expect("the whole body").to_bytes();
    http::Response::from_parts(head, String::from_utf8(body.to_vec()).expect("text"))
}

/// GET with some headers.
pub(crate) async fn get(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> http::Response<String> {
    let mut request = http::Request::get(format!("http://{addr}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request.body(Full::default()).expect("a request")).await
}
