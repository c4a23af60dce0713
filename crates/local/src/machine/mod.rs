//! The machine: targets, their replicas and their devices, kept as they are wanted.
//!
//! ```text
//! apply, scale, stop ─▶ wanted ─▶ actor ─▶ moves (rollout) ─▶ run: supervisor, probes, way out
//!                                  ▲  │                                        │
//!                                  │  └▶ Status, published at every change     │
//!                                  └────────────── notes ◀────────────────────┘
//! ```
//!
//! One task owns all state and never waits for anything but the next event. What is wanted is a value,
//! not a queue: whoever calls `scale` a thousand times leaves one number behind.
//!
//! A replica that was told to leave is not called back when the target grows again: its drain has begun
//! in the same step, and the gateway sends it nothing any more. A new one is started instead.

mod actor;
pub(crate) mod link;
mod logs;
mod probing;
mod replica;
mod rollout;
mod run;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::FlockOperation;
use tidegate_core::time::{Span, Time};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::backoff::BackOff;
use crate::ledger::Gpu;
use crate::log::Tail;
use crate::status::Status;
use crate::sweep;
use crate::traffic::Traffic;
use crate::unit::Unit;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// How the machine is set up.
#[derive(Clone)]
pub struct Config {
    /// Where logs and the supervisors' files are. One Tidegate at a time uses it.
    pub state_dir: PathBuf,
    /// The command that leads to [`crate::supervisor::main`].
    pub supervisor: Vec<String>,
    /// The devices there are.
    pub gpus: Vec<Gpu>,
    /// Who sends requests.
    pub traffic: Arc<dyn Traffic>,
    /// Tells the time; by default since the Unix epoch, and never backwards.
    pub clock: Clock,
    /// The pace of restarts.
    pub back_off: BackOff,
    /// A log file is turned over at this size.
    pub log_bytes_max: u64,
    /// Files of a replica's log.
    pub log_files_max: u32,
    /// Replicas of a target whose logs are kept.
    pub log_replicas_max: usize,
    /// The longest a replica may take to end once Tidegate is gone; its own grace if that is shorter.
    pub orphan_grace: Duration,
}

impl Config {
    /// The defaults: no devices; logs of three times 10 MiB for each of the last 20 replicas, which is
    /// 600 MiB a target at the most.
    #[must_use]
    pub fn new(state_dir: PathBuf, traffic: Arc<dyn Traffic>) -> Self {
        Config {
            state_dir,
            supervisor: vec!["/proc/self/exe".to_owned(), "__supervise".to_owned()],
            gpus: Vec::new(),
            traffic,
            clock: wall_clock(),
            back_off: BackOff::default(),
            log_bytes_max: 10 << 20,
            log_files_max: 3,
            log_replicas_max: 20,
            orphan_grace: Duration::from_secs(10),
        }
    }
}

/// Time since the Unix epoch, set once and then counted: it does not jump with the system's clock.
#[must_use]
pub fn wall_clock() -> Clock {
    let began = Instant::now();
    let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    let epoch = Time::from_micros(micros(epoch));
    Arc::new(move || epoch + Span::from_micros(micros(began.elapsed())))
}

/// Why the machine does not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be used.
    #[error("the state directory {path} cannot be used: {error}; choose another with --state-dir")]
    StateDir {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Somebody else uses it.
    #[error(
        "another tidegate runs with the state directory {0}; stop it, or choose another with --state-dir"
    )]
    InUse(PathBuf),
    /// Something of an earlier run is still there.
    #[error("replicas of an earlier run cannot be removed: {0}")]
    Leftovers(io::Error),
    /// No such target.
    #[error("there is no target {0} on this machine")]
    UnknownTarget(String),
    /// No such log.
    #[error("the log {path} cannot be read: {error}")]
    Log {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The machine. Dropping it ends every replica as the death of Tidegate would; [`Machine::stop`] drains.
pub struct Machine {
    shared: Arc<Shared>,
    state_dir: PathBuf,
    status: watch::Receiver<Arc<Status>>,
    /// One task, ended with the set.
    actor: JoinSet<()>,
    /// Held as long as the machine: the lock on the state directory.
    _lock: File,
}

/// What is wanted, and a bell.
#[derive(Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Notify,
}

