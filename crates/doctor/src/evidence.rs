//! What was seen of a fleet. Who looks fills in what it can see; a number that was not measured is `None`.

/// A fleet at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The targets.
    pub targets: Vec<Target>,
    /// The devices.
    pub gpus: Vec<Gpu>,
    /// Errors the running Tidegate remarked on, such as a refused edit.
    pub remarks: Vec<String>,
    /// Version of the Tidegate that runs, and of the one that looks.
    pub versions: Option<(String, String)>,
    /// The machine it runs on, where it is this one.
    pub machine: Option<Machine>,
    /// The cluster it runs on, where it is one.
    pub cluster: Option<crate::cluster::Cluster>,
}

/// One target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// `namespace/name`.
    pub name: String,
    /// Most replicas.
    pub max: u32,
    /// Replicas decided.
    pub wanted: u32,
    /// Replicas that serve.
    pub ready: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Requests that its replicas work on.
    pub in_flight: u32,
    /// The longest that one of them has waited, and what it was told to expect.
    pub longest_wait_s: Option<(f64, Option<f64>)>,
    /// Devices one replica takes.
    pub gpus_per_replica: u32,
    /// Why it cannot run, as the driver says it.
    pub trouble: Option<String>,
    /// What it is decided by.
    pub signals: Vec<Signal>,
    /// Its replicas.
    pub replicas: Vec<Replica>,
    /// Measured starts, newest first.
    pub starts: Vec<Start>,
    /// Changes decided, newest first: how long ago in seconds, from, to.
    pub changes: Vec<(f64, u32, u32)>,
}

/// One signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// Its name in decisions.
    pub name: String,
    /// How it lives.
    pub life: Life,
    /// What it is or why it failed.
    pub text: String,
}

/// How a signal lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It has a value.
    Found,
    /// Its source answers with nothing.
    Absent,
    /// Its last value is too old.
    Stale,
    /// Its source fails.
    Failing,
    /// It has the same value all along while the load changes.
    NotMoving,
}

/// One replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// For how long.
    pub for_s: Option<f64>,
    /// Restarts so far.
    pub restarts: u32,
    /// Why it is not ready.
    pub why: Option<String>,
    /// What it logged last.
    pub last_lines: Vec<String>,
    /// Share of its KV cache in use, 0 to 1.
    pub kv_use: Option<f64>,
}

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It waits for a device.
    #[default]
    Pending,
    /// It is on its way.
    Starting,
    /// It serves.
    Ready,
    /// It leaves.
    Leaving,
    /// It failed and will be tried again, or not.
    Failed,
}

/// One measured start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    /// Its phases in order, with their seconds.
    pub phases: Vec<(String, f64)>,
    /// All of it.
    pub total_s: f64,
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpu {
    /// Its index.
    pub index: u32,
    /// Who holds it.
    pub holder: Option<String>,
    /// Its memory, and how much of it is in use.
    pub memory_mib: Option<(u64, u64)>,
    /// Share of time in which it computed, 0 to 1.
    pub active: Option<f64>,
    /// The number of the last error its driver reported.
    pub last_xid: Option<u32>,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Files the running Tidegate may have open.
    pub open_files_max: Option<u64>,
    /// Files it has open.
    pub open_files: Option<u64>,
    /// Where its journal is, with the bytes that are free there.
    pub state_dir_free: Option<(String, u64)>,
}
