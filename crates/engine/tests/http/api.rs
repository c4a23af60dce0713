//! The OpenAI API of the stand-in.

use crate::client::{chat, content, events, get, open, post, start, stream, streamed, text};
use http::Method;
use serde_json::{Value, json};
use tidegate_engine::{Dialect, Options};

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn a_stream_has_exactly_the_tokens_asked_for_and_ends_whole() {
    for dialect in [Dialect::Vllm, Dialect::Sglang, Dialect::Tgi, Dialect::LlamaCpp] {
        let engine = start(Options { dialect, ..Options::new("tiny") }).await;
        for (path, body) in [
            (CHAT, chat(37)),
            (
                "/v1/completions",
                json!({ "model": "tiny", "prompt": "Once", "max_tokens": 37, "ignore_eos": true }),
            ),
        ] {
            let text = stream(engine.addr(), path, &streamed(body)).await;
            assert!(text.ends_with("data: [DONE]\n\n"), "{dialect:?} {text}");
            let events = events(&text);
            assert_eq!(content(&events).split_whitespace().count(), 37, "{dialect:?} {path}");
            let usage = &events.last().unwrap()["usage"];
            assert_eq!(usage["completion_tokens"], 37);
            assert_eq!(
                usage["total_tokens"].as_u64(),
                usage["prompt_tokens"].as_u64().map(|prompt| prompt + 37)
            );
            let reasons: Vec<&str> =
                events.iter().filter_map(|event| event["choices"][0]["finish_reason"].as_str()).collect();
            assert_eq!(reasons, ["length"], "{dialect:?} {path}");
        }
        engine.stop().await.unwrap();
    }
}

/// The same keys with the same kinds of values, in the same places.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            // Times of llama.cpp's own.
            .filter(|(key, _)| *key != "timings")
            .map(|(key, value)| (key.clone(), shape(value)))
            .collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(text)
            if ["assistant", "length"].contains(&text.as_str()) || text.contains("completion") =>
        {
            json!(text.split('-').next())
        }
        Value::String(_) => json!("text"),
        Value::Number(_) => json!(0),
        other => other.clone(),
    }
}

#[tokio::test]
async fn streamed_chunks_look_as_those_of_the_real_engines() {
    for (dialect, real) in [
        (Dialect::Vllm, include_str!("../data/vllm-0.32-chat-stream.sse")),
        (Dialect::LlamaCpp, include_str!("../data/llama.cpp-11434-chat-stream.sse")),
    ] {
        let engine = start(Options { dialect, ..Options::new("tiny") }).await;
        let ours = events(&stream(engine.addr(), CHAT, &streamed(chat(20))).await);
        let real = events(real);
        let ends = |events: &[Value]| {
            let last = events.len() - 2;
            [&events[0], &events[1], &events[last], &events[last + 1]].map(shape)
        };
        assert_eq!(ends(&ours), ends(&real), "{dialect:?}");
    }
}

#[tokio::test]
async fn an_answer_in_one_piece_says_the_same_as_its_stream() {
    let engine = start(Options::new("tiny")).await;
    let (status, whole) = post(engine.addr(), CHAT, &chat(50)).await;
    assert_eq!(status, 200);
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 50);
    let streamed = events(&stream(engine.addr(), CHAT, &streamed(chat(50))).await);
    assert_eq!(whole["choices"][0]["message"]["content"], content(&streamed));
}

#[tokio::test]
async fn without_ignore_eos_the_model_stops_by_itself_at_a_length_of_its_own() {
    let engine = start(Options::new("tiny")).await;
    let mut body = chat(10_000);
    body["ignore_eos"] = json!(false);
    let (_, first) = post(engine.addr(), CHAT, &body).await;
    assert_eq!(first["choices"][0]["finish_reason"], "stop");
    let tokens = first["usage"]["completion_tokens"].as_u64().unwrap();
    assert!((16..=512).contains(&tokens), "{tokens}");
    body.as_object_mut().unwrap().remove("max_tokens");
    let (_, second) = post(engine.addr(), CHAT, &body).await;
    assert_eq!(second["usage"], first["usage"]);
    body["max_completion_tokens"] = json!(10);
    let (_, short) = post(engine.addr(), CHAT, &body).await;
    assert_eq!(
        (&short["choices"][0]["finish_reason"], &short["usage"]["completion_tokens"]),
        (&json!("length"), &json!(10))
    );
}

