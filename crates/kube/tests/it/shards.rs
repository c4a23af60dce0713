//! Several operators in one cluster, each with its share.

use serde_json::{Value, json};

use super::adoption::{autoscaler, waiting};
use super::rig::{Operator, Prometheus, Setup, decisions, deployment, scaled_object, until};
use super::server::Server;

async fn shard(server: &Server, name: &'static str, selector: Option<&'static str>) -> Operator {
    Operator::at(server.addr, name, Setup { shard: Some(name), selector, ..Setup::default() }).await
}

/// Who wrote a count, in order.
fn writers(server: &Server) -> Vec<String> {
    let mut who: Vec<String> = server.scaled().into_iter().map(|written| written.who).collect();
    who.dedup();
    who
}

fn labelled(mut object: Value, team: &str) -> Value {
    object["metadata"]["labels"] = json!({"team": team});
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_is_run_by_the_shard_that_selects_it_and_the_other_still_knows_of_it() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(40.0).await);
    server.put("deployments", deployment("web", 2));
    let mut hpa = labelled(autoscaler(), "a");
    hpa["metadata"]["annotations"] = json!({"tidegate.dev/adopt": "confirmed"});
    server.put("horizontalpodautoscalers", hpa);
    waiting(&server, "20");
    // It asks for the same workload.
    server.put("scaledobjects", labelled(scaled_object("web", &prometheus, json!({})), "b"));
    let b = shard(&server, "b", Some("team=b")).await;
    let a = shard(&server, "a", Some("team=a")).await;
    until("it is scaled", || server.replicas("web") == 4).await;
    waiting(&server, "30");
    until("it is scaled again", || server.replicas("web") == 6).await;
    assert_eq!(writers(&server), ["a"]);
    let object = server.get("scaledobjects", "prod", "web").unwrap();
    let ready = &object["status"]["conditions"].as_array().unwrap()[0];
    assert!(ready["message"].as_str().unwrap().contains("HorizontalPodAutoscaler web"), "{ready}");
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_shards_select_is_run_by_the_first_until_it_is_gone() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(3.0).await);
    server.put("deployments", deployment("llama", 0));
    server.put("scaledobjects", labelled(scaled_object("llama", &prometheus, json!({})), "a"));
    let first = shard(&server, "first", Some("team=a")).await;
    until("one replica", || server.replicas("llama") == 1).await;
    let claim = || {
        let object = server.get("scaledobjects", "prod", "llama").unwrap();
        object["metadata"]["annotations"]["tidegate.dev/claimed-by"].clone()
    };
    until("it is claimed", || claim() == "tidegate/first").await;
    let second = shard(&server, "second", None).await;
    until("it says whose it is", || second.told.says("the operator of shard first in namespace tidegate"))
        .await;
    prometheus.set(Some(12.0));
    until("three replicas", || server.replicas("llama") == 3).await;
    decisions(&first, 3).await;
    assert_eq!((writers(&server), second.told.decisions()), (vec!["first".to_owned()], 0));
    first.stop().await;
    until("the other takes it", || claim() == "tidegate/second").await;
    prometheus.set(Some(22.0));
    until("five replicas", || server.replicas("llama") == 5).await;
    assert_eq!(writers(&server), ["first", "second"]);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_a_shard_that_selects_other_objects_by_now_holds_nobody_up() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    server.put("deployments", deployment("llama", 0));
    let mut object = labelled(scaled_object("llama", &prometheus, json!({})), "b");
    object["metadata"]["annotations"] = json!({"tidegate.dev/claimed-by": "tidegate/a"});
    server.put("scaledobjects", object);
    let a = shard(&server, "a", Some("team=a")).await;
    until("it leads", || a.told.leads()).await;
    let b = shard(&server, "b", Some("team=b")).await;
    until("three replicas", || server.replicas("llama") == 3).await;
    assert_eq!(writers(&server), ["b"]);
    a.stop().await;
    b.stop().await;
}
