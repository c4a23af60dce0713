//! An autoscaler that a ScaledObject takes over by its name, as KEDA's annotation for it says.

use http::Method;
use serde_json::{Value, json};
use tidegate_kube::adopt::WISH;
use tidegate_kube::migrate::{Asked, Outcome, release};

use super::adoption::asked;
use super::rig::{Operator, Prometheus, Setup, connect, decisions, deployment, scaled_object, until};
use super::server::Server;

const TRANSFER: &str = "scaledobject.keda.sh/transfer-hpa-ownership";

/// An autoscaler of somebody's, within bounds that are not those of the ScaledObject.
fn autoscaler() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "prod", "name": "web", "uid": "hpa-web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
            "minReplicas": 3, "maxReplicas": 5,
            "behavior": {"scaleUp": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}},
        },
    })
}

/// A ScaledObject that takes it over, and wants eight.
async fn taking() -> (Server, Prometheus) {
    let (server, prometheus) = (Server::start().await, Prometheus::start(40.0).await);
    server.put("deployments", deployment("llama", 4));
    server.put("horizontalpodautoscalers", autoscaler());
    let spec = json!({"advanced": {"horizontalPodAutoscalerConfig": {"name": "web"}}});
    let mut object = scaled_object("llama", &prometheus, spec);
    object["metadata"]["annotations"] = json!({TRANSFER: "true"});
    server.put("scaledobjects", object);
    (server, prometheus)
}

fn hpa(server: &Server) -> Value {
    server.get("horizontalpodautoscalers", "prod", "web").unwrap()
}

fn stopped(server: &Server) -> bool {
    let hpa = hpa(server);
    ["scaleUp", "scaleDown"].iter().all(|way| hpa["spec"]["behavior"][way]["selectPolicy"] == "Disabled")
}

