//! One target's memory: everything the policy has learned, and the two things that are done with it.

use serde::{Deserialize, Serialize};

use super::capacity::Capacity;
use super::cost::Learner;
use super::forecast::Forecaster;
use super::idle::Idle;
use super::load::Load;
use super::plan::{By, Less, Plan, Standing, decide, need};
use super::starts::Starts;
use crate::time::{Span, Time};

/// What users are promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// To the first token.
    pub ttft: Span,
    /// Between two tokens.
    pub itl: Option<Span>,
}

impl Default for Objective {
    fn default() -> Self {
        Objective { ttft: Span::from_secs(2), itl: None }
    }
}

/// Requests over which mean lengths are taken.
const LENGTHS_KEPT: f64 = 1_000.0;
/// Tokens of an answer before one was seen.
const OUTPUT_FIRST: f64 = 200.0;

/// Share of late requests that is aimed at: half of the twentieth that may be.
const LATE_AIM: f64 = 0.025;
/// How long lateness is remembered.
const LATE_S: f64 = 1_200.0;
/// Share of forecasts that the margin covers at that aim, what each hundredth of lateness adds, and its bounds.
const WITHIN: f64 = 0.7;
const WITHIN_GAIN: f64 = 6.0;
const WITHIN_BOUNDS: (f64, f64) = (0.5, 0.97);

/// A backlog is worked off in no less: a shorter one is gone before a start is over.
const DRAIN_LEAST: Span = Span::from_secs(10);

/// Without word from gateway or engines for this long the policy decides nothing.
const DEAF: Span = Span::from_secs(30);
/// What was learned of costs and starts is not believed after this: the model or its machines may be others.
const FORGET: Span = Span::from_secs(7 * 86_400);

/// Everything that is learned of one target: at most 3 KiB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Planner {
    costs: Learner,
    capacity: Capacity,
    work: Forecaster,
    starts: Starts,
    idle: Idle,
    prompt: Mean,
    output: Mean,
    arrivals_per_s: f64,
    running: u32,
    waiting: u32,
    /// Share of requests that came late, over the last twenty minutes or so.
    late: f64,
    heard: Option<Time>,
    less: Option<Less>,
}

/// A mean over the last so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Mean {
    mean: f64,
    over: f64,
}

impl Mean {
    /// Adds `count` values that sum to `sum`.
    fn add(&mut self, sum: f64, count: f64) {
        if count <= 0.0 || !sum.is_finite() {
            return;
        }
        self.over = (self.over + count).min(LENGTHS_KEPT);
        self.mean += (sum / count - self.mean) * (count / self.over).min(1.0);
    }

    fn or(&self, first: f64) -> f64 {
        if self.over > 0.0 { self.mean } else { first }
    }
}

impl Planner {
    /// Bytes on the heap and in the struct.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Planner>() + self.work.heap_bytes() + self.starts.heap_bytes()
    }

    /// A replica took so long to start.
    pub fn started(&mut self, took: Span) {
        self.starts.took(took);
    }

    /// How far is looked ahead: nine in ten starts are over by then, and a second is lost deciding.
    fn horizon(&self) -> Span {
        self.starts.p90() + Span::from_secs(1)
    }

    /// Takes what came and what was done. A stretch of no length says nothing.
    pub fn observe(&mut self, now: Time, load: &Load, objective: &Objective) {
        if load.over <= Span::ZERO {
            return;
        }
        if self.heard.is_some_and(|heard| now.since(heard) > FORGET) {
            *self = Planner::default();
        }
        self.heard = Some(now);
        self.idle.observe(now, load.is_busy());
        self.costs.learn(load);
        self.prompt.add(load.prompt_tokens as f64, f64::from(load.arrived));
        self.output.add(load.output_tokens as f64, f64::from(load.ended));
        (self.running, self.waiting) = (load.engines.running, load.waiting);
        self.arrivals_per_s = load.per_s(f64::from(load.arrived));
        if load.first_tokens > 0 {
            let share = f64::from(load.late.min(load.first_tokens)) / f64::from(load.first_tokens);
            let weight = (load.over.as_secs_f64() / LATE_S).min(1.0);
            self.late += weight * (share - self.late);
        }
        let Some(cost) = self.costs.cost() else {
            self.capacity.learn(load, None);
            return;
        };
        let (prompt, output) = self.lengths();
        let batch = self.capacity.batch(&cost, prompt, output, objective);
        let done_s = cost.prefill_s * load.engines.prefill_tokens as f64
            + cost.output_s(batch) * load.engines.decode_tokens as f64;
        self.capacity.learn(load, Some(done_s));
        let rate = cost.prefill_s * load.per_s(load.prompt_tokens as f64)
            + cost.output_s(batch) * output * self.arrivals_per_s;
        self.work.observe(now, load.over.as_secs_f64(), rate, self.horizon(), self.within());
    }

    fn lengths(&self) -> (f64, f64) {
        (self.prompt.or(0.0), self.output.or(OUTPUT_FIRST))
    }

    fn within(&self) -> f64 {
        (WITHIN + (self.late - LATE_AIM) * WITHIN_GAIN).clamp(WITHIN_BOUNDS.0, WITHIN_BOUNDS.1)
    }

    /// How many replicas, given what there is.
    pub fn plan(&mut self, now: Time, standing: Standing, objective: &Objective) -> Plan {
        let horizon = self.horizon();
        let lengths = self.lengths();
        let mut plan = Plan {
            replicas: standing.wanted,
            by: By::Blind,
            arrivals_per_s: self.arrivals_per_s,
            lengths,
            cost: self.costs.cost(),
            request_s: 0.0,
            batch: 0.0,
            yields: self.capacity.yields(),
            expected: self.work.expected(horizon),
            horizon,
            starts: self.starts.count() as u32,
            within: self.within(),
            late: self.late,
            waiting: self.waiting,
            backlog: 0.0,
            need: (standing.wanted, standing.wanted),
            stay: self.idle.stay(self.starts.p90()),
        };
        let silence = self.heard.map(|heard| now.since(heard));
        if let Some(silence) = silence.filter(|silence| *silence > DEAF) {
            plan.by = By::Deaf(silence);
            return plan;
        }
        let Some(cost) = plan.cost else { return plan };
        plan.batch = self.capacity.batch(&cost, lengths.0, lengths.1, objective);
        plan.request_s = cost.request_s(lengths.0, lengths.1, plan.batch);
        let drain_s = horizon.max(DRAIN_LEAST).as_secs_f64();
        plan.backlog = f64::from(self.waiting) * plan.request_s / drain_s;
        plan.need = need(&plan.expected, plan.backlog, plan.yields);
        let held = (f64::from(self.running), plan.batch);
        (plan.replicas, plan.by) = decide(now, plan.need, standing.wanted, horizon, held, &mut self.less);
        plan
    }
}
