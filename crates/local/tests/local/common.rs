//! What the tests of this crate share: a machine in a directory of its own, and waiting for events.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;
use tidegate_core::route::Outlook;
use tidegate_local::machine::{Config, Machine};
use tidegate_local::status::{ReplicaStatus, State, Status, TargetStatus};
use tidegate_local::traffic::Traffic;
use tidegate_local::unit::{Check, Port, Probe, Template, Unit};
use tokio::sync::watch;

/// Longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The supervisor as a program of its own. Cargo builds it with the tests.
pub(crate) fn supervisor() -> String {
    example("supervise")
}

pub(crate) fn example(name: &str) -> String {
    let test = std::env::current_exe().expect("a test has a path");
    let target = test.parent().and_then(|deps| deps.parent()).expect("target/debug/deps/test");
    let path = target.join("examples").join(name);
    assert!(path.exists(), "{} is missing; run cargo build -p tidegate-local --examples", path.display());
    path.display().to_string()
}

/// A machine, where its files are, and what happened.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) status: watch::Receiver<Arc<Status>>,
    pub(crate) traffic: Arc<Recorder>,
    pub(crate) directory: TempDir,
}

impl Bench {
    pub(crate) async fn new(change: impl FnOnce(&mut Config)) -> Bench {
        let directory = tempfile::tempdir().expect("a directory");
        let traffic = Arc::new(Recorder::default());
        let mut config = Config::new(directory.path().join("state"), Arc::<Recorder>::clone(&traffic));
        config.supervisor = vec![supervisor()];
        change(&mut config);
        let (machine, status) = Machine::start(config).await.expect("the machine starts");
        Bench { machine, status, traffic, directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Waits until the machine looks as described.
    pub(crate) async fn until(&mut self, what: &str, is: impl Fn(&Status) -> bool) -> Arc<Status> {
        let shown = self.status.clone();
        let wait = self.status.wait_for(|status| is(status));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(status)) => Arc::clone(&status),
            Ok(Err(error)) => panic!("the machine ended before {what}: {error}"),
            Err(_) => panic!("no {what}: {:#?}", shown.borrow()),
        }
    }

    /// Waits until the target `default/NAME` looks as described.
    pub(crate) async fn target(
        &mut self,
        name: &str,
        what: &str,
        is: impl Fn(&TargetStatus) -> bool,
    ) -> TargetStatus {
        let target = format!("default/{name}");
        let status = self.until(what, |status| status.target(&target).is_some_and(&is)).await;
        status.target(&target).expect("it was there").clone()
    }

    /// Waits for the only replica of a target to be in a state.
    pub(crate) async fn replica(
        &mut self,
        name: &str,
        what: &str,
        is: impl Fn(&State) -> bool,
    ) -> ReplicaStatus {
        let one = |target: &TargetStatus| matches!(&target.replicas[..], [replica] if is(&replica.state));
        self.target(name, what, one).await.replicas.remove(0)
    }

    pub(crate) async fn ready(&mut self, name: &str, count: u32) -> TargetStatus {
        let what = format!("{count} ready of {name}");
        self.target(name, &what, |target| target.ready() == count && target.replicas.len() == count as usize)
            .await
    }

    pub(crate) async fn zero(&mut self, name: &str) {
        self.target(name, "zero", |target| target.replicas.is_empty()).await;
    }
}

/// Traffic that writes down what it is told, and drains when the test says so.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) said: Mutex<Vec<String>>,
    /// While closed, nothing drains.
    pub(crate) busy: Mutex<Option<watch::Receiver<bool>>>,
    /// Replicas in the order they go; by name without one.
    pub(crate) order: Mutex<Vec<Arc<str>>>,
}