fn as_it_was(server: &Server) -> bool {
    hpa(server)["spec"] == autoscaler()["spec"]
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_before_the_object_scales_and_is_what_it_was_once_the_object_is_given_back() {
    let (server, prometheus) = taking().await;
    let operator = Operator::start(&server, false).await;
    until("eight replicas", || server.replicas("llama") == 8).await;
    assert!(stopped(&server));
    let (spec, written) = (hpa(&server)["spec"].clone(), server.written());
    assert_eq!((&spec["minReplicas"], &spec["maxReplicas"]), (&json!(1), &json!(i32::MAX)));
    let at = |path: &str| written.iter().position(|one| one.path.ends_with(path));
    assert!(at("/horizontalpodautoscalers/web") < at("/deployments/llama/scale"), "{written:#?}");
    // Below what the autoscaler's own bounds were.
    prometheus.set(Some(0.0));
    server.edit("scaledobjects", "prod", "llama", |object| {
        object["spec"]["cooldownPeriod"] = json!(0);
    });
    until("none", || server.replicas("llama") == 0).await;
    server.edit("scaledobjects", "prod", "llama", |object| {
        object["metadata"]["annotations"][WISH] = json!("false");
    });
    until("it is as before", || as_it_was(&server)).await;
    let annotations = hpa(&server)["metadata"]["annotations"].clone();
    assert_eq!(annotations.get("tidegate.dev/adopted"), None, "{annotations}");
    // At zero it would rest: its first replicas came before it was started.
    assert_eq!(server.replicas("llama"), 3);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_object_s_end_it_is_what_it_was() {
    let (server, _prometheus) = taking().await;
    let operator = Operator::start(&server, false).await;
    until("eight replicas", || server.replicas("llama") == 8).await;
    server.delete("scaledobjects", "prod", "llama");
    until("it is as before", || as_it_was(&server)).await;
    assert!(server.get("scaledobjects", "prod", "llama").is_none());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_may_not_be_stopped_keeps_the_workload_and_the_object_says_why() {
    let (server, _prometheus) = taking().await;
    server.refuse(Method::PATCH, "/horizontalpodautoscalers/", Some(403));
    let operator = Operator::start(&server, false).await;
    until("it says so", || operator.told.says("web cannot be stopped")).await;
    decisions(&operator, 3).await;
    assert_eq!(server.replicas("llama"), 4);
    server.refuse(Method::PATCH, "/horizontalpodautoscalers/", None);
    until("eight replicas", || server.replicas("llama") == 8).await;
    assert!(stopped(&server));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_annotation_it_is_started_again_and_the_object_leaves_the_workload_to_it() {
    let (server, prometheus) = taking().await;
    let operator = Operator::start(&server, false).await;
    until("eight replicas", || server.replicas("llama") == 8).await;
    server.edit("scaledobjects", "prod", "llama", |object| {
        object["metadata"]["annotations"].as_object_mut().unwrap().remove(TRANSFER);
    });
    until("it is as before", || as_it_was(&server)).await;
    prometheus.set(Some(50.0));
    let trouble = || {
        let object = server.get("scaledobjects", "prod", "llama").unwrap();
        object["status"]["conditions"]
            .to_string()
            .contains("the HorizontalPodAutoscaler web scales this workload")
    };
    until("the object says whose it is", trouble).await;
    assert_eq!(server.replicas("llama"), 8);
    operator.stop().await;
}

/// What stands in the autoscaler of how it was.
fn record(server: &Server) -> Value {
    let hpa = hpa(server);
    let text = hpa["metadata"]["annotations"]["tidegate.dev/adopted"].as_str().unwrap_or("null");
    serde_json::from_str(text).unwrap()
}

fn within_ours(server: &Server) -> bool {
    let spec = &hpa(server)["spec"];
    (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64()) == (Some(1), Some(i32::MAX.into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_that_a_tool_puts_back_are_put_away_again_and_the_object_says_how_to_end_that() {
    let (server, _prometheus) = taking().await;
    let operator = Operator::start(&server, false).await;
    until("eight replicas", || server.replicas("llama") == 8).await;
    let before = record(&server);
    for _ in 0..2 {
        server.edit("horizontalpodautoscalers", "prod", "web", |hpa| {
            (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) = (json!(3), json!(5));
        });
        until("it corrects nothing", || within_ours(&server) && stopped(&server)).await;
    }
    assert_eq!(record(&server), before);
    let said = || server.all("events").iter().any(|event| event["reason"] == "AutoscalerChanged");
    until("it says so", said).await;
    server.delete("scaledobjects", "prod", "llama");
    until("it is as before", || as_it_was(&server)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_are_taken_out_of_it_cost_it_no_bounds() {
    let (server, _prometheus) = taking().await;
    let operator = Operator::start(&server, false).await;
    until("eight replicas", || server.replicas("llama") == 8).await;
    server.edit("horizontalpodautoscalers", "prod", "web", |hpa| {
        hpa["spec"].as_object_mut().unwrap().remove("behavior");
    });
    until("it is stopped again", || stopped(&server)).await;
    assert_eq!(record(&server)["bounds"], json!([3, 5]));
    server.delete("scaledobjects", "prod", "llama");
    let bounds =
        || (hpa(&server)["spec"]["minReplicas"].clone(), hpa(&server)["spec"]["maxReplicas"].clone());
    until("it has its bounds", || bounds() == (json!(3), json!(5))).await;
    assert_eq!(hpa(&server)["spec"].get("behavior"), None);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_younger_object_stops_nothing_and_the_autoscaler_scales_on() {
    let (server, prometheus) = taking().await;
    server.edit("scaledobjects", "prod", "llama", |object| {
        object["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
    });
    let mut elder = scaled_object("llama", &prometheus, json!({}));
    elder["metadata"]["name"] = json!("elder");
    elder["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    server.put("scaledobjects", elder);
    let operator = Operator::start(&server, false).await;
    until("it gives way", || operator.told.troubled("prod/elder scales this workload already")).await;
    let ticks = operator.told.ticks();
    until("some ticks", || operator.told.ticks() > ticks + 3).await;
    assert!(as_it_was(&server), "{}", hpa(&server));
    assert_eq!(server.replicas("llama"), 4);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_end_of_an_object_that_could_not_be_read_it_is_what_it_was() {
    let (server, _prometheus) = taking().await;
    let operator = Operator::start(&server, false).await;
    until("eight replicas", || server.replicas("llama") == 8).await;
    operator.stop().await;
    server.edit("scaledobjects", "prod", "llama", |object| {
        object["spec"]["triggers"][0]["metadata"] = json!({});
    });
    let operator = Operator::start(&server, false).await;
    until("it is not read", || operator.told.troubled(" ")).await;
    assert!(stopped(&server));
    server.delete("scaledobjects", "prod", "llama");
    until("it is as before", || as_it_was(&server)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shard_that_is_gone_has_stopped_is_started_by_another() {
    let (server, _prometheus) = taking().await;
    let of = |name| Operator::at(server.addr, name, Setup { shard: Some(name), ..Setup::default() });
    let before = of("before").await;
    until("eight replicas", || server.replicas("llama") == 8).await;
    before.stop().await;
    server.delete("scaledobjects", "prod", "llama");
    let after = of("after").await;
    until("it is as before", || as_it_was(&server)).await;
    after.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_back_by_the_command_alone_it_has_replicas_to_go_on_from() {
    let (server, _prometheus) = taking().await;
    let operator = Operator::start(&server, false).await;
    until("eight replicas", || server.replicas("llama") == 8).await;
    operator.kill().await;
    server.edit("deployments", "prod", "llama", |object| object["spec"]["replicas"] = json!(0));
    let client = connect(&server).await.client;
    let now = Asked { at_once: true, ..asked(&["hpa/web"]) };
    let mut said = Vec::new();
    let outcome = release(&client, &now, &mut |line| said.push(line.to_owned())).await.unwrap();
    assert_eq!(outcome, Outcome { done: 1, waiting: 0 });
    assert!(as_it_was(&server), "{}", hpa(&server));
    assert_eq!(server.replicas("llama"), 3, "{said:#?}");
}
