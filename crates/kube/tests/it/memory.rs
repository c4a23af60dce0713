//! What an operator that comes back believes of what it left.

use serde_json::{Value, json};
use tidegate_core::scale::decision::Rule;

use super::rig::{
    Operator, Prometheus, condition, decisions, deployment, pod, scaled_object, triggered, until,
};
use super::server::Server;
use super::sight::{cpu_trigger, measured};

const HOUR_US: i64 = 3_600_000_000;

/// The one page.
fn page(server: &Server) -> Option<Value> {
    let maps = server.all("configmaps");
    let text = maps.first()?.pointer("/data")?.get("state.json")?.as_str()?.to_owned();
    serde_json::from_str(&text).ok()
}

fn edit(server: &Server, edit: impl FnOnce(&mut Value)) {
    let mut json = page(server).expect("something is remembered");
    edit(&mut json["prod/llama"]);
    let name = server.all("configmaps")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    server.edit("configmaps", "tidegate", &name, |map| map["data"]["state.json"] = json!(json.to_string()));
}

fn earlier(at: &mut Value) {
    *at = json!(at.as_i64().expect("a time") - HOUR_US);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_stood_still_for_an_hour_keeps_its_window_when_its_operator_dies() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(50.0).await);
    server.put("deployments", deployment("llama", 10));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let first = Operator::start(&server, false).await;
    decisions(&first, 3).await;
    first.stop().await;
    // As if it had crashed: nothing was new for an hour, so nothing was written for an hour.
    edit(&server, |memory| {
        earlier(&mut memory["at"]);
        earlier(&mut memory["state"]["memory"]["recommendations"]["epoch"]);
    });
    prometheus.set(Some(10.0));
    let second = Operator::start(&server, false).await;
    decisions(&second, 4).await;
    assert_eq!(server.replicas("llama"), 10);
    assert_eq!(second.told.latest(|decision| decision.rule), Some(Rule::StabiliseDown));
    second.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cooldown_that_only_the_status_knows_counts_beside_older_memory() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(3.0).await);
    server.put("deployments", deployment("llama", 1));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let first = Operator::start(&server, false).await;
    let object = || server.get("scaledobjects", "prod", "llama").unwrap();
    let active = |is: &str| condition(&object(), "Active").is_some_and(|(_, reason)| reason == is);
    until("it is active", || active("ScalerActive")).await;
    prometheus.set(Some(0.0));
    until("it cools down", || active("ScalerCooldown")).await;
    until("when it ended is written", || object()["status"]["lastActiveTime"].is_string()).await;
    first.stop().await;
    // As if it had crashed, and the page had been written last when the activity began, long ago.
    edit(&server, |memory| {
        earlier(&mut memory["at"]);
        earlier(&mut memory["state"]["last_active"]);
        memory["state"]["life"]["last_active"] = Value::Null;
    });
    let second = Operator::start(&server, false).await;
    decisions(&second, 5).await;
    assert_eq!(server.replicas("llama"), 1, "the cooldown of 300 s began seconds ago");
    second.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_pods_nothing_is_remembered_that_is_seen_again_at_once() {
    let server = Server::start().await;
    server.put("deployments", deployment("llama", 60));
    for number in 0..60 {
        let name = format!("llama-{number:03}");
        server.put("pods", pod("llama", &name));
        server.put("podmetrics", measured(&name, "500m"));
    }
    let spec = json!({"minReplicaCount": 1, "maxReplicaCount": 100});
    server.put("scaledobjects", triggered("llama", cpu_trigger(), spec));
    let operator = Operator::start(&server, false).await;
    until("what they use is read", || operator.told.read("Samples")).await;
    decisions(&operator, 2).await;
    operator.stop().await;
    let text = page(&server).expect("it is remembered").to_string();
    assert!(text.len() < 3_000 && !text.contains("llama-059"), "{} bytes: {text}", text.len());
}