impl Recorder {
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().expect("no test panicked holding it").clone()
    }

    fn say(&self, what: &str, replica: &str) {
        self.said.lock().expect("no test panicked holding it").push(format!("{what} {replica}"));
    }

    /// From now on drains last until `true` is sent.
    pub(crate) fn hold_drains(&self) -> watch::Sender<bool> {
        let (sender, receiver) = watch::channel(false);
        *self.busy.lock().expect("no test panicked holding it") = Some(receiver);
        sender
    }
}

impl Traffic for Recorder {
    fn ready(&self, _: &str, replica: &str, _: std::net::SocketAddr) {
        self.say("ready", replica);
    }
    fn unready(&self, _: &str, replica: &str) {
        self.say("unready", replica);
    }
    fn drain(&self, _: &str, replica: &str) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.say("drain", replica);
        let busy = self.busy.lock().expect("no test panicked holding it").clone();
        Box::pin(async move {
            if let Some(mut busy) = busy {
                let _ = busy.wait_for(|free| *free).await;
            }
        })
    }
    fn gone(&self, _: &str, replica: &str) {
        self.say("gone", replica);
    }
    fn order(&self, _: &str, replicas: &[Arc<str>]) -> Vec<Arc<str>> {
        let order = self.order.lock().expect("no test panicked holding it").clone();
        if order.is_empty() { replicas.to_vec() } else { order }
    }
    fn outlook(&self, _: &str, _: Outlook) {}
}

/// A unit `default/NAME` with a shell script for a program.
pub(crate) fn shell(name: &str, script: &str) -> Unit {
    unit(name, &["sh", "-c", script])
}

/// A unit that answers HTTP on its port.
pub(crate) fn server(name: &str) -> Unit {
    unit(name, &["python3", "-m", "http.server", "--bind", "127.0.0.1", "$PORT"])
}

pub(crate) fn unit(name: &str, command: &[&str]) -> Unit {
    Unit {
        target: format!("default/{name}").into(),
        workload: name.to_owned(),
        models: vec![name.to_owned()],
        scaled: true,
        replicas: 1,
        min_residence: Duration::from_secs(30),
        preemptible: true,
        gpu_price_per_hour: None,
        hold_timeout: None,
        hold_max: None,
        engine: None,
        upstream_key: None,
        template: Arc::new(template(command)),
    }
}

fn template(command: &[&str]) -> Template {
    Template {
        namespace: "default".to_owned(),
        container: "server".to_owned(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        working_dir: None,
        ports: vec![Port { name: None, number: 8000 }],
        serving: 8000,
        port_flag: None,
        host_flag: None,
        startup: None,
        readiness: None,
        liveness: None,
        pre_stop: None,
        termination_grace: Duration::from_secs(20),
        gpus: 0,
        memory_limit_bytes: None,
        labels: [].into(),
        annotations: [].into(),
    }
}

/// Ready when a file is there.
pub(crate) fn exists(file: &Path) -> Option<Probe> {
    let command = ["test", "-e", &file.display().to_string()].map(str::to_owned).to_vec();
    Some(Probe { period: Duration::from_millis(50), ..Probe::new(Check::Exec(command)) })
}

/// A unit with its template changed.
pub(crate) fn with(mut unit: Unit, change: impl FnOnce(&mut Template)) -> Unit {
    change(Arc::make_mut(&mut unit.template));
    unit
}

/// Whether a process lives.
pub(crate) fn lives(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest.trim_start());
    !state.starts_with(['Z', 'X'])
}

/// Waits for the end of a process that may not be ours.
pub(crate) async fn ended(pid: i32) {
    let Some(pid) = Pid::from_raw(pid) else { panic!("{pid} is no process") };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let wait = tokio::task::spawn_blocking(move || {
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&patience)).expect("it can be waited for")
    });
    assert_eq!(wait.await.expect("no panic"), 1, "process {pid:?} still lives");
}

pub(crate) fn kill(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process number");
    kill_process(pid, signal).expect("it lives");
}

/// The process that started another.
pub(crate) fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, rest) = stat.rsplit_once(')').expect("a stat line");
    rest.split_ascii_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("its parent")
}
