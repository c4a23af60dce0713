//! What is shown: one value a second for the whole fleet, made by whoever runs it.
//!
//! Every type reads back what it wrote, so that `tidegate top` and `tidegate why` use the same ones. A
//! number that was not measured is `None`, never zero: absent, stale and zero are three things.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::brief::Brief;
use crate::decision::DecisionView;

/// The fleet at one instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fleet {
    /// When, in Unix seconds.
    pub at_unix_s: f64,
    /// Tidegate's version.
    pub version: String,
    /// Where requests go, as `host:port`.
    pub gateway_addr: Option<String>,
    /// The ledger of devices, in order of index.
    pub gpus: Vec<GpuView>,
    /// Targets, in order of name.
    pub targets: Vec<TargetView>,
    /// Targets that are there and not among these, for a page of them all would be too long.
    pub hidden: u32,
    /// What metrics, a search and a target's own page tell of those, by name. No part of the JSON form, nor cut: some
    /// 200 bytes each, 2 MB of 10,000.
    #[serde(skip)]
    pub rest: Arc<[Brief]>,
    /// What the GPUs held now cost an hour, where a price is known.
    pub cost_per_hour: Option<f64>,
    /// The machine under it, where it is one machine.
    pub machine: Option<MachineView>,
    /// What somebody should know: a refused edit and its reason, a sidecar that does not run.
    pub notes: Vec<Note>,
}

/// The machine, and what the running Tidegate may take of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineView {
    /// Files it may have open.
    pub open_files_max: Option<u64>,
    /// Files it has open.
    pub open_files: Option<u64>,
    /// Where its journal is.
    pub state_dir: String,
    /// Bytes that are free there.
    pub state_dir_free_bytes: Option<u64>,
}

/// A remark on the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// When, in Unix seconds.
    pub at_unix_s: f64,
    /// Whether something is wrong, or only worth knowing.
    pub severity: Severity,
    /// One or two sentences.
    pub text: String,
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    #[default]
    Info,
    /// Something is not as it was asked for.
    Warning,
    /// Something does not work.
    Error,
}

/// One device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuView {
    /// Its index, as in `CUDA_VISIBLE_DEVICES`.
    pub index: u32,
    /// What it calls itself.
    pub name: String,
    /// Its memory.
    pub memory_mib: Option<u64>,
    /// Memory in use, whoever uses it.
    pub used_mib: Option<u64>,
    /// Share of time in which it computed, 0 to 1, where an exporter says.
    pub active: Option<f64>,
    /// The number of the last error its driver reported (XID), where an exporter says.
    pub last_xid: Option<u32>,
    /// Its MIG slices: `1g.10gb/7`.
    pub slices: Vec<String>,
    /// The target that holds it.
    pub target: Option<String>,
    /// The replica that holds it.
    pub holder: Option<String>,
}

/// One target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetView {
    /// `namespace/name`.
    pub name: String,
    /// The model names its requests use.
    pub models: Vec<String>,
    /// The policy that decides.
    pub policy: String,
    /// Least replicas.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Replicas decided.
    pub wanted: u32,
    /// Replicas that serve.
    pub ready: u32,
    /// Replicas on their way.
    pub starting: u32,
    /// Replicas that finish what they have.
    pub draining: u32,
    /// Replicas that cannot start yet: no GPU, or a crash's back-off.
    pub pending: u32,
    /// Requests that wait in the gateway.
    pub waiting: u32,
    /// Requests at replicas.
    pub in_flight: u32,
    /// Tokens of both, estimated.
    pub tokens: u64,
    /// Time to first token over the last minute.
    pub ttft_s: Option<Quantiles>,
    /// Time between tokens over the last minute.
    pub itl_s: Option<Quantiles>,
    /// Requests that arrived a second, over the last minute.
    pub requests_per_s: Option<f64>,
    /// Tokens written a second.
    pub tokens_per_s: Option<f64>,
    /// Starts from nothing since the beginning.
    pub cold_starts: u64,
    /// Devices one replica takes.
    pub gpu_per_replica: u32,
    /// What a device costs an hour.
    pub price_per_gpu_hour: Option<f64>,
    /// What was spent since the beginning.
    pub cost_so_far: Option<f64>,
    /// Why it cannot run.
    pub trouble: Option<String>,
    /// What would be written and is not, because this is only advice.
    pub advice: Option<String>,
    /// What it is decided by.
    pub signals: Vec<SignalView>,
    /// Its replicas, oldest first.
    pub replicas: Vec<ReplicaView>,
    /// Requests that wait, in the order they will go; cut at [`HELD_MAX`].
    pub held: Vec<HeldView>,
    /// Measured starts, newest first; cut at [`STARTS_MAX`].
    pub starts: Vec<StartView>,
    /// Changes decided, newest first. A board fills it in; whoever publishes leaves it empty.
    pub decisions: Vec<DecisionView>,
    /// The last decision, changed or not. A board fills it in.
    pub latest: Option<DecisionView>,
}

/// Held requests shown: a screen of them. The count is in `waiting`.
pub const HELD_MAX: usize = 50;

/// Starts shown: what a driver keeps of each target.
pub const STARTS_MAX: usize = 20;

/// Last log lines shown of a replica: what a driver keeps in memory.
pub const LAST_LINES_MAX: usize = 50;

