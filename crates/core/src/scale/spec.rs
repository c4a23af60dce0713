//! What a manifest asks of the decision: plain data, with every default filled in.
//!
//! The manifest crate lowers ScaledObjects, HorizontalPodAutoscalers and ScaledJobs to this one
//! form. It is written whole into the journal, so that a run can be replayed without the YAML.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::slo::Objective;
use crate::time::{Span, Time};
use crate::units::Milli;

/// Everything one target's decisions depend on besides observations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// `namespace/name` of the object that asks.
    pub target: Arc<str>,
    /// Which rules apply.
    pub kind: Kind,
    /// Fewest replicas: `minReplicaCount` (0 allowed) or an HPA's `minReplicas`.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// The sources, in the manifest's order.
    pub signals: Vec<Signal>,
    /// What an empty reading does.
    pub on_absent: OnAbsent,
    /// How often a remote source is asked; failures count at most once in this time.
    pub polling_interval: Span,
    /// Windows and rate policies; `None` means the ladder that HPA climbs without `behavior`.
    pub behavior: Option<Behavior>,
    /// The constants of the HPA controller.
    pub tuning: Tuning,
}

impl Spec {
    /// The policy by the name that `tidegate.dev/policy` has for it; an autoscaler's rules are its own.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        match &self.kind {
            Kind::ScaledObject(keda) if keda.slo.is_some() => "slo",
            Kind::ScaledObject(_) | Kind::ScaledJob(_) => "keda",
            Kind::Autoscaler => "hpa",
        }
    }
}

/// Which rules apply to a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// KEDA's activation around HPA's arithmetic.
    ScaledObject(Keda),
    /// HPA's arithmetic alone.
    Autoscaler,
    /// Jobs created for a backlog.
    ScaledJob(Jobs),
}

/// The part of a ScaledObject that HPA does not know.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Keda {
    /// Replicas while inactive, instead of `min`.
    pub idle: Option<u32>,
    /// Inactivity before going to zero or idle.
    pub cooldown: Span,
    /// After creation, before the first way to zero or idle.
    pub initial_cooldown: Span,
    /// What to do when a source fails for long.
    pub fallback: Option<Fallback>,
    /// The `autoscaling.keda.sh/paused*` annotations.
    pub pause: Pause,
    /// `autoscaling.keda.sh/force-activation`.
    pub force_activation: bool,
    /// One formula over all triggers in place of each by itself.
    pub modifiers: Option<Modifiers>,
    /// Policy `slo`: what users are promised. Then the work decides from one replica up, and the triggers only
    /// where nothing was measured of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Objective>,
}

/// What is paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Nothing moves.
    pub all: bool,
    /// Nothing moves, at this count.
    pub at: Option<u32>,
    /// No descent.
    pub scale_in: bool,
    /// No ascent.
    pub scale_out: bool,
}

/// `spec.fallback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallback {
    /// Failures in a row that are still tolerated; one more and the fallback acts.
    pub failure_threshold: u32,
    /// The count it falls back to.
    pub replicas: u32,
    /// How `replicas` meets the current count.
    pub behavior: FallbackBehavior,
}

/// `spec.fallback.behavior`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FallbackBehavior {
    /// Always `replicas`.
    Static,
    /// What there is now.
    CurrentReplicas,
    /// The greater of both.
    CurrentReplicasIfHigher,
    /// The lesser of both.
    CurrentReplicasIfLower,
    /// The formula gets nil for what failed.
    ScalingModifiers,
}

/// `spec.advanced.scalingModifiers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Modifiers {
    /// The expression, as written.
    pub formula: String,
    /// What the formula's value is divided by.
    pub target: Milli,
    /// Active above this value of the formula.
    pub activation_target: f64,
    /// Whether the target is a `Value`, to be met at every ready replica, instead of an `AverageValue`.
    pub value: bool,
}

impl Modifiers {
    /// What the formula's value is held against.
    #[must_use]
    pub fn goal(&self) -> Goal {
        if self.value { Goal::Value(self.target) } else { Goal::AverageValue(self.target) }
    }
}

