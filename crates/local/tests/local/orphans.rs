//! Nothing of a replica outlives what it belongs to, whatever is killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tidegate_local::machine::{Config, Error, Machine};
use tidegate_local::status::State;
use tidegate_local::traffic::NoTraffic;

use crate::common::{Bench, ended, example, exists, kill, lives, parent_of, shell, supervisor, with};

/// A script that will not end, nor be found by its group or session: its child leads a session of its
/// own, forks again, and notes its number in a file. `$$$$` is `$$` once `$(NAME)` is filled in.
fn stubborn(file: &Path) -> String {
    let file = file.display();
    format!(
        "trap '' TERM; \
         setsid sh -c 'trap \"\" TERM; (echo $$$$ > {file}.part; mv {file}.part {file}; \
         while :; do sleep 0.05; done) & wait' & \
         while [ ! -e {file} ]; do sleep 0.01; done; while :; do sleep 0.05; done"
    )
}

/// The number of the runaway: its replica is ready when it is written.
fn runaway(file: &Path) -> i32 {
    let text = std::fs::read_to_string(file).expect("it is written");
    text.trim().parse().expect("a process number")
}

/// A whole Tidegate in a process of its own, and its replica.
fn tidegate(state_dir: &Path, file: &Path) -> (std::process::Child, i32) {
    let mut child = Command::new(example("machine"))
        .arg(state_dir)
        .args([&supervisor(), &stubborn(file)])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut line = String::new();
    let output = child.stdout.as_mut().expect("a pipe");
    BufReader::new(output).read_line(&mut line).expect("it says its replica");
    (child, line.trim().parse().expect("a process number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_tidegate_leaves_no_process_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("runaway");
    let (mut child, replica) = tidegate(&directory.path().join("state"), &file);
    let runaway = runaway(&file);
    let supervisor = parent_of(replica);
    child.kill().expect("it lives");
    child.wait().expect("it ended");
    ended(replica).await;
    ended(runaway).await;
    ended(supervisor).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_tidegate_and_its_supervisors_at_once_is_cleaned_up_by_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, state) = (directory.path().join("runaway"), directory.path().join("state"));
    let (mut child, replica) = tidegate(&state, &file);
    let runaway = runaway(&file);
    let supervisor = parent_of(replica);
    kill(supervisor, Signal::KILL);
    child.kill().expect("it lives");
    child.wait().expect("it ended");
    // The kernel takes the first process with its supervisor; the runaway escapes it.
    ended(replica).await;
    let config = Config::new(state, Arc::new(NoTraffic));
    let (machine, _) = Machine::start(config).await.expect("it starts");
    assert!(!lives(runaway), "the sweep did not find it");
    machine.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_a_supervisor_takes_its_replica_along_and_another_is_started() {
    let mut bench = Bench::new(|_| {}).await;
    let file = bench.path("runaway");
    bench
        .machine
        .apply(vec![with(shell("job", &stubborn(&file)), |template| template.readiness = exists(&file))]);
    bench.machine.scale("default/job", 1).expect("it is known");
    let replica = bench.replica("job", "ready", |state| *state == State::Ready).await;
    let runaway = runaway(&file);
    let pid = replica.pid.expect("it runs");
    kill(parent_of(pid), Signal::KILL);
    ended(pid).await;
    ended(runaway).await;
    let again = bench
        .target("job", "ready again", |target| target.ready() == 1 && target.replicas[0].restarts == 1)
        .await;
    assert_ne!(again.replicas[0].pid, Some(pid));
    bench.machine.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_first_process_ends_all_that_it_left_ends_too() {
    let mut bench = Bench::new(|_| {}).await;
    let file = bench.path("runaway");
    let path = file.display();
    let script = format!(
        "setsid sh -c 'echo $$$$ > {path}.part; mv {path}.part {path}; while :; do sleep 0.05; done' & \
         while [ ! -e {path} ]; do sleep 0.01; done; exec sleep 1000"
    );
    bench.machine.apply(vec![with(shell("job", &script), |template| template.readiness = exists(&file))]);
    bench.machine.scale("default/job", 1).expect("it is known");
    bench.ready("job", 1).await;
    let runaway = runaway(&file);
    bench.machine.scale("default/job", 0).expect("it is known");
    bench.zero("job").await;
    assert!(!lives(runaway));
    bench.machine.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tidegates_do_not_share_a_state_directory() {
    let bench = Bench::new(|_| {}).await;
    let config = Config::new(bench.path("state"), Arc::new(NoTraffic));
    let second = Machine::start(config).await.map(drop);
    assert!(matches!(second, Err(Error::InUse(_))), "{second:?}");
    bench.machine.stop(Duration::ZERO).await;
}
