//! The same against a real API server, with the custom resources' real schemas, and its controllers.

use serde_json::{Value, json};
use tidegate_testkit::cluster::{Cluster, Options};

use super::real::Real;
use super::rig::{Operator, Prometheus, condition, decisions, deployment, scaled_object, until};

/// The cluster with one Deployment and its ScaledObject.
async fn cluster(_what: &str, prometheus: &Prometheus, replicas: u32) -> Option<Real> {
    let real = Real::with("prod", Options::default()).await?;
    real.put(deployment("llama", replicas)).await;
    real.put(scaled_object("llama", prometheus, json!({}))).await;
    Some(real)
}

async fn get(cluster: &Cluster, kind: &str) -> Value {
    cluster.get(&["-n", "prod", kind, "llama"]).await.unwrap_or(Value::Null)
}

async fn replicas(cluster: &Cluster, count: u32) {
    loop {
        if get(cluster, "deployment").await["spec"]["replicas"] == json!(count) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_takes_every_write_and_kubectl_shows_it() {
    let prometheus = Prometheus::start(3.0).await;
    let Some(cluster) = cluster("the operator on a real cluster", &prometheus, 0).await else { return };
    let operator = Operator::with(cluster.kubeconfig(), false).await;
    super::rig::within("one replica", replicas(&cluster, 1)).await;
    prometheus.set(Some(12.0));
    super::rig::within("three replicas", replicas(&cluster, 3)).await;
    decisions(&operator, 4).await;
    let object = get(&cluster, "scaledobject").await;
    assert_eq!(
        condition(&object, "Active"),
        Some(("True".to_owned(), "ScalerActive".to_owned())),
        "{object}"
    );
    assert_eq!(object["metadata"]["finalizers"], json!(["finalizer.keda.sh"]));
    let table = cluster.succeed(&["-n", "prod", "get", "so"], "").await.unwrap();
    assert!(table.contains("apps/v1.Deployment") && table.contains("prometheus"), "{table}");
    let events = cluster.succeed(&["-n", "prod", "get", "events"], "").await.unwrap();
    assert!(events.contains("KEDAScaleTargetActivated"), "{events}");
    let described = cluster.succeed(&["-n", "prod", "describe", "so", "llama"], "").await.unwrap();
    for told in ["KEDAScaleTargetActivated", "SuccessfulRescale", "ScalerActive", "New size: 3; reason:"] {
        assert!(described.contains(told), "no {told} in\n{described}");
    }
    let refused: Vec<String> =
        operator.told.remarks().into_iter().filter(|text| text.contains("cannot be")).collect();
    assert_eq!(refused, Vec::<String>::new());
    let writes = operator.connection.requests.writes();
    decisions(&operator, 3).await;
    // The lease is renewed every two seconds; nothing else is written.
    assert!(operator.connection.requests.writes() - writes <= 4);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_sees_no_write_of_one_that_advises() {
    let prometheus = Prometheus::start(50.0).await;
    let Some(cluster) = cluster("advice on a real cluster", &prometheus, 1).await else { return };
    let operator = Operator::with(cluster.kubeconfig(), true).await;
    until("it says so", || operator.told.says("would scale from 1 to 4")).await;
    decisions(&operator, 3).await;
    assert_eq!((operator.connection.requests.writes(), operator.connection.requests.refused()), (0, 0));
    assert_eq!(get(&cluster, "deployment").await["spec"]["replicas"], json!(1));
    operator.stop().await;
}
