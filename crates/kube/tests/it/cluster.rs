//! The same against a real API server, with the custom resources' real schemas, and its controllers.

use serde_json::{Value, json};
use tidegate_testkit::cluster::{Cluster, Options};

use super::rig::{Operator, Prometheus, condition, decisions, deployment, scaled_object, triggered, until};

/// A cluster with one Deployment and its ScaledObject.
async fn cluster(what: &str, prometheus: &Prometheus, replicas: u32) -> Option<Cluster> {
    let cluster = Cluster::start_or_say(what, Options::default()).await?;
    let mut deployment = deployment("llama", replicas);
    deployment.as_object_mut().unwrap().remove("status");
    deployment["spec"]["template"]["metadata"] = json!({"labels": {"app": "llama"}});
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let mut object = scaled_object("llama", prometheus, json!({}));
    object["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
    for one in [namespace("prod"), namespace("tidegate"), deployment, object] {
        cluster.apply(&one.to_string()).await.unwrap();
    }
    Some(cluster)
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
async fn a_real_api_server_that_restarts_loses_nothing_that_was_decided() {
    let prometheus = Prometheus::start(3.0).await;
    let Some(cluster) = cluster("the operator over a restart", &prometheus, 0).await else { return };
    let operator = Operator::with(cluster.kubeconfig(), false).await;
    super::rig::within("one replica", replicas(&cluster, 1)).await;
    cluster.stop_apiserver().await.unwrap();
    prometheus.set(Some(18.0));
    decisions(&operator, 12).await;
    cluster.start_apiserver().await.unwrap();
    super::rig::within("four replicas", replicas(&cluster, 4)).await;
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

/// Workers that are counted, and what is scaled by them at one each; two of it have all GPUs of the nodes.
fn counted() -> [Value; 3] {
    let mut workers = deployment("worker", 3);
    let mut llama = deployment("llama", 0);
    for (object, name) in [(&mut workers, "worker"), (&mut llama, "llama")] {
        object.as_object_mut().unwrap().remove("status");
        object["spec"]["template"]["metadata"] = json!({"labels": {"app": name}});
    }
    let gpus = json!({"limits": {"nvidia.com/gpu": "4"}});
    llama["spec"]["template"]["spec"]["containers"][0]["resources"] = gpus;
    let metadata = json!({"podSelector": "app=worker", "value": "1"});
    let trigger = json!([{"type": "kubernetes-workload", "metadata": metadata}]);
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    let advanced = json!({"horizontalPodAutoscalerConfig": {"behavior": behavior}});
    let mut object = triggered("llama", trigger, json!({"advanced": advanced}));
    object["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
    [workers, llama, object]
}

/// The pods of llama: by name whether each is ready, and what is written of its cost.
async fn pods(cluster: &Cluster) -> Vec<(String, bool, Option<String>)> {
    let list = cluster.get(&["-n", "prod", "pods", "-l", "app=llama"]).await.unwrap_or(Value::Null);
    let pods = list["items"].as_array().into_iter().flatten();
    let staying = pods.filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
    let of = |pod: &Value| {
        let cost = pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"].as_str();
        let ready = condition(pod, "Ready").is_some_and(|(status, _)| status == "True");
        (pod["metadata"]["name"].as_str().unwrap().to_owned(), ready, cost.map(str::to_owned))
    };
    staying.map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_cluster_pods_are_counted_gpus_limit_and_the_marked_pods_go() {
    let Some(cluster) = Cluster::start_or_say("pods, GPUs and victims", Options::default()).await else {
        return;
    };
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    for one in [namespace("prod"), namespace("tidegate")].into_iter().chain(counted()) {
        cluster.apply(&one.to_string()).await.unwrap();
    }
    let operator = Operator::with(cluster.kubeconfig(), false).await;
    super::rig::within("one for each worker", replicas(&cluster, 3)).await;
    let limited = async {
        let is = |object: &Value| condition(object, "Limited").is_some_and(|(status, _)| status == "True");
        while !is(&get(&cluster, "scaledobject").await) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    super::rig::within("the third waits for a GPU", limited).await;
    let scale = async |count: &str| {
        cluster
            .succeed(&["-n", "prod", "scale", "deployment", "worker", "--replicas", count], "")
            .await
            .unwrap()
    };
    scale("6").await;
    until("six are counted", || operator.told.read("Value { value: 6.0")).await;
    decisions(&operator, 4).await;
    assert_eq!(get(&cluster, "deployment").await["spec"]["replicas"], json!(3), "nothing is raised");
    scale("1").await;
    super::rig::within("one replica", replicas(&cluster, 1)).await;
    let left = async {
        loop {
            match &pods(&cluster).await[..] {
                [(_, ready, cost)] => break (*ready, cost.clone()),
                _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    };
    let (ready, cost) = super::rig::within("one pod is left", left).await;
    assert!(ready, "the one that waited goes first");
    assert_eq!(cost, None, "Kubernetes took those that were marked");
    operator.stop().await;
}
