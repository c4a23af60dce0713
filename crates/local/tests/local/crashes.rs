//! Replicas that end by themselves, do not start, use too much or do not obey.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tidegate_local::status::State;

use crate::common::{Bench, kill, lives, shell, unit, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_backs_off_and_shows_the_last_lines() {
    let mut bench = Bench::new(|_| {}).await;
    let script = "echo loading >&2; echo 'no such model: /models/x' >&2; exit 3";
    bench.machine.apply(vec![shell("job", script)]);
    // A replica that is asked for its port never becomes ready.
    let unit = with(shell("job", script), |template| {
        template.readiness =
            Some(tidegate_local::unit::Probe::new(tidegate_local::unit::Check::Tcp { port: 8000 }));
    });
    bench.machine.apply(vec![unit]);
    bench.machine.scale("default/job", 1).expect("it is known");
    let target = bench
        .target("job", "second failure", |target| {
            matches!(&target.replicas[..], [one] if one.restarts == 2 && matches!(one.state, State::BackOff { .. }))
        })
        .await;
    let replica = &target.replicas[0];
    let exit = replica.last_exit.as_ref().expect("it ended");
    assert_eq!((exit.code, exit.last_lines.len()), (Some(3), 2));
    assert_eq!(
        target.trouble().as_deref(),
        Some(
            "job-1: exit code 3, 2 times in a row before it was ready; \
             its last line: no such model: /models/x"
        )
    );
    let log = bench.machine.last_lines("default/job", "job-1").expect("there is a log");
    assert_eq!(log, ["loading", "no such model: /models/x", "loading", "no such model: /models/x"]);
    bench.machine.scale("default/job", 0).expect("it is known");
    bench.zero("job").await;
    bench.machine.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_there_is_told_and_tried_again_later() {
    let mut bench = Bench::new(|_| {}).await;
    bench.machine.apply(vec![unit("job", &["no-such-program", "serve"])]);
    bench.machine.scale("default/job", 1).expect("it is known");
    let failed = |state: &State| matches!(state, State::Failed { .. });
    let target = bench
        .target(
            "job",
            "second failure",
            |target| matches!(&target.replicas[..], [one] if failed(&one.state) && one.restarts == 2),
        )
        .await;
    let trouble = target.trouble().expect("there is");
    assert!(trouble.contains("command not found: no-such-program is not on PATH"), "{trouble}");
    bench.machine.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_ready_and_is_killed_is_started_again_at_once() {
    let mut bench = Bench::new(|config| config.back_off.between_starts = Duration::ZERO).await;
    bench.machine.apply(vec![shell("job", "exec sleep 1000")]);
    bench.machine.scale("default/job", 1).expect("it is known");
    for round in 0..4 {
        let target = bench
            .target("job", "ready", |target| target.ready() == 1 && target.replicas[0].restarts == round)
            .await;
        kill(target.replicas[0].pid.expect("it runs"), Signal::KILL);
    }
    bench.target("job", "ready", |target| target.ready() == 1 && target.replicas[0].restarts == 4).await;
    let said = bench.traffic.said();
    assert_eq!(said[..4], ["ready job-1", "gone job-1", "ready job-1", "gone job-1"]);
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_obey_is_killed_after_its_grace() {
    let mut bench = Bench::new(|_| {}).await;
    let unit = with(shell("job", "trap '' TERM; while :; do sleep 0.05; done"), |template| {
        template.termination_grace = Duration::from_millis(200);
    });
    bench.machine.apply(vec![unit]);
    bench.machine.scale("default/job", 1).expect("it is known");
    let pid = bench.ready("job", 1).await.replicas[0].pid.expect("it runs");
    bench.machine.scale("default/job", 0).expect("it is known");
    bench.zero("job").await;
    assert!(!lives(pid));
    bench.machine.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_machine_kills_what_is_still_busy_when_the_time_is_over() {
    let mut bench = Bench::new(|_| {}).await;
    bench.machine.apply(vec![shell("job", "exec sleep 1000")]);
    bench.machine.scale("default/job", 2).expect("it is known");
    let target = bench.ready("job", 2).await;
    let _busy = bench.traffic.hold_drains();
    bench.machine.stop(Duration::from_millis(100)).await;
    assert!(target.replicas.iter().all(|replica| !lives(replica.pid.expect("it ran"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_uses_more_memory_than_it_may_is_killed_and_the_reason_told() {
    let mut bench = Bench::new(|_| {}).await;
    let script =
        "import time; data = bytearray(200 << 20); data[::4096] = b'x' * len(data[::4096]); time.sleep(1000)";
    let unit = with(unit("job", &["python3", "-c", script]), |template| {
        template.memory_limit_bytes = Some(100 << 20);
    });
    bench.machine.apply(vec![unit]);
    bench.machine.scale("default/job", 1).expect("it is known");
    let killed = |target: &tidegate_local::status::TargetStatus| {
        target.replicas.iter().any(|replica| replica.last_exit.is_some())
    };
    let target = bench.target("job", "an end", killed).await;
    let reason = target.replicas[0].last_exit.as_ref().and_then(|exit| exit.reason.clone());
    assert!(reason.as_deref().is_some_and(|text| text.starts_with("OOMKilled: it used ")), "{reason:?}");
    bench.machine.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_turned_over_and_kept() {
    let mut bench = Bench::new(|config| (config.log_bytes_max, config.log_files_max) = (1000, 3)).await;
    let script = "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; exec sleep 1000";
    let probe = tidegate_local::unit::Probe::new(tidegate_local::unit::Check::Exec(
        ["sh", "-c", "grep -q 'line 499' $LOG"].map(str::to_owned).to_vec(),
    ));
    let log = bench.path("state/logs/default_job/job-1.log");
    let unit = with(shell("job", script), |template| {
        template.readiness = Some(probe);
        template.env = vec![tidegate_local::unit::Variable {
            name: "LOG".to_owned(),
            value: tidegate_local::unit::Value::Text(log.display().to_string()),
        }];
    });
    bench.machine.apply(vec![unit]);
    bench.machine.scale("default/job", 1).expect("it is known");
    bench.ready("job", 1).await;
    let directory = log.parent().expect("it has one");
    let mut files: Vec<(String, u64)> = std::fs::read_dir(directory)
        .expect("it is there")
        .flatten()
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()))
        .collect();
    files.sort();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["job-1.log", "job-1.log.1", "job-1.log.2"]);
    assert!(files.iter().all(|(_, bytes)| *bytes <= 1000));
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_youngest_and_least_busy_go_first_and_no_leaving_one_comes_back() {
    let mut bench = Bench::new(|_| {}).await;
    bench.machine.apply(vec![shell("job", "exec sleep 1000")]);
    bench.machine.scale("default/job", 3).expect("it is known");
    bench.ready("job", 3).await;
    *bench.traffic.order.lock().expect("no test panicked holding it") =
        ["job-2", "job-3", "job-1"].map(Arc::from).to_vec();
    let busy = bench.traffic.hold_drains();
    bench.machine.scale("default/job", 2).expect("it is known");
    bench.target("job", "a drain", |target| target.staying() == 2).await;
    bench.machine.scale("default/job", 3).expect("it is known");
    let target = bench.target("job", "three again", |target| target.ready() == 3).await;
    let state =
        |name: &str| target.replicas.iter().find(|one| &*one.replica == name).map(|one| one.state.clone());
    assert_eq!((state("job-2"), state("job-4")), (Some(State::Draining), Some(State::Ready)));
    busy.send_replace(true);
    bench.ready("job", 3).await;
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_without_any_time_asks_nobody() {
    let mut bench = Bench::new(|_| {}).await;
    // It would take its whole grace of an hour if it were asked.
    let unit = with(shell("job", "trap '' TERM; while :; do sleep 0.05; done"), |template| {
        template.termination_grace = Duration::from_secs(3600);
    });
    bench.machine.apply(vec![unit]);
    bench.machine.scale("default/job", 1).expect("it is known");
    let pid = bench.ready("job", 1).await.replicas[0].pid.expect("it runs");
    bench.machine.stop(Duration::ZERO).await;
    assert!(!lives(pid));
    assert!(bench.status.borrow().targets.is_empty(), "it was given up: {:?}", bench.status.borrow());
}