/// One source of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// How observations name it: the trigger's name, or `s<index>-<type>`; for an HPA `<type>-<metric>`.
    pub name: Arc<str>,
    /// What it measures and aims at.
    pub metric: Metric,
    /// When it makes the target active.
    pub activation: Activation,
    /// What the manifest says an empty result is.
    pub absent: Absent,
    /// What several series are.
    pub series: Series,
    /// A reading older than this is stale.
    pub stale_after: Span,
    /// Whether the formula may name it.
    pub in_formula: bool,
    /// Whether it is a schedule: an order, not a measurement, so policy `slo` goes no lower either.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub scheduled: bool,
}

impl Signal {
    /// What a gateway's requests say of a target: pushed by the driver, so it is never old.
    #[must_use]
    pub fn demand() -> Self {
        Signal {
            name: Signal::DEMAND.into(),
            metric: Metric::Demand,
            activation: Activation::Above(0.0),
            absent: Absent::Zero,
            series: Series::Sum,
            stale_after: Span::from_secs(i64::from(u32::MAX)),
            in_formula: false,
            scheduled: false,
        }
    }

    /// The name of [`Signal::demand`].
    pub const DEMAND: &'static str = "gateway";
}

/// What a signal measures and what it aims at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// A number from outside the cluster's own metrics: every KEDA trigger but cpu and memory.
    External(Goal),
    /// A number that describes one Kubernetes object.
    Object(Goal),
    /// A number a pod.
    Pods {
        /// Mean over pods to aim at.
        average: Milli,
    },
    /// A compute resource of each pod.
    Resource {
        /// `cpu`, `memory`, …
        resource: String,
        /// Only this container (`ContainerResource`).
        container: Option<String>,
        /// What to aim at.
        goal: ResourceGoal,
    },
    /// Requests at a gateway. While there are any the target is active; how many replicas they need is
    /// the other signals' to say.
    Demand,
    /// A source type this version does not know: always invalid, as upstream treats it.
    Unsupported,
}

/// What a total is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// So much a replica: `ceil(total / target)`.
    AverageValue(Milli),
    /// So much at every ready replica: `ceil(value / target × ready)`.
    Value(Milli),
}

/// What a resource metric is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceGoal {
    /// Percent of what the pods request.
    Utilization(u32),
    /// An amount a pod.
    AverageValue(Milli),
}

/// When a signal makes its target active.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// When its value is strictly above this.
    Above(f64),
    /// Never: cpu and memory beside another trigger.
    Never,
    /// Whenever it can be read: cpu and memory alone.
    Always,
}

/// What an empty result means to the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absent {
    /// Nothing is there: 0, and inactive.
    Zero,
    /// The source failed.
    Error,
}

/// `tidegate.dev/on-absent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnAbsent {
    /// As the manifest means it to KEDA ([`Signal::absent`]).
    #[default]
    Manifest,
    /// The last value that was read still holds; if there was none, an error.
    Keep,
    /// Zero.
    Zero,
    /// An error.
    Error,
}

/// What several series in one reading are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Series {
    /// Their sum counts.
    Sum,
    /// An error: the query must give one (KEDA's prometheus trigger).
    One,
}

/// `behavior`, with the API's defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Behavior {
    /// Scale-up.
    pub up: Rules,
    /// Scale-down.
    pub down: Rules,
}

/// The rules of one direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// `stabilizationWindowSeconds`.
    pub window: Span,
    /// `selectPolicy`.
    pub select: Select,
    /// `policies`; never empty.
    pub policies: Vec<RatePolicy>,
    /// Instead of the controller's tolerance in this direction.
    pub tolerance: Option<f64>,
}

/// Which of several policies binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Select {
    /// The one that permits the largest change.
    Max,
    /// The one that permits the smallest change.
    Min,
    /// None: no change in this direction.
    Disabled,
}

/// At most so much change in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatePolicy {
    /// Replicas or percent.
    pub amount: Amount,
    /// `periodSeconds`.
    pub period: Span,
}

/// How much a policy permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// So many replicas.
    Pods(u32),
    /// So many percent of the count at the period's start.
    Percent(u32),
}

