//! Sources that push: what they have to say is heard at once, and not as often as they say it.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_testkit::servers::ExternalScaler;

use super::rig::{Operator, deployment, triggered, until};
use super::server::Server;

/// A target at zero whose one trigger is pushed to.
async fn pushed() -> (Server, ExternalScaler, Operator) {
    let (server, mut scaler) = (Server::start().await, ExternalScaler::start());
    scaler.tell(&json!({"metrics": {"jobs": [1, 1]}}));
    let metadata = json!({"scalerAddress": scaler.address().to_string()});
    let triggers = json!([{"type": "external-push", "metadata": metadata}]);
    server.put("deployments", deployment("llama", 0));
    server.put("scaledobjects", triggered("llama", triggers, json!({"cooldownPeriod": 0})));
    let operator = Operator::start(&server, false).await;
    until("it leads", || operator.told.leads()).await;
    until("somebody listens", || scaler.seen()["streams"] == 1).await;
    (server, scaler, operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_decided_on_between_two_ticks() {
    let (server, mut scaler, operator) = pushed().await;
    let mut between = 0;
    for _ in 0..10 {
        let ticks = operator.told.ticks();
        scaler.tell(&json!({"active": true}));
        until("one replica", || server.replicas("llama") == 1).await;
        // What waits for a tick is decided after it was shown.
        between += u32::from(operator.told.changed_after() == ticks);
        if between == 3 {
            break;
        }
        scaler.tell(&json!({"active": false}));
        until("none", || server.replicas("llama") == 0).await;
    }
    assert_eq!(between, 3, "of ten pushes");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_pushes_without_end_makes_some_ten_decisions_a_second() {
    let (_server, mut scaler, operator) = pushed().await;
    let (before, ticks, begin) = (operator.told.decisions(), operator.told.ticks(), Instant::now());
    let mut pushes = 0_u64;
    while operator.told.ticks() < ticks + 3 || pushes < 1000 {
        for active in [true, false] {
            scaler.tell(&json!({"active": active}));
            pushes += 1;
            // Python's streams look every now and then.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let decisions = operator.told.decisions() - before;
    // Ten a second for the news, and for each tick, count and write one or two.
    let most = (begin.elapsed().as_secs() + 1) * 20;
    assert!(decisions > 3, "{decisions} decisions: nothing was heard");
    assert!(decisions <= most, "{decisions} decisions of {pushes} pushes, {most} at most");
    operator.stop().await;
}
