//! A decision as data: what was read, what each rule proposed, what limited it.
//!
//! `why`, events, logs, the dashboard and the tests print this one value. Reasons are kept as numbers
//! and written out only when somebody looks, so that deciding a million times a second costs no text.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Serialize, Serializer};

use crate::slo::Method;
use crate::slo::idle::Stay;
use crate::slo::plan::{By, SHARES};
use crate::time::Span;
use crate::units::Milli;

/// How many replicas one target should have, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// `namespace/name`.
    pub target: Arc<str>,
    /// Replicas wanted (for a ScaledJob: jobs running after the new ones are created).
    pub replicas: u32,
    /// The rule that settled the number: the last one that moved it, or [`Rule::Steady`].
    pub rule: Rule,
    /// Every rule that was asked, in order.
    pub steps: Vec<Step>,
    /// KEDA's and HPA's conditions, for status.
    #[serde(skip)]
    pub conditions: Conditions,
}

/// What one rule did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// The count it was given.
    pub from: u32,
    /// The count it gave back.
    pub to: u32,
    /// Why.
    pub because: Because,
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// The closed list of rules a step can name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule { $($(#[doc = $doc])+ $variant,)+ }

        impl Rule {
            /// Every rule, in the order a decision asks them.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)+];

            /// The rule's name in output.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Rule::$variant => $name,)+ }
            }

            /// What the rule does, in one sentence.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Rule::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

rules! {
    /// Everything is paused by annotation; the count stays, or goes to the paused count.
    Paused = "paused",
    /// A signal gave an empty result, and what that counts as.
    Absent = "absent",
    /// A signal could not be read: an error, a stale value, or nothing read yet.
    SignalLost = "signal-lost",
    /// A signal has failed for longer than the threshold and the manifest's fallback speaks for it.
    Fallback = "fallback",
    /// The formula over all triggers, and its value.
    Formula = "formula",
    /// Whether the target is active, and which signal makes it so.
    Activity = "activity",
    /// Active with nothing running: start the minimum.
    Activate = "activate",
    /// Inactive for the whole cooldown: down to zero, to idle, or to the minimum.
    Deactivate = "deactivate",
    /// Inactive, and the cooldown is not over yet.
    Cooldown = "cooldown",
    /// Idle, and another target needs what its replicas hold.
    Yield = "yield",
    /// Inactive with idle replicas: they stay.
    Idle = "idle",
    /// Nothing can be decided for lack of sight: the count stays.
    Hold = "hold",
    /// Nothing runs, so the autoscaler's part has nothing to scale.
    AtZero = "at-zero",
    /// What came of late, and what it takes (policy `slo`).
    Work = "work",
    /// What a replica can do (policy `slo`).
    Capacity = "capacity",
    /// The work when a start is over (policy `slo`).
    Forecast = "forecast",
    /// What is kept above the forecast for its own error (policy `slo`).
    Standby = "standby",
    /// What working off the requests that wait takes (policy `slo`).
    Waiting = "waiting",
    /// How long the last replica stays for nobody (policy `slo`).
    KeepWarm = "keep-warm",
    /// Policy `slo` has nothing to go by, and the manifest's triggers decide.
    Unsighted = "unsighted",
    /// What one signal asks for.
    Signal = "signal",
    /// A signal is close enough to its target to change nothing.
    Tolerance = "tolerance",
    /// The highest of several proposals wins.
    Highest = "highest",
    /// The lowest recommendation of the scale-up window holds an ascent back.
    StabiliseUp = "stabilise-up",
    /// The highest recommendation of the scale-down window holds a descent back.
    StabiliseDown = "stabilise-down",
    /// Without `behavior`: at most double, or four, in 15 s.
    Ladder = "ladder",
    /// The scale-up policies permit no more in their period.
    PolicyUp = "policy-up",
    /// The scale-down policies permit no more in their period.
    PolicyDown = "policy-down",
    /// Ascent is paused by annotation.
    PausedScaleOut = "paused-scale-out",
    /// Descent is paused by annotation.
    PausedScaleIn = "paused-scale-in",
    /// Not below the minimum.
    Min = "min",
    /// Not above the maximum.
    Max = "max",
    /// Not raised while replicas wait for what there is no more of: GPUs, room on nodes, quota.
    Room = "room",
    /// Jobs the backlog asks for.
    Backlog = "backlog",
    /// Jobs to create by the scaling strategy, given what runs and what is pending.
    Strategy = "strategy",
    /// Nothing moved the count.
    Steady = "steady",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Why a signal has no value.
#[derive(Clone, Debug, PartialEq)]
pub enum Lost {
    /// It was never read.
    Unread,
    /// The last value is too old.
    Stale(Span),
    /// The source answered with nothing, and that counts as a failure here.
    Absent,
    /// The source answered with so many series where one is asked for.
    Several(u32),
    /// The source failed.
    Error(Arc<str>),
    /// The arithmetic needs what was not observed.
    Unusable(Unusable),
}

/// Why the autoscaler's arithmetic refuses a metric. The texts are upstream's facts, in our words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// No pod of the target is known.
    NoPods,
    /// Pods exist, none has a usable sample.
    NoSamples,
    /// The samples are of other pods.
    ForeignSamples,
    /// A container lacks the resource request that utilization is measured against.
    NoRequest,
    /// This version does not know the metric's source type.
    SourceType,
    /// A per-pod metric was read as something else.
    WrongReading,
    /// The fallback needs ready replicas to divide by.
    NoReadyReplicas,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unusable::NoPods => "no pods returned by selector while calculating replica count",
            Unusable::NoSamples => "did not receive metrics for targeted pods (pods might be unready)",
            Unusable::ForeignSamples => "no metrics returned matched known pods",
            Unusable::NoRequest => "missing request for the resource in a container",
            Unusable::SourceType => "unknown metric source type",
            Unusable::WrongReading => "the metric needs one sample a pod, and the reading has none",
            Unusable::NoReadyReplicas => "no ready replicas to divide the fallback by",
        })
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Unread => f.write_str("not read yet"),
            Lost::Stale(age) => write!(f, "stale for {age}"),
            Lost::Absent => f.write_str("empty result"),
            Lost::Several(series) => write!(f, "{series} series where one is expected"),
            Lost::Error(text) => write!(f, "error: {text}"),
            Lost::Unusable(why) => write!(f, "{why}"),
        }
    }
}

