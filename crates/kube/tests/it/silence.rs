//! An API server that says nothing, and watches that have nothing to say.

use serde_json::json;
use tidegate_kube::object::{Change, Gvk, Kind, Scope};
use tidegate_kube::watch::{News, Sight, Watches};
use tokio::sync::mpsc;

use super::rig::{
    Operator, Prometheus, connect, decisions, deployment, pod, scaled_object, triggered, until, within,
};
use super::server::Server;
use super::sight::{cpu_trigger, measured};

async fn one() -> (Server, Prometheus) {
    let (server, prometheus) = (Server::start().await, Prometheus::start(3.0).await);
    server.put("deployments", deployment("llama", 1));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    (server, prometheus)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_back_and_quiet_is_not_blind_any_more() {
    let (mut server, _prometheus) = one().await;
    let operator = Operator::start(&server, false).await;
    decisions(&operator, 2).await;
    server.pause();
    until("several watches are blind", || operator.told.blind() > 3).await;
    server.resume().await;
    until("none is", || operator.told.blind() == 0).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_begin_anew_every_minute_or_so_and_not_all_at_once() {
    let (server, _prometheus) = one().await;
    let operator = Operator::start(&server, false).await;
    decisions(&operator, 2).await;
    let mut lasts = server.watches();
    assert!(lasts.iter().all(|seconds| (60..=90).contains(seconds)), "{lasts:?}");
    lasts.dedup();
    assert!(lasts.len() > 1, "nine of one length in thirty: {lasts:?}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_gets_no_answer_about_what_was_remembered_asks_again() {
    let (server, prometheus) = one().await;
    server.hush("configmaps");
    let operator = Operator::start(&server, false).await;
    until("it says so", || operator.told.says("cannot be read: no answer within 10 s")).await;
    assert_eq!(operator.told.decisions(), 0);
    server.hush("");
    prometheus.set(Some(8.0));
    until("two replicas", || server.replicas("llama") == 2).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metrics_server_that_does_not_answer_blinds_a_namespace_for_as_long_and_no_longer() {
    let server = Server::start().await;
    server.put("deployments", deployment("llama", 2));
    server.put("scaledobjects", triggered("llama", cpu_trigger(), json!({"minReplicaCount": 1})));
    for name in ["llama-a", "llama-b"] {
        server.put("pods", pod("llama", name));
        server.put("podmetrics", measured(name, "900m"));
    }
    server.hush("podmetrics");
    let operator = Operator::start(&server, false).await;
    until("it says so", || operator.told.read("does not answer within 10 s")).await;
    assert_eq!(server.replicas("llama"), 2);
    server.hush("");
    until("three replicas", || server.replicas("llama") == 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_was_under_way_when_another_took_the_lease_is_not_kept_for_a_later_term() {
    let (server, prometheus) = one().await;
    let operator = Operator::start(&server, false).await;
    until("it leads", || operator.told.leads()).await;
    decisions(&operator, 3).await;
    server.stall(true);
    let patches = server.asked("PATCH");
    prometheus.set(Some(18.0));
    until("the count is under way", || server.asked("PATCH") > patches).await;
    let lease = |holder: &'static str| {
        server.edit("leases", "tidegate", "tidegate-operator", |lease| {
            lease["spec"]["holderIdentity"] = json!(holder);
        });
    };
    lease("another");
    until("it rests", || operator.told.says("another operator leads")).await;
    until("what was under way is given up", || operator.told.waiting() == 0).await;
    operator.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_connection_has_died_without_a_word_begins_anew_where_it_was() {
    let server = Server::start().await;
    server.put("deployments", deployment("llama", 1));
    let connection = connect(&server).await;
    let (out, mut news) = mpsc::channel(64);
    let gvk = Gvk::of(Some("apps/v1"), Some("Deployment"));
    let scopes = vec![Scope { kind: Kind::Workload(gvk), namespace: None, name: None }];
    let _watches = Watches::lasting(1..=1, connection.client, Sight::default(), scopes, out);
    let mut seen = Vec::new();
    let mut brings = async |name: &str| loop {
        let one = within("news", news.recv()).await.unwrap();
        let found = matches!(&one, News::Change(Change::Applied(object)) if &*object.id.name == name);
        seen.push(format!("{one:?}"));
        if found {
            return seen.clone();
        }
    };
    brings("llama").await;
    until("it watches", || !server.watches().is_empty()).await;
    // Whoever watches now is never told, and its connection is not closed.
    server.silence();
    server.put("deployments", deployment("other", 1));
    let seen = brings("other").await;
    assert!(server.watches().len() > 1, "the silent one has told it");
    let lists = seen.iter().filter(|one| one.contains("Listing")).count();
    assert_eq!(lists, 1, "{seen:#?}");
}
