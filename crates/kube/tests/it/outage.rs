//! An API server or a source that is away.

use serde_json::json;

use super::rig::{Operator, Prometheus, decisions, deployment, scaled_object, until};
use super::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_server_is_away_decisions_go_on_and_writes_wait() {
    let (mut server, prometheus) = (Server::start().await, Prometheus::start(3.0).await);
    server.put("deployments", deployment("llama", 0));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let operator = Operator::start(&server, false).await;
    until("one replica", || server.replicas("llama") == 1).await;
    decisions(&operator, 3).await;
    server.pause();
    prometheus.set(Some(18.0));
    decisions(&operator, 15).await;
    assert_eq!(server.replicas("llama"), 1, "nothing can be written");
    server.resume().await;
    until("four replicas", || server.replicas("llama") == 4).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_scaled_down_while_a_source_cannot_be_read() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(20.0).await);
    server.put("deployments", deployment("llama", 4));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({"cooldownPeriod": 0})));
    let operator = Operator::start(&server, false).await;
    decisions(&operator, 2).await;
    prometheus.set(None);
    decisions(&operator, 8).await;
    assert_eq!(server.replicas("llama"), 4);
    let told = |reason: &str| server.all("events").iter().any(|event| event["reason"] == reason);
    until("an Event tells the loss", || told("SignalLost")).await;
    // Not vacuous: zero, once it is read, takes them away at once.
    prometheus.set(Some(0.0));
    until("zero replicas", || server.replicas("llama") == 0).await;
    until("an Event tells the return", || told("SignalFound")).await;
    operator.stop().await;
}