/// The HPA controller's flags, with kube-controller-manager's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// `--horizontal-pod-autoscaler-sync-period`: the time in which the ladder may take one rung.
    pub sync_period: Span,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`.
    pub downscale_stabilization: Span,
    /// `--horizontal-pod-autoscaler-tolerance`.
    pub tolerance: f64,
    /// `--horizontal-pod-autoscaler-cpu-initialization-period`.
    pub cpu_initialization: Span,
    /// `--horizontal-pod-autoscaler-initial-readiness-delay`.
    pub initial_readiness_delay: Span,
    /// A rung of the ladder at the most multiplies by this.
    pub scale_up_factor: f64,
    /// A rung of the ladder may always reach this.
    pub scale_up_minimum: f64,
    /// Feature gate `HPAScaleToZero`.
    pub scale_to_zero: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            sync_period: Span::from_secs(15),
            downscale_stabilization: Span::from_secs(300),
            tolerance: 0.1,
            cpu_initialization: Span::from_secs(300),
            initial_readiness_delay: Span::from_secs(30),
            scale_up_factor: 2.0,
            scale_up_minimum: 4.0,
            scale_to_zero: false,
        }
    }
}

impl Behavior {
    /// Nothing binds: what policy `slo` has where a manifest says nothing, for it waits by itself. 100 % a
    /// second down is everything, and so many pods a second up are more than there can be.
    #[must_use]
    pub fn free() -> Self {
        let rules = |amount| Rules {
            window: Span::ZERO,
            select: Select::Max,
            policies: vec![RatePolicy { amount, period: Span::from_secs(1) }],
            tolerance: None,
        };
        Behavior { up: rules(Amount::Pods(crate::units::REPLICAS_MAX)), down: rules(Amount::Percent(100)) }
    }
}

impl Rules {
    /// What the API fills in for `scaleUp`: no window, the larger of 4 pods and 100 % in 15 s.
    #[must_use]
    pub fn up_defaults() -> Self {
        let period = Span::from_secs(15);
        Rules {
            window: Span::ZERO,
            select: Select::Max,
            policies: vec![
                RatePolicy { amount: Amount::Pods(4), period },
                RatePolicy { amount: Amount::Percent(100), period },
            ],
            tolerance: None,
        }
    }

    /// What the API fills in for `scaleDown`: the controller's window, 100 % in 15 s.
    #[must_use]
    pub fn down_defaults(window: Span) -> Self {
        Rules {
            window,
            select: Select::Max,
            policies: vec![RatePolicy { amount: Amount::Percent(100), period: Span::from_secs(15) }],
            tolerance: None,
        }
    }

    /// The longest period any policy looks back; events older than it are forgotten.
    #[must_use]
    pub fn longest_period(&self) -> Span {
        self.policies.iter().map(|policy| policy.period).max().unwrap_or(Span::ZERO)
    }
}

/// The part of a ScaledJob that is not a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Jobs {
    /// `scalingStrategy.strategy`.
    pub strategy: Strategy,
    /// `scalingStrategy.multipleScalersCalculation`.
    pub combine: Combine,
    /// `scalingStrategy.pendingPodConditions`.
    pub pending_pod_conditions: Vec<String>,
    /// The `autoscaling.keda.sh/paused` annotation.
    pub paused: bool,
}

/// How a backlog becomes a number of new jobs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Wanted less running.
    Default,
    /// Wanted less a deduction and a part of the running ones.
    Custom {
        /// `customScalingQueueLengthDeduction`.
        deduction: i32,
        /// `customScalingRunningJobPercentage`, as a fraction.
        running_fraction: f64,
    },
    /// For queues that hide messages while they are worked on.
    Accurate,
    /// Fills every free slot at once.
    Eager,
}

/// How several triggers of a ScaledJob become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// The longest queue.
    Max,
    /// The shortest queue that is not empty.
    Min,
    /// Their mean.
    Avg,
    /// Their sum.
    Sum,
}

/// What KEDA's status remembers of an object, for a driver that starts in the middle of its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// `metadata.creationTimestamp`.
    pub created: Option<Time>,
    /// `status.lastActiveTime`.
    pub last_active: Option<Time>,
}
