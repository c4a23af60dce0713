//! The same against a real API server, with the custom resources' real schemas, and its controllers.

use serde_json::{Value, json};
use tidegate_kube::client;
use tidegate_kube::migrate::{Asked, Keda, Outcome, adopt, release};
use tidegate_testkit::cluster::{Cluster, Options};

use super::real::Real;
use super::rig::{Operator, Prometheus, condition, decisions, deployment, scaled_object, triggered, until};

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
    let active = Some(("True".to_owned(), "ScalerActive".to_owned()));
    let claimed = |object: &Value| object["metadata"]["finalizers"] == json!(["finalizer.keda.sh"]);
    let is_active = |object: &Value| claimed(object) && condition(object, "Active") == active;
    cluster.until("it is claimed and active", "so", "llama", is_active).await;
    let table = cluster.succeed(&["-n", "prod", "get", "so"], "").await.unwrap();
    assert!(table.contains("apps/v1.Deployment") && table.contains("prometheus"), "{table}");
    // Events go out after what they tell of.
    for told in ["KEDAScaleTargetActivated", "SuccessfulRescale", "ScalerActive", "New size: 3; reason:"] {
        super::rig::within(told, async {
            let describe = ["-n", "prod", "describe", "so", "llama"];
            while !cluster.succeed(&describe, "").await.unwrap().contains(told) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
    }
    let events = cluster.succeed(&["-n", "prod", "get", "events"], "").await.unwrap();
    assert!(events.contains("KEDAScaleTargetActivated"), "{events}");
    let refused: Vec<String> =
        operator.told.remarks().into_iter().filter(|text| text.contains("cannot be")).collect();
    assert_eq!(refused, Vec::<String>::new());
    super::rig::until("nothing is on its way", || operator.told.waiting() == 0).await;
    let (writes, since) = (operator.connection.requests.writes(), std::time::Instant::now());
    decisions(&operator, 3).await;
    // The lease is renewed every two seconds, however long three decisions take; nothing else is written.
    let written = operator.connection.requests.writes() - writes;
    assert!(written <= 3 + since.elapsed().as_secs() / 2, "{written} writes");
    operator.stop().await;
}

/// Which managers have applied a field of an object: `tidegate`, or `tidegate status` for a subresource.
fn appliers(object: &Value, field: &str) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().expect("somebody wrote it");
    let applied = entries.iter().filter(|one| one["operation"] == "Apply");
    let its = applied.filter(|one| one["fieldsV1"].pointer(field).is_some());
    its.map(|one| {
        let subresource = one["subresource"].as_str().unwrap_or_default();
        format!("{} {subresource}", one["manager"].as_str().unwrap()).trim_end().to_owned()
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_api_server_what_is_ours_is_applied_and_what_is_others_stays() {
    let prometheus = Prometheus::start(12.0).await;
    let Some(cluster) = cluster("server-side apply on a real cluster", &prometheus, 1).await else { return };
    let theirs = r#"{"metadata": {"finalizers": ["example.com/theirs"]}}"#;
    cluster.kubectl(&["patch", "so", "llama", "--type=merge", "-p", theirs]).await;
    let condition_of_theirs = r#"[{"op": "add", "path": "/status/conditions/-",
        "value": {"type": "Mine", "status": "True", "reason": "Because", "message": ""}}]"#;
    let operator = Operator::with(cluster.kubeconfig(), false).await;
    super::rig::within("three replicas", replicas(&cluster, 3)).await;
    let is = |type_: &'static str, status: &'static str| {
        move |object: &Value| condition(object, type_).is_some_and(|(is, _)| is == status)
    };
    cluster.until("it is active", "so", "llama", is("Active", "True")).await;
    let add = ["patch", "so", "llama", "--subresource=status", "--type=json", "-p", condition_of_theirs];
    cluster.kubectl(&add).await;
    prometheus.set(None);
    cluster.until("the query fails", "so", "llama", is("Ready", "False")).await;
    let whole = ["get", "so", "llama", "-o", "json", "--show-managed-fields"];
    let object: Value = serde_json::from_str(&cluster.kubectl(&whole).await).unwrap();
    assert!(is("Mine", "True")(&object), "{object}");
    assert_eq!(object["metadata"]["finalizers"], json!(["example.com/theirs", "finalizer.keda.sh"]));
    let finalizer = "/f:metadata/f:finalizers/v:\"finalizer.keda.sh\"";
    assert_eq!(appliers(&object, finalizer), ["tidegate"], "{object}");
    assert_eq!(appliers(&object, "/f:status/f:conditions"), ["tidegate status"], "{object}");
    let whole = ["get", "deployment", "llama", "-o", "json", "--show-managed-fields"];
    let workload: Value = serde_json::from_str(&cluster.kubectl(&whole).await).unwrap();
    assert_eq!(appliers(&workload, "/f:spec/f:replicas"), ["tidegate scale"], "{workload}");
    operator.stop().await;
    let pages = ["-n", "tidegate", "get", "configmaps", "-o", "json", "--show-managed-fields"];
    let pages: Value = serde_json::from_str(&cluster.succeed(&pages, "").await.unwrap()).unwrap();
    let page =
        pages["items"].as_array().unwrap().iter().find(|page| page["data"].get("state.json").is_some());
    assert_eq!(appliers(page.expect("a page of memory"), "/f:data/f:state.json"), ["tidegate"]);
    // Nothing holds it any more, so what the other tests find is as they left it.
    let none = r#"{"metadata": {"finalizers": null}}"#;
    cluster.kubectl(&["patch", "so", "llama", "--type=merge", "-p", none]).await;
}

/// Verbs of an account in the audit log that change something, from so many bytes on.
fn changes(cluster: &Cluster, from: usize, account: &str) -> Option<Vec<String>> {
    let log = std::fs::read(cluster.audit_log()?).unwrap();
    let lines = String::from_utf8_lossy(&log[from..]).into_owned();
    let entries = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let its = entries.filter(|entry| entry["user"]["username"] == account);
    let writes = its.filter(|entry| {
        !matches!(entry["verb"].as_str(), Some("get" | "list" | "watch"))
            && entry["objectRef"]["resource"].is_string()
    });
    Some(writes.map(|entry| format!("{} {}", entry["verb"], entry["requestURI"])).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_sees_no_write_of_one_that_advises() {
    let prometheus = Prometheus::start(50.0).await;
    let Some(cluster) = cluster("advice on a real cluster", &prometheus, 1).await else { return };
    let account = "system:serviceaccount:tidegate:tidegate-operator";
    let from = cluster.audit_log().map_or(0, |log| std::fs::read(log).unwrap().len());
    let operator = Operator::with(cluster.kubeconfig(), true).await;
    until("it says so", || operator.told.says("would scale from 1 to 4")).await;
    decisions(&operator, 3).await;
    assert_eq!((operator.connection.requests.writes(), operator.connection.requests.refused()), (0, 0));
    assert_eq!(get(&cluster, "deployment").await["spec"]["replicas"], json!(1));
    // The API server's own word. That the log knows this account by its writes is seen once it may write.
    if let Some(writes) = changes(&cluster, from, account) {
        assert_eq!(writes, Vec::<String>::new());
        let writer = Operator::with(cluster.kubeconfig(), false).await;
        super::rig::within("it writes", async {
            while changes(&cluster, from, account).is_some_and(|writes| writes.is_empty()) {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        })
        .await;
        writer.stop().await;
    }
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
    let Some(cluster) = Real::with("prod", Options::default()).await else { return };
    for one in counted() {
        cluster.put(one).await;
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

/// What the API server makes of an autoscaler's rules; `Null` where there are none.
async fn behavior(cluster: &Cluster) -> Value {
    let hpa = cluster.get(&["-n", "prod", "hpa", "web"]).await.unwrap();
    hpa["spec"].get("behavior").cloned().unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_cluster_kedas_autoscaler_goes_and_a_plain_one_is_stopped_and_comes_back() {
    let prometheus = Prometheus::start(10.0).await;
    let Some(cluster) = cluster("adoption on a real cluster", &prometheus, 2).await else { return };
    let object = get(&cluster, "scaledobject").await;
    let owner = json!([{
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "llama",
        "uid": object["metadata"]["uid"], "controller": true,
    }]);
    let hpa = |name: &str, of: &str, owners: &Value, behavior: &Value| {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"namespace": "prod", "name": name, "ownerReferences": owners},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": of},
                "minReplicas": 1, "maxReplicas": 10, "behavior": behavior,
                "metrics": [{"type": "External", "external": {
                    "metric": {"name": "waiting"}, "target": {"type": "AverageValue", "averageValue": "5"},
                }}],
            },
        })
    };
    let slowly = json!({"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}});
    let mut web = deployment("web", 1);
    web.as_object_mut().unwrap().remove("status");
    web["spec"]["template"]["metadata"] = json!({"labels": {"app": "web"}});
    let all =
        [hpa("keda-hpa-llama", "llama", &owner, &json!({})), hpa("web", "web", &json!([]), &slowly), web];
    for one in all {
        cluster.apply(&one.to_string()).await.unwrap();
    }
    let before = behavior(&cluster).await;
    assert_eq!(before["scaleDown"]["policies"][0]["value"], 1, "{before}");
    let operator = Operator::with(cluster.kubeconfig(), false).await;
    // Who adopts does so with rights of their own.
    let options =
        client::Options { kubeconfig: Some(cluster.cluster.kubeconfig().to_owned()), ..Default::default() };
    let client = client::Connection::new(&options).await.unwrap().client;
    let asked = |target: &str, at_once| Asked {
        targets: vec![target.to_owned()],
        all: false,
        namespace: "prod".to_owned(),
        keda: Keda::Stopped,
        at_once,
        dry_run: false,
        patience: std::time::Duration::from_secs(60),
    };
    let done = Outcome { done: 1, waiting: 0 };
    let mut said = Vec::new();
    let mut say = |line: &str| said.push(line.to_owned());
    // Ten at five a replica are the two that are there.
    assert_eq!(adopt(&client, &asked("llama", false), &mut say).await.unwrap(), done);
    assert_eq!(cluster.get("hpa", "keda-hpa-llama").await, Value::Null);
    prometheus.set(Some(15.0));
    super::rig::within("three replicas", replicas(&cluster, 3)).await;
    // No adapter serves its metric, so there is nothing to agree on.
    assert_eq!(adopt(&client, &asked("hpa/web", true), &mut say).await.unwrap(), done);
    let now = behavior(&cluster).await;
    assert_eq!(
        (&now["scaleUp"]["selectPolicy"], &now["scaleDown"]["selectPolicy"]),
        (&json!("Disabled"), &json!("Disabled"))
    );
    for target in ["hpa/web", "llama"] {
        assert_eq!(release(&client, &asked(target, false), &mut say).await.unwrap(), done);
    }
    assert_eq!(behavior(&cluster).await, before);
    let object = get(&cluster, "scaledobject").await;
    assert_eq!(object["metadata"]["annotations"]["tidegate.dev/adopted"], "false", "{object}");
    operator.stop().await;
}
