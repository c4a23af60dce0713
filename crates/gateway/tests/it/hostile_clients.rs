use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::client::{Client, body, chat};
use crate::engine::{Engine, JSON, Mode};
use crate::setup::{PATIENCE, Setup, limits};

async fn status_of(setup: &Setup, raw: impl AsRef<[u8]>) -> (u16, String) {
    let mut client = Client::connect(setup.addr()).await;
    client.send(raw).await;
    let answer = client.answer().await;
    (answer.status(), answer.error_code())
}

fn post(body: &[u8]) -> Vec<u8> {
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused_in_openais_shape() {
    let setup = Setup::new();
    let deep = format!("{{\"model\":\"m\",\"x\":{}", "[".repeat(10_000));
    let cases: [(&[u8], u16, &str); 9] = [
        (b"", 400, "invalid_body"),
        (b"not json", 400, "invalid_body"),
        (b"{\"model\":\"m\"", 400, "invalid_body"),
        (b"{\"model\":\"m\",\"prompt\":\"\xff\xfe\"}", 400, "invalid_body"),
        (b"{\"model\":\"m\",\"model\":\"other\"}", 400, "invalid_body"),
        (b"{\"model\":7}", 400, "invalid_body"),
        (deep.as_bytes(), 400, "invalid_body"),
        (b"{\"messages\":[]}", 400, "model_missing"),
        (b"{\"model\":\"no-such\"}", 404, "model_not_found"),
    ];
    for (body, status, code) in cases {
        let got = status_of(&setup, post(body)).await;
        assert_eq!(
            got,
            (status, code.to_owned()),
            "{}",
            String::from_utf8_lossy(&body[..body.len().min(60)])
        );
    }
    assert!(setup.told().is_empty(), "none of these may wake anything");
}

#[tokio::test]
async fn a_body_of_a_hundred_megabytes_is_refused_and_its_client_can_read_why() {
    let setup = Setup::new();
    let said = "POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 104857600\r\n\r\n";
    let mut client = Client::connect(setup.addr()).await;
    client.send(said).await;
    client.send(vec![b' '; 100 << 20]).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.error_code().as_str()), (413, "body_too_large"));
    // The same without saying so before.
    let mut client = Client::connect(setup.addr()).await;
    client.send("POST /v1/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let piece = [format!("{:x}\r\n", 1 << 20).as_bytes(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..100 {
        client.send(&piece).await;
    }
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.error_code().as_str()), (413, "body_too_large"));
    assert!(setup.metric("tidegate_gateway_body_bytes").abs() < 0.5);
}

#[tokio::test]
async fn bodies_together_cannot_take_more_memory_than_they_may() {
    let setup = Setup::with(|c| c.sizes.kept_max = 300_000, limits());
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(setup.addr()).await;
        client
            .send("POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 200000\r\n\r\n{\"prompt\":\"")
            .await;
        held.push(client);
    }
    held[0].send("x".repeat(150_000)).await;
    let reached = async {
        while setup.metric("tidegate_gateway_body_bytes") < 150_000.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
    held[1].send("x".repeat(180_000)).await;
    let answer = held[1].answer().await;
    assert_eq!((answer.status(), answer.error_code().as_str()), (503, "bodies_full"));
}

/// A connection that has carried a request. On a machine that stands still between connecting and sending it is let
/// go for its silence, as it should be; then another is made.
async fn answered_once(setup: &Setup) -> Client {
    for _ in 0..100 {
        let mut client = Client::connect(setup.addr()).await;
        let sent = client.stream.write_all(b"GET /health HTTP/1.1\r\nhost: g\r\n\r\n").await;
        if let (Ok(()), Some(head)) = (sent, client.head().await) {
            assert_eq!(client.answer_of(head).await.status(), 200);
            return client;
        }
    }
    panic!("none of a hundred connections was answered");
}

