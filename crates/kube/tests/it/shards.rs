//! Several operators in one cluster, each with its share.

use http::Method;
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

/// A ScaledObject for the Deployment `llama`, of a team and a day.
fn of(prometheus: &Prometheus, name: &str, team: &str, day: u32) -> Value {
    let mut object = labelled(scaled_object("llama", prometheus, json!({})), team);
    object["metadata"]["name"] = json!(name);
    object["metadata"]["creationTimestamp"] = json!(format!("2026-01-{day:02}T00:00:00Z"));
    object["spec"]["triggers"][0]["metadata"]["query"] = json!(format!("sum({team})"));
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_objects_of_two_shards_for_one_workload_the_elder_has_it_whenever_its_shard_is_there() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    server.put("deployments", deployment("llama", 0));
    server.put("scaledobjects", of(&prometheus, "younger", "a", 2));
    let a = shard(&server, "a", Some("team=a")).await;
    until("three replicas", || server.replicas("llama") == 3).await;
    // It was there before, and nobody ran it until now.
    server.put("scaledobjects", of(&prometheus, "elder", "b", 1));
    let b = shard(&server, "b", Some("team=b")).await;
    let gives_way = || {
        a.told.troubled("prod/elder scales this workload already")
            && a.told.troubled("the operator of shard b in namespace tidegate has that one")
    };
    until("the younger gives way", gives_way).await;
    let decided = a.told.decisions();
    prometheus.set(Some(22.0));
    until("five replicas", || server.replicas("llama") == 5).await;
    assert_eq!((writers(&server), a.told.decisions()), (vec!["a".to_owned(), "b".to_owned()], decided));
    b.stop().await;
    // Whoever the elder's finalizer is, its shard is gone.
    prometheus.set(Some(32.0));
    until("seven replicas", || server.replicas("llama") == 7).await;
    assert_eq!(writers(&server), ["a", "b", "a"]);
    // And comes back, to an object that has its claim already.
    let b = shard(&server, "b", Some("team=b")).await;
    until("the younger gives way again", gives_way).await;
    let decided = a.told.decisions();
    prometheus.set(Some(42.0));
    until("nine replicas", || server.replicas("llama") == 9).await;
    assert_eq!((writers(&server).last().map(String::as_str), a.told.decisions()), (Some("b"), decided));
    b.stop().await;
    a.stop().await;
}

/// An elder object that an operator of another namespace has claimed, and a younger one of ours.
async fn elder_claimed_afar() -> (Server, Prometheus) {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    server.put("deployments", deployment("llama", 0));
    let mut elder = of(&prometheus, "elder", "b", 1);
    elder["metadata"]["annotations"] = json!({"tidegate.dev/claimed-by": "elsewhere/operator"});
    server.put("scaledobjects", elder);
    server.put("scaledobjects", of(&prometheus, "younger", "a", 2));
    (server, prometheus)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elder_of_an_operator_in_another_namespace_that_is_gone_holds_nobody_up() {
    let (server, _prometheus) = elder_claimed_afar().await;
    let a = shard(&server, "a", Some("team=a")).await;
    until("three replicas", || server.replicas("llama") == 3).await;
    // It comes back.
    let now = || server.put("leases", lease_afar("another", &format!("{:.6}", jiff::Timestamp::now())));
    until("the younger gives way", || {
        now();
        a.told.troubled("the operator of shard operator in namespace elsewhere has that one; if")
    })
    .await;
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elder_of_an_operator_whose_lease_may_not_be_seen_keeps_it_and_that_is_said() {
    let (server, _prometheus) = elder_claimed_afar().await;
    server.refuse(Method::GET, "/namespaces/elsewhere/leases", Some(403));
    let a = shard(&server, "a", Some("team=a")).await;
    until("it says so", || a.told.troubled("has that one (its lease cannot be seen: may not be read (403)"))
        .await;
    assert_eq!((server.replicas("llama"), a.told.decisions()), (0, 0));
    a.stop().await;
}

/// The lease of an operator in another namespace.
fn lease_afar(holder: &str, renewed: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "elsewhere", "name": "tidegate-operator"},
        "spec": {"holderIdentity": holder, "renewTime": renewed},
    })
}

/// A target that an operator of another namespace has claimed.
async fn claimed_afar() -> (Server, Prometheus) {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    server.put("deployments", deployment("llama", 0));
    let mut object = scaled_object("llama", &prometheus, json!({}));
    object["metadata"]["annotations"] = json!({"tidegate.dev/claimed-by": "elsewhere/operator"});
    server.put("scaledobjects", object);
    (server, prometheus)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_another_namespace_holds_while_its_lease_does() {
    let (server, _prometheus) = claimed_afar().await;
    let lease =
        |holder: &str| server.put("leases", lease_afar(holder, &format!("{:.6}", jiff::Timestamp::now())));
    lease("another");
    let operator = shard(&server, "operator", None).await;
    until("it says whose it is", || {
        operator.told.says("the operator of shard operator in namespace elsewhere has this object")
    })
    .await;
    let ticks = operator.told.ticks();
    until("some ticks", || {
        lease("another");
        operator.told.ticks() > ticks + 12
    })
    .await;
    assert_eq!((server.replicas("llama"), operator.told.decisions()), (0, 0));
    lease("");
    until("three replicas, once it was given up", || server.replicas("llama") == 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_another_namespace_whose_operator_is_gone_holds_nobody_up() {
    let (server, _prometheus) = claimed_afar().await;
    let operator = shard(&server, "operator", None).await;
    until("three replicas", || server.replicas("llama") == 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_another_namespace_whose_lease_may_not_be_seen_holds_and_says_why() {
    let (server, _prometheus) = claimed_afar().await;
    server.refuse(Method::GET, "/namespaces/elsewhere/leases", Some(403));
    let operator = shard(&server, "operator", None).await;
    until("it says so", || operator.told.troubled("its lease cannot be seen: may not be read (403)")).await;
    assert_eq!((server.replicas("llama"), operator.told.decisions()), (0, 0));
    operator.stop().await;
}