/// What an absent reading was taken for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AbsentAs {
    /// Zero.
    Zero,
    /// The last value.
    Kept(f64),
}

/// The reason of a step, as numbers. `Display` writes the sentence.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the sentence that Display writes")]
pub enum Because {
    Paused,
    PausedAt(u32),
    Absent { signal: Arc<str>, taken: AbsentAs },
    Lost { signal: Arc<str>, why: Lost, failures: Option<(u32, u32)> },
    Fallback { signal: Arc<str>, failures: u32, behavior: &'static str, replicas: u32 },
    FormulaValue { value: f64 },
    FormulaNil { replicas: u32 },
    FormulaError { message: Arc<str> },
    Active { signal: Arc<str>, value: f64, above: f64 },
    ActiveBySource { signal: Arc<str> },
    ActiveAlways,
    Requests { waiting_or_running: f64 },
    NobodyWaits,
    YieldsTo { target: Arc<str>, idle: Span },
    YieldsNothing { target: Arc<str>, least: u32 },
    ActiveForced,
    ActiveFallback { signal: Arc<str> },
    Inactive { signals: u32 },
    Activated { min: u32 },
    Deactivated { idle: Option<u32>, min: u32, since: Option<Span>, cooldown: Span },
    CoolingDown { left: Span, cooldown: Span },
    NeverActive { left: Span },
    IdleStays { idle: u32 },
    HeldOnError,
    HeldForFallback,
    AllLost,
    SomeLostWouldShrink { best: u32 },
    NothingRuns,
    AverageValue { signal: Arc<str>, total: Milli, target: Milli },
    Value { signal: Arc<str>, value: Milli, target: Milli, ready: u32 },
    Utilization { signal: Arc<str>, percent: i64, target: u32, pods: u32 },
    PerPod { signal: Arc<str>, average: Milli, target: Milli, pods: u32 },
    Within { signal: Arc<str>, ratio: f64, down: f64, up: f64 },
    HighestOf { signal: Arc<str>, proposals: u32 },
    WindowLeast { least: u32, window: Span },
    WindowGreatest { greatest: u32, window: Span },
    LadderRung { limit: u32, start: u32, period: Span },
    RateUp { limit: u32, added: u32, removed: u32, period: Span },
    RateDown { limit: u32, added: u32, removed: u32, period: Span },
    DisabledDirection { up: bool },
    PausedDirection { up: bool },
    BelowMin { min: u32 },
    AboveMax { max: u32 },
    LeavesZero { min: u32 },
    NoRoom { waiting: u32, lacks: Arc<str> },
    Backlog { queue: f64, per_job: f64, combine: &'static str, signals: u32 },
    JobsCreated { strategy: &'static str, wanted: i64, running: u32, pending: u32, created: u32 },
    JobsBelowMin { min: u32, running: u32 },
    Work { arrivals_per_s: f64, prompt: f64, output: f64, request_s: f64 },
    Capacity { batch: f64, prefill_s: f64, output_s: f64, yields: f64 },
    Forecast { now: f64, then: f64, method: Method, horizon: Span, starts: u32 },
    Standby { margin: f64, within: f64, late: f64 },
    Waiting { requests: u32, replicas: f64, over: Span },
    Need { up: u32, down: u32, by: By },
    KeepWarm { stay: Stay },
    Unsighted { deaf: Option<Span> },
    Unchanged,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Because as B;
        match self {
            B::Paused => f.write_str("autoscaling is paused by annotation"),
            B::PausedAt(n) => write!(f, "autoscaling is paused at {n} by annotation"),
            B::Absent { signal, taken: AbsentAs::Zero } => write!(f, "{signal}: empty result, counted as 0"),
            B::Absent { signal, taken: AbsentAs::Kept(value) } => {
                write!(f, "{signal}: empty result, the last value {value} is kept")
            }
            B::Lost { signal, why, failures: None } => write!(f, "{signal}: {why}"),
            B::Lost { signal, why, failures: Some((failures, threshold)) } => {
                write!(f, "{signal}: {why}; failure {failures}, fallback above {threshold}")
            }
            B::Fallback { signal, failures, behavior, replicas } => {
                write!(f, "{signal} failed {failures} times: fallback {behavior} asks for {replicas}")
            }
            B::FormulaValue { value } => write!(f, "formula = {value}"),
            B::FormulaNil { replicas } => write!(f, "formula = nil: fallback asks for {replicas}"),
            B::FormulaError { message } => write!(f, "formula failed: {message}"),
            B::Active { signal, value, above } => write!(f, "active: {signal} = {value} > {above}"),
            B::ActiveBySource { signal } => write!(f, "active: {signal} says so itself"),
            B::ActiveAlways => f.write_str("active: cpu and memory cannot see an idle target"),
            B::Requests { waiting_or_running } => {
                write!(f, "active: {waiting_or_running} requests wait or are served")
            }
            B::NobodyWaits => f.write_str("those who waited left before a replica was ready"),
            B::YieldsTo { target, idle } => {
                write!(f, "{target} has requests waiting and no GPU is free; nothing to do here for {idle}")
            }
            B::YieldsNothing { target, least } => {
                write!(f, "{target} asked for a GPU, but {least} replicas are to stay")
            }
            B::ActiveForced => f.write_str("active: forced by annotation"),
            B::ActiveFallback { signal } => write!(f, "active: {signal} is served by the fallback"),
            B::Inactive { signals } => {
                write!(f, "inactive: none of {signals} signals is above its activation")
            }
            B::Activated { min } => write!(f, "active with nothing running: start {}", (*min).max(1)),
            B::Deactivated { idle, min, since, cooldown } => {
                match since {
                    Some(since) => write!(f, "inactive for {since}, longer than the cooldown of {cooldown}")?,
                    None => f.write_str("inactive and never seen active")?,
                }
                match (idle, min) {
                    (Some(idle), _) => write!(f, ": to idle {idle}"),
                    (None, 0) => f.write_str(": to zero"),
                    (None, min) => write!(f, ": to the minimum {min}"),
                }
            }
            B::CoolingDown { left, cooldown } => {
                write!(f, "inactive, {left} of the cooldown of {cooldown} left")
            }
            B::NeverActive { left } => write!(f, "never active yet, {left} of the initial cooldown left"),
            B::IdleStays { idle } => {
                write!(f, "inactive: idle {idle} stays, the minimum applies when active")
            }
            B::HeldOnError => f.write_str("no signal can be read and there is no fallback: nothing changes"),
            B::HeldForFallback => {
                f.write_str("a signal fails, the fallback threshold is not passed: nothing changes")
            }
            B::AllLost => f.write_str("no metric can be read: nothing changes"),
            B::SomeLostWouldShrink { best } => {
                write!(
                    f,
                    "the metrics that can be read ask for {best}; with others lost nothing is taken away"
                )
            }
            B::NothingRuns => f.write_str("zero replicas: only activation leaves zero"),
            B::AverageValue { signal, total, target } => {
                write!(f, "{signal}: {total} in all / {target} a replica")
            }
            B::Value { signal, value, target, ready } => {
                write!(f, "{signal}: {value} / {target} × {ready} ready")
            }
            B::Utilization { signal, percent, target, pods } => {
                write!(f, "{signal}: {percent} % used / {target} % × {pods} pods")
            }
            B::PerPod { signal, average, target, pods } => {
                write!(f, "{signal}: mean {average} / {target} × {pods} pods")
            }
            B::Within { signal, ratio, down, up } => {
                let rounded = libm::round(ratio * 1000.0) / 1000.0;
                write!(f, "{signal}: {rounded} of its target, within -{down} +{up}")
            }
            B::HighestOf { signal, proposals } => write!(f, "{signal} asks for the most of {proposals}"),
            B::WindowLeast { least, window } => {
                write!(f, "{least} was the lowest asked for in the last {window}")
            }
            B::WindowGreatest { greatest, window } => {
                write!(f, "{greatest} was the highest asked for in the last {window}")
            }
            B::LadderRung { limit, start, period } => {
                write!(f, "from {start} at most {limit} in {period} (double, or 4)")
            }
            B::RateUp { limit, added, removed, period } | B::RateDown { limit, added, removed, period } => {
                write!(f, "policy permits {limit}: {added} added and {removed} removed in the last {period}")
            }
            B::DisabledDirection { up } => {
                write!(f, "selectPolicy Disabled: no scale-{}", if *up { "up" } else { "down" })
            }
            B::PausedDirection { up } => {
                write!(f, "scale-{} is paused by annotation", if *up { "out" } else { "in" })
            }
            B::BelowMin { min } => write!(f, "the minimum is {min}"),
            B::AboveMax { max } => write!(f, "the maximum is {max}"),
            B::LeavesZero { min } => write!(f, "leaving zero: at least the minimum of {min}"),
            B::NoRoom { waiting, lacks } => write!(f, "{waiting} replicas wait already: {lacks}"),
            B::Backlog { queue, per_job, combine, signals } => {
                write!(f, "backlog {queue} by {combine} of {signals} active signals, {per_job} jobs' worth")
            }
            B::JobsCreated { strategy, wanted, running, pending, created } => write!(
                f,
                "strategy {strategy}: {wanted} wanted, {running} running, {pending} pending: create {created}"
            ),
            B::JobsBelowMin { min, running } => write!(f, "{running} running, the minimum is {min}"),
            B::Work { arrivals_per_s, prompt, output, request_s } => write!(
                f,
                "{} requests a second of {} + {} tokens, each {} ms of a replica",
                Short(*arrivals_per_s),
                Short(*prompt),
                Short(*output),
                Short(request_s * 1e3)
            ),
            B::Capacity { batch, prefill_s, output_s, yields } => write!(
                f,
                "a replica takes {} requests at once, {} µs for a token read and {} µs for one written; {} % of \
                 its time counts",
                Short(*batch),
                Short(prefill_s * 1e6),
                Short(output_s * 1e6),
                Short(yields * 100.0)
            ),
            B::Forecast { now, then, method, horizon, starts } => write!(
                f,
                "{} replicas busy now, {} in {} s {}; p90 of {starts} starts",
                Short(*now),
                Short(*then),
                Short(horizon.as_secs_f64()),
                method.phrase()
            ),
            B::Standby { margin, within, late } => write!(
                f,
                "times {}: {} % of such forecasts stayed within; {} % of requests came late",
                Short(*margin),
                Short(within * 100.0),
                Short(late * 100.0)
            ),
            B::Waiting { requests, replicas, over } => {
                let over_s = Short(over.as_secs_f64());
                write!(f, "{requests} requests wait: {} replicas for {over_s} s", Short(*replicas))
            }
            B::Need { up, down, by } => need(f, *up, *down, *by),
            B::KeepWarm { stay: Stay { at_most, wake, gaps } } => write!(
                f,
                "a wake costs {wake} of a replica: stay {at_most} after the last request, by {gaps} pauses seen"
            ),
            B::Unsighted { deaf: None } => {
                f.write_str("slo: nothing was measured yet, the manifest's triggers decide")
            }
            B::Unsighted { deaf: Some(deaf) } => {
                let deaf_s = Short(deaf.as_secs_f64());
                write!(f, "slo: no word of the work for {deaf_s} s, the manifest's triggers decide")
            }
            B::Unchanged => f.write_str("nothing asks for a change"),
        }
    }
}

fn need(f: &mut fmt::Formatter<'_>, up: u32, down: u32, by: By) -> fmt::Result {
    write!(f, "slo: {up} needed at {} % of their time, {down} at {} %", SHARES.0 * 100.0, SHARES.1 * 100.0)?;
    match by {
        By::More => f.write_str(": up at once"),
        By::Less { after } => write!(f, ": less for {} s, down", Short(after.as_secs_f64())),
        By::Waits { since, hold } => {
            let (since_s, hold_s) = (Short(since.as_secs_f64()), Short(hold.as_secs_f64()));
            write!(f, ": less for {since_s} s, a descent waits {hold_s} s")
        }
        By::TooFull { batch } => write!(f, ": less, but each left would have {} at once", Short(batch)),
        By::Between => f.write_str(": between the two"),
        By::Blind | By::Deaf(_) => Ok(()),
    }
}

/// A number with three digits that count: `0.0123`, `1.23`, `1230`.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = libm::fabs(self.0);
        if size < 1e-6 {
            return f.write_str("0");
        }
        let step = libm::pow(10.0, (libm::floor(libm::log10(size)) - 2.0).min(0.0));
        // Divided by a whole power of ten, so that 0.3 is not 0.30000000000000004.
        let whole = libm::rint(1.0 / step);
        write!(f, "{}", libm::rint(self.0 * whole) / whole)
    }
}

