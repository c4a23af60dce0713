//! From objects to evidence.

use serde_json::json;
use tidegate_doctor::cluster::{Cause, EXTERNAL, USAGE};

use super::*;
use crate::index::pods::time;

fn pod(name: &str, status: &Value) -> Value {
    json!({
        "metadata": {
            "namespace": "prod", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "llama-7d9f", "controller": true}],
        },
        "spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}], "nodeName": "n1"},
        "status": status,
    })
}

fn scaled_object() -> Value {
    json!({
        "metadata": {"namespace": "prod", "name": "llama"},
        "spec": {
            "scaleTargetRef": {"name": "llama"},
            "triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "50"}}],
        },
    })
}

fn at(listed: Listed) -> Survey {
    read(listed, time("2026-01-01T00:20:00Z").unwrap())
}

#[test]
fn a_pod_of_a_scaled_workload_is_read_with_what_keeps_it() {
    let said = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.";
    let waits = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said},
    ]});
    let loads = json!({"phase": "Running", "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:05:00Z"},
        {"type": "Ready", "status": "False"},
    ], "containerStatuses": [{"restartCount": 2, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]});
    let serves = json!({"phase": "Running", "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:05:00Z"},
        {"type": "Ready", "status": "True"},
    ]});
    let mut stranger = pod("stranger", &waits);
    stranger["metadata"]["ownerReferences"][0]["name"] = json!("web-1");
    let event = json!({
        "involvedObject": {"kind": "Pod", "namespace": "prod", "name": "loads"},
        "reason": "Unhealthy", "message": "Startup probe failed: HTTP probe failed with statuscode: 503",
    });
    let pods = vec![pod("waits", &waits), pod("loads", &loads), pod("serves", &serves), stranger];
    let listed =
        Listed { scaled_objects: vec![scaled_object()], pods, events: vec![event], ..Listed::default() };
    let cluster = at(listed).cluster;
    let names: Vec<&str> = cluster.pods.iter().map(|pod| pod.name.as_str()).collect();
    assert_eq!(names, ["prod/waits", "prod/loads"]);
    assert_eq!(cluster.pods[0].waits, Some((Cause::Gpu, said.to_owned())));
    let loads = &cluster.pods[1];
    assert_eq!((loads.starting_s, loads.restarts, loads.grace_s), (Some(900.0), 2, 30));
    assert_eq!(loads.ended, Some(("OOMKilled".to_owned(), 137)));
    assert!(loads.probe.as_deref().is_some_and(|said| said.contains("503")));
    assert_eq!(cluster.scalers[0].reads, [USAGE].into());
    assert_eq!(cluster.scalers[0].workload.as_deref(), Some("Deployment prod/llama"));
}

#[test]
fn devices_are_counted_by_pool_and_only_where_all_pods_are_known() {
    let node = |name: &str, pool: &str, ready: &str| {
        json!({
            "metadata": {"name": name, "labels": {"cloud.google.com/gke-nodepool": pool}},
            "status": {"allocatable": {"nvidia.com/gpu": "4", "cpu": "8"}, "conditions": [{"type": "Ready", "status": ready}]},
        })
    };
    let nodes = vec![node("n1", "a", "True"), node("n2", "a", "False"), node("n3", "b", "True")];
    let pods = vec![pod("one", &json!({"phase": "Running"})), pod("over", &json!({"phase": "Succeeded"}))];
    let listed = Listed { nodes: Some(nodes.clone()), pods_everywhere: Some(pods), ..Listed::default() };
    let pools = at(listed).cluster.pools.unwrap();
    let told: Vec<_> =
        pools.iter().map(|pool| (&*pool.name, pool.nodes, pool.away, pool.devices, pool.taken)).collect();
    assert_eq!(told, [("a", 2, 1, 4, Some(1)), ("b", 1, 0, 4, Some(0))]);
    let listed = Listed { nodes: Some(nodes), ..Listed::default() };
    assert_eq!(at(listed).cluster.pools.unwrap()[0].taken, None);
    assert_eq!(at(Listed::default()).cluster.pools, None);
}

#[test]
fn a_quota_is_full_by_amount_and_not_by_how_it_is_written() {
    let quota = json!({
        "metadata": {"namespace": "prod", "name": "q"},
        "status": {"hard": {"limits.memory": "1Gi", "pods": "10"}, "used": {"limits.memory": "1024Mi", "pods": "9"}},
    });
    let quotas = at(Listed { quotas: vec![quota], ..Listed::default() }).cluster.quotas;
    let told: Vec<_> = quotas.iter().map(|quota| (&*quota.resource, quota.full)).collect();
    assert_eq!(told, [("limits.memory", true), ("pods", false)]);
}

