//! Requests at zero: held, in order, answered once.

use futures_util::future::join_all;
use serde_json::Value;

use crate::fleet::{Model, manifests};
use crate::rig::{Rig, chat, of};

#[tokio::test]
async fn a_request_at_zero_is_held_wakes_a_replica_and_is_answered_and_then_it_goes_back_to_zero() {
    let rig = Rig::up(&manifests(&[Model { cooldown_s: 1, ..Model::new("tide") }]), &[]);
    rig.until("at zero", |fleet| of(fleet, "default/tide")["wanted"] == 0).await;
    let answer = rig.chat("tide", 8, false).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("x-tidegate-cold-start"), "true");
    assert_eq!(answer.json()["usage"]["completion_tokens"], 8);
    let warm = rig.chat("tide", 8, false).await;
    assert_eq!((warm.status, warm.header("x-tidegate-cold-start")), (200, "false"));
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

#[tokio::test]
async fn five_hundred_requests_at_zero_are_all_answered_in_order_of_arrival_and_none_twice() {
    // One replica, one request at a time, so that the order in which the engine sees them can be told.
    let engine = "--profile instant --start-s 3 --max-num-seqs 1".to_owned();
    let rig = Rig::up(&manifests(&[Model { max: 1, engine, ..Model::new("tide") }]), &[]);
    rig.until("at zero", |fleet| of(fleet, "default/tide")["wanted"] == 0).await;
    let requests = (0..500_u32).map(|number| {
        let rig = &rig;
        async move {
            let mut body = chat("tide", 1 + number % 7, number % 2 == 0);
            body["messages"][0]["content"] = Value::from(format!("request {number}"));
            (number, rig.post("/v1/chat/completions", &body).await)
        }
    });
    let answers = join_all(requests).await;
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
    let metrics = rig.get(&format!("{}/metrics", rig.admin)).await.body;
    let answered: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("tidegate_requests_total{") && line.contains("code=\"200\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!((answered - 500.0).abs() < 0.5, "{answered}");
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
