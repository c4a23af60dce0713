//! LeaderWorkerSets: groups of pods of which the leaders take the requests.

use serde_json::{Value, json};
use tidegate_kube::routes::{self, Seen};
use tidegate_kube::watch::Sight;
use tokio::sync::watch;

use super::rig::{Operator, Prometheus, connect, decisions, pod, scaled_object, until, within};
use super::server::Server;
use super::sight::{Page, vllm};

const GROUP: &str = "leaderworkerset.sigs.k8s.io/group-index";
const PLACE: &str = "leaderworkerset.sigs.k8s.io/worker-index";
const NAME: &str = "leaderworkerset.sigs.k8s.io/name";

/// A set of two groups, whose template of leaders differs from that of workers; and an object that scales it.
fn set(server: &Server, prometheus: &Prometheus, leader: Value) {
    server.put(
        "leaderworkersets",
        json!({
            "metadata": {"namespace": "prod", "name": "llama"},
            "spec": {
                "replicas": 2,
                "leaderWorkerTemplate": {
                    "size": 2, "leaderTemplate": leader,
                    "workerTemplate": {"metadata": {"labels": {"model": "none"}}, "spec": {"containers": [{"name": "worker", "image": "x"}]}},
                },
            },
            "status": {"replicas": 2, "readyReplicas": 2, "hpaPodSelector": format!("{NAME}=llama,{PLACE}=0")},
        }),
    );
    let target =
        json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": "llama"});
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    let advanced = json!({"horizontalPodAutoscalerConfig": {"behavior": behavior}});
    let spec = json!({"scaleTargetRef": target, "advanced": advanced});
    server.put("scaledobjects", scaled_object("llama", prometheus, spec));
}

/// A pod of a group, as the controller names and labels it.
fn member(server: &Server, group: u32, place: u32, ip: &str) {
    let name = if place == 0 { format!("llama-{group}") } else { format!("llama-{group}-{place}") };
    let mut pod = pod("llama", &name);
    pod["metadata"]["labels"] =
        json!({NAME: "llama", GROUP: group.to_string(), PLACE: place.to_string(), "app": "llama"});
    pod["status"]["podIP"] = json!(ip);
    server.put("pods", pod);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_routes_the_leaders_by_what_their_own_template_says() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(10.0).await);
    let template = json!({
        "metadata": {"labels": {"model": "big"}},
        "spec": {"containers": [{"name": "leader", "image": "vllm/vllm-openai:latest"}]},
    });
    set(&server, &prometheus, template);
    let mut endpoints = Vec::new();
    for (group, place) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let ip = format!("10.0.{group}.{place}");
        member(&server, group, place, &ip);
        let name = if place == 0 { format!("llama-{group}") } else { format!("llama-{group}-{place}") };
        endpoints.push(json!({
            "addresses": [ip], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": name},
        }));
    }
    server.put(
        "endpointslices",
        json!({
            "metadata": {"namespace": "prod", "name": "llama", "labels": {"kubernetes.io/service-name": "llama"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8000}], "endpoints": endpoints,
        }),
    );
    let (out, mut seen) = watch::channel(Seen::default());
    let watching = tokio::spawn(routes::watch(connect(&server).await.client, Sight::default(), out));
    let leaders = |seen: &Seen| {
        let route = seen.table.get("prod/llama").filter(|_| seen.complete)?;
        Some((route.models.clone(), route.endpoints.keys().map(ToString::to_string).collect::<Vec<_>>()))
    };
    let first = within("a table", seen.wait_for(|seen| leaders(seen).is_some())).await.unwrap();
    let expected = (vec!["big".to_owned()], vec!["llama-0".to_owned(), "llama-1".to_owned()]);
    assert_eq!(leaders(&first), Some(expected));
    drop(first);
    // A leader that is gone is gone here too.
    server.delete("pods", "prod", "llama-1");
    let one = |seen: &Seen| leaders(seen).is_some_and(|(_, pods)| pods == ["llama-0"]);
    within("one leader", seen.wait_for(one)).await.unwrap();
    watching.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_the_cluster_does_not_have_keeps_no_other_target_waiting() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(10.0).await);
    let target = json!({"apiVersion": "example.com/v1", "kind": "Fleet", "name": "other"});
    server.put("scaledobjects", scaled_object("other", &prometheus, json!({"scaleTargetRef": target})));
    server.put("deployments", super::rig::deployment("llama", 1));
    server.put("scaledobjects", scaled_object("llama", &prometheus, json!({})));
    let (out, mut seen) = watch::channel(Seen::default());
    let watching = tokio::spawn(routes::watch(connect(&server).await.client, Sight::default(), out));
    let both = |seen: &Seen| seen.complete && seen.table.contains_key("prod/llama") && !seen.blind.is_empty();
    let now = within("all that is there", seen.wait_for(both)).await.unwrap();
    let kinds: Vec<String> = now.blind.keys().map(|scope| scope.kind.gvk().kind.to_string()).collect();
    assert_eq!(kinds, ["Fleet"], "and it says what it cannot see");
    drop(now);
    watching.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_group_is_drained_for_as_long_as_its_leaders_template_says() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(10.0).await);
    let pages = Page::several([vllm(0, 0), vllm(0, 3)]).await;
    let template = json!({
        "metadata": {"annotations": {"prometheus.io/port": pages[0].port.to_string()}},
        "spec": {"terminationGracePeriodSeconds": 400, "containers": [{"name": "leader", "image": "vllm/vllm-openai:latest"}]},
    });
    set(&server, &prometheus, template);
    for (group, page) in (0..).zip(&pages) {
        member(&server, group, 0, &page.ip.to_string());
        member(&server, group, 1, "127.0.0.9");
    }
    let operator = Operator::start(&server, false).await;
    decisions(&operator, 4).await;
    assert!(server.scaled().is_empty(), "ten at five a group are two");
    prometheus.set(Some(5.0));
    let told = || server.all("events").into_iter().find(|event| event["reason"] == "Draining");
    until("it says so", || told().is_some()).await;
    let message = told().unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("llama-1 go") && message.contains("3 requests"), "{message}");
    assert!(message.contains("400") || message.contains("6m40"), "its own time for ending: {message}");
    decisions(&operator, 3).await;
    assert!(server.scaled().is_empty(), "it still has requests");
    pages[1].set(&vllm(0, 0));
    until("it is scaled", || server.scaled().len() == 1).await;
    assert_eq!(server.scaled()[0].body["spec"]["replicas"], 1);
    operator.stop().await;
}
