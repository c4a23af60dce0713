//! On the way down: who goes, after what, and what if Kubernetes chooses otherwise.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_kube::demand::Report;
use tidegate_kube::demand::listen::Inbox;
use tidegate_kube::demand::proto::Word;
use tokio::sync::{mpsc, watch};

use super::rig::{Operator, Prometheus, Setup, decisions, deployment, pod, scaled_object, until};
use super::server::Server;
use super::sight::{Page, vllm};

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Three pods, each with an engine of its own, and an operator that looks after them.
struct Three {
    server: Server,
    prometheus: Prometheus,
    pages: Vec<Page>,
    operator: Operator,
    /// What gateways are told.
    words: watch::Receiver<Arc<Word>>,
    _reports: mpsc::Sender<Report>,
}

const NAMES: [&str; 3] = ["llama-0", "llama-1", "llama-2"];

impl Three {
    /// With so many requests each.
    async fn start(plural: &str, kind: &str, running: [u32; 3]) -> Three {
        let (server, prometheus) = (Server::start().await, Prometheus::start(15.0).await);
        let pages = Page::several(running.map(|running| vllm(0, running))).await;
        let mut workload = deployment("llama", 3);
        workload["kind"] = json!(kind);
        workload["spec"]["template"]["metadata"] =
            json!({"annotations": {"prometheus.io/port": pages[0].port.to_string()}});
        server.put(plural, workload);
        for (name, page) in NAMES.iter().zip(&pages) {
            let mut pod = pod("llama", name);
            pod["status"]["podIP"] = json!(page.ip.to_string());
            server.put("pods", pod);
        }
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
        server.put(
            "scaledobjects",
            scaled_object(
                "llama",
                &prometheus,
                json!({
                    "scaleTargetRef": {"name": "llama", "kind": kind, "apiVersion": "apps/v1"},
                    "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
                }),
            ),
        );
        let ((told, words), (says, reports)) = (watch::channel(Arc::default()), mpsc::channel(1));
        let gateways = Some(Inbox { reports, words: told });
        let setup = Setup { gateways, ..Setup::default() };
        let operator = Operator::at(server.addr, "operator", setup).await;
        let three = Three { server, prometheus, pages, operator, words, _reports: says };
        decisions(&three.operator, 4).await;
        assert!(three.server.scaled().is_empty(), "fifteen at five a replica are three");
        three
    }

    fn cost(&self, name: &str) -> Option<Value> {
        self.server.get("pods", "prod", name)?.pointer("/metadata/annotations")?.get(COST).cloned()
    }

    /// The pods that gateways send nothing to.
    fn drained(&self) -> Vec<String> {
        self.words.borrow().drains.iter().map(|drain| drain.pod.clone()).collect()
    }

    fn says(&self, reason: &str) -> bool {
        self.server.all("events").iter().any(|event| event["reason"] == reason)
    }

