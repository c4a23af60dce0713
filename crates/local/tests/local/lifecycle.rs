//! Replicas come, serve and go: real processes, real sockets.

use std::time::Duration;

use crate::common::{Bench, ended, exists, lives, server, shell, with};
use tidegate_local::status::State;
use tidegate_local::unit::{Check, Get, Hook, Probe};

fn http(path: &str) -> Probe {
    let get = Get { port: 8000, path: path.to_owned(), headers: Vec::new() };
    Probe { period: Duration::from_secs(1), ..Probe::new(Check::Http(get)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_is_ready_by_its_probe_and_goes_to_zero() {
    let mut bench = Bench::new(|_| {}).await;
    bench.machine.apply(vec![with(server("web"), |template| template.readiness = Some(http("/")))]);
    bench.machine.scale("default/web", 2).expect("it is known");
    let target = bench.ready("web", 2).await;
    let pids: Vec<i32> = target.replicas.iter().filter_map(|replica| replica.pid).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| lives(*pid)));
    assert_ne!(target.replicas[0].port, target.replicas[1].port);
    assert_eq!(target.starts.len(), 2);
    bench.machine.scale("default/web", 0).expect("it is known");
    bench.zero("web").await;
    assert!(pids.iter().all(|pid| !lives(*pid)));
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_probe_a_replica_is_ready_when_it_runs() {
    let mut bench = Bench::new(|_| {}).await;
    bench.machine.apply(vec![shell("job", "exec sleep 1000")]);
    bench.machine.scale("default/job", 1).expect("it is known");
    let replica = bench.replica("job", "ready", |state| *state == State::Ready).await;
    assert!(lives(replica.pid.expect("it runs")));
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_leaves_only_when_its_requests_are_done_and_its_hook_has_run() {
    let mut bench = Bench::new(|_| {}).await;
    let seen = bench.path("seen");
    let listens = bench.path("listens");
    let script = format!(
        "trap 'echo term >> {}; exit 0' TERM; touch {}; while :; do sleep 0.01; done",
        seen.display(),
        listens.display()
    );
    let hook = vec!["sh".to_owned(), "-c".to_owned(), format!("echo hook >> {}", seen.display())];
    bench.machine.apply(vec![with(shell("job", &script), |template| {
        template.readiness = exists(&listens);
        template.pre_stop = Some(Hook::Exec(hook));
    })]);
    bench.machine.scale("default/job", 1).expect("it is known");
    bench.ready("job", 1).await;
    let busy = bench.traffic.hold_drains();
    bench.machine.scale("default/job", 0).expect("it is known");
    bench.replica("job", "draining", |state| *state == State::Draining).await;
    assert!(!seen.exists(), "it was told before it was drained");
    busy.send_replace(true);
    bench.zero("job").await;
    assert_eq!(std::fs::read_to_string(&seen).expect("it was told"), "hook\nterm\n");
    assert_eq!(bench.traffic.said(), ["ready job-1", "drain job-1", "gone job-1"]);
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_dropped_leaves_nothing() {
    let mut bench = Bench::new(|_| {}).await;
    bench.machine.apply(vec![shell("job", "exec sleep 1000")]);
    bench.machine.scale("default/job", 1).expect("it is known");
    let pid = bench.ready("job", 1).await.replicas[0].pid.expect("it runs");
    drop(bench.machine);
    ended(pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_configures_tidegate_is_not_told_to_replicas() {
    let mut bench = Bench::new(|_| {}).await;
    let seen = bench.path("seen");
    let script = format!("env > {0}.part; mv {0}.part {0}; exec sleep 1000", seen.display());
    bench.machine.apply(vec![with(shell("job", &script), |template| template.readiness = exists(&seen))]);
    bench.machine.scale("default/job", 1).expect("it is known");
    bench.ready("job", 1).await;
    let environment = std::fs::read_to_string(&seen).expect("it was written");
    let ours: Vec<&str> = environment.lines().filter(|one| one.starts_with("TIDEGATE_")).collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert!(ours[0].ends_with("state:default/job/job-1.1"), "{ours:?}");
    bench.machine.stop(Duration::from_secs(5)).await;
}
