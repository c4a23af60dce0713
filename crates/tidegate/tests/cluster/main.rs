//! The commands at a real cluster: the real binary, a real API server, its controllers, fake GPU nodes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../gateway/account.rs"]
mod account;
mod rig;

use serde_json::{Value, json};
use tidegate_testkit::cluster::{Cluster, Options};

use rig::{Operator, deployment, namespace, prometheus, scaled_object, tidegate, until};

/// Codes of what the doctor finds in a namespace.
fn codes(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let output = tidegate(cluster, &["doctor", "-n", namespace, "--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
    let live = report["live"].as_array().unwrap().iter();
    live.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

fn has(codes: &[String], code: &str) -> bool {
    codes.iter().any(|found| found == code)
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_why_adopt_and_release_at_a_cluster() {
    let Some(cluster) = Cluster::start_or_say("the commands at a cluster", Options::default()).await else {
        return;
    };
    let server = prometheus("100");
    // Each pod takes a whole node of four: two fit, and ten are asked for.
    account::install(&cluster).await;
    for object in [namespace("prod"), deployment("llama", 4), scaled_object("llama", &server)] {
        cluster.apply(&object.to_string()).await.unwrap();
    }
    let found = codes(&cluster, "prod");
    assert!(has(&found, "TD511"), "nobody operates: {found:?}");

    let operator = Operator::start(&cluster).await;
    until("the pool is full", || has(&codes(&cluster, "prod"), "TD509")).await;
    let output = tidegate(&cluster, &["doctor", "-n", "prod"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("8 nvidia.com/gpu on 2 nodes, 8 taken"), "{text}");
    assert!(!text.contains("TD511") && !text.contains("TD513"), "{text}");

    let why = operator.ask("why", "prod/llama");
    assert!(why.contains("prod/llama") && why.contains("s0-prometheus"), "{why}");

    // A second owner: the operator lets go, and the doctor names both.
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "prod", "name": "llama"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
            "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
        },
    });
    cluster.apply(&hpa.to_string()).await.unwrap();
    let both = || {
        let found = codes(&cluster, "prod");
        // And nobody serves what the second reads.
        ["TD502", "TD512", "TD508"].iter().all(|code| has(&found, code))
    };
    until("both are named", both).await;
    cluster.succeed(&["-n", "prod", "delete", "hpa", "llama"], "").await.unwrap();

    let said = |arguments: &[&str]| {
        let output = tidegate(&cluster, arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), format!("{text}{complaint}"))
    };
    let (code, text) = said(&["adopt", "llama", "-n", "prod", "--dry-run"]);
    assert!(code == Some(0) && text.contains("no KEDA is at work"), "{text}");
    let (code, text) = said(&["adopt", "nobody", "-n", "prod"]);
    assert!(code == Some(1) && text.contains("there is no nobody"), "{text}");
    let (code, text) = said(&["adopt", "--all", "-n", "prod"]);
    assert!(code == Some(0) && text.contains("1 taken over, 0 not yet"), "{text}");
    let (code, text) = said(&["release", "llama", "-n", "prod"]);
    assert!(code == Some(0) && text.contains("nobody scales it until one is started"), "{text}");
    let (code, text) = said(&["release", "llama", "-n", "prod"]);
    assert!(code == Some(0) && text.contains("is given back already"), "{text}");
    operator.stop();
    assert_eq!(account::refused(&cluster), Vec::<String>::new());
}
