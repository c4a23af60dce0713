use std::sync::Arc;

use crate::client::{Client, body};
use crate::engine::{Engine, JSON, Mode};
use crate::setup::{Setup, limits};
use tidegate_gateway::keys::Keys;

#[tokio::test]
async fn with_keys_set_only_who_shows_one_comes_in() {
    let engine = Engine::open(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::with(|c| c.api_keys = Some(Arc::new(Keys::parse("sk-good alice\n"))), limits());
    setup.ready(&engine);
    let mut client = Client::connect(setup.addr()).await;
    for (headers, status) in [
        ("", 401),
        ("authorization: Bearer sk-bad\r\n", 401),
        ("authorization: Bearer sk-good\r\n", 200),
        ("authorization: bearer   sk-good\r\n", 200),
        ("x-api-key: sk-good\r\n", 200),
    ] {
        client.post("/v1/chat/completions", headers, &body("m", false)).await;
        let answer = client.answer().await;
        assert_eq!(answer.status(), status, "{headers}");
        if status == 401 {
            assert_eq!(answer.error_code(), "invalid_api_key");
            if answer.head.header("connection") == Some("close") {
                client = Client::connect(setup.addr()).await;
            }
        }
    }
    for (path, status) in [("/v1/models", 401), ("/metrics", 401), ("/health", 200), ("/readyz", 200)] {
        let mut client = Client::connect(setup.addr()).await;
        client.send(format!("GET {path} HTTP/1.1\r\nhost: g\r\n\r\n")).await;
        assert_eq!(client.answer().await.status(), status, "{path}");
    }
}

#[tokio::test]
async fn what_steers_an_engine_is_forbidden_and_what_nobody_knows_is_not_found() {
    let engine = Engine::open(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::before(&[&engine]).await;
    for (request, status, code) in [
        ("POST /sleep", 403, "engine_admin"),
        ("POST /v1/load_lora_adapter", 403, "engine_admin"),
        ("GET /slots", 403, "engine_admin"),
        ("POST /v1/audio/../../sleep", 404, "unknown_path"),
        ("GET /v1/chat/completions", 405, "method_not_allowed"),
        ("POST /nothing", 404, "unknown_path"),
    ] {
        let mut client = Client::connect(setup.addr()).await;
        client.send(format!("{request} HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.error_code().as_str()), (status, code), "{request}");
    }
    assert!(engine.seen().is_empty());
}

#[tokio::test]
async fn a_form_names_its_model_too() {
    let engine = Engine::open(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::before(&[&engine]).await;
    let form = format!(
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n{}\r\n--x\r\n\
         Content-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x--\r\n",
        "a".repeat(200_000)
    );
    let mut client = Client::connect(setup.addr()).await;
    client.post("/v1/audio/transcriptions", "", &form).await;
    assert_eq!(client.answer().await.body, JSON);
    assert!(engine.seen().remove(0).body == form.as_bytes());
}