#[test]
fn live_objects_are_linted_and_those_that_keda_made_are_not() {
    let mut object = scaled_object();
    object["metadata"]["annotations"] = json!({"tidegate.dev/modell": "x"});
    object["status"] = json!({"anything": 1});
    let made = json!({
        "metadata": {
            "namespace": "prod", "name": "keda-hpa-llama", "annotations": {"tidegate.dev/modell": "x"},
            "ownerReferences": [{"kind": "ScaledObject", "name": "llama"}],
        },
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}, "maxReplicas": 3},
    });
    // Somebody's own, which an adapter has to tell.
    let mut plain = made.clone();
    plain["metadata"] = json!({"namespace": "prod", "name": "web"});
    plain["spec"]["metrics"] = json!([{"type": "External", "external": {"metric": {"name": "queue"}}}]);
    let mut kedas = made.clone();
    kedas["spec"]["metrics"] = plain["spec"]["metrics"].clone();
    let listed =
        Listed { scaled_objects: vec![object], autoscalers: vec![kedas, plain], ..Listed::default() };
    let survey = at(listed);
    let of_annotation: Vec<&str> =
        survey.findings.iter().filter(|found| found.code == "TG011").map(|found| &*found.file).collect();
    assert_eq!(of_annotation, ["ScaledObject prod/llama"]);
    assert_eq!(survey.cluster.scalers[1].owner.as_deref(), Some("llama"));
    let reads: Vec<_> = survey.cluster.scalers.iter().map(|one| one.reads.clone()).collect();
    assert_eq!(reads, [[USAGE].into(), [].into(), [EXTERNAL].into()], "what KEDA serves is its own");
}

#[test]
fn who_asks_for_cloud_events_is_told_that_nobody_sends_them() {
    let source = json!({"metadata": {"namespace": "prod", "name": "audit"},
        "spec": {"destination": {"http": {"uri": "http://audit:8080"}}}, "status": {"conditions": []}});
    let all = json!({"metadata": {"name": "everything"}, "spec": {}});
    let event_sources = vec![("CloudEventSource", vec![source]), ("ClusterCloudEventSource", vec![all])];
    let survey = at(Listed { event_sources, ..Listed::default() });
    let told: Vec<(&str, &str)> = survey.findings.iter().map(|found| (found.code, &*found.file)).collect();
    assert_eq!(
        told,
        [("TG014", "CloudEventSource prod/audit"), ("TG014", "ClusterCloudEventSource /everything")]
    );
}

/// Something that another controls.
fn owned(name: &str, kind: &str, owner: &str, status: &serde_json::Value) -> serde_json::Value {
    let mut object = pod(name, status);
    object["metadata"]["ownerReferences"][0] = json!({"kind": kind, "name": owner, "controller": true});
    object
}

#[test]
fn pods_of_a_leader_worker_set_are_its_own_however_many_owners_are_between() {
    let waits = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"},
    ]});
    let mut object = scaled_object();
    object["spec"]["scaleTargetRef"] =
        json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": "big"});
    let set = json!({
        "metadata": {"namespace": "prod", "name": "big"}, "spec": {"replicas": 2}, "status": {"readyReplicas": 1},
    });
    let listed = Listed {
        scaled_objects: vec![object.clone()],
        // As its controller makes them: a set of leaders, and a set of workers for each leader.
        stateful_sets: vec![
            owned("big", "LeaderWorkerSet", "big", &json!({})),
            owned("big-0", "Pod", "big-0", &json!({})),
        ],
        pods: vec![
            owned("big-0", "StatefulSet", "big", &waits),
            owned("big-0-1", "StatefulSet", "big-0", &waits),
            owned("else-0", "StatefulSet", "else", &waits),
        ],
        others: vec![(Gvk::of(Some("leaderworkerset.x-k8s.io/v1"), Some("LeaderWorkerSet")), vec![set])],
        ..Listed::default()
    };
    let kinds: Vec<String> =
        scalers::others(&[&vec![object, scaled_object()]]).iter().map(Gvk::keda).collect();
    assert_eq!(kinds, ["leaderworkerset.x-k8s.io/v1.LeaderWorkerSet"], "and no Deployment");
    let cluster = at(listed).cluster;
    let of: Vec<_> = cluster.pods.iter().map(|pod| (pod.name.as_str(), pod.workload.as_deref())).collect();
    let big = Some("LeaderWorkerSet prod/big");
    assert_eq!(of, [("prod/big-0", big), ("prod/big-0-1", big)]);
    let workload = cluster.workloads.iter().find(|one| Some(&*one.title) == big).unwrap();
    assert_eq!((workload.wanted, workload.ready), (2, 1));
}

#[test]
fn owners_that_own_each_other_end_nowhere_and_soon() {
    let waits = json!({"phase": "Pending"});
    let listed = Listed {
        scaled_objects: vec![scaled_object()],
        stateful_sets: vec![owned("a", "StatefulSet", "b", &waits), owned("b", "StatefulSet", "a", &waits)],
        pods: vec![owned("p", "StatefulSet", "a", &waits)],
        ..Listed::default()
    };
    assert!(at(listed).cluster.pods.is_empty());
}
