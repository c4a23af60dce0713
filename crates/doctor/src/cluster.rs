//! What was seen of a Kubernetes cluster. Who looks fills in what it was allowed to see; what it was not is `None`, or
//! named in [`Cluster::unseen`].

use std::collections::BTreeSet;

/// The group of what pods use.
pub const USAGE: &str = "metrics.k8s.io";

/// The group of metrics from outside, of some adapter.
pub const EXTERNAL: &str = "external.metrics.k8s.io";

/// The group of metrics of pods and other objects, of some adapter.
pub const CUSTOM: &str = "custom.metrics.k8s.io";

/// The groups under which an API server has metrics, where somebody serves them.
pub const METRICS: [&str; 3] = [USAGE, EXTERNAL, CUSTOM];

/// A cluster at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// The namespace that was looked at; `None` for all.
    pub namespace: Option<String>,
    /// What asks for replicas.
    pub scalers: Vec<Scaler>,
    /// What has them.
    pub workloads: Vec<Workload>,
    /// Pods that do not serve as they should; those that do are only counted, in the workloads and on the nodes.
    pub pods: Vec<Pod>,
    /// Nodes with devices; `None` where they cannot be seen.
    pub pools: Option<Vec<Pool>>,
    /// Quotas, a resource each.
    pub quotas: Vec<Quota>,
    /// Who scales.
    pub operators: Operators,
    /// Which of [`METRICS`] are served; `None` where nobody could say.
    pub served: Option<BTreeSet<&'static str>>,
    /// What could not be listed, with the reason.
    pub unseen: Vec<String>,
}

/// Something that asks for replicas: a ScaledObject, a ScaledJob, a HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scaler {
    /// `ScaledObject`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The workload, as [`Workload::title`].
    pub workload: Option<String>,
    /// For an autoscaler that KEDA made: its ScaledObject.
    pub owner: Option<String>,
    /// Whether it changes no count: an autoscaler whose rules are run elsewhere, or an object that was given back.
    pub idle: bool,
    /// Which of [`METRICS`] it reads.
    pub reads: BTreeSet<&'static str>,
    /// Its status' conditions: type, status, reason, message.
    pub conditions: Vec<[String; 4]>,
    /// Signals that fail, with how often in a row.
    pub failing: Vec<(String, u64)>,
}

impl Scaler {
    /// `ScaledObject prod/llama`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// A condition: status, reason, message.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<(&str, &str, &str)> {
        let found = self.conditions.iter().find(|condition| condition[0] == type_)?;
        Some((&found[1], &found[2], &found[3]))
    }
}

/// Something with replicas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    /// `Deployment prod/llama`.
    pub title: String,
    /// Its namespace.
    pub namespace: String,
    /// Replicas asked for.
    pub wanted: u32,
    /// Replicas that serve.
    pub ready: u32,
    /// Why its pods are not even made.
    pub refused: Option<String>,
}

/// What keeps a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// No node has a device left.
    Gpu,
    /// No node has room.
    Resources,
    /// A quota is used up.
    Quota,
    /// Taints.
    Taint,
    /// Selectors, affinity, topology.
    Affinity,
    /// Its volume.
    Volume,
    /// Its image.
    Image,
    /// Its container ends each time.
    Crash,
    /// Its configuration is not there.
    Config,
    /// A gate holds it.
    Gated,
    /// Something else.
    Other,
}

/// One pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// `prod/llama-7d9f-x2x`.
    pub name: String,
    /// Its workload, as [`Workload::title`].
    pub workload: Option<String>,
    /// Why it does not run, with the words of whoever said so.
    pub waits: Option<(Cause, String)>,
    /// Seconds since it was made.
    pub age_s: f64,
    /// Seconds since it has a node, while it is not ready.
    pub starting_s: Option<f64>,
    /// Restarts of its container that restarted most.
    pub restarts: u64,
    /// How that container ended last: reason and exit code.
    pub ended: Option<(String, i64)>,
    /// Whether the kubelet ended it for a liveness or startup probe that failed, and what it said.
    pub probe: Option<String>,
    /// Seconds it is over its time to end.
    pub overdue_s: Option<f64>,
    /// Its `terminationGracePeriodSeconds`.
    pub grace_s: u64,
}

/// Nodes that are alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// What they have in common: a node pool's label, or a kind of device.
    pub name: String,
    /// The device, such as `nvidia.com/gpu`.
    pub device: String,
    /// How many nodes.
    pub nodes: usize,
    /// Of which cordoned or not ready.
    pub away: usize,
    /// Devices of those that can be used, and how many of them are taken; `None` where not all pods can be seen.
    pub devices: u64,
    /// Devices taken.
    pub taken: Option<u64>,
}

/// A resource of a quota.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quota {
    /// `prod/gpus`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// `requests.nvidia.com/gpu`.
    pub resource: String,
    /// As written.
    pub used: String,
    /// As written.
    pub hard: String,
    /// Whether nothing of it is left.
    pub full: bool,
}

/// Who scales.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Operators {
    /// Leases of Tidegate that are renewed: `namespace/name`; `None` where nobody could say.
    pub tidegate: Option<Vec<String>>,
    /// The KEDA that is at work.
    pub keda: Option<String>,
}
