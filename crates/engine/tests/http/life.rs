//! Starting, stopping, clients that leave, and faults.

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{chat, content, events, get, open, post, slow, start, stream, streamed, text, until};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use tidegate_engine::{Dialect, Engine, Error, Fault, Options, run};
use tidegate_sim::Profile;
use tokio::net::TcpStream;

const CHAT: &str = "/v1/chat/completions";
const RUNNING: &str = r#"vllm:num_requests_running{engine="0",model_name="tiny"}"#;
const ABORTED: &str = r#"vllm:request_success_total{engine="0",finished_reason="abort",model_name="tiny"}"#;

/// An address that was free a moment ago.
async fn free_addr() -> SocketAddr {
    let engine = start(Options::new("tiny")).await;
    let addr = engine.addr();
    engine.stop().await.expect("a clean stop");
    addr
}

#[tokio::test]
async fn connections_are_refused_until_the_cold_start_is_over() {
    let mut engine = start(Options { start_s: Some(0.2), ..Options::new("tiny") }).await;
    let refused = TcpStream::connect(engine.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    engine.ready().await.unwrap();
    assert_eq!(get(engine.addr(), "/health").await.0, 200);
}

#[tokio::test]
async fn llamacpp_listens_at_once_and_says_that_it_loads() {
    let options = Options { dialect: Dialect::LlamaCpp, start_s: Some(600.0), ..Options::new("tiny") };
    let engine = start(options).await;
    // The listener is opened by the engine's task, right after its start.
    let mut answer = open(engine.addr(), Method::GET, "/health", Bytes::new()).await;
    while answer.is_err() {
        tokio::task::yield_now().await;
        answer = open(engine.addr(), Method::GET, "/health", Bytes::new()).await;
    }
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 503);
    let expected = serde_json::json!({
        "error": { "message": "Loading model", "type": "unavailable_error", "code": 503 },
    });
    let body: serde_json::Value = serde_json::from_str(&text(answer).await.unwrap()).unwrap();
    assert_eq!(body, expected);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_said_so() {
    let first = start(Options::new("tiny")).await;
    let options = Options { port: first.addr().port(), ..Options::new("tiny") };
    assert!(matches!(Engine::start(options).await, Err(Error::Listen { .. })));
}

#[tokio::test]
async fn options_that_cannot_be_used_are_refused() {
    for (options, name) in [
        (Options { speed: 0.0, ..Options::new("tiny") }, "--speed"),
        (Options { speed: f64::NAN, ..Options::new("tiny") }, "--speed"),
        (Options { start_s: Some(-1.0), ..Options::new("tiny") }, "--start-s"),
        (Options::new(""), "--model"),
        (Options { kv_tokens: Some(1), ..Options::new("tiny") }, "kv_tokens"),
    ] {
        let error = Engine::start(options).await.unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[tokio::test]
async fn told_to_stop_it_lets_streams_end_and_takes_no_new_ones() {
    let engine = start(Options { profile: slow(), ..Options::new("tiny") }).await;
    let addr = engine.addr();
    let mut body = open(addr, Method::POST, CHAT, streamed(chat(20)).to_string()).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let stopping = tokio::spawn(engine.stop());
    let mut all = first.to_vec();
    while let Some(frame) = body.frame().await {
        all.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    let all = String::from_utf8(all).unwrap();
    assert!(all.ends_with("data: [DONE]\n\n"));
    assert_eq!(content(&events(&all)).split_whitespace().count(), 20);
    stopping.await.unwrap().unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn as_vllm_does_by_default_it_can_abort_streams_that_then_look_whole() {
    let options = Options { profile: slow(), abort_on_sigterm: true, ..Options::new("tiny") };
    let engine = start(options).await;
    let response = open(engine.addr(), Method::POST, CHAT, streamed(chat(5_000)).to_string()).await.unwrap();
    until(engine.addr(), RUNNING, 1.0).await;
    engine.stop().await.unwrap();
    let all = text(response).await.unwrap();
    assert!(all.ends_with("data: [DONE]\n\n"));
    let events = events(&all);
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "abort");
    let told = events[events.len() - 1]["usage"]["completion_tokens"].as_u64().unwrap() as usize;
    assert_eq!(content(&events).split_whitespace().count(), told);
}

#[tokio::test]
async fn as_llamacpp_does_it_can_end_streams_without_reason_and_mark() {
    let options = Options {
        dialect: Dialect::LlamaCpp,
        profile: slow(),
        abort_on_sigterm: true,
        ..Options::new("tiny")
    };
    let engine = start(options).await;
    let response = open(engine.addr(), Method::POST, CHAT, streamed(chat(5_000)).to_string()).await.unwrap();
    until(engine.addr(), "llamacpp:requests_processing", 1.0).await;
    engine.stop().await.unwrap();
    let all = text(response).await.unwrap();
    assert!(!all.contains("[DONE]"));
    assert!(events(&all).iter().all(|event| event["choices"][0]["finish_reason"].is_null()));
}

#[tokio::test]
async fn a_client_that_leaves_is_forgotten() {
    let engine = start(Options { profile: slow(), ..Options::new("tiny") }).await;
    for stream in [true, false] {
        let mut body = chat(30_000);
        body["stream"] = serde_json::json!(stream);
        let addr = engine.addr();
        let client =
            tokio::spawn(async move { text(open(addr, Method::POST, CHAT, body.to_string()).await?).await });
        until(addr, RUNNING, 1.0).await;
        client.abort();
        until(addr, RUNNING, 0.0).await;
    }
    until(engine.addr(), ABORTED, 2.0).await;
}

#[tokio::test]
async fn more_clients_than_seats_wait_and_are_all_answered() {
    let profile = Profile { decode_base_ms: 1.0, prefill_base_ms: 1.0, ..slow() };
    let engine = start(Options { profile, max_num_seqs: Some(2), ..Options::new("tiny") }).await;
    let addr = engine.addr();
    let clients: Vec<_> =
        (0..10).map(|_| tokio::spawn(async move { stream(addr, CHAT, &streamed(chat(10))).await })).collect();
    until(addr, RUNNING, 2.0).await;
    for client in clients {
        assert_eq!(content(&events(&client.await.unwrap())).split_whitespace().count(), 10);
    }
}

#[tokio::test]
async fn killed_it_cuts_its_connections() {
    let engine = start(Options { profile: slow(), ..Options::new("tiny") }).await;
    let response = open(engine.addr(), Method::POST, CHAT, streamed(chat(5_000)).to_string()).await.unwrap();
    engine.kill().await;
    assert!(text(response).await.is_err(), "a chunked body without its end");
}

#[tokio::test]
async fn run_serves_until_its_shutdown_completes() {
    let addr = free_addr().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let options = Options { port: addr.port(), ..Options::new("tiny") };
    let running = tokio::spawn(run(options, async move {
        // A dropped sender stops it as well.
        let _ = stopped.await;
    }));
    let mut answer = open(addr, Method::GET, "/health", Bytes::new()).await;
    while answer.is_err() {
        tokio::task::yield_now().await;
        answer = open(addr, Method::GET, "/health", Bytes::new()).await;
    }
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn garbage_is_no_http_but_probes_stay_well() {
    let engine = start(Options { fault: Some(Fault::Garbage), ..Options::new("tiny") }).await;
    assert_eq!(get(engine.addr(), "/health").await.0, 200);
    assert!(open(engine.addr(), Method::POST, CHAT, chat(3).to_string()).await.is_err());
    assert_eq!(get(engine.addr(), "/v1/models").await.0, 200);
}

#[tokio::test]
async fn a_hanging_engine_gives_no_answer_and_can_still_be_stopped() {
    let engine = start(Options { fault: Some(Fault::Hang), ..Options::new("tiny") }).await;
    let addr = engine.addr();
    let client =
        tokio::spawn(async move { open(addr, Method::POST, CHAT, chat(3).to_string()).await.map(drop) });
    assert_eq!(get(addr, "/health").await.0, 200);
    assert!(!client.is_finished());
    engine.stop().await.unwrap();
    assert!(client.await.unwrap().is_err());
}

#[tokio::test]
async fn a_trickling_engine_gives_one_byte_at_a_time() {
    let options = Options { fault: Some(Fault::Trickle), speed: 1_000.0, ..Options::new("tiny") };
    let engine = start(options).await;
    let mut body =
        open(engine.addr(), Method::POST, CHAT, streamed(chat(3)).to_string()).await.unwrap().into_body();
    for expected in b"data: " {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame.as_ref(), [*expected]);
    }
}

#[tokio::test]
async fn it_can_crash_after_so_many_requests() {
    let options = Options { fault: Some(Fault::CrashAfter(2)), ..Options::new("tiny") };
    let addr = free_addr().await;
    let crashing = tokio::spawn(run(Options { port: addr.port(), ..options }, std::future::pending()));
    while TcpStream::connect(addr).await.is_err() {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        assert_eq!(post(addr, CHAT, &chat(3)).await.0, 200);
    }
    assert!(open(addr, Method::POST, CHAT, chat(3).to_string()).await.is_err());
    assert!(matches!(crashing.await.unwrap(), Err(Error::Crashed(2))));
}

#[tokio::test]
async fn a_dropped_engine_is_gone() {
    let engine = start(Options { profile: slow(), ..Options::new("tiny") }).await;
    let response = open(engine.addr(), Method::POST, CHAT, streamed(chat(5_000)).to_string()).await.unwrap();
    drop(engine);
    let cut = tokio::time::timeout(Duration::from_secs(60), text(response)).await;
    assert!(cut.expect("the connection ends").is_err());
}
