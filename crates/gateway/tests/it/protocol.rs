//! HTTP/1 as clients speak it, beyond the plain request.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::client::{Client, body};
use crate::engine::{Engine, JSON, Mode, ending};
use crate::setup::{Setup, limits};

fn post(version: &str, headers: &str, stream: bool) -> String {
    let body = body("m", stream);
    format!(
        "POST /v1/chat/completions HTTP/{version}\r\nhost: g\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_gets_it_before_it_sends_its_body() {
    let engine = Engine::open(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::before(&[&engine]).await;
    let mut client = Client::connect(setup.addr()).await;
    let body = body("m", false);
    for _ in 0..2 {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.send(head).await;
        assert_eq!(client.head().await.unwrap().text, "HTTP/1.1 100 Continue");
        client.send(&body).await;
        assert_eq!(client.answer().await.body, JSON);
    }
    assert!(engine.seen().iter().all(|seen| !seen.head.contains("expect")));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_its_client_is_told_to_send_it() {
    let setup = Setup::new();
    let mut client = Client::connect(setup.addr()).await;
    let head = "POST /v1/completions HTTP/1.1\r\nhost: g\r\nexpect: 100-continue\r\ncontent-length: 999999999\r\n\r\n";
    client.send(head).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.head.header("connection")), (413, Some("close")));
    assert!(client.closed().await);
}

#[tokio::test]
async fn a_head_that_is_asked_for_alone_comes_alone() {
    let setup = Setup::new();
    let mut client = Client::connect(setup.addr()).await;
    client.send("HEAD /health HTTP/1.1\r\nhost: g\r\n\r\nGET /readyz HTTP/1.1\r\nhost: g\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("3")));
    assert!(head.header("date").is_some_and(|date| date.ends_with(" GMT")), "{}", head.text);
    assert_eq!(client.answer().await.body, "ready\n");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks_and_the_end_of_its_connection() {
    let engine = Engine::open(Mode::Answer { chunks: 0 }).await;
    let setup = Setup::before(&[&engine]).await;
    let mut client = Client::connect(setup.addr()).await;
    client.send(post("1.0", "", true)).await;
    let head = client.head().await.unwrap();
    assert_eq!((head.header("transfer-encoding"), head.header("connection")), (None, Some("close")));
    assert_eq!(client.rest().await, ending());
    // Where the length is known the connection may go on, if that is asked for.
    let mut client = Client::connect(setup.addr()).await;
    for _ in 0..2 {
        client.send(post("1.0", "connection: keep-alive\r\n", false)).await;
        let answer = client.answer().await;
        assert_eq!((answer.head.header("connection"), answer.body.as_str()), (Some("keep-alive"), JSON));
    }
    client.send(post("1.0", "", false)).await;
    assert_eq!(client.answer().await.head.header("connection"), Some("close"));
    assert!(client.closed().await);
}

#[tokio::test]
async fn a_client_that_wants_its_connection_closed_gets_its_answer_first() {
    let engine = Engine::open(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::before(&[&engine]).await;
    for stream in [false, true] {
        let mut client = Client::connect(setup.addr()).await;
        client.send(post("1.1", "connection: close\r\n", stream)).await;
        let answer = client.answer().await;
        assert_eq!((answer.head.header("connection"), answer.whole), (Some("close"), true));
        assert!(client.closed().await);
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_400_and_the_end_of_the_connection() {
    let setup = Setup::new();
    for (raw, code) in [
        ("\x16\x03\x01\x02\x00", "invalid_request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "invalid_request"),
        ("GET /health HTTP/1.1\nhost: g\n\r\n\r\n", "invalid_request"),
        ("GET /health HTTP/1.1\r\nhost: g\r\nhost: h\r\n\r\n", "invalid_request"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", "invalid_request"),
        (
            "POST /v1/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            "invalid_body",
        ),
    ] {
        let mut client = Client::connect(setup.addr()).await;
        client.send(raw).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.error_code().as_str()), (400, code), "{raw:?}");
        assert_eq!(answer.head.header("connection"), Some("close"), "{raw:?}");
        assert!(client.closed().await, "{raw:?}");
    }
}

#[tokio::test]
async fn requests_sent_ahead_wait_their_turn_and_are_not_read_beyond_a_bound() {
    let engine = Engine::start(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::with(|_| {}, limits());
    setup.ready(&engine);
    let mut client = Client::connect(setup.addr()).await;
    client.send(post("1.1", "", true)).await;
    setup.demand(|d| d.in_flight == 1).await;
    // 64 MiB of further requests do not fit into the sockets' buffers, and nobody takes them meanwhile.
    let many = post("1.1", "", false).repeat(1000);
    let flood = async {
        for _ in 0..(64 << 20) / many.len() {
            client.send(&many).await;
        }
    };
    // However slow the machine is, this cannot fail for time: it ends only if everything was read.
    assert!(tokio::time::timeout(Duration::from_millis(500), flood).await.is_err());
    assert_eq!(engine.seen().len(), 1, "one at a time");
    engine.gate.add_permits(10);
    assert!(client.answer().await.body.ends_with("[DONE]\n\n"));
    assert_eq!(client.answer().await.body, JSON);
}

#[tokio::test]
async fn a_connection_that_waits_for_its_next_request_ends_when_the_gateway_stops() {
    let setup = Setup::new();
    let mut client = Client::connect(setup.addr()).await;
    client.send("GET /health HTTP/1.1\r\nhost: g\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200);
    let stopping = setup.gateway.stop(Duration::from_secs(30));
    tokio::join!(stopping, async { assert!(client.closed().await) });
}

impl Client {
    /// Everything to the end of the connection.
    async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        self.stream.read_to_end(&mut text).await.unwrap();
        self.take_buffered() + &String::from_utf8(text).unwrap()
    }
}