#[tokio::test]
async fn a_stop_string_ends_the_text_before_it_streamed_or_not() {
    let engine = start(Options::new("tiny")).await;
    let (_, all) = post(engine.addr(), CHAT, &chat(60)).await;
    let all = all["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let stop: String = all.chars().skip(all.len() / 2).take(5).collect();
    let expected = &all[..all.find(&stop).unwrap()];
    let mut body = chat(60);
    body["stop"] = json!(["nowhere to be found", stop]);
    let (_, whole) = post(engine.addr(), CHAT, &body).await;
    let choice = &whole["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(expected), &json!("stop")));
    assert_eq!(choice["stop_reason"], json!(stop));
    let events = events(&stream(engine.addr(), CHAT, &streamed(body)).await);
    assert_eq!(content(&events), expected);
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[events.len() - 1]["usage"], whole["usage"]);
}

#[tokio::test]
async fn an_unknown_model_is_404_in_the_shape_of_the_api() {
    let engine = start(Options::new("tiny")).await;
    let mut body = chat(1);
    body["model"] = json!("huge");
    let (status, error) = post(engine.addr(), CHAT, &body).await;
    assert_eq!(status, 404);
    let expected = json!({
        "message": "The model `huge` does not exist.", "type": "NotFoundError", "param": "model", "code": 404,
    });
    assert_eq!(error, json!({ "error": expected }));
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_field_at_fault() {
    let engine = start(Options::new("tiny")).await;
    let response = open(engine.addr(), Method::POST, CHAT, "{\"model").await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(text(response).await.unwrap().contains("\"type\":\"Bad Request\""));
    let with = |field: &str, value: Value| {
        let mut body = chat(5);
        body[field] = value;
        body
    };
    for (body, field) in [
        (with("messages", json!([])), "messages"),
        (with("max_tokens", json!(0)), "max_tokens"),
        (with("max_tokens", json!(-3)), "max_tokens"),
        (with("n", json!(2)), "n"),
    ] {
        let (status, error) = post(engine.addr(), CHAT, &body).await;
        assert_eq!((status, &error["error"]["param"]), (400, &json!(field)), "{error}");
    }
    let (status, error) = post(engine.addr(), CHAT, &with("max_tokens", json!(200_000))).await;
    assert_eq!(status, 400);
    assert!(error["error"]["message"].as_str().unwrap().contains("maximum context length is 131072 tokens"));
}

#[tokio::test]
async fn paths_and_methods_nobody_serves_are_refused() {
    let engine = start(Options::new("tiny")).await;
    assert_eq!(get(engine.addr(), "/sleep").await.0, 404);
    assert_eq!(get(engine.addr(), CHAT).await.0, 405);
    assert_eq!(post(engine.addr(), "/v1/models", &json!({})).await.0, 405);
}

#[tokio::test]
async fn a_body_longer_than_any_prompt_is_refused() {
    let engine = start(Options::new("tiny")).await;
    let body = json!({ "model": "tiny", "prompt": "x".repeat(33 * 1024 * 1024) }).to_string();
    match open(engine.addr(), Method::POST, "/v1/completions", body).await {
        Ok(response) => assert_eq!(response.status(), 413),
        // The engine need not read to the end what it refused; then the connection breaks while we write.
        Err(error) => assert!(error.contains("connection") || error.contains("closed"), "{error}"),
    }
    assert_eq!(get(engine.addr(), "/health").await.0, 200);
}

#[tokio::test]
async fn embeddings_are_vectors_of_length_one_in_either_encoding() {
    use base64::Engine as _;
    let engine = start(Options::new("tiny")).await;
    let mut body = json!({ "model": "tiny", "input": ["tide", "gate", "tide"], "dimensions": 8 });
    let (status, numbers) = post(engine.addr(), "/v1/embeddings", &body).await;
    assert_eq!(status, 200);
    let vectors: Vec<Vec<f64>> = (0..3)
        .map(|index| serde_json::from_value(numbers["data"][index]["embedding"].clone()).unwrap())
        .collect();
    assert_eq!(vectors[0], vectors[2]);
    assert_ne!(vectors[0], vectors[1]);
    let length: f64 = vectors[0].iter().map(|number| number * number).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    assert_eq!(numbers["usage"], json!({ "prompt_tokens": 3, "total_tokens": 3 }));
    body["encoding_format"] = json!("base64");
    let (_, encoded) = post(engine.addr(), "/v1/embeddings", &body).await;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded["data"][1]["embedding"].as_str().unwrap())
        .unwrap();
    let decoded: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let expected: Vec<f32> = vectors[1].iter().map(|number| *number as f32).collect();
    assert_eq!(decoded, expected);
}

#[tokio::test]
async fn all_names_of_the_model_are_listed_and_answered() {
    let options = Options { models: vec!["tiny".to_owned(), "small".to_owned()], ..Options::new("") };
    let engine = start(options).await;
    let (_, models) = get(engine.addr(), "/v1/models").await;
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!(models["data"][1]["id"], "small");
    let mut body = chat(2);
    body["model"] = json!("small");
    assert_eq!(post(engine.addr(), CHAT, &body).await.1["model"], "small");
}

#[tokio::test]
async fn a_key_is_asked_for_where_one_is_set_but_not_by_probes() {
    let right = start(Options { api_key: Some("secret".to_owned()), ..Options::new("tiny") }).await;
    assert_eq!(post(right.addr(), CHAT, &chat(2)).await.0, 200);
    let wrong = start(Options { api_key: Some("other".to_owned()), ..Options::new("tiny") }).await;
    assert_eq!(post(wrong.addr(), CHAT, &chat(2)).await.0, 401);
    assert_eq!(get(wrong.addr(), "/health").await.0, 200);
    assert_eq!(get(wrong.addr(), "/metrics").await.0, 200);
}
