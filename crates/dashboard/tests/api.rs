//! What programs read: JSON, events, metrics.

mod support;

use std::sync::Arc;

use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use support::fleet::{CHAT, NOW_UNIX_S};
use support::{fleet, get, shown};
use tidegate_core::scale::Decision;
use tidegate_dashboard::Board;
use tidegate_dashboard::brief::Brief;
use tidegate_dashboard::history::Sample;
use tidegate_dashboard::model::{Fleet, TargetState, TargetView};
use tidegate_dashboard::why::Why;

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:.300}"))
}

#[tokio::test]
async fn the_fleet_reads_back_as_it_was_published() {
    let (_board, running) = shown().await;
    let seen: Fleet = read(get(running.addr, "/api/fleet", &[]).await.body());
    let states: Vec<TargetState> = seen.targets.iter().map(TargetView::state).collect();
    assert_eq!(states, [TargetState::Ready, TargetState::Zero, TargetState::Trouble]);
    assert_eq!(seen.gpus.len(), 8);
    assert!(seen.targets[0].decisions.len() <= tidegate_dashboard::board::CHANGES_SHOWN);
    running.stop().await;
}

#[tokio::test]
async fn one_target_comes_with_all_its_changes_and_its_history() {
    let (_board, running) = shown().await;
    let path = format!("/api/targets/{CHAT}");
    let target: TargetView = read(get(running.addr, &path, &[]).await.body());
    assert!(target.decisions.len() > tidegate_dashboard::board::CHANGES_SHOWN);
    assert!(target.decisions.is_sorted_by(|a, b| a.at_unix_s >= b.at_unix_s), "newest first");
    assert!(target.decisions.iter().all(|one| one.from != one.to && !one.steps.is_empty()));

    let history: Vec<Sample> =
        read(get(running.addr, &format!("{path}/history?span_s=60"), &[]).await.body());
    assert_eq!(history.len(), 61);
    let history: Vec<Sample> =
        read(get(running.addr, &format!("{path}/history?span_s=1200"), &[]).await.body());
    assert_eq!(history.len(), 121, "ten seconds a point beyond fifteen minutes");
    for bad in ["0", "-5", "NaN", "1e9", "inf", "soon"] {
        let answer = get(running.addr, &format!("{path}/history?span_s={bad}"), &[]).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(get(running.addr, "/api/targets/default/nobody", &[]).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get(running.addr, "/targets/default/nobody", &[]).await.status(), StatusCode::NOT_FOUND);
    running.stop().await;
}

#[tokio::test]
async fn why_tells_the_decision_what_limits_it_and_what_would_change_it() {
    let (_board, running) = shown().await;
    let path = format!("/api/why/{CHAT}");
    let why: Why = read(get(running.addr, &path, &[]).await.body());
    assert_eq!(why.target, CHAT);
    assert_eq!(why.decision.text, "s0-prometheus: 18 in all / 8 a replica");
    assert_eq!(why.levers[0], "more: s0-prometheus above 24 in all (now 18)");
    assert_eq!(why.replicas.map(|counts| counts.ready), Some(3));
    let changed = why.changed.expect("the change that brought the count");
    assert_eq!((changed.from, changed.to), (2, 3));

    // Six minutes ago another change was in force.
    let then: Why = read(get(running.addr, &format!("{path}?at={}", NOW_UNIX_S - 360.0), &[]).await.body());
    assert!(then.decision.at_unix_s <= NOW_UNIX_S - 360.0);
    assert_eq!(then.replicas, None, "how many were ready then is not remembered");

    for (path, status) in [
        (format!("{path}?at=12"), StatusCode::GONE),
        (format!("{path}?at=NaN"), StatusCode::BAD_REQUEST),
        ("/api/why/default/nobody".to_owned(), StatusCode::NOT_FOUND),
        ("/api/why/research/mixtral-8x22b".to_owned(), StatusCode::CONFLICT),
    ] {
        let answer = get(running.addr, &path, &[]).await;
        assert_eq!(answer.status(), status, "{path}");
        let error: Value = read(answer.body());
        assert!(error["error"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
    }
    running.stop().await;
}

#[tokio::test]
async fn prometheus_finds_the_conventional_names() {
    let (board, running) = shown().await;
    board.add_metrics(|out| out.push_str("# TYPE tidegate_gateway_up gauge\ntidegate_gateway_up 1\n"));
    let answer = get(running.addr, "/metrics", &[]).await;
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "tidegate_replicas{target=\"default/llama-3.1-8b\",state=\"ready\"} 3.0",
        "tidegate_replicas_wanted{target=\"research/mixtral-8x22b\"} 1.0",
        "tidegate_target_trouble{target=\"research/mixtral-8x22b\"} 1.0",
        "tidegate_gpus_free 5.0",
        "tidegate_cold_starts_total{target=\"default/llama-3.1-8b\"} 6.0",
        "tidegate_signal_found{target=\"default/llama-3.1-8b\",signal=\"s1-redis\"} 0.0",
        "tidegate_gateway_up 1",
    ] {
        assert!(answer.body().lines().any(|found| found == line), "{line} in\n{}", answer.body());
    }
    assert!(answer.body().ends_with("# EOF\n"));
    running.stop().await;
}

/// Reads an event stream until a piece of text is in it.
struct Stream {
    body: hyper::body::Incoming,
    text: String,
}

impl Stream {
    async fn open(addr: std::net::SocketAddr, query: &str) -> Stream {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
        let uri = format!("http://{addr}/events{query}").parse().expect("an address");
        let answer = client.get(uri).await.expect("the listener answers");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Stream { body: answer.into_body(), text: String::new() }
    }

    /// `false` when it ended before.
    async fn until(&mut self, wanted: &str) -> bool {
        while !self.text.contains(wanted) {
            let Some(Ok(frame)) = self.body.frame().await else { return false };
            let bytes = frame.into_data().unwrap_or_default();
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        true
    }
}

#[tokio::test]
async fn a_viewer_is_sent_only_what_changed_and_the_stream_ends_with_the_listener() {
    let (board, running) = shown().await;
    let mut stream = Stream::open(running.addr, "?page=fleet").await;
    assert!(stream.until("\"id\":\"recent\"").await);
    assert!(stream.text.contains("\"id\":\"devices\""));
    stream.text.clear();
    let mut quiet = (*tidegate_dashboard::Source::fleet(&*board)).clone();
    quiet.at_unix_s += 1.0;
    quiet.targets[2].waiting = 77;
    board.publish(quiet);
    assert!(stream.until("77").await);
    assert!(!stream.text.contains("\"id\":\"devices\""), "the ledger did not change");
    running.stop().await;
    assert!(!stream.until("never sent").await);
}

#[tokio::test]
async fn a_change_is_sent_at_once_and_programs_may_follow_the_fleet_as_json() {
    let (board, running) = shown().await;
    let mut stream = Stream::open(running.addr, "").await;
    assert!(stream.until("\n\n").await);
    let data = stream.text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let fleet: Fleet = read(data);
    assert_eq!(fleet.targets.len(), 3);
    stream.text.clear();
    let why = tidegate_dashboard::Source::why(&*board, CHAT, None).unwrap();
    let mut decision = fleet::decision(4, 3, 30);
    decision.replicas = 4;
    assert_eq!(why.decision.to, 3);
    board.decided(NOW_UNIX_S + 0.5, 3, &Arc::new(decision));
    assert!(stream.until("\"wanted\":4").await);
    running.stop().await;
}

#[tokio::test]
async fn a_target_that_left_the_manifests_is_forgotten_and_its_viewers_are_told() {
    let (board, running) = shown().await;
    let mut stream = Stream::open(running.addr, &format!("?page={CHAT}")).await;
    assert!(stream.until("event: sample").await);
    board.publish(Fleet { at_unix_s: NOW_UNIX_S + 1.0, ..Fleet::default() });
    assert!(stream.until("no longer in the manifests").await);
    assert_eq!(get(running.addr, &format!("/api/why/{CHAT}"), &[]).await.status(), StatusCode::NOT_FOUND);
    running.stop().await;
}

#[tokio::test]
async fn why_tells_of_a_target_that_no_page_has_room_for() {
    let (board, running) = shown().await;
    let seen: Fleet = read(get(running.addr, "/api/fleet", &[]).await.body());
    board.publish(Fleet { at_unix_s: NOW_UNIX_S + 1.0, hidden: 1, ..seen.clone() });
    let decision = Decision { target: "default/hidden".into(), ..fleet::decision(3, 1, 10) };
    board.decided(NOW_UNIX_S + 2.0, 1, &Arc::new(decision));
    let why: Why = read(get(running.addr, "/api/why/default/hidden", &[]).await.body());
    assert_eq!((why.target.as_str(), why.decision.to), ("default/hidden", 3));
    let page = get(running.addr, "/", &[]).await;
    assert!(page.body().contains("1 more have no card here"));

    // It got room, or is gone: what was remembered of it in the meantime goes.
    board.publish(Fleet { at_unix_s: NOW_UNIX_S + 3.0, ..seen });
    assert_eq!(get(running.addr, "/api/why/default/hidden", &[]).await.status(), StatusCode::NOT_FOUND);
    running.stop().await;
}

#[tokio::test]
async fn a_target_without_a_card_is_found_by_a_part_of_its_name_and_has_a_page_of_its_own() {
    let (board, running) = shown().await;
    let seen: Fleet = read(get(running.addr, "/api/fleet", &[]).await.body());
    let brief = |number| Brief {
        name: format!("team-a/<chat>-{number:04}").into(),
        wanted: number,
        trouble: (number == 77).then(|| "no such Deployment".to_owned()),
        ..Brief::default()
    };
    let rest = (0..9_500).map(brief).collect();
    board.publish(Fleet { at_unix_s: NOW_UNIX_S + 1.0, hidden: 9_500, rest, ..seen.clone() });
    let page = get(running.addr, "/", &[]).await;
    assert!(page.body().contains("9503 targets, 3 on this page"), "{}", page.body());
    assert!(page.body().contains("name=\"find\""));
    let found = get(running.addr, "/?find=CHAT%3E-0077", &[]).await;
    assert!(found.body().contains("1 of 9503 targets"), "{}", found.body());
    assert!(found.body().contains("&lt;chat&gt;-0077") && !found.body().contains("<chat>"), "escaped");
    let found = get(running.addr, "/?find=team-a", &[]).await;
    assert!(found.body().contains("9450 more: write more of the name"));
    assert_eq!(found.body().matches("<tr>").count(), 51, "a screen of them, and a head");
    let none = get(running.addr, "/?find=%22%3E%3Cscript%3E", &[]).await;
    assert!(none.body().contains("No target has this in its name") && !none.body().contains("\"><script"));

    let page = get(running.addr, "/targets/team-a/%3Cchat%3E-0077", &[]).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.body().contains("no such Deployment"));
    let target: TargetView = read(get(running.addr, "/api/targets/team-a/%3Cchat%3E-0077", &[]).await.body());
    assert_eq!(target.wanted, 77);
    let page = get(running.addr, "/targets/team-a/other", &[]).await;
    assert_eq!(page.status(), StatusCode::NOT_FOUND);

    board.publish(Fleet { at_unix_s: NOW_UNIX_S + 2.0, ..seen });
    let page = get(running.addr, "/", &[]).await;
    assert!(!page.body().contains("name=\"find\""), "all have a card: nothing to find");
    running.stop().await;
}

#[tokio::test]
async fn the_sixty_fifth_viewer_is_refused_and_the_others_go_on() {
    let board = Arc::new(Board::new());
    let running = support::on(board.clone(), "127.0.0.1:0", None).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(Stream::open(running.addr, "").await);
    }
    assert_eq!(get(running.addr, "/events", &[]).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    board.publish(Fleet { version: "still here".to_owned(), ..Fleet::default() });
    for stream in &mut streams {
        assert!(stream.until("still here").await);
    }
    running.stop().await;
}
