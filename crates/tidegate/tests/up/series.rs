//! The store of scraped series, read as KEDA and Grafana read a Prometheus.

use std::time::Instant;

use serde_json::{Value, json};

use crate::fleet::{Model, manifests};
use crate::rig::{PATIENCE, Rig};

async fn ask(rig: &Rig, path: &str) -> Value {
    rig.get(&format!("{}/api/v1/{path}", rig.admin)).await.json()["data"].clone()
}

#[tokio::test]
async fn what_replicas_show_is_asked_for_as_of_a_prometheus() {
    let rig = Rig::up(&manifests(&[Model::new("tide")]), &[]);
    assert_eq!(rig.chat("tide", 4, false).await.status, 200);
    rig.until_ready("default/tide", 1).await;
    // The first scrape comes within a second of being ready.
    let selector = "vllm:num_requests_running%7Bdeployment=%22tide%22%7D";
    let begin = Instant::now();
    let series = loop {
        let data = ask(&rig, &format!("query?query={selector}")).await;
        if let Some(series) = data["result"].get(0) {
            break series["metric"].clone();
        }
        assert!(begin.elapsed() < PATIENCE, "nothing was scraped");
        rig.fleet().await;
    };
    assert_eq!((&series["namespace"], &series["job"]), (&json!("default"), &json!("tide")));
    assert_eq!(series["model_name"], "tide");
    for label in ["pod", "instance", "container", "__name__"] {
        assert!(series[label].as_str().is_some_and(|value| !value.is_empty()), "{label}: {series}");
    }
    assert_eq!(ask(&rig, "query?query=sum(up)").await["result"][0]["value"][1], "1");
    let names = ask(&rig, "label/__name__/values").await;
    let names: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(names.contains(&"vllm:time_to_first_token_seconds_bucket"), "{names:?}");
    // What tells a scaler nothing is kept with --store-all only.
    assert!(!names.contains(&"vllm:iteration_tokens_total_bucket"), "{names:?}");
    rig.stop();
}