    fn message(&self, reason: &str) -> String {
        let events = self.server.all("events");
        let event = events.iter().find(|event| event["reason"] == reason).expect("the Event is there");
        event["message"].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_with_the_least_to_do_is_marked_before_the_count_is_lowered() {
    let three = Three::start("deployments", "Deployment", [5, 0, 4]).await;
    three.prometheus.set(Some(9.0));
    until("two replicas", || three.server.replicas("llama") == 2).await;
    assert_eq!(three.cost("llama-1"), Some(json!("-1000000000")));
    let field = ["metadata", "annotations", COST];
    assert_eq!(three.server.owners("pods", "prod", "llama-1", &field), ["tidegate Apply"]);
    assert_eq!((three.cost("llama-0"), three.cost("llama-2")), (None, None));
    let written = three.server.written();
    let marked = written.iter().position(|one| one.path.ends_with("/pods/llama-1"));
    let scaled = written.iter().position(|one| one.path.ends_with("/scale"));
    assert!(marked.is_some() && marked < scaled, "{written:#?}");
    assert!(!three.says("Draining"), "it had nothing to finish");
    three.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_busy_is_drained_before_the_count_is_lowered() {
    let three = Three::start("deployments", "Deployment", [5, 3, 4]).await;
    three.prometheus.set(Some(9.0));
    until("it says so", || three.says("Draining")).await;
    assert!(three.message("Draining").contains("llama-1"), "{}", three.message("Draining"));
    // Another has less to do by now; the drain that has begun goes on.
    three.pages[0].set(&vllm(0, 1));
    decisions(&three.operator, 4).await;
    assert!(three.server.scaled().is_empty());
    assert_eq!(three.cost("llama-0"), None);
    three.pages[1].set(&vllm(0, 0));
    until("two replicas", || three.server.replicas("llama") == 2).await;
    three.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_taken_back_when_demand_returns() {
    let three = Three::start("deployments", "Deployment", [5, 3, 4]).await;
    three.prometheus.set(Some(9.0));
    until("it is marked", || three.cost("llama-1").is_some()).await;
    until("it says so", || three.says("Draining")).await;
    three.prometheus.set(Some(15.0));
    until("the mark is taken back", || three.cost("llama-1").is_none()).await;
    until("it says so", || three.says("DrainTakenBack")).await;
    decisions(&three.operator, 3).await;
    assert!(three.server.scaled().is_empty(), "no count was ever written");
    three.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_when_kubernetes_took_another_pod() {
    let three = Three::start("deployments", "Deployment", [5, 0, 4]).await;
    three.prometheus.set(Some(9.0));
    until("two replicas", || three.server.replicas("llama") == 2).await;
    three.server.delete("pods", "prod", "llama-2");
    until("it says so", || three.says("OtherPodTaken")).await;
    assert_eq!(three.message("OtherPodTaken"), "Kubernetes took llama-2 and left llama-1");
    three.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_stateful_set_the_highest_ordinal_is_drained_whatever_it_has_to_do() {
    let three = Three::start("statefulsets", "StatefulSet", [0, 0, 4]).await;
    three.prometheus.set(Some(9.0));
    until("it says so", || three.says("Draining")).await;
    assert!(three.message("Draining").starts_with("llama-2 go"), "{}", three.message("Draining"));
    decisions(&three.operator, 3).await;
    assert!(three.server.scaled().is_empty());
    three.pages[2].set(&vllm(0, 0));
    until("it is scaled", || three.server.scaled().len() == 1).await;
    assert_eq!(three.server.scaled()[0].body["spec"]["replicas"], 2);
    assert!(NAMES.iter().all(|name| three.cost(name).is_none()), "a StatefulSet does not look at costs");
    three.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_that_begins_at_another_ordinal_keeps_its_lower_ones() {
    let three = Three::start("statefulsets", "StatefulSet", [4, 4, 4]).await;
    // Two of them are llama-1 and llama-2.
    three.server.delete("pods", "prod", "llama-0");
    three.server.edit("statefulsets", "prod", "llama", |object| {
        object["spec"]["ordinals"] = json!({"start": 1});
        (object["spec"]["replicas"], object["status"]["replicas"]) = (json!(2), json!(2));
        object["status"]["readyReplicas"] = json!(2);
    });
    three.prometheus.set(Some(4.0));
    until("it says so", || three.says("Draining")).await;
    assert!(three.message("Draining").starts_with("llama-2 go"), "{}", three.message("Draining"));
    three.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_over_when_the_pods_own_time_for_ending_is() {
    let three = Three::start("deployments", "Deployment", [5, 3, 4]).await;
    three.server.edit("deployments", "prod", "llama", |object| {
        object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(2);
    });
    three.prometheus.set(Some(9.0));
    until("it says so", || three.says("Draining")).await;
    until("two replicas, though it is busy", || three.server.replicas("llama") == 2).await;
    assert_eq!(three.cost("llama-1"), Some(json!("-1000000000")));
    three.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cost_that_somebody_else_wrote_is_left_and_goes_before_our_choice() {
    let three = Three::start("deployments", "Deployment", [5, 0, 0]).await;
    three.server.edit("pods", "prod", "llama-1", |pod| pod["metadata"]["annotations"] = json!({COST: "100"}));
    decisions(&three.operator, 2).await;
    three.prometheus.set(Some(9.0));
    until("two replicas", || three.server.replicas("llama") == 2).await;
    assert_eq!(three.cost("llama-1"), Some(json!("100")));
    assert_eq!(three.cost("llama-2"), Some(json!("-1000000000")));
    three.operator.stop().await;
}

/// One pod is being drained, and marked.
async fn draining() -> Three {
    let three = Three::start("deployments", "Deployment", [5, 3, 4]).await;
    three.prometheus.set(Some(9.0));
    until("it is marked", || three.cost("llama-1").is_some()).await;
    until("gateways send it nothing", || three.drained() == ["llama-1"]).await;
    three
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_let_go_leaves_no_mark_on_its_pods() {
    let three = draining().await;
    three.server.edit("scaledobjects", "prod", "llama", |object| {
        object["metadata"]["annotations"]["tidegate.dev/adopt"] = json!("false");
    });
    until("it is given back", || three.says("Released")).await;
    until("the mark is taken back", || three.cost("llama-1").is_none()).await;
    until("gateways are told", || three.drained().is_empty()).await;
    assert!(three.server.scaled().is_empty());
    three.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_deleted_while_another_holds_it_leaves_no_mark_on_its_pods() {
    let three = draining().await;
    three.server.edit("scaledobjects", "prod", "llama", |object| {
        object["metadata"]["finalizers"].as_array_mut().unwrap().push(json!("somebody/else"));
    });
    three.server.delete("scaledobjects", "prod", "llama");
    until("the mark is taken back", || three.cost("llama-1").is_none()).await;
    let finalizers =
        || three.server.get("scaledobjects", "prod", "llama").unwrap()["metadata"]["finalizers"].clone();
    until("gateways are told", || three.drained().is_empty()).await;
    until("our claim is, too", || finalizers() == json!(["somebody/else"])).await;
    assert!(three.server.scaled().is_empty());
    three.operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_cannot_be_decided_any_more_keeps_its_pods() {
    let three = draining().await;
    three.server.edit("scaledobjects", "prod", "llama", |object| {
        object["spec"]["triggers"][0]["metadata"]["threshold"] = json!("many");
    });
    until("the mark is taken back", || three.cost("llama-1").is_none()).await;
    until("gateways are told", || three.drained().is_empty()).await;
    assert!(three.server.scaled().is_empty());
    three.operator.stop().await;
}
