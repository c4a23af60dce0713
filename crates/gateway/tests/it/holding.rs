use std::time::Duration;

use crate::client::{Client, body, chat};
use crate::engine::{Engine, JSON, Mode, chunk, ending};
use crate::setup::{PATIENCE, Setup, limits};
use tidegate_core::route::{Limits, Outlook};
use tidegate_core::time::Span;
use tidegate_gateway::KeepAlive;

#[tokio::test]
async fn a_request_at_zero_waits_and_is_answered() {
    let engine = Engine::open(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::new();
    let mut client = Client::connect(setup.addr()).await;
    client.chat(false).await;
    setup.demand(|d| d.waiting == 1).await;
    let view = setup.view();
    assert_eq!((view.held.len(), view.held[0].cold), (1, true));
    // A quarter of the body's bytes, before an engine has counted any.
    assert_eq!(view.held[0].prompt_tokens as usize, body("m", false).len() / 4);
    setup.ready(&engine);
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.body.as_str()), (200, JSON));
    assert_eq!(answer.head.header("x-tidegate-cold-start"), Some("true"));
    assert_eq!(answer.head.header("x-tidegate-expected-wait-s"), Some("unknown"));
    assert_eq!((setup.view().cold_starts, setup.view().hold.all.count), (1, 1));
}

#[tokio::test]
async fn five_hundred_at_zero_are_all_answered_once_and_in_order() {
    let engine = Engine::open(Mode::Answer { chunks: 3 }).await;
    let setup = Setup::with(|_| {}, Limits { slots: 1, ..limits() });
    let mut clients = Vec::new();
    for i in 0..500 {
        let mut client = Client::connect(setup.addr()).await;
        let stream = i % 2 == 0;
        let marked = body("m", stream).replace("hi", &format!("number {i}."));
        client.post("/v1/chat/completions", "", &marked).await;
        // One after the other, so that there is an order of arrival to keep.
        setup.gateway_waits_for(i + 1).await;
        clients.push((client, stream));
    }
    setup.ready(&engine);
    for (client, stream) in &mut clients {
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.whole), (200, true));
        assert!(if *stream { answer.body.ends_with(&ending()) } else { answer.body == JSON });
    }
    let seen = engine.seen();
    assert_eq!(seen.len(), 500);
    for (i, request) in seen.iter().enumerate() {
        assert!(String::from_utf8_lossy(&request.body).contains(&format!("number {i}.")), "{i}");
    }
}

#[tokio::test]
async fn a_stream_at_zero_gets_headers_and_signs_of_life_and_then_its_words() {
    let engine = Engine::open(Mode::Answer { chunks: 2 }).await;
    let fast = |c: &mut tidegate_gateway::Config| {
        c.times.grace = Duration::ZERO;
        c.times.keep_alive = Duration::from_millis(1);
    };
    let setup = Setup::with(fast, limits());
    let outlook = Outlook { starting: 1, start: Some(Span::from_secs(12)), ready_at: None };
    setup.gateway.outlook("m", outlook).unwrap();
    let mut client = Client::connect(setup.addr()).await;
    client.chat(true).await;
    let head = client.head().await.unwrap();
    assert_eq!((head.status, head.header("x-tidegate-cold-start")), (200, Some("true")));
    assert!(head.header("content-type").unwrap().starts_with("text/event-stream"));
    for _ in 0..3 {
        let sign = client.chunk().await.unwrap().unwrap();
        assert!(sign.starts_with(": waiting for a replica"), "{sign}");
    }
    setup.ready(&engine);
    let text = client.answer_rest().await;
    assert!(text.ends_with(&(chunk(0) + &chunk(1) + &ending())), "{text}");
}

