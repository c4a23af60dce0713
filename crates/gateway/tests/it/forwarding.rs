use crate::client::{Client, body, chat};
use crate::engine::{Engine, JSON, Mode};
use crate::setup::{Setup, limits, target};
use tidegate_gateway::{Secret, TargetConfig};

#[tokio::test]
async fn a_request_reaches_the_engine_and_its_answer_the_client_untouched() {
    let engine = Engine::open(Mode::Answer { chunks: 3 }).await;
    let setup = Setup::before(&[&engine]).await;
    let answer = chat(setup.addr(), false).await;
    assert_eq!((answer.status(), answer.body.as_str(), answer.whole), (200, JSON, true));
    assert_eq!(answer.head.header("x-tidegate-cold-start"), Some("false"));
    assert_eq!(answer.head.header("x-tidegate-expected-wait-s"), Some("0"));
    assert!(answer.head.header("x-tidegate-request-id").is_some());
    assert_eq!(answer.head.header("x-tidegate-replica"), Some(&*format!("m-{}", engine.addr.port())));
    assert_eq!(answer.head.header("keep-alive"), None);
    let seen = engine.seen();
    assert_eq!(String::from_utf8_lossy(&seen[0].body), body("m", false));
    let view = setup.view();
    assert_eq!((view.tokens_in, view.tokens_out, view.requests[&200]), (3, 4, 1));
}

#[tokio::test]
async fn requests_of_one_connection_share_one_to_the_engine_pipelined_or_not() {
    let engine = Engine::open(Mode::Answer { chunks: 3 }).await;
    let setup = Setup::before(&[&engine]).await;
    let mut client = Client::connect(setup.addr()).await;
    for _ in 0..5 {
        client.chat(false).await;
        assert_eq!(client.answer().await.body, JSON);
    }
    client.chat(false).await;
    client.chat(true).await;
    client.chat(false).await;
    assert_eq!(client.answer().await.body, JSON);
    assert!(client.answer().await.body.contains("[DONE]"));
    assert_eq!(client.answer().await.body, JSON);
    assert_eq!(engine.connections(), 1);
}

#[tokio::test]
async fn a_long_body_streams_on_and_arrives_whole_with_a_length_or_in_chunks() {
    let engine = Engine::open(Mode::Answer { chunks: 0 }).await;
    let setup = Setup::before(&[&engine]).await;
    for size in [70_000, 400_000, 3 << 20] {
        for model_first in [true, false] {
            let filler = "x".repeat(size);
            let long = if model_first {
                format!("{{\"model\":\"m\",\"prompt\":\"{filler}\"}}")
            } else {
                format!("{{\"prompt\":\"{filler}\",\"model\":\"m\"}}")
            };
            let mut client = Client::connect(setup.addr()).await;
            client.post("/v1/completions", "", &long).await;
            assert_eq!(client.answer().await.body, JSON);
            assert!(engine.seen().last().unwrap().body == long.as_bytes());
            let head = "POST /v1/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut sent = head.as_bytes().to_vec();
            for piece in long.as_bytes().chunks(50_000) {
                sent.extend(format!("{:x}\r\n", piece.len()).as_bytes());
                sent.extend(piece);
                sent.extend(b"\r\n");
            }
            sent.extend(b"0\r\n\r\n");
            client.send(sent).await;
            assert_eq!(client.answer().await.body, JSON);
            assert!(engine.seen().last().unwrap().body == long.as_bytes());
        }
    }
    assert!((setup.metric("tidegate_gateway_body_bytes") - 0.0).abs() < 0.5);
}

#[tokio::test]
async fn a_replica_that_fails_before_the_first_byte_costs_the_client_nothing() {
    for broken in [
        Mode::Hangup,
        Mode::Garbage,
        Mode::HeaderFlood,
        Mode::HalfJson,
        Mode::AbortedJson,
        Mode::Status(502),
        Mode::Status(503),
        Mode::Status(504),
    ] {
        let (bad, good) =
            (Engine::open(broken.clone()).await, Engine::open(Mode::Answer { chunks: 1 }).await);
        let setup = Setup::before(&[&bad, &good]).await;
        for _ in 0..6 {
            let answer = chat(setup.addr(), false).await;
            assert_eq!((answer.status(), answer.body.as_str()), (200, JSON), "{broken:?}");
        }
        assert!(!bad.seen().is_empty(), "{broken:?} was never tried");
        assert!(setup.metric("tidegate_retries_total{target=\"m\",model=\"m\"}") > 0.0);
    }
}

