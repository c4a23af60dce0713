//! Requests at zero: held, in order, answered once.

use std::collections::BTreeSet;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::Value;

use crate::fleet::{Model, manifests};
use crate::rig::{Rig, chat, of};

#[tokio::test]
async fn a_request_at_zero_is_held_wakes_a_replica_and_is_answered_and_then_it_goes_back_to_zero() {
    let model = Model::new("tide");
    let rig = Rig::up(&manifests(std::slice::from_ref(&model)), &[]);
    rig.until("at zero", |fleet| of(fleet, "default/tide")["wanted"] == 0).await;
    let answer = rig.chat("tide", 8, false).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("x-tidegate-cold-start"), "true");
    assert_eq!(answer.json()["usage"]["completion_tokens"], 8);
    let warm = rig.chat("tide", 8, false).await;
    assert_eq!((warm.status, warm.header("x-tidegate-cold-start")), (200, "false"));
    // Only now: a cooldown of seconds could be over before the second request comes from a machine that stands still.
    rig.edit(&manifests(&[Model { cooldown_s: 1, ..model }]));
    rig.until_ready("default/tide", 0).await;
    let fleet = rig.fleet().await;
    let rules: Vec<&str> = of(&fleet, "default/tide")["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|decision| decision["rule"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["deactivate", "activate"]);
}

/// How far a request may be from its place: two may be on their way to the engine at once.
const SLACK: usize = 2;

#[tokio::test]
async fn five_hundred_requests_at_zero_are_all_answered_in_order_of_arrival_and_none_twice() {
    // One replica, one request at a time, so that the order in which the engine sees them can be told.
    let engine = "--profile instant --start-s 8 --max-num-seqs 1 --enable-log-requests".to_owned();
    let rig = Rig::up(&manifests(&[Model { max: 1, engine, ..Model::new("tide") }]), &[]);
    rig.until("at zero", |fleet| of(fleet, "default/tide")["wanted"] == 0).await;
    let before_kib = rig.resident_kib();
    let mut waiting = FuturesUnordered::new();
    // The head of a streaming answer comes while its request is held: it has arrived before the next is sent.
    for number in 0..500_u32 {
        let mut body = chat("tide", 1 + number % 7, number % 2 == 0);
        body["messages"][0]["content"] = Value::from(format!("request {number}"));
        let request = rig.request(&format!("held-{number}"), &body);
        let answer = if number % 2 == 0 {
            let head = rig.head(request).await;
            rig.rest(head).boxed_local()
        } else {
            rig.send(request).boxed_local()
        };
        waiting.push(async move { (number, answer.await) });
    }
    let mut answers = Vec::new();
    while let Some(answer) = waiting.next().await {
        answers.push(answer);
    }
    assert_eq!(answers.len(), 500);
    for (number, answer) in &answers {
        assert_eq!(answer.status, 200, "request {number}: {}", answer.body);
        let tokens = u64::from(1 + number % 7);
        if number % 2 == 0 {
            assert!(answer.body.trim_end().ends_with("data: [DONE]"), "request {number}: {}", answer.body);
            assert!(answer.body.contains(&format!("\"completion_tokens\":{tokens}")), "{}", answer.body);
        } else {
            assert_eq!(answer.json()["usage"]["completion_tokens"], tokens);
        }
    }

    let log = std::fs::read_to_string(rig.state_dir().join("logs/default_tide/tide-1.log")).unwrap();
    let seen: Vec<u32> = log.lines().filter_map(|line| line.split_once("held-")?.1.parse().ok()).collect();
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 500, "some never reached the engine");
    assert_eq!(seen.len(), 500, "some reached the engine twice");
    let streams: Vec<u32> = seen.iter().copied().filter(|number| number % 2 == 0).collect();
    for (place, number) in streams.iter().enumerate() {
        assert!((*number as usize / 2).abs_diff(place) <= SLACK, "out of turn: {streams:?}");
    }

    // 500 held requests of 1 KB with their connections; what is not bounded would show as much more.
    let more_kib = rig.most_resident_kib().saturating_sub(before_kib);
    assert!(more_kib < 64 << 10, "{more_kib} KiB more than before");
}

#[tokio::test]
async fn a_wake_up_is_taken_back_when_the_client_leaves_before_the_replica_is_ready() {
    let engine = "--profile instant --start-s 60".to_owned();
    let rig = Rig::up(&manifests(&[Model { engine, ..Model::new("tide") }]), &[]);
    rig.until("at zero", |fleet| of(fleet, "default/tide")["wanted"] == 0).await;
    {
        let request = rig.chat("tide", 8, false);
        let woken = rig.until("woken", |fleet| of(fleet, "default/tide")["wanted"] == 1);
        tokio::select! {
            answer = request => panic!("answered before it could: {}", answer.body),
            _ = woken => {}
        }
    }
    let fleet = rig.until_ready("default/tide", 0).await;
    let last = &of(&fleet, "default/tide")["decisions"][0];
    assert_eq!((&last["from"], &last["to"]), (&1.into(), &0.into()));
    assert!(last["text"].as_str().unwrap().contains("left before a replica was ready"), "{last}");
}

#[tokio::test]
async fn nothing_that_only_asks_wakes_a_model() {
    let rig = Rig::up(&manifests(&[Model::new("tide")]), &[]);
    rig.until("at zero", |fleet| of(fleet, "default/tide")["wanted"] == 0).await;
    let models = rig.get(&format!("{}/v1/models", rig.gateway)).await;
    assert_eq!(models.json()["data"][0]["id"], "tide");
    for path in ["/health", "/v1/models/tide", "/nothing", "/sleep"] {
        rig.get(&format!("{}{path}", rig.gateway)).await;
    }
    let unknown = rig.chat("ebb", 8, false).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("ebb"), "{}", unknown.body);
    let fleet = rig.fleet().await;
    assert_eq!(of(&fleet, "default/tide")["wanted"], 0);
    assert_eq!(of(&fleet, "default/tide")["decisions"].as_array().unwrap().len(), 0);
}