/// What a target is like, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetState {
    /// Nothing runs, and nothing should.
    Zero,
    /// Nothing serves yet, and something is on its way.
    Starting,
    /// It serves, and its count is on the move.
    Scaling,
    /// It serves.
    Ready,
    /// It ends what it has.
    Draining,
    /// It cannot run.
    Trouble,
}

impl TargetState {
    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TargetState::Zero => "zero",
            TargetState::Starting => "starting",
            TargetState::Scaling => "scaling",
            TargetState::Ready => "ready",
            TargetState::Draining => "draining",
            TargetState::Trouble => "trouble",
        }
    }
}

impl TargetView {
    /// Trouble first, then what serves, then what is on its way.
    #[must_use]
    pub fn state(&self) -> TargetState {
        if self.trouble.is_some() {
            TargetState::Trouble
        } else if self.ready > 0 && self.ready == self.wanted && self.starting + self.pending == 0 {
            TargetState::Ready
        } else if self.ready > 0 && self.wanted > 0 {
            TargetState::Scaling
        } else if self.wanted > 0 || self.starting + self.pending > 0 {
            TargetState::Starting
        } else if self.ready + self.draining > 0 {
            TargetState::Draining
        } else {
            TargetState::Zero
        }
    }

    /// `namespace` and `name`; the namespace is empty where there is none.
    #[must_use]
    pub fn split_name(&self) -> (&str, &str) {
        self.name.split_once('/').unwrap_or(("", &self.name))
    }

    /// Devices held now: each replica that is not pending holds its share.
    #[must_use]
    pub fn gpus_held(&self) -> u32 {
        (self.ready + self.starting + self.draining) * self.gpu_per_replica
    }

    /// What those cost an hour, where a price is known.
    #[must_use]
    pub fn cost_per_hour(&self) -> Option<f64> {
        self.price_per_gpu_hour.map(|price| price * f64::from(self.gpus_held()))
    }
}

/// Three percentiles, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half are below.
    pub p50: f64,
    /// Nineteen in twenty are below.
    pub p95: f64,
    /// Ninety-nine in a hundred are below.
    pub p99: f64,
}

/// One signal of a target, as it was read last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignalView {
    /// Its name in decisions.
    pub name: String,
    /// The value used, where there is one.
    pub value: Option<f64>,
    /// What it is held against.
    pub target: Option<f64>,
    /// How reading it went.
    pub state: SignalState,
    /// What it is or why it failed, in a sentence.
    pub text: String,
    /// Since when it is in that state, in Unix seconds.
    pub since_unix_s: Option<f64>,
}

/// How reading a signal went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignalState {
    /// A value.
    Found,
    /// The source answered with nothing, or was not asked yet.
    #[default]
    Absent,
    /// The last value is too old.
    Stale,
    /// The source failed.
    Error,
    /// The value stays the same while requests come and go.
    NotMoving,
}

impl SignalState {
    /// Every one.
    pub const ALL: [SignalState; 5] = [
        SignalState::Found,
        SignalState::Absent,
        SignalState::Stale,
        SignalState::Error,
        SignalState::NotMoving,
    ];

    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SignalState::Found => "found",
            SignalState::Absent => "absent",
            SignalState::Stale => "stale",
            SignalState::Error => "error",
            SignalState::NotMoving => "not-moving",
        }
    }
}

/// One replica.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaView {
    /// Its id.
    pub id: String,
    /// Where it is in its life.
    pub state: ReplicaState,
    /// Since when it is in that state, in Unix seconds.
    pub since_unix_s: Option<f64>,
    /// Its process.
    pub pid: Option<u32>,
    /// Where it listens.
    pub addr: Option<String>,
    /// Devices it holds.
    pub gpus: Vec<u32>,
    /// Restarts so far.
    pub restarts: u32,
    /// Requests at it.
    pub in_flight: u32,
    /// Tokens it still has to do, estimated.
    pub tokens: u64,
    /// Share of its KV cache in use, 0 to 1.
    pub kv_use: Option<f64>,
    /// Why it is not ready: the phase, what it waits for, how it ended.
    pub why: Option<String>,
    /// What it logged last, oldest first; cut at [`LAST_LINES_MAX`].
    pub last_lines: Vec<String>,
}

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaState {
    /// It waits for a device.
    #[default]
    Pending,
    /// It is on its way.
    Starting,
    /// It serves.
    Ready,
    /// It finishes what it has.
    Draining,
    /// It was told to end.
    Stopping,
    /// It ended badly and will be tried again.
    BackOff,
    /// It cannot run.
    Failed,
}

impl ReplicaState {
    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ReplicaState::Pending => "pending",
            ReplicaState::Starting => "starting",
            ReplicaState::Ready => "ready",
            ReplicaState::Draining => "draining",
            ReplicaState::Stopping => "stopping",
            ReplicaState::BackOff => "back-off",
            ReplicaState::Failed => "failed",
        }
    }
}

/// One request that waits. Nothing of what it says or whose it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldView {
    /// How long it has waited.
    pub waited_s: f64,
    /// How long it was told to expect, where a start was ever measured.
    pub expected_s: Option<f64>,
    /// Its priority.
    pub priority: String,
    /// Tokens of its prompt, estimated.
    pub prompt_tokens: u64,
}

/// One measured start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartView {
    /// When it began, in Unix seconds.
    pub at_unix_s: f64,
    /// The replica.
    pub replica: String,
    /// Its phases in order (`schedule`, `pull`, `load`, `warm`) and how long each took.
    pub phases: Vec<(String, f64)>,
    /// From the decision to ready.
    pub total_s: f64,
}