#[derive(Default)]
struct Wanted {
    /// Units not yet taken over.
    units: Option<Vec<Unit>>,
    replicas: BTreeMap<Arc<str>, u32>,
    /// Targets whose replicas are all to be replaced.
    restart: BTreeSet<Arc<str>>,
    /// By when all must have ended.
    stop: Option<tokio::time::Instant>,
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    /// Takes the state directory, removes what an earlier run left, and is ready for [`Machine::apply`].
    ///
    /// # Errors
    /// When the directory cannot be used, or something in the way does not die.
    pub async fn start(config: Config) -> Result<(Machine, watch::Receiver<Arc<Status>>), Error> {
        let mut config = config;
        let unusable = |error| Error::StateDir { path: config.state_dir.clone(), error };
        fs::create_dir_all(&config.state_dir).map_err(unusable)?;
        // The mark in a replica's environment must be the same whatever way the directory is named.
        config.state_dir = config.state_dir.canonicalize().map_err(unusable)?;
        let lock = lock(&config)?;
        let swept = sweep::sweep(&config.state_dir).await.map_err(Error::Leftovers)?;
        if swept > 0 {
            tracing::warn!("removed {swept} processes that an earlier run had left");
        }
        let shared = Arc::new(Shared::default());
        let state_dir = config.state_dir.clone();
        let (actor, status) = actor::Actor::new(config, Arc::clone(&shared));
        let mut tasks = JoinSet::new();
        tasks.spawn(actor.run());
        let machine = Machine { shared, state_dir, status: status.clone(), actor: tasks, _lock: lock };
        Ok((machine, status))
    }

    /// Takes all units there are from now on. New ones start with no replicas if something scales them
    /// and with their own count otherwise; a changed template replaces replicas one by one; what is no
    /// longer there drains and ends.
    pub fn apply(&self, units: Vec<Unit>) {
        let mut wanted = self.shared.wanted();
        let names: BTreeSet<Arc<str>> = units.iter().map(|unit| Arc::clone(&unit.target)).collect();
        wanted.replicas.retain(|target, _| names.contains(target));
        for unit in &units {
            if unit.scaled {
                wanted.replicas.entry(Arc::clone(&unit.target)).or_insert(0);
            } else {
                wanted.replicas.insert(Arc::clone(&unit.target), unit.replicas);
            }
        }
        wanted.units = Some(units);
        drop(wanted);
        self.shared.changed.notify_one();
    }

    /// Sets how many replicas a target has.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn scale(&self, target: &str, replicas: u32) -> Result<(), Error> {
        let mut wanted = self.shared.wanted();
        let count = wanted.replicas.get_mut(target).ok_or_else(|| Error::UnknownTarget(target.to_owned()))?;
        *count = replicas;
        drop(wanted);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Replaces every replica of a target one by one, as a changed template would.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn restart(&self, target: &str) -> Result<(), Error> {
        let mut wanted = self.shared.wanted();
        let known = wanted.replicas.get_key_value(target).map(|(name, _)| Arc::clone(name));
        wanted.restart.insert(known.ok_or_else(|| Error::UnknownTarget(target.to_owned()))?);
        drop(wanted);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Drains and ends everything; what has not ended after the grace is killed. Returns when nothing
    /// is left.
    pub async fn stop(mut self, grace: Duration) {
        self.shared.wanted().stop = Some(tokio::time::Instant::now() + grace);
        self.shared.changed.notify_one();
        if let Some(Err(error)) = self.actor.join_next().await {
            tracing::error!("the machine ended with an error: {error}");
        }
    }

    /// What it looks like now.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// The last lines a replica wrote, of all its runs.
    ///
    /// # Errors
    /// When there is no such log.
    pub fn last_lines(&self, target: &str, replica: &str) -> Result<Vec<String>, Error> {
        // Fifty lines of 1 KiB.
        const BYTES_MAX: u64 = 50 << 10;
        let name = replica.replace(['/', '\0'], "_");
        let path = logs::file(&self.state_dir, &target.replace("..", "_"), &name);
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            let length = file.metadata()?.len();
            file.seek(io::SeekFrom::Start(length.saturating_sub(BYTES_MAX)))?;
            let mut bytes = Vec::new();
            file.take(BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| Error::Log { path: path.clone(), error })?;
        let mut tail = Tail::default();
        tail.push(&bytes);
        Ok(tail.lines())
    }
}

fn lock(config: &Config) -> Result<File, Error> {
    let unusable = |error| Error::StateDir { path: config.state_dir.clone(), error };
    let path = config.state_dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(unusable)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse(config.state_dir.clone())),
        Err(error) => Err(unusable(error.into())),
    }
}
