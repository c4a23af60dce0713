//! Pods that wait for what there is no more of.

use serde_json::{Value, json};
use tidegate_core::scale::decision::Rule;

use super::rig::{Operator, Prometheus, condition, decisions, deployment, pod, scaled_object, until};
use super::server::Server;

fn limited(server: &Server) -> Option<(String, String)> {
    condition(&server.get("scaledobjects", "prod", "llama")?, "Limited")
}

fn is_limited(server: &Server, status: &str) -> bool {
    limited(server).is_some_and(|(found, _)| found == status)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_quota_is_used_up_no_more_replicas_are_asked_for() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(9.0).await);
    let mut full = deployment("llama", 2);
    full["status"]["conditions"] = json!([{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "pods \"llama-x\" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1",
    }]);
    server.put("deployments", full);
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let operator = Operator::start(&server, false).await;
    until("it is reported", || is_limited(&server, "True")).await;
    prometheus.set(Some(40.0));
    decisions(&operator, 5).await;
    assert_eq!(server.replicas("llama"), 2);
    assert!(server.scaled().is_empty());
    server.edit("deployments", "prod", "llama", |object| object["status"]["conditions"] = json!([]));
    until("there is room again", || server.replicas("llama") > 2).await;
    until("and that is reported", || is_limited(&server, "False")).await;
    operator.stop().await;
}

/// A pod that no node has a GPU for.
fn waiting(name: &str) -> Value {
    let mut pod = pod("llama", name);
    pod["status"] = json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }]});
    pod["spec"].as_object_mut().unwrap().remove("nodeName");
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn demand_that_no_gpu_is_left_for_is_not_raised_for_ever() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(9.0).await);
    server.put("deployments", deployment("llama", 2));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({"maxReplicaCount": 100})));
    server.put("pods", pod("llama", "llama-a"));
    server.put("pods", waiting("llama-b"));
    let operator = Operator::start(&server, false).await;
    until("it is reported", || is_limited(&server, "True")).await;
    prometheus.set(Some(400.0));
    decisions(&operator, 5).await;
    assert_eq!(server.replicas("llama"), 2);
    // It finds a node: more are asked for.
    server.put("pods", pod("llama", "llama-b"));
    until("more", || server.replicas("llama") > 2).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cause_counts_its_own_pods_and_one_that_is_no_lack_of_room_limits_nothing() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(35.0).await);
    server.put("deployments", deployment("llama", 7));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({"maxReplicaCount": 100})));
    for number in 0..5 {
        let mut bad = pod("llama", &format!("llama-{number}"));
        let state = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}});
        bad["status"] = json!({"phase": "Pending", "containerStatuses": [{"name": "main", "state": state}]});
        server.put("pods", bad);
    }
    let operator = Operator::start(&server, false).await;
    let says =
        |text: &str| operator.told.because(Rule::Room).is_some_and(|because| because.to_string() == text);
    until("it is told", || says("5 replicas wait already: its image cannot be pulled")).await;
    prometheus.set(Some(40.0));
    until("and limits nothing", || server.replicas("llama") == 8).await;
    server.put("pods", waiting("llama-short"));
    until("it is reported", || is_limited(&server, "True")).await;
    prometheus.set(Some(400.0));
    let lacks = "no node has nvidia.com/gpu left; others: its image cannot be pulled";
    until("one waits for a GPU", || says(&format!("1 replicas wait already: {lacks}"))).await;
    decisions(&operator, 3).await;
    assert_eq!(server.replicas("llama"), 8);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_whose_pods_a_quota_refuses_is_limited_by_it_until_they_are_made() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(20.0).await);
    let mut set = deployment("llama", 2);
    (set["kind"], set["metadata"]["uid"]) = (json!("StatefulSet"), json!("set-1"));
    server.put("statefulsets", set);
    let target = json!({"scaleTargetRef": {"kind": "StatefulSet", "name": "llama"}});
    server.put("scaledobjects", scaled_object("llama", &prometheus, target));
    let operator = Operator::start(&server, false).await;
    let replicas = || server.get("statefulsets", "prod", "llama").unwrap()["spec"]["replicas"].as_i64();
    until("four are asked for", || replicas() == Some(4)).await;
    let now = jiff::Timestamp::now();
    server.put(
        "events",
        json!({
            "metadata": {"namespace": "prod", "name": "llama.1"}, "reason": "FailedCreate",
            "involvedObject": {
                "apiVersion": "apps/v1", "kind": "StatefulSet", "namespace": "prod", "name": "llama", "uid": "set-1",
            },
            "message": "create Pod llama-2 in StatefulSet llama failed error: pods \"llama-2\" is forbidden: exceeded \
                        quota: gpus, requested: requests.nvidia.com/gpu=1",
            "lastTimestamp": format!("{now:.0}"), "eventTime": null,
        }),
    );
    until("it is reported", || is_limited(&server, "True")).await;
    let says = || operator.told.because(Rule::Room).map(|because| because.to_string()).unwrap_or_default();
    prometheus.set(Some(45.0));
    until("the decision says so", || says().contains("the namespace's quota is used up")).await;
    decisions(&operator, 4).await;
    assert_eq!(replicas(), Some(4));
    server.edit("statefulsets", "prod", "llama", |set| {
        set["status"] = json!({"replicas": 4, "readyReplicas": 2});
    });
    until("there is room again", || replicas() > Some(4)).await;
    operator.stop().await;
}
