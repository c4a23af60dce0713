//! What an operator that comes back believes of what it left.

use http::Method;
use serde_json::{Value, json};
use tidegate_core::scale::decision::Rule;
use tidegate_core::time::{Span, Time};
use tidegate_kube::client::{Connection, Options};
use tidegate_kube::persist::{Page, patch};
use tidegate_kube::write::{Error, Gate, Hold, Permit, Write};
use tidegate_signals::Clock;

use super::link::Link;
use super::rig::{
    Operator, Prometheus, condition, decisions, deployment, kubeconfig, pod, scaled_object, triggered, until,
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

/// A way to write for who holds the lease for a minute, at an address of the API server's.
async fn gate(addr: std::net::SocketAddr, who: &str) -> (Gate, Hold, Connection) {
    let file = kubeconfig(addr, who);
    let options = Options { kubeconfig: Some(file.clone()), ..Options::default() };
    let connection = Connection::new(&options).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    let hold = Hold::default();
    hold.set(Clock::unix().now() + Span::from_secs(60));
    let permit = Permit::Lease(hold.clone());
    (Gate::new(connection.client.clone(), permit, Clock::unix(), who.to_owned()), hold, connection)
}

fn said(text: &str) -> Write {
    Write::State(patch("tidegate", "operator", &Page { number: 0, text: text.to_owned() }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_comes_late_does_not_take_the_place_of_the_next_leaders() {
    let server = Server::start().await;
    let link = Link::to(server.addr).await;
    let (parted, lease, connection) = gate(link.addr, "parted").await;
    let (other, ..) = gate(server.addr, "other").await;
    parted.send(&said("first")).await.unwrap();
    link.hold(true);
    let (came, sent) = (server.asked("PATCH"), connection.requests.writes());
    let late = tokio::spawn(async move { parted.send(&said("late")).await });
    until("it is on its way", || connection.requests.writes() > sent).await;
    lease.set(Time::from_micros(i64::MIN));
    other.send(&said("next")).await.unwrap();
    link.hold(false);
    assert_eq!(late.await.unwrap(), Err(Error::NoLease));
    assert!(server.asked("PATCH") >= came + 2, "both came");
    let text = || server.all("configmaps")[0]["data"]["state.json"].clone();
    assert_eq!(text(), "next");
    // Who leads says what counts, also over what somebody else wrote.
    server.edit("configmaps", "tidegate", "tidegate-operator-00", |map| {
        map["data"]["state.json"] = json!("edited")
    });
    other.send(&said("last")).await.unwrap();
    assert_eq!(text(), "last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_refused_or_put_off_is_not_sent_again_at_once_and_one_that_is_gone_is() {
    let server = Server::start().await;
    let (gate, ..) = gate(server.addr, "operator").await;
    gate.send(&said("first")).await.unwrap();
    for code in [429, 403, 413] {
        server.refuse(Method::PATCH, "/configmaps", Some(code));
        let before = server.asked("PATCH");
        assert!(gate.send(&said("second")).await.is_err());
        assert_eq!(server.asked("PATCH") - before, 1, "with {code}");
        server.refuse(Method::PATCH, "/configmaps", None);
    }
    server.delete("configmaps", "tidegate", "tidegate-operator-00");
    gate.send(&said("third")).await.unwrap();
    assert_eq!(server.all("configmaps")[0]["data"]["state.json"], "third");
}
