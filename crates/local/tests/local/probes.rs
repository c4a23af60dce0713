//! Probes decide who takes requests and who is started again.

use std::time::Duration;

use tidegate_local::status::{State, TargetStatus};
use tidegate_local::unit::{Check, Probe};

use crate::common::{Bench, exists, server, shell, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_ready_only_while_its_readiness_probe_says_so() {
    let mut bench = Bench::new(|_| {}).await;
    let file = bench.path("ready");
    let unit = with(shell("job", "exec sleep 1000"), |template| template.readiness = exists(&file));
    bench.machine.apply(vec![unit]);
    bench.machine.scale("default/job", 1).expect("it is known");
    bench.replica("job", "a process", |state| matches!(state, State::Starting { .. })).await;
    std::fs::write(&file, "").expect("it can be written");
    bench.ready("job", 1).await;
    std::fs::remove_file(&file).expect("it is there");
    let replica = bench.replica("job", "unready", |state| matches!(state, State::Unready { .. })).await;
    assert!(
        matches!(&replica.state, State::Unready { why } if why == "its readiness probe fails: exit code 1")
    );
    std::fs::write(&file, "").expect("it can be written");
    let target = bench.ready("job", 1).await;
    assert_eq!((target.replicas[0].restarts, target.starts.len()), (0, 1));
    assert_eq!(bench.traffic.said(), ["ready job-1", "unready job-1", "ready job-1"]);
    bench.machine.stop(Duration::from_secs(5)).await;
}

fn restarted(target: &TargetStatus) -> bool {
    target.replicas.iter().any(|replica| replica.restarts > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_startup_probe_never_answers_is_started_again() {
    let mut bench = Bench::new(|_| {}).await;
    let never = bench.path("never");
    let unit = with(shell("job", "exec sleep 1000"), |template| {
        template.startup = exists(&never).map(|probe| Probe { failure_threshold: 2, ..probe });
    });
    bench.machine.apply(vec![unit]);
    bench.machine.scale("default/job", 1).expect("it is known");
    let target = bench.target("job", "a restart", restarted).await;
    assert!(target.starts.is_empty());
    let failed = |target: &TargetStatus| {
        target.trouble().is_some_and(|text| text.contains("its startup probe failed for 0.1 s: exit code 1"))
    };
    bench.target("job", "the reason", failed).await;
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_started_again_by_its_liveness_probe() {
    let mut bench = Bench::new(|_| {}).await;
    let file = bench.path("alive");
    std::fs::write(&file, "").expect("it can be written");
    let unit = with(shell("job", "exec sleep 1000"), |template| template.liveness = exists(&file));
    bench.machine.apply(vec![unit]);
    bench.machine.scale("default/job", 1).expect("it is known");
    bench.ready("job", 1).await;
    std::fs::remove_file(&file).expect("it is there");
    bench.target("job", "a restart", restarted).await;
    assert_eq!(bench.traffic.said()[..3], ["ready job-1", "unready job-1", "gone job-1"]);
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_opens_is_a_phase_of_the_start() {
    let mut bench = Bench::new(|_| {}).await;
    let unit = with(server("web"), |template| {
        template.readiness = Some(Probe::new(Check::Tcp { port: 8000 }));
    });
    bench.machine.apply(vec![unit]);
    bench.machine.scale("default/web", 1).expect("it is known");
    let start = bench.ready("web", 1).await.starts.remove(0);
    let sum = start.phases.iter().fold(0, |sum, (_, span)| sum + span.as_micros());
    assert_eq!(sum, start.total.as_micros());
    assert!(start.phases[1].1.as_micros() > 0, "python loads before it listens");
    assert!(!start.warm);
    bench.machine.restart("default/web").expect("it is known");
    let again = bench.target("web", "a second start", |target| target.starts.len() == 2).await;
    assert_eq!(again.starts[1].replica.as_ref(), "web-2");
    bench.machine.stop(Duration::from_secs(5)).await;
}
