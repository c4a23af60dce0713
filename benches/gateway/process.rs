//! Child processes: start, wait until they answer, what they used, stop.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::error::Error;
use crate::load::{self, Plan};

/// Python takes some seconds to load a router on a busy machine.
const READY_S: u64 = 60;
/// After that long a process that was asked to stop is killed.
const STOP: Duration = Duration::from_secs(5);

/// A process of the bench, stopped when dropped.
pub(crate) struct Process {
    /// What it is, for messages.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Child,
    log: PathBuf,
}

/// What a process and its children have used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time of each thread that lives, by its id.
    threads_ns: BTreeMap<u32, u64>,
}

impl Usage {
    /// CPU time since `before`. A thread that ended in between is not counted; the peers keep theirs.
    pub(crate) fn since_ns(&self, before: &Self) -> u64 {
        let used = |(thread, now): (&u32, &u64)| {
            now.saturating_sub(before.threads_ns.get(thread).copied().unwrap_or(0))
        };
        self.threads_ns.iter().map(used).sum()
    }
}

/// Becomes `command`, which the system will stop when the bench dies. Returns only on failure.
pub(crate) fn become_peer(command: &[String]) -> Result<(), Error> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| Error::Io { what: "tie a peer's life to the bench's", source: error.into() })?;
    let (program, arguments) =
        command.split_first().ok_or(Error::Argument("--peer needs a command".into()))?;
    Err(Error::Io { what: "start a peer", source: Command::new(program).args(arguments).exec() })
}

/// Raises the limit on open files as far as allowed; children inherit it. Gives the limit.
pub(crate) fn raise_open_files() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    // A root user may raise the hard limit too, unless the container says no.
    let wanted = 65_536.max(limit.maximum.unwrap_or(65_536));
    let set = |value| {
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        rustix::process::setrlimit(Resource::Nofile, limit)
    };
    if set(wanted).is_err()
        && let Some(hard) = limit.maximum
    {
        let _ = set(hard);
    }
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(wanted)
}

impl Process {
    /// Starts a command through this very program, so that it dies with the bench. Its output goes to `log`.
    pub(crate) fn start(
        name: &str,
        address: SocketAddr,
        command: &[String],
        log: PathBuf,
    ) -> Result<Self, Error> {
        let own = std::env::current_exe().map_err(Error::io("find this program"))?;
        let output = fs::File::create(&log).map_err(Error::file(&log))?;
        let errors = output.try_clone().map_err(Error::file(&log))?;
        let child = Command::new(own)
            .arg("--peer")
            .args(command)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(Error::io("start a process"))?;
        Ok(Self { name: name.to_owned(), address, child, log })
    }

    /// Waits until it answers `plan` rightly three times in a row.
    pub(crate) async fn ready(&mut self, plan: &Plan) -> Result<(), Error> {
        let begin = Instant::now();
        let mut right = 0;
        let mut last = String::from("nothing was tried");
        while begin.elapsed() < Duration::from_secs(READY_S) {
            match load::ask_once(plan, Duration::from_secs(2)).await {
                Ok(()) => right += 1,
                Err(error) => {
                    right = 0;
                    last = error.to_string();
                }
            }
            if right == 3 {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                last = format!("it ended: {status}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = self.log.clone();
        Err(Error::NotReady { name: self.name.clone(), seconds: READY_S, log, last })
    }

    /// CPU time of every thread of the process and of all below it.
    pub(crate) fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for process in tree(self.child.id()) {
            let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
            for task in tasks.flatten() {
                // The first number is the time on a CPU in nanoseconds. utime and stime of `stat` are the
                // same sum, cut to 10 ms: 5 % of what a peer uses in 2 s of paced streams.
                let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let used = text.split(' ').next().and_then(|number| number.parse().ok());
                let id = task.file_name().to_str().and_then(|name| name.parse().ok());
                if let (Some(id), Some(used)) = (id, used) {
                    usage.threads_ns.insert(id, used);
                }
            }
        }
        usage
    }

    /// Resident memory of the process and of all below it, in KiB. Pages they share count once each.
    pub(crate) fn memory_kib(&self) -> u64 {
        let resident = |process: u32| {
            let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().split(' ').next()?.parse::<u64>().ok()
        };
        tree(self.child.id()).into_iter().filter_map(resident).sum()
    }

    /// Asks it to stop, waits, kills what is left.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let begin = Instant::now();
        while begin.elapsed() < STOP {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself meanwhile.
            let _ = rustix::process::kill_process(process, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let below = tree(self.child.id());
            for process in below.into_iter().skip(1).filter_map(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
                let _ = rustix::process::kill_process(process, Signal::KILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A process and all below it, itself first.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let text = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // "1 (name) S 0 …": the name may hold anything, so the fields are counted from its end.
        let parent = text.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parents.insert(id, parent.unwrap_or(0_u32));
    }
    let mut tree = vec![root];
    let mut looked_at = 0;
    while let Some(parent) = tree.get(looked_at).copied() {
        tree.extend(parents.iter().filter(|(_, above)| **above == parent).map(|(id, _)| *id));
        looked_at += 1;
    }
    tree
}