#[tokio::test]
async fn a_head_that_trickles_in_is_let_go_and_an_idle_connection_is_not() {
    let setup = Setup::with(|c| c.times.header = Duration::from_millis(300), limits());
    let mut never = Client::connect(setup.addr()).await;
    assert!(never.closed().await, "a connection that says nothing at all");
    let mut slow = answered_once(&setup).await;
    slow.send("GET /health HT").await;
    let mut idle = answered_once(&setup).await;
    assert!(slow.closed().await, "half a head");
    idle.send("GET /health HTTP/1.1\r\nhost: g\r\n\r\n").await;
    assert_eq!(idle.answer().await.status(), 200);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_let_go() {
    let setup = Setup::with(|c| c.times.body_idle = Duration::from_millis(300), limits());
    let raw = "POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 1000\r\n\r\n{\"model\":";
    assert_eq!(status_of(&setup, raw).await, (408, "body_stalled".to_owned()));
}

#[tokio::test]
async fn a_flood_of_headers_is_a_431() {
    let setup = Setup::new();
    let many: String = (0..200).map(|i| format!("x-{i}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "y".repeat(60_000));
    for flood in [many, large] {
        let mut client = Client::connect(setup.addr()).await;
        client.send(format!("GET /health HTTP/1.1\r\nhost: g\r\n{flood}\r\n")).await;
        assert_eq!(client.answer().await.status(), 431);
    }
}

#[tokio::test]
async fn a_length_beside_chunks_cannot_smuggle_a_request() {
    let engine = Engine::open(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::before(&[&engine]).await;
    let body = body("m", false);
    let smuggled = "POST /sleep HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n";
    let raw = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n{smuggled}",
        body.len()
    );
    let mut client = Client::connect(setup.addr()).await;
    client.send(raw).await;
    // Read as chunks, as RFC 9112 has it; and the connection ends, so that nothing behind it is a request.
    assert_eq!(client.answer().await.body, JSON);
    assert!(client.closed().await);
    assert_eq!(String::from_utf8_lossy(&engine.seen()[0].body), body);
    assert!(engine.seen().iter().all(|s| !s.head.contains("/sleep")));
    let raw = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\ncontent-length: 5\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(status_of(&setup, raw).await.0, 400);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_let_go() {
    let engine = Engine::open(Mode::Large(64 << 20)).await;
    let setup = Setup::with(|c| c.times.client_stall = Duration::from_millis(300), limits());
    setup.ready(&engine);
    let mut client = Client::connect(setup.addr()).await;
    client.chat(false).await;
    setup.demand_once(|d| d.in_flight == 1).await;
    setup.demand(|d| d.in_flight == 0).await;
    assert!(!client.answer().await.whole);
}

#[tokio::test]
async fn more_connections_than_may_be_are_answered_and_closed() {
    let setup = Setup::with(|c| c.sizes.connections_max = 2, limits());
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(setup.addr()).await;
        client.send("GET /health HTTP/1.1\r\nhost: g\r\n\r\n").await;
        assert_eq!(client.answer().await.status(), 200);
        open.push(client);
    }
    let mut client = Client::connect(setup.addr()).await;
    assert_eq!(client.head().await.unwrap().status, 503);
    drop(open);
}

#[tokio::test]
async fn a_second_gateway_on_the_same_address_is_told_that_it_is_taken() {
    let setup = Setup::new();
    let error = tidegate_gateway::Gateway::start(tidegate_gateway::Config::new(setup.addr())).err().unwrap();
    assert!(error.to_string().contains("--gateway-addr"), "{error}");
    assert_eq!(chat(setup.addr(), false).await_refusal(&setup).await, 503);
}

trait Refusal {
    async fn await_refusal(self, setup: &Setup) -> u16;
}

impl<F: Future<Output = crate::client::Answer>> Refusal for F {
    /// The first gateway still works: a request is held there, and refused when its target goes.
    async fn await_refusal(self, setup: &Setup) -> u16 {
        let going = async {
            setup.demand(|d| d.waiting == 1).await;
            setup.gateway.set_targets(vec![]);
        };
        tokio::join!(self, going).0.status()
    }
}
