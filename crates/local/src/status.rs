//! What the machine looks like: one value, published whenever it changes.

use std::sync::Arc;

use serde::Serialize;
use tidegate_core::time::{Span, Time};

use crate::ledger::{Gpu, Holder};
use crate::starts::{Phase, Start};
pub use crate::supervisor::protocol::Exit;

/// All targets and devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// The targets by name.
    pub targets: Vec<TargetStatus>,
    /// The devices by number.
    pub gpus: Vec<GpuStatus>,
    /// Whether the machine is being stopped.
    pub stopping: bool,
}

impl Status {
    /// Devices that must be given up by others before the next replica of a target can start: what it
    /// needs, less what is free and what replicas that are leaving still hold. 0 when it waits for none,
    /// and when it needs more than there are: then nobody's leaving helps.
    #[must_use]
    pub fn gpus_missing(&self, target: &str) -> u32 {
        let Some(status) = self.target(target) else { return 0 };
        let waits = status.replicas.iter().any(|replica| matches!(replica.state, State::Pending { .. }));
        let needs = status.gpus_per_replica;
        if !waits || needs as usize > self.gpus.len() {
            return 0;
        }
        let free = count(self.gpus.iter().filter(|gpu| gpu.holder.is_none()));
        let leaving = self.targets.iter().flat_map(|target| &target.replicas);
        let leaving = leaving.filter(|replica| replica.state.is_leaving());
        let returning: usize = leaving.map(|replica| replica.gpus.len()).sum();
        needs.saturating_sub(free).saturating_sub(u32::try_from(returning).unwrap_or(u32::MAX))
    }

    /// A target by its name.
    #[must_use]
    pub fn target(&self, target: &str) -> Option<&TargetStatus> {
        self.targets.iter().find(|status| &*status.target == target)
    }
}

/// One target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetStatus {
    /// `namespace/name`.
    pub target: Arc<str>,
    /// The Deployment's or StatefulSet's name.
    pub workload: String,
    /// Model names.
    pub models: Vec<String>,
    /// Its engine's name, where it is known.
    pub engine: Option<&'static str>,
    /// Replicas that were asked for.
    pub wanted: u32,
    /// Replicas there are, the oldest first.
    pub replicas: Vec<ReplicaStatus>,
    /// Its last starts, the oldest first.
    pub starts: Vec<Start>,
    /// What loading and warming took in the median.
    pub start_p50: Option<Span>,
    /// What nine of ten starts did not exceed.
    pub start_p90: Option<Span>,
    /// Devices of one replica.
    pub gpus_per_replica: u32,
    /// When the youngest replica that holds devices got them.
    pub resident_since: Option<Time>,
}

impl TargetStatus {
    /// Replicas that take requests.
    #[must_use]
    pub fn ready(&self) -> u32 {
        count(self.replicas.iter().filter(|replica| replica.state == State::Ready))
    }

    /// Replicas on their way up.
    #[must_use]
    pub fn starting(&self) -> u32 {
        count(self.replicas.iter().filter(|one| {
            matches!(one.state, State::Pending { .. } | State::Starting { .. } | State::BackOff { .. })
        }))
    }

    /// Replicas that count towards what is wanted: all that are not leaving.
    #[must_use]
    pub fn staying(&self) -> u32 {
        count(self.replicas.iter().filter(|one| !one.state.is_leaving()))
    }

    /// Replicas that hold devices and are not leaving: what it could yield.
    #[must_use]
    pub fn resident(&self) -> u32 {
        count(self.replicas.iter().filter(|one| !one.gpus.is_empty() && !one.state.is_leaving()))
    }

    /// Why it has fewer ready replicas than it should, in one sentence; `None` when nothing is wrong.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.replicas.iter().find_map(|replica| {
            let why = match &replica.state {
                State::Pending { why } | State::Unready { why } => why,
                State::BackOff { why, .. } | State::Failed { why, .. } => why,
                _ => return None,
            };
            Some(format!("{}: {why}", replica.replica))
        })
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplicaStatus {
    /// Its name, `<workload>-<number>`.
    pub replica: Arc<str>,
    /// What it does.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// Its first process.
    pub pid: Option<i32>,
    /// Where it answers, on loopback.
    pub port: Option<u16>,
    /// Its devices.
    pub gpus: Vec<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// How its last run ended.
    pub last_exit: Option<Exit>,
    /// Whether it runs what the manifest says now.
    pub current: bool,
}

/// What a replica does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// It waits for devices.
    Pending {
        /// Which, and who holds them.
        why: String,
    },
    /// It is on its way up.
    Starting {
        /// How far.
        phase: Phase,
    },
    /// It takes requests.
    Ready,
    /// It was ready, and its readiness probe fails.
    Unready {
        /// What the probe says.
        why: String,
    },
    /// It finishes what it has.
    Draining,
    /// It was told to end.
    Stopping,
    /// It ended by itself and will be started again.
    BackOff {
        /// How it ended.
        why: String,
        /// When it is started again.
        until: Time,
    },
    /// Its command cannot be run; it is tried again, in case somebody installs it.
    Failed {
        /// Why.
        why: String,
        /// When it is tried again.
        until: Time,
    },
}

impl State {
    /// Whether it was told to leave.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        matches!(self, State::Draining | State::Stopping)
    }

    /// Whether it has a process.
    #[must_use]
    pub const fn runs(&self) -> bool {
        matches!(
            self,
            State::Starting { .. } | State::Ready | State::Unready { .. } | State::Draining | State::Stopping
        )
    }
}

/// One device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GpuStatus {
    /// The device.
    pub gpu: Gpu,
    /// Who holds it.
    pub holder: Option<Holder>,
    /// Since when.
    pub since: Option<Time>,
}
