use std::time::Duration;

use crate::client::{Client, body, chat};
use crate::engine::{Engine, Mode, chunk};
use crate::setup::{Setup, limits};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn an_engine_that_never_answers_is_given_up_with_a_504() {
    let engine = Engine::open(Mode::Silent).await;
    let setup = Setup::with(|c| c.times.first_byte = Duration::from_millis(300), limits());
    setup.ready(&engine);
    for stream in [false, true] {
        let answer = chat(setup.addr(), stream).await;
        assert_eq!((answer.status(), answer.error_code().as_str()), (504, "replica_silent"));
    }
    setup.demand(|d| d.in_flight == 0).await;
}

#[tokio::test]
async fn an_engine_that_falls_silent_in_a_stream_is_given_up_with_an_event() {
    let engine = Engine::open(Mode::Stall).await;
    let setup = Setup::with(|c| c.times.chunk_idle = Duration::from_millis(300), limits());
    setup.ready(&engine);
    let answer = chat(setup.addr(), true).await;
    assert!(answer.whole && answer.body.starts_with(&chunk(0)), "{}", answer.body);
    assert!(answer.body.contains("replica_silent"), "{}", answer.body);
}

#[tokio::test]
async fn when_every_engine_fails_the_client_is_told_so() {
    for broken in [Mode::Garbage, Mode::Hangup, Mode::Status(503), Mode::HeaderFlood] {
        let (one, two) = (Engine::open(broken.clone()).await, Engine::open(broken.clone()).await);
        let setup = Setup::before(&[&one, &two]).await;
        let answer = chat(setup.addr(), false).await;
        assert_eq!((answer.status(), answer.error_code().as_str()), (503, "replicas_failed"), "{broken:?}");
        assert!(answer.head.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn a_large_answer_that_breaks_is_cut_because_nothing_else_would_tell() {
    for chunked in [false, true] {
        // More than a megabyte: what is shorter is read whole first, and asked for again elsewhere.
        let engine = Engine::open(Mode::HalfLarge { bytes: 4 << 20, chunked }).await;
        let setup = Setup::before(&[&engine]).await;
        let mut client = Client::connect(setup.addr()).await;
        client.chat(false).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.whole), (200, false), "chunked: {chunked}");
        assert!(answer.body.len() < 4 << 20);
        setup.demand(|d| d.in_flight == 0).await;
        assert_eq!(setup.view().requests[&502], 1);
    }
}

#[tokio::test]
async fn to_a_client_that_knows_only_the_end_of_its_connection_a_cut_answer_ends_in_a_reset() {
    let engine = Engine::open(Mode::HalfLarge { bytes: 4 << 20, chunked: true }).await;
    let setup = Setup::before(&[&engine]).await;
    let mut client = Client::connect(setup.addr()).await;
    let body = body("m", false);
    client
        .send(format!("POST /v1/chat/completions HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
        .await;
    let mut all = Vec::new();
    let error =
        client.stream.read_to_end(&mut all).await.expect_err("a plain end would look like a whole answer");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_engine_that_trickles_still_gets_its_stream_through() {
    let engine = Engine::start(Mode::Answer { chunks: 20 }).await;
    let setup = Setup::before(&[&engine]).await;
    let mut client = Client::connect(setup.addr()).await;
    client.chat(true).await;
    for i in 0..20 {
        engine.gate.add_permits(1);
        if i == 0 {
            client.head().await.unwrap();
        }
        assert!(client.chunk().await.unwrap().unwrap().starts_with(&chunk(i)));
    }
    assert!(client.answer_rest().await.ends_with("[DONE]\n\n"));
}
