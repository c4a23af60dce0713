//! What is to run: a target's replicas as data, with nothing of the machine in it.
//!
//! A [`Unit`] is made from manifests by [`crate::plan`]. Its [`Template`] is what a replica is started
//! from; when that changes, replicas are replaced. Everything beside it may change under a running one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_metrics::dialect::Engine;

/// A target and how its replicas run here.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// `namespace/name` of the object that scales, as `scale::Spec::target` has it; of the workload
    /// itself where nothing scales it.
    pub target: Arc<str>,
    /// The Deployment's or StatefulSet's name.
    pub workload: String,
    /// Model names that requests use.
    pub models: Vec<String>,
    /// Whether an object scales it; otherwise `replicas` is all it ever has.
    pub scaled: bool,
    /// `spec.replicas`, 1 by default.
    pub replicas: u32,
    /// Shortest stay on a GPU before it yields it to another model.
    pub min_residence: Duration,
    /// Whether it yields its GPUs to another model at all.
    pub preemptible: bool,
    /// Price of one of its GPUs, in whatever money the user counts.
    pub gpu_price_per_hour: Option<f64>,
    /// `tidegate.dev/hold-timeout`.
    pub hold_timeout: Option<Duration>,
    /// `tidegate.dev/hold-max`, in requests.
    pub hold_max: Option<u32>,
    /// The engine, where it is one we know: dialect of its metrics, health path.
    pub engine: Option<Engine>,
    /// The key the engine asks of its clients.
    pub upstream_key: Option<Secret>,
    /// What a replica is started from.
    pub template: Arc<Template>,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What a replica is started from.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Namespace of the workload.
    pub namespace: String,
    /// The container's name.
    pub container: String,
    /// Program and arguments, before variables and ports are filled in.
    pub command: Vec<String>,
    /// Environment on top of our own, in the manifest's order: later ones may refer to earlier ones.
    pub env: Vec<Variable>,
    /// Where it runs; our own directory by default.
    pub working_dir: Option<PathBuf>,
    /// Ports as the manifest counts them. Every replica gets others, and each of these stands for one.
    pub ports: Vec<Port>,
    /// Which of them answers requests.
    pub serving: u16,
    /// Appended with the port where the command does not say one: `--port`.
    pub port_flag: Option<&'static str>,
    /// Appended with 127.0.0.1 where the command does not say one, for an engine that would otherwise
    /// listen on every address: `--host`.
    pub host_flag: Option<&'static str>,
    /// Does the program start at all?
    pub startup: Option<Probe>,
    /// Does it take requests?
    pub readiness: Option<Probe>,
    /// Does it hang?
    pub liveness: Option<Probe>,
    /// What happens before SIGTERM.
    pub pre_stop: Option<Hook>,
    /// From the start of the hook to SIGKILL.
    pub termination_grace: Duration,
    /// Devices it needs.
    pub gpus: u32,
    /// Most memory of all its processes.
    pub memory_limit_bytes: Option<u64>,
    /// Labels of its pods, for `fieldRef`.
    pub labels: BTreeMap<String, String>,
    /// Annotations of its pods, for `fieldRef`.
    pub annotations: BTreeMap<String, String>,
}

/// A port as the manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: Option<String>,
    /// Its number in the container.
    pub number: u16,
}

/// An environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// Where a variable's value comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// As written; `$(NAME)` is filled in.
    Text(String),
    /// From a ConfigMap or Secret; taken as it is.
    Taken(String),
    /// `fieldRef`: known when a replica starts.
    Field(String),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(_) | Value::Taken(_) => f.write_str("(hidden)"),
            Value::Field(path) => write!(f, "field {path}"),
        }
    }
}

/// A probe with Kubernetes' defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub check: Check,
    /// Before the first attempt.
    pub initial_delay: Duration,
    /// Between attempts.
    pub period: Duration,
    /// For one attempt.
    pub timeout: Duration,
    /// Successes in a row that count as one.
    pub success_threshold: u32,
    /// Failures in a row that count as one.
    pub failure_threshold: u32,
}

impl Probe {
    /// A probe with the defaults of Kubernetes: every 10 s, 1 s to answer, three failures.
    #[must_use]
    pub const fn new(check: Check) -> Self {
        Probe {
            check,
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A GET that must answer 200 to 399.
    Http(Get),
    /// A connection that must be accepted.
    Tcp {
        /// Port as the manifest counts it.
        port: u16,
    },
    /// A command that must exit with 0.
    Exec(Vec<String>),
}

/// An HTTP request of a probe or hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Port as the manifest counts it.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
}

/// What `preStop` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Runs a command.
    Exec(Vec<String>),
    /// Sends a GET.
    Http(Get),
    /// Waits.
    Sleep(Duration),
}