impl Serialize for Because {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Conditions as KEDA and HPA report them. `None` where the decision did not come that far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// KEDA's Ready.
    pub ready: Option<(Status, &'static str)>,
    /// KEDA's Active.
    pub active: Option<(Status, &'static str)>,
    /// KEDA's Fallback.
    pub fallback: Option<(Status, &'static str)>,
    /// KEDA's Paused.
    pub paused: Option<(Status, &'static str)>,
    /// HPA's AbleToScale.
    pub able_to_scale: Option<(Status, &'static str)>,
    /// HPA's ScalingActive.
    pub scaling_active: Option<(Status, &'static str)>,
    /// HPA's ScalingLimited.
    pub scaling_limited: Option<(Status, &'static str)>,
    /// HPA's ScaledToZero (feature gate HPAScaleToZero).
    pub scaled_to_zero: Option<(Status, &'static str)>,
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

/// Collects steps; the number flows through it.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) steps: Vec<Step>,
    settled: Rule,
}

impl Trace {
    pub(crate) fn new() -> Self {
        // A two-trigger decision has 6 steps; one allocation serves nearly all.
        Trace { steps: Vec::with_capacity(8), settled: Rule::Steady }
    }

    /// A remark: the rule was asked, and the count stays what it is.
    pub(crate) fn note(&mut self, rule: Rule, count: u32, because: Because) {
        self.steps.push(Step { rule, from: count, to: count, because });
    }

    /// One of several proposals: recorded, not settling anything by itself.
    pub(crate) fn propose(&mut self, rule: Rule, from: u32, to: u32, because: Because) {
        self.steps.push(Step { rule, from, to, because });
    }

    /// A rule that is the one to name if nothing later moves the count.
    pub(crate) fn settle(&mut self, rule: Rule, from: u32, to: u32, because: Because) -> u32 {
        self.steps.push(Step { rule, from, to, because });
        self.settled = rule;
        to
    }

    /// Names the rule without a step of its own: the single proposal already has one.
    pub(crate) fn settled_by(&mut self, rule: Rule) {
        self.settled = rule;
    }

    /// The rule that would be named now.
    pub(crate) fn settled(&self) -> Rule {
        self.settled
    }

    pub(crate) fn finish(mut self, target: &Arc<str>, replicas: u32, conditions: Conditions) -> Decision {
        if self.settled == Rule::Steady {
            self.note(Rule::Steady, replicas, Because::Unchanged);
        }
        Decision { target: Arc::clone(target), replicas, rule: self.settled, steps: self.steps, conditions }
    }
}