#[tokio::test]
async fn by_setting_the_signs_of_life_are_chunks_without_content() {
    let setup = Setup::with(
        |c| {
            c.times.grace = Duration::ZERO;
            c.keep_alive = KeepAlive::Chunks;
        },
        limits(),
    );
    let mut client = Client::connect(setup.addr()).await;
    client.chat(true).await;
    client.head().await.unwrap();
    let sign = client.chunk().await.unwrap().unwrap();
    let json: serde_json::Value = serde_json::from_str(sign.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(
        (json["model"].as_str(), json["choices"][0]["delta"].to_string()),
        (Some("m"), "{}".to_owned())
    );
}

#[tokio::test]
async fn a_stream_refused_after_its_headers_is_told_by_an_event() {
    let setup = Setup::with(
        |c| c.times.grace = Duration::ZERO,
        Limits { wait_no_replica: Span::from_micros(700_000), ..limits() },
    );
    let mut client = Client::connect(setup.addr()).await;
    client.chat(true).await;
    assert_eq!(client.head().await.unwrap().status, 200);
    let text = client.answer_rest().await;
    let last = text.split("data: ").nth(1).unwrap();
    let json: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(json["error"]["code"], "no_replica");
}

#[tokio::test]
async fn when_no_replica_comes_in_time_the_refusal_says_when_to_come_again() {
    let setup = Setup::with(|_| {}, Limits { wait_no_replica: Span::from_micros(50_000), ..limits() });
    let answer = chat(setup.addr(), false).await;
    assert_eq!((answer.status(), answer.error_code().as_str()), (503, "no_replica"));
    assert!(answer.head.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    setup.demand(|d| d.waiting == 0).await;
}

#[tokio::test]
async fn a_deadline_shorter_than_the_expected_wait_is_refused_at_once() {
    let setup = Setup::new();
    let outlook = Outlook { starting: 0, start: Some(Span::from_secs(40)), ready_at: None };
    setup.gateway.outlook("m", outlook).unwrap();
    let mut client = Client::connect(setup.addr()).await;
    client.post("/v1/chat/completions", "x-tidegate-deadline-s: 5\r\n", &body("m", true)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.error_code().as_str()), (503, "deadline"));
    let again: u64 = answer.head.header("retry-after").unwrap().parse().unwrap();
    assert!((30..=60).contains(&again), "{again}");
}

#[tokio::test]
async fn more_than_may_wait_are_refused_and_a_tenants_own_limit_is_a_429() {
    let setup = Setup::with(|_| {}, Limits { hold_count_max: 2, tenant_count_max: 1, ..limits() });
    let mut waiting = Vec::new();
    for tenant in ["a", "b"] {
        let mut client = Client::connect(setup.addr()).await;
        let header = format!("x-tidegate-tenant: {tenant}\r\n");
        client.post("/v1/chat/completions", &header, &body("m", false)).await;
        waiting.push(client);
        setup.gateway_waits_for(waiting.len()).await;
    }
    let mut client = Client::connect(setup.addr()).await;
    client.post("/v1/chat/completions", "x-tidegate-tenant: c\r\n", &body("m", false)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.error_code().as_str()), (503, "hold_full"));
    client.post("/v1/chat/completions", "x-tidegate-tenant: a\r\n", &body("m", false)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.error_code().as_str()), (429, "tenant_full"));
}

#[tokio::test]
async fn a_client_that_leaves_is_forgotten_and_the_wake_taken_back() {
    let setup = Setup::new();
    let mut clients = Vec::new();
    for stream in [false, true] {
        let mut client = Client::connect(setup.addr()).await;
        client.chat(stream).await;
        clients.push(client);
    }
    // A body that is still coming is no hindrance.
    let mut long = Client::connect(setup.addr()).await;
    let head = "POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 300000\r\n\r\n{\"model\":\"m\",\"prompt\":\"";
    long.send(head).await;
    long.send("x".repeat(100_000)).await;
    clients.push(long);
    setup.demand(|d| d.waiting == 3).await;
    drop(clients);
    setup.demand(|d| d.waiting == 0).await;
    assert_eq!(setup.view().requests[&499], 3);
    assert!(setup.view().held.is_empty());
}

#[tokio::test]
async fn a_higher_priority_goes_first() {
    let engine = Engine::open(Mode::Answer { chunks: 1 }).await;
    let setup = Setup::with(|_| {}, Limits { slots: 1, ..limits() });
    let mut clients = Vec::new();
    for priority in ["low", "normal", "high"] {
        let mut client = Client::connect(setup.addr()).await;
        let header = format!("x-tidegate-priority: {priority}\r\n");
        client.post("/v1/chat/completions", &header, &body("m", false).replace("hi", priority)).await;
        clients.push(client);
        setup.gateway_waits_for(clients.len()).await;
    }
    setup.ready(&engine);
    for client in &mut clients {
        assert_eq!(client.answer().await.status(), 200);
    }
    let order: Vec<String> =
        engine.seen().iter().map(|s| String::from_utf8_lossy(&s.body).into_owned()).collect();
    let at = |word: &str| order.iter().position(|b| b.contains(word)).unwrap();
    assert!(at("\"high\"") < at("\"normal\"") && at("\"normal\"") < at("\"low\""), "{order:?}");
}

#[tokio::test]
async fn when_the_target_goes_who_waits_is_told() {
    let setup = Setup::new();
    let mut client = Client::connect(setup.addr()).await;
    client.chat(false).await;
    setup.demand(|d| d.waiting == 1).await;
    setup.gateway.set_targets(vec![]);
    assert_eq!(client.answer().await.error_code(), "target_gone");
    client.chat(false).await;
    assert_eq!(client.answer().await.error_code(), "model_not_found");
}

impl Setup {
    /// Demand is told at most ten times a second between its edges, so counts are looked up.
    async fn gateway_waits_for(&self, count: usize) {
        let reached = async {
            while self.gateway.demand("m").unwrap().waiting as usize != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("never that many");
    }
}
