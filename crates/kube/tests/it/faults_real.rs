//! Faults of a real API server, its etcd and its definitions.

use serde_json::json;

use super::real::Real;
use super::rig::{Prometheus, decisions, deployment, scaled_object, until};

/// A turn on the cluster, with one Deployment and its ScaledObject.
async fn scene(namespace: &'static str, prometheus: &Prometheus, replicas: u32) -> Option<Real> {
    let real = Real::turn(namespace).await?;
    real.put(deployment("llama", replicas)).await;
    real.put(scaled_object("llama", prometheus, json!({}))).await;
    Some(real)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_that_is_killed_and_restarted_loses_nothing_that_was_decided() {
    let prometheus = Prometheus::start(3.0).await;
    let Some(real) = scene("restart", &prometheus, 0).await else { return };
    let operator = real.operator().await;
    real.replicas("deployment", "llama", 1).await;
    real.cluster.kill_apiserver().await.unwrap();
    prometheus.set(Some(18.0));
    decisions(&operator, 12).await;
    real.cluster.start_apiserver().await.unwrap();
    real.replicas("deployment", "llama", 4).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_etcd_stands_still_nothing_is_scaled_down_and_afterwards_what_was_decided_is_written() {
    let prometheus = Prometheus::start(3.0).await;
    let Some(real) = scene("etcd", &prometheus, 2).await else { return };
    let operator = real.operator().await;
    decisions(&operator, 4).await;
    real.cluster.pause_etcd().await.unwrap();
    prometheus.set(Some(18.0));
    until("writes wait", || operator.told.says("a write waits")).await;
    decisions(&operator, 12).await;
    real.cluster.resume_etcd().await.unwrap();
    real.replicas("deployment", "llama", 4).await;
    let told = operator.told.remarks();
    assert!(!told.iter().any(|text| text.contains("→ 1") || text.contains("→ 0")), "{told:#?}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_of_a_newer_version_is_lived_with_and_one_that_drops_ours_makes_nothing_look_gone() {
    let prometheus = Prometheus::start(3.0).await;
    let Some(real) = scene("newer", &prometheus, 2).await else { return };
    let operator = real.operator().await;
    decisions(&operator, 3).await;
    let known = real.cluster.get(&["crd", "scaledobjects.keda.sh"]).await.unwrap();
    let mut newer = json!({"apiVersion": known["apiVersion"], "kind": known["kind"],
                           "metadata": {"name": "scaledobjects.keda.sh"}, "spec": known["spec"]});
    let mut version = known["spec"]["versions"][0].clone();
    version["name"] = json!("v2");
    version["storage"] = json!(false);
    let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    spec["later"] = json!({"type": "string"});
    newer["spec"]["versions"].as_array_mut().unwrap().push(version);
    let replace = ["replace", "-f", "-"];
    newer["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"].clone();
    real.cluster.succeed(&replace, &newer.to_string()).await.unwrap();
    real.put(deployment("second", 0)).await;
    let mut object = scaled_object("second", &prometheus, json!({}));
    object["apiVersion"] = json!("keda.sh/v2");
    super::rig::within("v2 is served", async {
        object["metadata"]["namespace"] = json!(real.namespace);
        while real.cluster.apply(&object.to_string()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    })
    .await;
    real.replicas("deployment", "second", 1).await;
    // Ours is no longer served: what was seen last stays.
    let patch = r#"[{"op": "replace", "path": "/spec/versions/0/served", "value": false}]"#;
    let unserve = ["patch", "crd", "scaledobjects.keda.sh", "--type=json", "-p", patch];
    real.cluster.succeed(&unserve, "").await.unwrap();
    // Watches that are open are closed when the server comes back.
    real.cluster.stop_apiserver().await.unwrap();
    real.cluster.start_apiserver().await.unwrap();
    until("it says so", || operator.told.says("cannot see ScaledObject")).await;
    decisions(&operator, 6).await;
    assert_eq!(real.get("deployment", "llama").await["spec"]["replicas"], json!(2));
    let serve = patch.replace("false", "true");
    let serve = ["patch", "crd", "scaledobjects.keda.sh", "--type=json", "-p", &serve];
    real.cluster.succeed(&serve, "").await.unwrap();
    prometheus.set(Some(18.0));
    real.replicas("deployment", "llama", 4).await;
    operator.stop().await;
    let remove = r#"[{"op": "remove", "path": "/spec/versions/1"}]"#;
    let restore = ["patch", "crd", "scaledobjects.keda.sh", "--type=json", "-p", remove];
    real.cluster.succeed(&restore, "").await.unwrap();
    // kubectl remembers the newer version for those who come next, unless it asks anew.
    real.cluster.succeed(&["api-resources"], "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_come_and_go_in_a_real_cluster_cost_no_write() {
    let prometheus = Prometheus::start(8.0).await;
    let Some(real) = scene("churn", &prometheus, 2).await else { return };
    let operator = real.operator().await;
    decisions(&operator, 4).await;
    real.put(deployment("churn", 0)).await;
    let writes = operator.connection.requests.writes();
    let decided = operator.told.decisions();
    for count in [80, 0, 80, 0] {
        real.kubectl(&["scale", "deployment/churn", &format!("--replicas={count}")]).await;
        real.until("its pods are as many", "deployment", "churn", |object| {
            object["status"]["replicas"].as_u64().unwrap_or(0) == count
        })
        .await;
    }
    decisions(&operator, 2).await;
    // The lease is renewed every two seconds, so less than once a decision; nothing else is written.
    let (written, decided) =
        (operator.connection.requests.writes() - writes, operator.told.decisions() - decided);
    assert!(written <= decided + 2, "{written} writes in {decided} decisions");
    operator.stop().await;
}
