//! What Tidegate and a supervisor say to each other: one JSON object a line, either way.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The first line a supervisor reads: what to run.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Instruction {
    /// Name of this run, unique on this state directory: `<target>/<replica>.<run>`.
    pub(crate) run: String,
    /// Value of [`crate::sweep::MARK`] in the replica's environment.
    pub(crate) mark: String,
    /// Where the supervisor notes itself while it lives.
    pub(crate) pid_file: PathBuf,
    /// Our own command for the step between fork and exec: `<supervisor command> exec`.
    pub(crate) trampoline: Vec<String>,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Environment on top of ours.
    pub(crate) env: BTreeMap<String, String>,
    /// Where it runs.
    pub(crate) working_dir: Option<PathBuf>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// A log file is turned over at this size.
    pub(crate) log_bytes_max: u64,
    /// Log files kept, the current one included.
    pub(crate) log_files_max: u32,
    /// Most memory of all processes together.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Time to end in once Tidegate is gone.
    pub(crate) orphan_grace_ms: u64,
}

/// Every further line a supervisor reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// SIGTERM, and SIGKILL after the grace.
    Stop {
        /// The grace.
        grace_ms: u64,
    },
    /// Runs a command beside the replica, in its environment.
    Exec {
        /// Names the answer.
        id: u64,
        /// Program and arguments.
        command: Vec<String>,
        /// After this it is killed.
        timeout_ms: u64,
    },
}

/// A line a supervisor writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// The program runs.
    Spawned {
        /// Its process.
        pid: i32,
    },
    /// It could not be run.
    Failed {
        /// Why.
        message: String,
    },
    /// A command of [`Request::Exec`] ended.
    ExecDone {
        /// Its name.
        id: u64,
        /// What went wrong, if something did.
        error: Option<String>,
    },
    /// The replica's first process ended.
    Exited(Exit),
    /// No process is left. The last line.
    Gone,
}

/// How a replica's first process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Said when it was killed for its memory, or could not be started.
    pub reason: Option<String>,
    /// The last lines of its output.
    pub last_lines: Vec<String>,
}

impl std::fmt::Display for Exit {
    /// `exit code 1`, `killed by signal 9`, or the reason.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.reason, self.code, self.signal) {
            (Some(reason), _, _) => f.write_str(reason),
            (None, Some(code), _) => write!(f, "exit code {code}"),
            (None, None, Some(signal)) => write!(f, "killed by signal {signal}"),
            (None, None, None) => f.write_str("its supervisor was lost"),
        }
    }
}