#[tokio::test]
async fn a_replica_nobody_listens_for_any_more_is_invisible() {
    let good = Engine::open(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::before(&[&good]).await;
    let gone = Engine::open(Mode::Answer { chunks: 1 }).await;
    setup.ready(&gone);
    drop(gone);
    for stream in [false, true, false, true] {
        let answer = chat(setup.addr(), stream).await;
        assert_eq!((answer.status(), answer.whole), (200, true));
    }
}

#[tokio::test]
async fn a_connection_the_engine_closed_while_it_was_idle_is_no_failure() {
    let engine = Engine::open(Mode::AnswerAndClose).await;
    let setup = Setup::before(&[&engine]).await;
    for _ in 0..5 {
        assert_eq!(chat(setup.addr(), false).await.status(), 200);
    }
    assert!(setup.metric("tidegate_retries_total{target=\"m\",model=\"m\"}").abs() < 0.5);
}

#[tokio::test]
async fn what_an_engine_says_is_wrong_with_a_request_reaches_its_client() {
    let engine = Engine::open(Mode::Status(422)).await;
    let setup = Setup::before(&[&engine]).await;
    for (status, stream) in [(422, false), (400, true), (500, false)] {
        engine.set(Mode::Status(status));
        let answer = chat(setup.addr(), stream).await;
        assert_eq!((answer.status(), answer.body.contains("engine says no")), (status, true));
    }
}

#[tokio::test]
async fn a_large_answer_passes_without_being_kept() {
    let engine = Engine::open(Mode::Large(5 << 20)).await;
    let setup = Setup::before(&[&engine]).await;
    let answer = chat(setup.addr(), false).await;
    assert_eq!((answer.body.len(), answer.whole), (5 << 20, true));
    assert_eq!(answer.head.header("content-length"), Some("5242880"));
}

#[tokio::test]
async fn the_engines_key_is_sent_and_the_clients_is_not() {
    let engine = Engine::open(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::new();
    let key = Some(Secret::new("engine-key".into()));
    setup.gateway.set_targets(vec![TargetConfig { upstream_key: key, ..target(limits()) }]);
    setup.ready(&engine);
    let mut client = Client::connect(setup.addr()).await;
    let headers =
        "authorization: Bearer client-key\r\nx-api-key: client-key\r\ncookie: a=b\r\nx-mine: yes\r\n";
    client.post("/v1/chat/completions?x=1", headers, &body("m", false)).await;
    assert_eq!(client.answer().await.status(), 200);
    let head = engine.seen().remove(0).head;
    assert!(head.starts_with("post /v1/chat/completions?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer engine-key") && head.contains("x-mine: yes"), "{head}");
    assert!(
        !head.contains("client-key") && !head.contains("cookie") && !head.contains("x-tidegate"),
        "{head}"
    );
}

#[tokio::test]
async fn models_are_listed_and_a_target_that_went_is_not() {
    let setup = Setup::new();
    let get = async |path: &str| {
        let mut client = Client::connect(setup.addr()).await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: g\r\n\r\n")).await;
        client.answer().await
    };
    let list = get("/v1/models").await;
    assert!(list.body.contains("\"id\":\"m\"") && list.body.contains("\"id\":\"m-alias\""), "{}", list.body);
    assert_eq!(get("/v1/models/m-alias").await.status(), 200);
    assert_eq!(get("/v1/models/x").await.error_code(), "model_not_found");
    assert_eq!((get("/health").await.status(), get("/readyz").await.status()), (200, 200));
    assert!(get("/metrics").await.body.contains("tidegate_requests_waiting{target=\"m\",model=\"m\"} 0"));
    setup.gateway.set_targets(vec![]);
    assert_eq!(get("/v1/models").await.body, "{\"data\":[],\"object\":\"list\"}");
    // None of this is demand: nothing was woken.
    assert!(setup.told().is_empty(), "{:?}", setup.told());
}
