//! Counts, statuses, and who else may write them.

use serde_json::{Value, json};

use super::rig::{Operator, Prometheus, condition, decisions, deployment, scaled_object, until};
use super::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_above_its_activation_scales_from_zero_and_then_nothing_more_is_written() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(3.0).await);
    server.put("deployments", deployment("llama", 0));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let operator = Operator::start(&server, false).await;
    until("one replica", || server.replicas("llama") == 1).await;
    let object = || server.get("scaledobjects", "prod", "llama").unwrap();
    until("it is Active", || condition(&object(), "Active").is_some_and(|(status, _)| status == "True"))
        .await;
    until("it is claimed", || object()["metadata"]["finalizers"] == json!(["finalizer.keda.sh"])).await;
    assert_eq!(object()["metadata"]["labels"]["scaledobject.keda.sh/name"], "llama");
    assert_eq!(object()["status"]["hpaName"], "keda-hpa-llama");
    assert_eq!(object()["status"]["originalReplicaCount"], 0);
    let activated = || {
        let mut events = server.all("events").into_iter();
        events.find(|event| event["reason"] == "KEDAScaleTargetActivated")
    };
    until("an Event tells why", || activated().is_some()).await;
    let event = activated().unwrap();
    assert!(
        event["message"].as_str().unwrap().contains("from 0 to 1, triggered by s0-prometheus"),
        "{event}"
    );

    decisions(&operator, 4).await;
    until("nothing is on its way", || operator.told.waiting() == 0).await;
    let written = server.written().len();
    decisions(&operator, 6).await;
    let later = server.written();
    assert_eq!(later.len(), written, "{:#?}", &later[written..]);
    assert_eq!(server.scaled().len(), 1);

    prometheus.set(Some(23.0));
    until("five replicas", || server.replicas("llama") == 4 || server.replicas("llama") == 5).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_advises_sends_no_write_at_all_and_says_what_it_would_do() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(50.0).await);
    server.put("deployments", deployment("llama", 1));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let operator = Operator::start(&server, true).await;
    until("it says so", || operator.told.says("would scale from 1 to 4")).await;
    decisions(&operator, 4).await;
    assert_eq!(operator.connection.requests.writes(), 0);
    assert!(server.written().is_empty());
    assert_eq!(server.all("leases"), Vec::<Value>::new());
    assert_eq!(server.replicas("llama"), 1);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_somebody_else_sets_is_decided_upon_anew() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    server.put("deployments", deployment("llama", 3));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({"maxReplicaCount": 3})));
    let operator = Operator::start(&server, false).await;
    let object = || server.get("scaledobjects", "prod", "llama").unwrap();
    until("it is Active", || condition(&object(), "Active").is_some_and(|(status, _)| status == "True"))
        .await;
    server.edit("deployments", "prod", "llama", |object| object["spec"]["replicas"] = json!(7));
    until("it is brought back to the maximum", || server.replicas("llama") == 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_of_another_autoscaler_is_left_alone_and_the_other_is_named() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(50.0).await);
    server.put("deployments", deployment("llama", 1));
    server.put("horizontalpodautoscalers", json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "prod", "name": "keda-hpa-llama", "ownerReferences": [{"kind": "ScaledObject"}]},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}, "maxReplicas": 5},
    }));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let operator = Operator::start(&server, false).await;
    let object = || server.get("scaledobjects", "prod", "llama").unwrap();
    until("it is not Ready", || condition(&object(), "Ready").is_some_and(|(status, _)| status == "False"))
        .await;
    let conditions = object()["status"]["conditions"].to_string();
    assert!(conditions.contains("HorizontalPodAutoscaler keda-hpa-llama"), "{conditions}");
    assert!(server.scaled().is_empty());
    // Once it is gone the workload is ours.
    server.delete("horizontalpodautoscalers", "prod", "keda-hpa-llama");
    until("it scales", || server.replicas("llama") > 1).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_object_gives_its_replicas_back_and_is_let_go() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(50.0).await);
    server.put("deployments", deployment("llama", 2));
    let advanced = json!({"advanced": {"restoreToOriginalReplicaCount": true}});
    server.put("scaledobjects", scaled_object("llama", &prometheus, advanced));
    let operator = Operator::start(&server, false).await;
    let object = || server.get("scaledobjects", "prod", "llama");
    let original = || object().is_some_and(|object| object["status"]["originalReplicaCount"] == 2);
    let claimed =
        || object().is_some_and(|object| object["metadata"]["finalizers"][0] == "finalizer.keda.sh");
    until("it is scaled and claimed", || server.replicas("llama") > 2 && original() && claimed()).await;
    server.delete("scaledobjects", "prod", "llama");
    until("it is gone", || object().is_none()).await;
    assert_eq!(server.replicas("llama"), 2);
    operator.stop().await;
}
