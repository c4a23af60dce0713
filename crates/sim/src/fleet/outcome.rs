//! What came of a run.

use serde::Serialize;

use super::timeline::Timeline;

/// A distribution in seconds, each point known to a thousandth of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half are below.
    pub p50: f64,
    /// Nine in ten are below.
    pub p90: f64,
    /// 95 in a hundred are below.
    pub p95: f64,
    /// 99 in a hundred are below.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

/// Why requests were not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// As many waited as may.
    pub hold_full: u64,
    /// It waited longer than one may.
    pub waited_too_long: u64,
    /// Longer than the engine's context or cache.
    pub too_long: u64,
    /// Its replica died under it, or every try failed.
    pub failed: u64,
    /// Still waiting or being answered when the run ended.
    pub at_the_end: u64,
}

impl Refusals {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.hold_full + self.waited_too_long + self.too_long + self.failed + self.at_the_end
    }
}

/// Little's law, L = λ·W, counted from both sides: the time integral of how many requests the route machine
/// says it has, and the sum of the times each was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Little {
    /// Requests × seconds by the count at each change.
    pub area_s: f64,
    /// Seconds summed over requests.
    pub sojourn_s: f64,
}

impl Little {
    /// Whether both sides agree to a billionth.
    #[must_use]
    pub fn holds(&self) -> bool {
        (self.area_s - self.sojourn_s).abs() <= 1e-9 * self.area_s.abs().max(1.0)
    }
}

/// A change of the count asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// When, in seconds from the trace's beginning.
    pub t_s: f64,
    /// From so many replicas.
    pub from: u32,
    /// To so many.
    pub to: u32,
    /// Why.
    pub because: String,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The policy, with its settings.
    pub policy: String,
    /// The seed.
    pub seed: u64,
    /// Requests of the trace.
    pub requests: u64,
    /// Of them, those that were never answered whole.
    pub unfinished: u64,
    /// Why.
    pub refused: Refusals,
    /// Share of all requests that met the objective; unfinished ones did not.
    pub slo_attainment: f64,
    /// From arrival at the gateway to the first token, in seconds.
    pub ttft_s: Distribution,
    /// Mean time between a request's later tokens, in seconds.
    pub itl_s: Distribution,
    /// From arrival to the end, in seconds.
    pub e2e_s: Distribution,
    /// GPUs × hours that replicas held, from the trace's beginning to its last arrival.
    pub gpu_hours: f64,
    /// The most replicas at once, of any state.
    pub replicas_max: u32,
    /// Replicas holding GPUs, on average over the trace.
    pub replicas_mean: f64,
    /// Changes of the count asked for.
    pub scale_actions: u64,
    /// Replicas started.
    pub starts: u64,
    /// Of them, those that left before they served anything.
    pub starts_wasted: u64,
    /// Replicas that crashed or lost their node.
    pub losses: u64,
    /// Requests that engines pushed out for lack of KV cache.
    pub preemptions: u64,
    /// Things that happened: arrivals, what the agenda held, and iterations of engines.
    pub events: u64,
    /// Of these, iterations.
    pub iterations: u64,
    /// From the first arrival to the last, in seconds.
    pub span_s: f64,
    /// The law that any queue obeys, as this run did.
    pub little: Little,
    /// What the policy has to say of the run.
    pub remarks: Vec<String>,
    /// What happened when.
    #[serde(skip)]
    pub timeline: Timeline,
    /// The first changes of the count, at most 20,000.
    #[serde(skip)]
    pub changes: Vec<Change>,
    /// Times to first token as `(seconds, share)` up to them.
    #[serde(skip)]
    pub ttft_cdf: Vec<(f64, f64)>,
    /// Times between tokens, likewise.
    #[serde(skip)]
    pub itl_cdf: Vec<(f64, f64)>,
}

/// Changes that are kept with their reasons: 20,000 of 200 bytes are 4 MB.
pub(super) const CHANGES_MAX: usize = 20_000;
