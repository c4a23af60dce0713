//! An autoscaler that a ScaledObject takes over by its name, as KEDA's annotation for it says.

use http::Method;
use serde_json::{Value, json};
use tidegate_kube::adopt::WISH;

use super::rig::{Operator, Prometheus, decisions, deployment, scaled_object, until};
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
