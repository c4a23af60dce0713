//! What was seen: readings, replicas, pods, jobs.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};
use crate::units::Milli;

/// The replicas of a target, as its `/scale` and its pods show them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fleet {
    /// `spec.replicas`: what was last asked for.
    pub spec: u32,
    /// `status.replicas`: pods that exist, surge included.
    pub status: u32,
    /// Pods that are Running and Ready.
    pub ready: u32,
    /// Pods that exist and are not ready yet.
    pub starting: u32,
}

/// What a target's world has no more room for. A count beyond it would only wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Not raised above so many replicas; never a reason to take any away. [`Room::ANY`] where more may still come
    /// to run, and what is missing is only told.
    pub replicas: u32,
    /// How many of them wait.
    pub waiting: u32,
    /// What is missing, such as `no node has nvidia.com/gpu left`.
    pub lacks: Arc<str>,
}

impl Room {
    /// No limit.
    pub const ANY: u32 = u32::MAX;

    /// Whether it limits the count.
    #[must_use]
    pub const fn limits(&self) -> bool {
        self.replicas != Room::ANY
    }
}

/// One value with its time, or the lack of one. Absent, stale and zero are three different things.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// The source gave one number.
    Value {
        /// The number; finite.
        value: f64,
        /// Activity as the source itself sees it, where it does (`external`); else by threshold.
        active: Option<bool>,
    },
    /// The source gave one number a series.
    Series(Vec<f64>),
    /// The source gave one sample a pod.
    Samples(Vec<Sample>),
    /// The source answered, and there was nothing.
    Absent,
    /// The source has not answered for this long; the value is the last one.
    Stale {
        /// The last number.
        value: f64,
        /// How old it is.
        age: Span,
    },
    /// The source failed.
    Error(Arc<str>),
}

impl Reading {
    /// Whether every number in it is finite. Drivers refuse what is not before it comes here.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        match self {
            Reading::Value { value, .. } | Reading::Stale { value, .. } => value.is_finite(),
            Reading::Series(values) => values.iter().all(|value| value.is_finite()),
            Reading::Samples(_) | Reading::Absent | Reading::Error(_) => true,
        }
    }
}

/// What one pod used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sample {
    /// The pod's name.
    pub pod: String,
    /// Usage a container, `None` where the container reported without the resource.
    /// A plain per-pod value has one entry under the empty name.
    pub containers: BTreeMap<String, Option<Milli>>,
    /// When the sample was taken.
    pub at: Time,
    /// The time it averages over.
    pub window: Span,
}

/// A pod as far as the resource arithmetic looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// `status.phase`.
    pub phase: Phase,
    /// The Ready condition; `None` when there is none yet.
    pub ready: Option<bool>,
    /// `status.startTime`.
    pub started: Option<Time>,
    /// When the Ready condition last changed.
    pub ready_changed: Option<Time>,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// What it asks for.
    pub requests: Requests,
}

/// Resource requests of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Pod-level requests by resource (KEP-2837), where set.
    pub pod: BTreeMap<String, Milli>,
    /// Requests of each container (and restartable init container) by resource. The resource `*`
    /// stands for whichever one is asked about.
    pub containers: BTreeMap<String, BTreeMap<String, Milli>>,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not all containers run yet.
    Pending,
    /// Running.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Its node is out of sight.
    Unknown,
}

/// A job of a ScaledJob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Whether it has a Complete or Failed condition.
    pub finished: bool,
    /// Its pods.
    pub pods: Vec<JobPod>,
}

/// A pod of a job, as far as counting pending jobs looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPod {
    /// `status.phase`.
    pub phase: Phase,
    /// The condition types that are True.
    pub conditions: Vec<String>,
}
