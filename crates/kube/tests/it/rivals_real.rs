//! Two operators at a real API server, of which one is to write: what its audit log says of who did.

use serde_json::{Value, json};
use tidegate_core::time::Span;
use tidegate_kube::clock::shifted;
use tidegate_signals::Clock;

use super::link::Link;
use super::real::Real;
use super::rig::{Operator, Prometheus, Setup, condition, decisions, deployment, scaled_object, until};
use super::witness::{Candidate, Counts, Log, address};

/// One that looks at the test's namespace.
async fn operator(real: &Real, candidate: &Candidate, ahead_s: i64) -> Operator {
    let clock = Some(shifted(Clock::unix(), Span::from_secs(ahead_s)));
    let setup = Setup { namespaces: vec![real.namespace], clock, ..Setup::default() };
    Operator::of(&candidate.kubeconfig, setup).await
}

/// A turn on the cluster with `llama`, and with `idle`, which was just active: it cools down for 300 s.
async fn scene(namespace: &'static str, llama: &Prometheus, idle: &Prometheus, count: u32) -> Option<Real> {
    let real = Real::turn(namespace).await?;
    for (name, replicas, prometheus) in [("llama", count, llama), ("idle", 0, idle)] {
        real.put(deployment(name, replicas)).await;
        real.put(scaled_object(name, prometheus, json!({}))).await;
    }
    Some(real)
}

/// Waits until `idle` was woken, and sends it to cool down.
async fn cool_down(real: &Real, idle: &Prometheus) {
    let active = |is: &'static str| {
        move |object: &Value| condition(object, "Active").is_some_and(|(_, reason)| reason == is)
    };
    real.until("it is active", "so", "idle", active("ScalerActive")).await;
    real.replicas("deployment", "idle", 1).await;
    idle.set(Some(0.0));
    real.until("it cools down", "so", "idle", active("ScalerCooldown")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_within_its_writes_leaves_a_real_api_server_to_one_writer_and_takes_nothing_away()
{
    let (llama, idle) = (Prometheus::start(3.0).await, Prometheus::start(3.0).await);
    let Some(real) = scene("killed", &llama, &idle, 1).await else { return };
    let Some(log) = Log::begin(real.cluster) else { return };
    let link = Link::to(address(real.kubeconfig())).await;
    let (dies, follows) = (Candidate::new(&real, Some(link.addr)).await, Candidate::new(&real, None).await);
    let first = operator(&real, &dies, 0).await;
    cool_down(&real, &idle).await;
    let second = operator(&real, &follows, 0).await;
    let counts = Counts::watch(&real, "llama").await;
    until("nothing waits to be written", || first.told.waiting() == 0).await;
    link.hold(true);
    llama.set(Some(17.0));
    until("its count is under way", || first.told.waiting() > 0).await;
    first.kill().await;
    // What had left it arrives, although nobody waits for the answer.
    link.hold(false);
    until("the second leads", || second.told.leads()).await;
    real.replicas("deployment", "llama", 4).await;
    decisions(&second, 4).await;
    let scaled = log.entries().into_iter().filter(|entry| entry.scales("llama") && entry.succeeded());
    assert!(scaled.count() <= 1, "the count of the first is not written again: {:#?}", log.entries());
    assert_eq!(
        (counts.of("llama"), counts.of("idle")),
        (vec![1, 4], vec![1]),
        "nothing goes, and idle cools down"
    );
    log.one_after_the_other(&dies, &follows);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_leaders_that_a_parted_network_makes_a_real_api_server_takes_the_writes_of_one() {
    let (llama, idle) = (Prometheus::start(3.0).await, Prometheus::start(3.0).await);
    let Some(real) = scene("parted", &llama, &idle, 0).await else { return };
    let Some(log) = Log::begin(real.cluster) else { return };
    let link = Link::to(address(real.kubeconfig())).await;
    let (old, new) = (Candidate::new(&real, Some(link.addr)).await, Candidate::new(&real, None).await);
    let parted = operator(&real, &old, 0).await;
    cool_down(&real, &idle).await;
    real.replicas("deployment", "llama", 1).await;
    let other = operator(&real, &new, 0).await;
    let counts = Counts::watch(&real, "llama").await;
    until("nothing waits to be written", || parted.told.waiting() == 0).await;
    link.hold(true);
    // It leads as far as it knows, and writes; what it writes is on its way for as long as the link is held.
    llama.set(Some(14.0));
    until("the other leads", || other.told.leads()).await;
    real.replicas("deployment", "llama", 3).await;
    llama.set(Some(34.0));
    real.replicas("deployment", "llama", 7).await;
    decisions(&other, 2).await;
    let before = log.changes(&old).len();
    link.hold(false);
    until("its late writes arrive", || {
        log.changes(&old).iter().skip(before).any(|entry| entry.scales("llama"))
    })
    .await;
    until("it knows that it does not lead", || parted.told.says("another operator leads")).await;
    decisions(&other, 3).await;
    let late: Vec<_> = log.changes(&old).into_iter().skip(before).collect();
    assert!(late.iter().all(|entry| !entry.succeeded()), "{late:#?}");
    log.one_after_the_other(&old, &new);
    let llama = counts.of("llama");
    assert!(llama.is_sorted() && llama.last() == Some(&7), "nothing goes: {llama:?}");
    assert_eq!(counts.of("idle"), [1], "it cools down");
    other.stop().await;
    parted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_with_clocks_an_hour_apart_one_writes_to_a_real_api_server_and_cooldowns_stay() {
    let (llama, idle) = (Prometheus::start(3.0).await, Prometheus::start(3.0).await);
    let Some(real) = scene("clocks", &llama, &idle, 1).await else { return };
    let Some(log) = Log::begin(real.cluster) else { return };
    let (slow, fast) = (Candidate::new(&real, None).await, Candidate::new(&real, None).await);
    let late = operator(&real, &slow, -1800).await;
    cool_down(&real, &idle).await;
    let early = operator(&real, &fast, 1800).await;
    let counts = Counts::watch(&real, "llama").await;
    until("it looks at the lease", || {
        log.entries().iter().any(|entry| entry.is_of(&fast) && entry.resource == "leases")
    })
    .await;
    for waiting in [9.0, 14.0, 19.0] {
        llama.set(Some(waiting));
        decisions(&late, 4).await;
        assert!(!early.told.leads());
    }
    real.replicas("deployment", "llama", 4).await;
    assert_eq!(log.changes(&fast).len(), 0, "{:#?}", log.changes(&fast));
    late.stop().await;
    until("the other leads", || early.told.leads()).await;
    decisions(&early, 6).await;
    llama.set(Some(24.0));
    real.replicas("deployment", "llama", 5).await;
    log.one_after_the_other(&slow, &fast);
    assert_eq!(counts.of("idle"), [1], "of the cooldown of 300 s some seconds are over");
    assert!(early.told.says("the API server's clock is -1"), "{:?}", early.told.remarks());
    early.stop().await;
}
