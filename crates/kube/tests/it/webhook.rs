//! Admission by a real API server, over TLS with certificates of our own making.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_kube::admission::{self, Config, Running};
use tidegate_kube::client::{Connection, Options};
use tidegate_testkit::cluster::{self, Cluster};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::real::{account, complete, named};
use super::rig::within;

/// One that serves, as a pod of the chart's operator would.
pub(crate) async fn replica(cluster: &Cluster, stop: &CancellationToken) -> Running {
    let kubeconfig = Some(account(cluster, "tidegate", "tidegate-operator").await);
    let client = Connection::new(&Options { kubeconfig, ..Options::default() }).await.unwrap().client;
    let config = Config {
        addr: SocketAddr::from(([127, 0, 0, 1], 0)),
        names: vec!["127.0.0.1".to_owned()],
        namespace: "tidegate".to_owned(),
        secret: "tidegate-webhook-certs".to_owned(),
        configuration: "tidegate".to_owned(),
        counters: Arc::default(),
    };
    let (out, mut remarks) = mpsc::channel::<String>(16);
    tokio::spawn(async move { while remarks.recv().await.is_some() {} });
    admission::start(client, config, out, stop.clone()).await.unwrap()
}

/// What asks for reviews. It fails where nobody answers, so that what passes has passed a review.
pub(crate) fn configuration(at: SocketAddr) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "tidegate"},
        "webhooks": [{
            "name": "lint.tidegate.dev", "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 5,
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://{at}/validate")},
            "rules": [{
                "apiGroups": ["keda.sh"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["scaledobjects", "scaledjobs", "triggerauthentications", "clustertriggerauthentications"],
            }],
        }],
    })
}

fn object(name: &str, threshold: &str, annotations: &Value) -> String {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"namespace": "prod", "name": name, "annotations": annotations},
        "spec": {
            "scaleTargetRef": {"name": name}, "minReplicaCount": 1,
            "triggers": [{"type": "prometheus", "metadata": {
                "serverAddress": "http://prometheus:9090", "query": "sum(waiting)", "threshold": threshold,
            }}],
        },
    })
    .to_string()
}

/// kubectl's answer to an object: whether it was taken, and what was said.
async fn apply(cluster: &Cluster, object: &str) -> (bool, String) {
    let output = cluster.kubectl(&["apply", "-f", "-"], object).await.unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_is_refused_a_bad_object_with_the_finding_and_warned_of_a_risky_one() {
    let options = cluster::Options { bare: true, ..cluster::Options::default() };
    let Some(cluster) = Cluster::start_or_say("the admission webhook", options).await else { return };
    cluster.apply(&named("Namespace", "prod").to_string()).await.unwrap();
    complete(&cluster).await;
    let stop = CancellationToken::new();
    let first = replica(&cluster, &stop).await;
    cluster.apply(&configuration(first.addr).to_string()).await.unwrap();
    let refused = async {
        loop {
            let (taken, said) = apply(&cluster, &object("bad", "many", &json!({}))).await;
            // Until the API server has the CA it cannot ask, and says so.
            if !taken && said.contains("lint.tidegate.dev\" denied") {
                return said;
            }
            assert!(!taken, "a bad object was taken: {said}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let said = within("a review", refused).await;
    assert!(said.contains("threshold"), "{said}");

    let risky = object("risky", "5", &json!({"tidegate.dev/modell": "x"}));
    let (taken, said) = apply(&cluster, &risky).await;
    assert!(taken && said.contains("Warning: TG011"), "{said}");
    let (taken, said) = apply(&cluster, &object("good", "5", &json!({}))).await;
    assert!(taken, "{said}");
    assert!(cluster.get(&["-n", "prod", "scaledobject", "bad"]).await.is_err());
    // Another one of the same workload.
    let twin = object("good", "5", &json!({}))
        .replace(r#""name":"good","namespace""#, r#""name":"twin","namespace""#);
    let (taken, said) = apply(&cluster, &twin).await;
    assert!(!taken && said.contains("the ScaledObject good scales"), "{said}");
    let wrong = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"namespace": "prod", "name": "wrong"},
        "spec": {"podIdentity": {"provider": "azure-workload", "identityId": ""}},
    });
    let (taken, said) = apply(&cluster, &wrong.to_string()).await;
    assert!(!taken && said.contains("denied"), "{said}");

    // A second replica serves the same certificate, and writes nothing.
    let secret = cluster.get(&["-n", "tidegate", "secret", "tidegate-webhook-certs"]).await.unwrap();
    let second = replica(&cluster, &stop).await;
    let other = configuration(second.addr);
    let bundle = cluster.get(&["validatingwebhookconfiguration", "tidegate"]).await.unwrap();
    let mut other = other;
    other["webhooks"][0]["clientConfig"]["caBundle"] =
        bundle["webhooks"][0]["clientConfig"]["caBundle"].clone();
    cluster.apply(&other.to_string()).await.unwrap();
    let by_the_second = async {
        loop {
            let (taken, said) = apply(&cluster, &object("worse", "none", &json!({}))).await;
            if !taken && said.contains("denied") && said.contains("threshold") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within("a review by the second", by_the_second).await;
    let later = cluster.get(&["-n", "tidegate", "secret", "tidegate-webhook-certs"]).await.unwrap();
    assert_eq!(secret["metadata"]["resourceVersion"], later["metadata"]["resourceVersion"]);
    stop.cancel();
    within("both end", async { tokio::join!(first.ended(), second.ended()) }).await;
}
