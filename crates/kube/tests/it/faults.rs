//! What goes wrong between an operator and its API server, or between two operators: never two that write, never
//! a scale-down for lack of sight, and cooldowns survive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_core::time::Span;
use tidegate_kube::clock::shifted;
use tidegate_signals::Clock;

use super::link::Link;
use super::rig::{Operator, Prometheus, Setup, condition, decisions, deployment, scaled_object, until};
use super::server::{Server, Written};

/// The counts that were written, with who wrote each, in order.
fn counts(server: &Server) -> Vec<(String, i64)> {
    let done = server.scaled().into_iter().filter(|written| written.code == 200);
    done.map(|written| (written.who.clone(), to(&written))).collect()
}

fn to(written: &Written) -> i64 {
    written.body["spec"]["replicas"].as_i64().unwrap()
}

async fn one(replicas: u32, waiting: f64, spec: Value) -> (Server, Prometheus) {
    let (server, prometheus) = (Server::start().await, Prometheus::start(waiting).await);
    server.put("deployments", deployment("llama", replicas));
    server.put("scaledobjects", scaled_object("llama", &prometheus, spec));
    (server, prometheus)
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_are_told_410_list_again_and_nothing_looks_gone() {
    let (server, prometheus) = one(3, 12.0, json!({})).await;
    server.put("deployments", deployment("other", 2));
    server.put("scaledobjects", scaled_object("other", &prometheus, json!({})));
    let operator = Operator::start(&server, false).await;
    let claimed = |name: &str| {
        let object = server.get("scaledobjects", "prod", name);
        object.is_some_and(|object| object["metadata"]["finalizers"][0] == "finalizer.keda.sh")
    };
    until("both are claimed", || claimed("llama") && claimed("other")).await;
    until("both have three", || server.replicas("llama") == 3 && server.replicas("other") == 3).await;
    let (before, lists) = (counts(&server), server.asked("GET"));
    server.expire();
    // While no watch looks: one goes.
    server.delete("scaledobjects", "prod", "other");
    server.expire();
    until("all nine are listed again", || server.asked("GET") >= lists + 18).await;
    until("what went meanwhile is let go", || server.get("scaledobjects", "prod", "other").is_none()).await;
    decisions(&operator, 3).await;
    assert_eq!(counts(&server), before, "nothing is scaled because a list begins anew");
    prometheus.set(Some(28.0));
    until("six replicas", || server.replicas("llama") == 6).await;
    operator.stop().await;
}

/// An operator whose machine's clock is so many seconds ahead.
async fn wrong(server: &Server, who: &str, ahead_s: i64) -> Operator {
    let clock = Some(shifted(Clock::unix(), Span::from_secs(ahead_s)));
    Operator::at(server.addr, who, Setup { clock, ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_whose_clock_is_ahead_does_not_end_the_cooldown_of_the_one_before() {
    let (server, prometheus) = one(0, 3.0, json!({})).await;
    let first = wrong(&server, "late", -1800).await;
    let active = |is: &str| {
        let object = server.get("scaledobjects", "prod", "llama").unwrap();
        condition(&object, "Active").is_some_and(|(_, reason)| reason == is)
    };
    until("it is active", || server.replicas("llama") == 1 && active("ScalerActive")).await;
    prometheus.set(Some(0.0));
    until("it cools down", || active("ScalerCooldown")).await;
    first.stop().await;
    let second = wrong(&server, "early", 1800).await;
    decisions(&second, 6).await;
    assert_eq!(server.replicas("llama"), 1, "of the cooldown of 300 s some seconds are over");
    assert!(second.told.says("the API server's clock is -1"), "{:?}", second.told.remarks());
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_with_clocks_an_hour_apart_one_writes() {
    let (server, prometheus) = one(0, 3.0, json!({})).await;
    let late = wrong(&server, "late", -1800).await;
    until("one leads", || late.told.leads()).await;
    let early = wrong(&server, "early", 1800).await;
    for waiting in [3.0, 9.0, 14.0, 19.0] {
        prometheus.set(Some(waiting));
        decisions(&late, 4).await;
        assert!(!early.told.leads());
    }
    until("four replicas", || server.replicas("llama") == 4).await;
    assert!(counts(&server).iter().all(|(who, _)| who == "late"), "{:?}", counts(&server));
    late.stop().await;
    early.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_within_a_write_is_followed_by_one_that_does_not_repeat_it() {
    let (server, prometheus) = one(1, 3.0, json!({})).await;
    let metadata = json!({"serverAddress": prometheus.url, "query": "sum(waiting)", "threshold": "5"});
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "w", "image": "x"}]}});
    server.put(
        "scaledjobs",
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
            "metadata": {"namespace": "prod", "name": "batch", "generation": 1},
            "spec": {"jobTargetRef": {"template": pod}, "pollingInterval": 1, "maxReplicaCount": 10,
                     "triggers": [{"type": "prometheus", "metadata": metadata}]},
        }),
    );
    let first = Operator::at(server.addr, "first", Setup::default()).await;
    until("one job", || server.all("jobs").len() == 1).await;
    decisions(&first, 3).await;
    let second = Operator::at(server.addr, "second", Setup::default()).await;
    let (patches, posts) = (server.asked("PATCH"), server.asked("POST"));
    server.stall(true);
    prometheus.set(Some(17.0));
    until("writes are under way", || server.asked("PATCH") > patches && server.asked("POST") > posts).await;
    first.kill().await;
    // What had been taken is carried out, although nobody waits for it.
    server.stall(false);
    until("the second leads", || second.told.leads()).await;
    until("four replicas", || server.replicas("llama") == 4).await;
    decisions(&second, 6).await;
    assert_eq!(counts(&server).iter().filter(|(_, count)| *count == 4).count(), 1, "{:?}", counts(&server));
    assert_eq!(server.replicas("llama"), 4);
    assert_eq!(server.all("jobs").len(), 4, "17 waiting at 5 a job are four");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_leaders_that_a_parted_network_makes_only_one_has_its_counts_taken() {
    let (server, prometheus) = one(0, 3.0, json!({})).await;
    let link = Link::to(server.addr).await;
    let parted = Operator::at(link.addr, "parted", Setup::default()).await;
    until("one replica", || server.replicas("llama") == 1).await;
    decisions(&parted, 3).await;
    let other = Operator::at(server.addr, "other", Setup::default()).await;
    link.hold(true);
    // It leads as far as it knows, and writes; what it writes is on its way for as long as the link is held.
    prometheus.set(Some(14.0));
    until("the other leads", || other.told.leads()).await;
    until("three replicas", || server.replicas("llama") == 3).await;
    prometheus.set(Some(34.0));
    until("seven replicas", || server.replicas("llama") == 7).await;
    decisions(&other, 2).await;
    let wanted = server.replicas("llama");
    link.hold(false);
    let late = || server.scaled().into_iter().filter(|written| written.who == "parted" && to(written) != 1);
    until("its writes arrive", || late().count() > 0).await;
    until("it knows that it does not lead", || parted.told.says("another operator leads")).await;
    decisions(&other, 3).await;
    assert!(late().all(|written| written.code == 409), "{:#?}", late().collect::<Vec<_>>());
    assert!(server.replicas("llama") >= wanted);
    let mut written = counts(&server);
    written.dedup_by(|next, before| next.0 == before.0);
    assert_eq!(written.len(), 2, "first the one, then the other, and never in turns: {written:?}");
    other.stop().await;
    parted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_sets_the_count_again_and_again_is_answered_once_a_decision_and_no_more() {
    let (server, _prometheus) = one(3, 12.0, json!({"maxReplicaCount": 3})).await;
    let server = Arc::new(server);
    let operator = Operator::start(&server, false).await;
    decisions(&operator, 3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (editing, ended) = (Arc::clone(&server), Arc::clone(&stop));
    let editor = tokio::spawn(async move {
        while !ended.load(Ordering::SeqCst) {
            editing.edit("deployments", "prod", "llama", |object| object["spec"]["replicas"] = json!(7));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (before, made) = (server.scaled().len(), operator.told.decisions());
    until("it has been answered", || server.scaled().len() > before + 3).await;
    decisions(&operator, 20).await;
    let (sent, decided) = (server.scaled().len() - before, operator.told.decisions() - made);
    // A conflict is looked at three times before the loop decides anew.
    assert!(sent as u64 <= 4 * (decided + 1), "{sent} writes for {decided} decisions");
    assert!(server.scaled().iter().all(|written| to(written) == 3), "never anything but what was decided");
    stop.store(true, Ordering::SeqCst);
    editor.await.unwrap();
    until("it is brought back to the maximum", || server.replicas("llama") == 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_deleted_while_its_source_is_asked_is_not_scaled_any_more() {
    let (server, prometheus) = one(2, 8.0, json!({})).await;
    let operator = Operator::start(&server, false).await;
    let object = || server.get("scaledobjects", "prod", "llama");
    until("it is claimed", || {
        object().is_some_and(|object| object["metadata"]["finalizers"][0] == "finalizer.keda.sh")
    })
    .await;
    decisions(&operator, 2).await;
    prometheus.hold(true);
    let asked = prometheus.asked();
    until("the source is being asked", || prometheus.asked() > asked).await;
    prometheus.set(Some(50.0));
    server.delete("scaledobjects", "prod", "llama");
    until("it is let go", || object().is_none()).await;
    prometheus.hold(false);
    // Another one is decided meanwhile, so that what was not done had its chance.
    server.put("deployments", deployment("other", 1));
    server.put("scaledobjects", scaled_object("other", &prometheus, json!({})));
    until("the other is scaled", || server.replicas("other") > 1).await;
    decisions(&operator, 3).await;
    assert_eq!(server.replicas("llama"), 2);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_made_anew_under_its_name_does_not_get_the_count_of_the_old_one() {
    let (server, prometheus) = one(1, 3.0, json!({})).await;
    let operator = Operator::start(&server, false).await;
    decisions(&operator, 3).await;
    server.stall(true);
    let patches = server.asked("PATCH");
    prometheus.set(Some(18.0));
    until("the count is under way", || server.asked("PATCH") > patches).await;
    let old = server.get("deployments", "prod", "llama").unwrap()["metadata"]["uid"].clone();
    server.delete("deployments", "prod", "llama");
    server.put("deployments", deployment("llama", 0));
    prometheus.set(Some(3.0));
    server.stall(false);
    until("the new one is scaled for itself", || server.replicas("llama") >= 1).await;
    for written in
        server.scaled().iter().filter(|written| written.body["metadata"]["uid"] == old && to(written) == 4)
    {
        assert_ne!(written.code, 200, "{written:?}");
    }
    operator.stop().await;
}

/// A pod of `llama` that no node has room for.
fn waiting(number: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "prod", "name": format!("llama-{number}"), "labels": {"app": "llama"}},
        "spec": {"containers": [{"name": "main", "image": "x"}]},
        "status": {"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/9 nodes are available: 9 Insufficient nvidia.com/gpu.",
        }]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_pods_that_come_and_go_are_told_once_and_delay_no_decision_for_ever() {
    const PODS: u32 = 10_000;
    let (server, prometheus) = one(1, 3.0, json!({})).await;
    let operator = Operator::start(&server, false).await;
    decisions(&operator, 2).await;
    for _ in 0..2 {
        for number in 0..PODS {
            server.put("pods", waiting(number));
        }
        decisions(&operator, 2).await;
        for number in 0..PODS {
            server.delete("pods", "prod", &format!("llama-{number}"));
        }
        decisions(&operator, 2).await;
    }
    prometheus.set(Some(9.0));
    until("two replicas", || server.replicas("llama") == 2).await;
    let told = server.all("events").into_iter().filter(|event| event["reason"] == "PodsWait").count();
    assert!((1..=4).contains(&told), "{told} Events for one cause that came twice");
    assert!(counts(&server).len() <= 2, "{:?}", counts(&server));
    operator.stop().await;
}
