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
/// How long what engines did is remembered, and how many requests make a mean of it.
const DONE_S: f64 = 300.0;
const DONE_FIRST: f64 = 20.0;
/// Tokens of an answer before one was seen.
const OUTPUT_FIRST: f64 = 200.0;

/// Share of late requests that is aimed at: of the twentieth that may be late, a fifth is left for seconds in which more
/// requests come late than in others, for each second counts alike.
const LATE_AIM: f64 = 0.04;
/// How long the lateness that is shown is remembered.
const LATE_S: f64 = 1_200.0;
/// Share of forecasts that the margin covers before anything was late or in time: a new service is looked after.
const WITHIN_FIRST: f64 = 0.8;
/// How far that share moves in a second in which everybody is late beyond the aim. The sum of many seconds is what counts:
/// whatever the model's error, the share that is late over a day comes to be the aim. An hour in which nobody is
/// late lowers it by 3,600 · 0.001 · 0.04 = 0.14, ten minutes in which half are raise it by 0.28.
const WITHIN_PER_S: f64 = 0.001;
/// What is used of it, and what is remembered of it: a debt beyond the most is paid back later.
const WITHIN_USED: (f64, f64) = (0.05, 0.97);
const WITHIN_KEPT: (f64, f64) = (0.0, 1.2);

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
    /// Tokens written for each request that left the queue. Of this and the next only what was seen while all engines
    /// that serve are heard: a part of them would seem to do little.
    written: Ratio,
    /// Tokens computed for each token of such a request's prompt: the rest was in a cache.
    computed: Ratio,
    arrivals_per_s: f64,
    running: u32,
    waiting: u32,
    /// Share of requests that came late, over the last twenty minutes or so.
    late: f64,
    /// Share of forecasts that the margin is to cover, by all that was late or in time so far.
    cover: Option<f64>,
    /// Replicas that served when a plan was made last.
    ready: u32,
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

/// What engines did for what left the queue, over the last minutes. Answers that ended tell their length late, and wrong
/// while load grows (the short ones end first) or falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Ratio {
    done: f64,
    left: f64,
}

impl Ratio {
    fn add(&mut self, done: f64, left: f64, over: Span) {
        let keep = libm::exp(-over.as_secs_f64() / DONE_S);
        self.done = self.done * keep + done;
        self.left = (self.left * keep + left).max(0.0);
    }

    /// `None` before so much left the queue.
    fn mean(&self, least: f64) -> Option<f64> {
        (self.left >= least).then(|| self.done / self.left)
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
        let queued = f64::from(load.waiting) - f64::from(self.waiting);
        (self.running, self.waiting) = (load.engines.running, load.waiting);
        if load.engines.reporting > 0 && load.engines.reporting >= self.ready {
            let left = f64::from(load.arrived) - queued;
            self.written.add(load.engines.decode_tokens as f64, left, load.over);
            let read = left * self.prompt.or(0.0);
            self.computed.add(load.engines.prefill_tokens as f64, read, load.over);
        }
        self.arrivals_per_s = load.per_s(f64::from(load.arrived));
        if load.first_tokens > 0 {
            let share = f64::from(load.late.min(load.first_tokens)) / f64::from(load.first_tokens);
            let weight = (load.over.as_secs_f64() / LATE_S).min(1.0);
            self.late += weight * (share - self.late);
            let cover = self.cover() + WITHIN_PER_S * load.over.as_secs_f64() * (share - LATE_AIM);
            self.cover = Some(cover.clamp(WITHIN_KEPT.0, WITHIN_KEPT.1));
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
        let rate = cost.prefill_s * self.uncached() * load.per_s(load.prompt_tokens as f64)
            + cost.output_s(batch) * output * self.arrivals_per_s;
        self.work.observe(now, load.over.as_secs_f64(), rate, self.horizon(), self.within());
    }

    fn cover(&self) -> f64 {
        self.cover.unwrap_or(WITHIN_FIRST)
    }

    /// Share of a prompt that is computed, the rest being in a cache; on the dear side by a tenth, which its noise is.
    fn uncached(&self) -> f64 {
        let share = self.computed.mean(DONE_FIRST * self.prompt.or(0.0).max(1.0));
        share.map_or(1.0, |share| (share * 1.1).min(1.0))
    }

    fn lengths(&self) -> (f64, f64) {
        (self.prompt.or(0.0), self.written.mean(DONE_FIRST).unwrap_or(self.output.or(OUTPUT_FIRST)))
    }

    fn within(&self) -> f64 {
        self.cover().clamp(WITHIN_USED.0, WITHIN_USED.1)
    }

    /// How many replicas, given what there is.
    pub fn plan(&mut self, now: Time, standing: Standing, objective: &Objective) -> Plan {
        self.ready = standing.ready;
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
        plan.request_s = cost.request_s(lengths.0 * self.uncached(), lengths.1, plan.batch);
        let drain_s = horizon.max(DRAIN_LEAST).as_secs_f64();
        plan.backlog = f64::from(self.waiting) * plan.request_s / drain_s;
        plan.need = need(&plan.expected, plan.backlog, plan.yields);
        let held = (f64::from(self.running), plan.batch);
        (plan.replicas, plan.by) = decide(now, plan.need, standing.wanted, horizon, held, &mut self.less);
        plan
    }
}
