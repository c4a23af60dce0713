//! What is refused, and what is not ours any more: neither is written each second, nor for ever.

use http::Method;
use serde_json::{Value, json};

use super::jobs::scaled_job;
use super::rig::{Operator, Prometheus, condition, decisions, deployment, scaled_object, until};
use super::server::Server;

/// As the operator of these tests claims what it runs.
const CLAIM: &str = "tidegate/operator";

/// A ScaledObject that a restore is owed, with KEDA's finalizer on it.
fn owing(prometheus: &Prometheus) -> Value {
    let mut object =
        scaled_object("llama", prometheus, json!({"advanced": {"restoreToOriginalReplicaCount": true}}));
    object["metadata"]["finalizers"] = json!(["finalizer.keda.sh"]);
    object["status"] = json!({"originalReplicaCount": 2});
    object
}

/// Another target, whose decisions are counted.
fn witness(server: &Server, prometheus: &Prometheus) {
    server.put("deployments", deployment("witness", 1));
    server.put("scaledobjects", scaled_object("witness", prometheus, json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_is_refused_is_told_once_and_asked_for_ever_more_seldom() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(50.0).await);
    server.put("deployments", deployment("llama", 1));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    server.refuse(Method::PATCH, "/deployments/llama/scale", Some(403));
    let operator = Operator::start(&server, false).await;
    let tries = || server.scaled().len();
    until("it is refused", || tries() > 0).await;
    decisions(&operator, 12).await;
    assert!(tries() <= 5, "after 1, 2, 4 and 8 s, and not each second: {}", tries());
    let told = server.all("events").into_iter().filter(|event| event["reason"] == "FailedRescale").count();
    assert_eq!(told, 1);
    server.refuse(Method::PATCH, "/deployments/llama/scale", None);
    until("it is scaled once it may be", || server.replicas("llama") > 1).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_scaled_job_that_is_not_ours_run_on_whatever_its_spec_becomes() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(0.0).await);
    let mut object = scaled_job(&prometheus, json!({}));
    object["metadata"]["generation"] = json!(2);
    object["metadata"]["annotations"] = json!({"tidegate.dev/adopt": "false"});
    server.put("scaledjobs", object);
    let annotations = json!({"scaledjob.keda.sh/generation": "1"});
    server.put(
        "jobs",
        json!({
            "metadata": {
                "namespace": "prod", "name": "batch-1", "annotations": annotations,
                "labels": {"scaledjob.keda.sh/name": "batch"},
            },
            "spec": {"parallelism": 1}, "status": {"active": 1},
        }),
    );
    witness(&server, &prometheus);
    let operator = Operator::start(&server, false).await;
    decisions(&operator, 4).await;
    assert_eq!(server.all("jobs").len(), 1);
    server.edit("scaledjobs", "prod", "batch", |object| {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
    });
    until("what is ours is rolled out", || server.all("jobs").is_empty()).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_operator_runs_is_not_let_go_by_us() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    server.put("deployments", deployment("llama", 5));
    server.put("horizontalpodautoscalers", json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "prod", "name": "keda-hpa-llama", "ownerReferences": [{"kind": "ScaledObject"}]},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}, "maxReplicas": 5},
    }));
    server.put("scaledobjects", owing(&prometheus));
    witness(&server, &prometheus);
    let operator = Operator::start(&server, false).await;
    let object = || server.get("scaledobjects", "prod", "llama");
    let ready = || object().and_then(|object| condition(&object, "Ready"));
    until("it says whose it is", || ready().is_some_and(|(status, _)| status == "False")).await;
    server.delete("scaledobjects", "prod", "llama");
    decisions(&operator, 4).await;
    assert_eq!(object().unwrap()["metadata"]["finalizers"], json!(["finalizer.keda.sh"]));
    assert_eq!(server.replicas("llama"), 5, "the count is its owner's to restore");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_while_nobody_led_is_given_back_and_let_go() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    server.put("deployments", deployment("llama", 5));
    let mut object = owing(&prometheus);
    object["metadata"]["annotations"] = json!({"tidegate.dev/claimed-by": CLAIM});
    server.put("scaledobjects", object);
    server.delete("scaledobjects", "prod", "llama");
    let operator = Operator::start(&server, false).await;
    until("it is gone", || server.get("scaledobjects", "prod", "llama").is_none()).await;
    assert_eq!(server.replicas("llama"), 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_any_more_is_let_go_by_us() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    server.put("deployments", deployment("llama", 5));
    // As a KEDA that was uninstalled leaves it, or a shard that is no more.
    let mut object = owing(&prometheus);
    object["metadata"]["annotations"] = json!({"tidegate.dev/claimed-by": "tidegate/gone"});
    object["metadata"]["name"] = json!("other");
    for object in [owing(&prometheus), object] {
        server.put("scaledobjects", object);
    }
    for name in ["llama", "other"] {
        server.delete("scaledobjects", "prod", name);
    }
    let operator = Operator::start(&server, false).await;
    until("they are gone", || server.all("scaledobjects").is_empty()).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_refused_is_told_once_it_may_be() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    // There is no such Deployment, so nothing is decided that would tell it.
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    server.refuse(Method::PATCH, "/llama/status", Some(403));
    witness(&server, &prometheus);
    let operator = Operator::start(&server, false).await;
    let tries = || server.written().iter().filter(|one| one.path.ends_with("/llama/status")).count();
    until("it is refused", || tries() > 0).await;
    decisions(&operator, 8).await;
    assert!(tries() <= 6, "not each second: {}", tries());
    server.refuse(Method::PATCH, "/llama/status", None);
    let ready = || condition(&server.get("scaledobjects", "prod", "llama").unwrap(), "Ready");
    until("it says what is wrong", || ready().is_some_and(|(status, _)| status == "False")).await;
    operator.stop().await;
}
