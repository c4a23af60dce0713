//! Several operators, one of which writes; and what one leaves for the next.

use serde_json::json;

use super::rig::{Operator, Prometheus, condition, decisions, deployment, scaled_object, until};
use super::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_one_writes_and_the_other_takes_over_when_it_leaves() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(3.0).await);
    server.put("deployments", deployment("llama", 0));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let first = Operator::start(&server, false).await;
    until("the first leads", || first.told.leads()).await;
    let second = Operator::start(&server, false).await;
    until("one replica", || server.replicas("llama") == 1).await;
    decisions(&first, 3).await;
    assert!(!second.told.leads());
    assert_eq!((second.told.decisions(), second.connection.requests.writes()), (0, 0));
    first.stop().await;
    until("the second leads", || second.told.leads()).await;
    prometheus.set(Some(9.0));
    until("two replicas", || server.replicas("llama") == 2).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooldown_outlives_the_operator() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(3.0).await);
    server.put("deployments", deployment("llama", 0));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let first = Operator::start(&server, false).await;
    let object = || server.get("scaledobjects", "prod", "llama").unwrap();
    let active = |is: &str| condition(&object(), "Active").is_some_and(|(_, reason)| reason == is);
    until("it is active", || server.replicas("llama") == 1 && active("ScalerActive")).await;
    prometheus.set(Some(0.0));
    until("it cools down", || active("ScalerCooldown")).await;
    until("when it ended is written", || object()["status"]["lastActiveTime"].is_string()).await;
    first.stop().await;
    assert!(!server.all("configmaps").is_empty(), "what is remembered is written at the end");
    // The status alone would do; what is remembered must do as well.
    server.edit("scaledobjects", "prod", "llama", |object| object["status"] = json!({}));
    let second = Operator::start(&server, false).await;
    decisions(&second, 5).await;
    assert_eq!(server.replicas("llama"), 1, "the cooldown of 300 s is not over");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_object_counts_as_active_until_it_is_read() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(0.0).await);
    server.put("deployments", deployment("llama", 3));
    // Its activity ended long ago by the time in its status, which is written only when it ends.
    let mut object = scaled_object("llama", &prometheus, json!({}));
    object["status"] = json!({
        "conditions": [{"type": "Active", "status": "True", "reason": "ScalerActive"}],
        "lastActiveTime": "2026-01-01T00:00:00Z",
    });
    server.put("scaledobjects", object);
    let operator = Operator::start(&server, false).await;
    decisions(&operator, 5).await;
    assert!(server.replicas("llama") >= 1, "the cooldown begins now");
    operator.kill().await;
}
