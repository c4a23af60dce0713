//! Faults of a real API server, its etcd and its definitions.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::link::Link;
use super::real::Real;
use super::rig::{Operator, Prometheus, Setup, decisions, deployment, scaled_object, until};
use super::witness::{Candidate, Counts, Log, address};

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

/// Pods that come and go: each is made, bound, pulled, started, made ready and deleted, with an Event at each step.
/// That is 50 ms of CPU a pod for the cluster, 25 s for all; `benches/operator` does it with more.
const CHURN: u64 = 500;

/// A node with room for them, which KWOK keeps alive. It has no GPU.
fn node() -> Value {
    let room = json!({"cpu": "1000", "memory": "1000Gi", "pods": CHURN.to_string()});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "churn", "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": room, "allocatable": room},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_pods_that_come_and_go_in_a_real_cluster_cost_no_write() {
    let prometheus = Prometheus::start(8.0).await;
    let Some(real) = scene("churn", &prometheus, 2).await else { return };
    real.cluster.apply(&node().to_string()).await.unwrap();
    let operator = real.operator().await;
    decisions(&operator, 4).await;
    real.put(deployment("churn", 0)).await;
    let writes = operator.connection.requests.writes();
    let decided = operator.told.decisions();
    for count in [CHURN, 0] {
        real.kubectl(&["scale", "deployment/churn", &format!("--replicas={count}")]).await;
        for field in ["replicas", "readyReplicas"] {
            real.until("its pods are as many", "deployment", "churn", |object| {
                object["status"][field].as_u64().unwrap_or(0) == count
            })
            .await;
        }
    }
    decisions(&operator, 2).await;
    // The lease is renewed every two seconds, so less than once a decision; nothing else is written.
    let (written, decided) =
        (operator.connection.requests.writes() - writes, operator.told.decisions() - decided);
    assert!(written <= decided + 2, "{written} writes in {decided} decisions");
    prometheus.set(Some(18.0));
    real.replicas("deployment", "llama", 4).await;
    operator.stop().await;
    real.cluster.succeed(&["delete", "node", "churn"], "").await.unwrap();
}

/// A second Deployment with its ScaledObject, of the same numbers.
async fn second(real: &Real, prometheus: &Prometheus, replicas: u32) {
    real.put(deployment("other", replicas)).await;
    real.put(scaled_object("other", prometheus, json!({}))).await;
}

