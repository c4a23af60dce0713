use crate::client::{Client, chat};
use crate::engine::{Engine, Mode, chunk, ending};
use crate::setup::Setup;

#[tokio::test]
async fn a_stream_passes_chunk_by_chunk_as_the_engine_writes_it() {
    let engine = Engine::start(Mode::Answer { chunks: 5 }).await;
    let setup = Setup::before(&[&engine]).await;
    let mut client = Client::connect(setup.addr()).await;
    client.chat(true).await;
    let mut text = String::new();
    for i in 0..5 {
        engine.gate.add_permits(1);
        if i == 0 {
            let head = client.head().await.unwrap();
            assert_eq!(head.header("content-type"), Some("text/event-stream"));
            assert_eq!(head.header("x-tidegate-cold-start"), Some("false"));
        }
        let got = client.chunk().await.unwrap().unwrap();
        assert!(got.starts_with(&chunk(i)), "{got}");
        text.push_str(&got);
    }
    while let Some(rest) = client.chunk().await.unwrap() {
        text.push_str(&rest);
    }
    assert_eq!(text, (0..5).map(chunk).collect::<String>() + &ending());
    let view = setup.view();
    assert_eq!((view.tokens_in, view.tokens_out), (7, 5));
    assert_eq!((view.ttft.all.count, view.e2e.all.count), (1, 1));
    assert!(view.itl.all.count >= 4, "{:?}", view.itl);
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_event_and_not_with_a_cut() {
    for broken in [Mode::Abort { after: 2 }, Mode::Cut { after: 2 }, Mode::EndEarly { after: 2 }] {
        let engine = Engine::start(broken.clone()).await;
        let setup = Setup::before(&[&engine]).await;
        let mut client = Client::connect(setup.addr()).await;
        client.chat(true).await;
        engine.gate.add_permits(1);
        client.head().await.unwrap();
        let mut text = client.chunk().await.unwrap().unwrap();
        engine.gate.add_permits(1);
        while let Some(more) = client.chunk().await.expect("a proper end") {
            text.push_str(&more);
        }
        let (words, error) = text.split_at(chunk(0).len() + chunk(1).len());
        assert_eq!(words, chunk(0) + &chunk(1), "{broken:?}");
        let error = error.strip_prefix("data: ").and_then(|e| e.strip_suffix("\n\n")).expect(&text);
        let json: serde_json::Value = serde_json::from_str(error).unwrap();
        assert_eq!(json["error"]["code"], "replica_lost", "{broken:?}");
        assert_eq!(json["error"]["type"], "upstream_error");
        assert!(!text.contains("abort\"") && !text.contains("[DONE]"), "{text}");
        assert_eq!(setup.view().broken_streams, 1);
        // The connection to the client is as good as before.
        engine.set(Mode::Answer { chunks: 1 });
        engine.gate.add_permits(10);
        client.chat(true).await;
        assert!(client.answer().await.whole);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_before_its_first_event_is_begun_again_elsewhere() {
    for broken in [Mode::Abort { after: 0 }, Mode::Cut { after: 0 }, Mode::EndEarly { after: 0 }] {
        let (bad, good) =
            (Engine::open(broken.clone()).await, Engine::open(Mode::Answer { chunks: 2 }).await);
        let setup = Setup::before(&[&bad, &good]).await;
        for _ in 0..6 {
            let answer = chat(setup.addr(), true).await;
            assert_eq!(answer.body, chunk(0) + &chunk(1) + &ending(), "{broken:?}");
        }
        assert!(!bad.seen().is_empty(), "{broken:?}");
        assert_eq!(setup.view().broken_streams, 0);
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_frees_its_place_and_the_engine() {
    let engine = Engine::start(Mode::Answer { chunks: 100 }).await;
    let setup = Setup::before(&[&engine]).await;
    let mut client = Client::connect(setup.addr()).await;
    client.chat(true).await;
    engine.gate.add_permits(2);
    client.head().await.unwrap();
    client.chunk().await.unwrap();
    setup.demand(|d| d.in_flight == 1).await;
    drop(client);
    setup.demand(|d| d.in_flight == 0).await;
    assert_eq!(setup.view().requests[&499], 1);
}

#[tokio::test]
async fn a_drain_ends_when_the_last_stream_does_and_new_requests_go_elsewhere() {
    let (old, new) =
        (Engine::start(Mode::Answer { chunks: 3 }).await, Engine::open(Mode::Answer { chunks: 1 }).await);
    let setup = Setup::new();
    let endpoint = setup.ready(&old);
    let mut client = Client::connect(setup.addr()).await;
    client.chat(true).await;
    old.gate.add_permits(1);
    client.head().await.unwrap();
    client.chunk().await.unwrap();
    let drained = tokio::spawn(setup.gateway.endpoint_drain(endpoint));
    let second = setup.ready(&new);
    assert_eq!(setup.gateway.least_busy("m"), [second]);
    for _ in 0..4 {
        assert_eq!(chat(setup.addr(), false).await.status(), 200);
    }
    assert_eq!((old.seen().len(), new.seen().len(), drained.is_finished()), (1, 4, false));
    old.gate.add_permits(10);
    assert!(client.answer_rest().await.ends_with("[DONE]\n\n"));
    drained.await.unwrap();
    setup.gateway.endpoint_gone(endpoint);
    assert_eq!(setup.view().endpoints.len(), 1);
}

#[tokio::test]
async fn a_stop_lets_streams_end_and_takes_no_new_connection() {
    let engine = Engine::start(Mode::Answer { chunks: 2 }).await;
    let setup = Setup::before(&[&engine]).await;
    let addr = setup.addr();
    let mut client = Client::connect(addr).await;
    client.chat(true).await;
    engine.gate.add_permits(1);
    client.head().await.unwrap();
    client.chunk().await.unwrap();
    let stopped = tokio::spawn(async move { setup.gateway.stop(std::time::Duration::from_secs(30)).await });
    while tokio::net::TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    engine.gate.add_permits(10);
    assert!(client.answer_rest().await.ends_with("[DONE]\n\n"));
    stopped.await.unwrap();
}

#[tokio::test]
async fn while_it_winds_down_it_is_not_ready_and_answers_each_connection_once_more() {
    let engine = Engine::start(Mode::Answer { chunks: 1 }).await;
    engine.gate.add_permits(100);
    let setup = Setup::before(&[&engine]).await;
    let mut known = Client::connect(setup.addr()).await;
    known.chat(false).await;
    assert_ne!(known.answer().await.head.header("connection"), Some("close"));
    setup.gateway.wind_down();
    let mut fresh = Client::connect(setup.addr()).await;
    fresh.send("GET /readyz HTTP/1.1\r\nhost: g\r\n\r\n").await;
    assert_eq!(fresh.answer().await.status(), 503);
    // A new connection and one that was there: both are answered, and told to connect anew.
    let mut fresh = Client::connect(setup.addr()).await;
    for client in [&mut known, &mut fresh] {
        client.chat(false).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.head.header("connection")), (200, Some("close")));
        assert!(client.closed().await);
    }
}