/// Waits until our finalizer is on an object, so that its deletion waits for us.
async fn claimed(real: &Real, name: &str) {
    let ours = |object: &Value| object["metadata"]["finalizers"][0] == "finalizer.keda.sh";
    real.until("it is claimed", "so", name, ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_a_real_api_server_answers_with_410_list_again_and_nothing_looks_gone() {
    let prometheus = Prometheus::start(12.0).await;
    let Some(real) = scene("expired", &prometheus, 3).await else { return };
    let Some(log) = Log::begin(real.cluster) else { return };
    second(&real, &prometheus, 3).await;
    let link = Link::to(address(real.kubeconfig())).await;
    let candidate = Candidate::new(&real, Some(link.addr)).await;
    let setup = Setup { namespaces: vec![real.namespace], ..Setup::default() };
    let operator = Operator::of(&candidate.kubeconfig, setup).await;
    claimed(&real, "llama").await;
    claimed(&real, "other").await;
    decisions(&operator, 3).await;
    // While its watches see nothing: one object goes, and etcd and the API server forget how.
    let old = real.get("so", "other").await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    link.hold(true);
    real.kubectl(&["delete", "so", "other", "--wait=false"]).await;
    real.cluster.forget_history().await.unwrap();
    real.cluster.stop_apiserver().await.unwrap();
    real.cluster.start_apiserver().await.unwrap();
    let path = format!("/apis/keda.sh/v1alpha1/scaledobjects?watch=1&timeoutSeconds=1&resourceVersion={old}");
    let told = real.cluster.succeed(&["get", "--raw", &path], "").await.unwrap();
    assert!(told.contains(r#""code":410"#), "{told}");
    let lists = |resource: &str| {
        let entries = log.entries().into_iter();
        entries
            .filter(|entry| entry.verb == "list" && entry.resource == resource && entry.succeeded())
            .count()
    };
    let before = (lists("scaledobjects"), lists("deployments"), lists("pods"));
    let scaled =
        || log.changes(&candidate).iter().filter(|entry| entry.resource == "deployments/scale").count();
    let written = scaled();
    link.hold(false);
    until("they are listed again", || {
        lists("scaledobjects") > before.0 && lists("deployments") > before.1 && lists("pods") > before.2
    })
    .await;
    real.until("what went meanwhile is let go", "so", "other", Value::is_null).await;
    decisions(&operator, 3).await;
    assert_eq!(
        scaled(),
        written,
        "nothing is scaled because a list begins anew: {:#?}",
        log.changes(&candidate)
    );
    prometheus.set(Some(28.0));
    real.replicas("deployment", "llama", 6).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_scales_a_real_deployment_again_and_again_is_answered_by_decisions_and_not_by_retries() {
    let prometheus = Prometheus::start(12.0).await;
    let Some(real) = Real::turn("editor").await else { return };
    let Some(log) = Log::begin(real.cluster) else { return };
    real.put(deployment("llama", 3)).await;
    real.put(scaled_object("llama", &prometheus, json!({"maxReplicaCount": 3}))).await;
    let candidate = Candidate::new(&real, None).await;
    let setup = Setup { namespaces: vec![real.namespace], ..Setup::default() };
    let operator = Operator::of(&candidate.kubeconfig, setup).await;
    claimed(&real, "llama").await;
    decisions(&operator, 3).await;
    let counts = Counts::watch(&real, "llama").await;
    // One who scales, and one who writes so much beside that every version is old when it is used.
    let stop = super::roles::editor(&real, &[("deployments", "llama")]).await;
    let made = operator.told.decisions();
    let ours = || log.changes(&candidate).into_iter().filter(|entry| entry.scales("llama"));
    super::rig::within("they have met", async {
        while ours().filter(|entry| entry.code == 409).count() < 3 || operator.told.decisions() < made + 10 {
            real.kubectl(&["scale", "deployment/llama", "--replicas=7"]).await;
        }
    })
    .await;
    let (sent, decided) = (ours().count() as u64, operator.told.decisions() - made);
    // A conflict is looked at three times before the loop decides anew.
    assert!(sent <= 4 * (decided + 1), "{sent} writes for {decided} decisions");
    stop.store(true, Ordering::SeqCst);
    real.replicas("deployment", "llama", 3).await;
    let seen = counts.of("llama");
    assert!(
        seen.len() > 2 && seen.iter().all(|count| matches!(count, 3 | 7)),
        "never what nobody decided: {seen:?}"
    );
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_deleted_from_a_real_api_server_while_its_source_is_asked_is_not_scaled_any_more() {
    let prometheus = Prometheus::start(8.0).await;
    let Some(real) = scene("deleted", &prometheus, 2).await else { return };
    let operator = real.operator().await;
    claimed(&real, "llama").await;
    decisions(&operator, 2).await;
    let counts = Counts::watch(&real, "llama").await;
    prometheus.hold(true);
    let asked = prometheus.asked();
    until("the source is being asked", || prometheus.asked() > asked).await;
    prometheus.set(Some(50.0));
    real.kubectl(&["delete", "so", "llama"]).await;
    prometheus.hold(false);
    // Another one is decided meanwhile, so that what was not done had its chance.
    second(&real, &prometheus, 1).await;
    real.until("the other is scaled", "deployment", "other", |other| other["spec"]["replicas"] != json!(1))
        .await;
    decisions(&operator, 3).await;
    assert_eq!(counts.of("llama"), [2]);
    operator.stop().await;
}
