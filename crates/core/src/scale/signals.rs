//! From readings to values: what is absent, what is stale, what has failed for how long, and what
//! speaks in its place.
//!
//! # Absent, stale and zero
//! A source that answers "nothing" is *absent*: what that counts as is the manifest's to say (KEDA's
//! prometheus trigger says zero unless `ignoreNullValues: "false"`), or ours by `tidegate.dev/on-absent`.
//! A source that stopped answering is *stale*: its last value is not believed, and it counts as failed.
//! Only a source that answers 0 is zero.
//!
//! # Failures and fallback
//! KEDA counts a failure in each of its two loops; with one loop that asks every second, we count at
//! most one a polling interval, so that `failureThreshold: 3` at 30 s still means that the fourth failure, after 90 s, is the one too many.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::decision::{AbsentAs, Because, Lost, Rule, Trace, Unusable};
use super::hpa::calculator::sum;
use super::observe::{Fleet, Reading, Sample};
use super::spec::{
    Absent, Activation, Fallback, FallbackBehavior, Goal, Keda, Metric, Modifiers, OnAbsent, Series, Signal,
    Spec,
};
use crate::formula::Formula;
use crate::time::{Span, Time};
use crate::units::{Milli, ceil_replicas};

/// What is remembered of one signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignalState {
    /// When the reading came.
    pub(crate) at: Option<Time>,
    /// The latest reading.
    pub(crate) slot: Slot,
    /// Whether it came since the last tick: only then are two at one instant merged.
    pub(crate) fresh: bool,
    /// The last good value.
    pub(crate) last_good: Option<f64>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// When a failure was last counted.
    pub(crate) counted_at: Option<Time>,
}

/// A reading as it is kept: series already summed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Slot {
    #[default]
    Unread,
    Value {
        value: f64,
        active: Option<bool>,
    },
    Series {
        sum: f64,
        published: Milli,
        count: u32,
        /// The greatest of them: a target is active if any of its metrics is.
        greatest: f64,
    },
    Samples(Box<[Sample]>),
    Absent,
    Stale {
        value: f64,
        age: Span,
    },
    Error(Arc<str>),
}

impl SignalState {
    /// Keeps a reading. Of two at the same instant the better informed one stays, whichever came
    /// first: a value beats absence, absence an error, and the greater value the lesser.
    pub(crate) fn store(&mut self, now: Time, reading: &Reading) {
        let slot = Slot::of(reading);
        let merging = self.fresh && self.at == Some(now);
        if merging && !slot.outranks(&self.slot) {
            return;
        }
        // A value that came and went between two ticks is a last value too.
        if !merging && let Slot::Value { value, .. } = self.slot {
            self.last_good = Some(value);
        }
        self.at = Some(now);
        self.fresh = true;
        self.slot = slot;
    }

    /// A tick has looked at it: what comes next is a new instant.
    pub(crate) fn close(&mut self) {
        self.fresh = false;
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.slot {
            Slot::Samples(samples) => size_of_val::<[Sample]>(samples),
            Slot::Error(text) => text.len(),
            _ => 0,
        }
    }
}

impl Slot {
    fn of(reading: &Reading) -> Slot {
        match reading {
            Reading::Value { value, active } => Slot::Value { value: *value, active: *active },
            Reading::Series(values) if values.is_empty() => Slot::Absent,
            Reading::Series(values) => Slot::Series {
                // Finite numbers can add up to infinity, which no journal can hold.
                sum: values.iter().sum::<f64>().clamp(f64::MIN, f64::MAX),
                published: sum(values.iter().map(|value| Milli::published(*value))),
                count: values.len() as u32,
                greatest: values.iter().copied().fold(f64::MIN, f64::max),
            },
            Reading::Samples(samples) => {
                let mut sorted = samples.clone();
                sorted.sort();
                Slot::Samples(sorted.into())
            }
            Reading::Absent => Slot::Absent,
            Reading::Stale { value, age } => Slot::Stale { value: *value, age: *age },
            Reading::Error(text) => Slot::Error(shortened(text)),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Slot::Unread => 0,
            Slot::Error(_) => 1,
            Slot::Stale { .. } => 2,
            Slot::Absent => 3,
            Slot::Value { .. } => 4,
            Slot::Series { .. } => 5,
            Slot::Samples(_) => 6,
        }
    }

    fn outranks(&self, other: &Slot) -> bool {
        match (self, other) {
            (Slot::Value { value: a, active: x }, Slot::Value { value: b, active: y }) => {
                a.total_cmp(b).then(x.cmp(y)).is_gt()
            }
            (
                Slot::Series { sum: a, count: m, published: x, greatest: g },
                Slot::Series { sum: b, count: n, published: y, greatest: h },
            ) => a.total_cmp(b).then(m.cmp(n)).then(x.cmp(y)).then(g.total_cmp(h)).is_gt(),
            (Slot::Stale { value: a, age: x }, Slot::Stale { value: b, age: y }) => {
                y.cmp(x).then(a.total_cmp(b)).is_gt()
            }
            (Slot::Samples(a), Slot::Samples(b)) => a > b,
            (Slot::Error(a), Slot::Error(b)) => a > b,
            _ => self.rank() > other.rank(),
        }
    }
}

/// What a signal says now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    /// A number, as the source gave it and as KEDA would publish it.
    Number { value: f64, published: Milli, active: Option<bool> },
    /// One sample a pod; they are in the state.
    PerPod,
    /// Nothing that can be used.
    Lost(Lost),
}

/// What an external signal amounts to after fallback.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Amount {
    /// A value, read.
    Read { value: f64, published: Milli, active: bool },
    /// The fallback speaks: this many replicas.
    Fallback { replicas: u32 },
    /// Samples of each pod, or a lone average of them.
    PerPod,
    /// An error.
    Lost(Lost),
}

/// All signals of a target, resolved.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) amounts: Vec<Amount>,
    /// The formula's metric in place of all external ones.
    pub(crate) composite: Option<Composite>,
    /// Some trigger failed and nothing served it.
    pub(crate) failed: bool,
    /// Some trigger is served by the fallback.
    pub(crate) fell_back: bool,
    /// What makes the target active.
    pub(crate) active: Option<Because>,
    /// That requests wait or are served, which no formula can overrule: nothing is lost at zero.
    pub(crate) demand: Option<Because>,
}

/// The formula's outcome.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Composite {
    Value(Milli),
    Lost(Lost),
}

/// What a signal says, before failures are counted.
pub(crate) fn listen(
    signal: &Signal,
    state: &mut SignalState,
    on_absent: OnAbsent,
    now: Time,
) -> (Said, Option<AbsentAs>) {
    if let Some(at) = state.at
        && !matches!(state.slot, Slot::Unread | Slot::Error(_))
        && now.since(at) > signal.stale_after
    {
        let before = if let Slot::Stale { age, .. } = state.slot { age } else { Span::ZERO };
        return (Said::Lost(Lost::Stale(before + now.since(at))), None);
    }
    let said = match &state.slot {
        Slot::Unread => Said::Lost(Lost::Unread),
        Slot::Error(text) => Said::Lost(Lost::Error(Arc::clone(text))),
        Slot::Stale { age, .. } => {
            Said::Lost(Lost::Stale(*age + state.at.map_or(Span::ZERO, |at| now.since(at))))
        }
        Slot::Samples(_) => Said::PerPod,
        Slot::Absent => return absent(signal, state.last_good, on_absent),
        Slot::Value { value, active } => {
            Said::Number { value: *value, published: Milli::published(*value), active: *active }
        }
        Slot::Series { sum, published, count, greatest } => match signal.series {
            Series::One if *count > 1 => Said::Lost(Lost::Several(*count)),
            _ => {
                let active = match signal.activation {
                    Activation::Above(threshold) => Some(*sum > threshold || *greatest > threshold),
                    Activation::Never | Activation::Always => None,
                };
                Said::Number { value: *sum, published: *published, active }
            }
        },
    };
    if let Said::Number { value, .. } = said {
        state.last_good = Some(value);
    }
    (said, None)
}

/// An error's text as it is kept: the first 256 bytes tell what happened, and state stays bounded.
fn shortened(text: &Arc<str>) -> Arc<str> {
    const BYTES_MAX: usize = 256;
    if text.len() <= BYTES_MAX {
        return Arc::clone(text);
    }
    let end = (0..=BYTES_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    Arc::from(&text[..end])
}

fn absent(signal: &Signal, last_good: Option<f64>, on_absent: OnAbsent) -> (Said, Option<AbsentAs>) {
    let zero = (Said::Number { value: 0.0, published: Milli(0), active: None }, Some(AbsentAs::Zero));
    let error = (Said::Lost(Lost::Absent), None);
    match (on_absent, signal.absent, last_good) {
        (OnAbsent::Zero, ..) | (OnAbsent::Manifest, Absent::Zero, _) => zero,
        (OnAbsent::Keep, _, Some(value)) => {
            let kept = Said::Number { value, published: Milli::published(value), active: None };
            (kept, Some(AbsentAs::Kept(value)))
        }
        (OnAbsent::Error | OnAbsent::Keep, ..) | (OnAbsent::Manifest, Absent::Error, _) => error,
    }
}

/// Counts a failure, at most one a polling interval.
fn count_failure(state: &mut SignalState, now: Time, polling_interval: Span) {
    if state.counted_at.is_none_or(|at| now.since(at) >= polling_interval) {
        state.failures = state.failures.saturating_add(1);
        state.counted_at = Some(now);
    }
}

/// The count a fallback asks for.
#[must_use]
pub fn fallback_replicas(fallback: &Fallback, current: u32) -> u32 {
    match fallback.behavior {
        FallbackBehavior::Static | FallbackBehavior::ScalingModifiers => fallback.replicas,
        FallbackBehavior::CurrentReplicas => current,
        FallbackBehavior::CurrentReplicasIfHigher => current.max(fallback.replicas),
        FallbackBehavior::CurrentReplicasIfLower => current.min(fallback.replicas),
    }
}

/// The metric that makes the autoscaler ask for `replicas`: `target × replicas`, and for a Value
/// metric that divided by the ready replicas it will multiply with. Cut, never rounded up: the
/// autoscaler rounds up, and would ask for one more.
///
/// # Errors
/// [`Unusable::NoReadyReplicas`] when a Value metric has nothing to divide by.
pub fn fallback_metric(goal: Goal, replicas: u32, ready: u32) -> Result<Milli, Unusable> {
    match goal {
        Goal::AverageValue(target) => Ok(Milli(target.0.saturating_mul(i64::from(replicas)))),
        Goal::Value(_) if ready == 0 => Err(Unusable::NoReadyReplicas),
        Goal::Value(target) => {
            let cut = target.0.saturating_mul(i64::from(replicas)) / i64::from(ready);
            // 0.28 × 25 is 7.000000000000001 in floating point, which is 8 replicas: a thousandth less is 7.
            let asked = ceil_replicas(cut as f64 / target.0 as f64 * f64::from(ready));
            Ok(Milli(cut - i64::from(asked > replicas)))
        }
    }
}

impl FallbackBehavior {
    /// As the manifest spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FallbackBehavior::Static => "static",
            FallbackBehavior::CurrentReplicas => "currentReplicas",
            FallbackBehavior::CurrentReplicasIfHigher => "currentReplicasIfHigher",
            FallbackBehavior::CurrentReplicasIfLower => "currentReplicasIfLower",
            FallbackBehavior::ScalingModifiers => "scalingModifiers",
        }
    }
}

/// Resolves every signal of a target at `now`.
pub(crate) fn resolve(
    spec: &Spec,
    keda: Option<&Keda>,
    states: &mut [SignalState],
    formula: Option<&dyn Formula>,
    fleet: Fleet,
    now: Time,
    trace: &mut Trace,
) -> Resolved {
    let fallback = keda.and_then(|keda| keda.fallback.as_ref());
    let mut resolved = Resolved { amounts: Vec::with_capacity(spec.signals.len()), ..Resolved::default() };
    for (signal, state) in spec.signals.iter().zip(states.iter_mut()) {
        let (said, absent) = listen(signal, state, spec.on_absent, now);
        if let Some(taken) = absent {
            trace.note(Rule::Absent, fleet.spec, Because::Absent { signal: Arc::clone(&signal.name), taken });
        }
        let amount = settle(spec, fallback, signal, state, said, fleet, now, trace);
        weigh(&mut resolved, signal, &amount);
        resolved.amounts.push(amount);
    }
    if let Some(modifiers) = keda.and_then(|keda| keda.modifiers.as_ref()) {
        compose(spec, modifiers, fallback, formula, fleet, &mut resolved, trace);
    }
    resolved.active = resolved.active.take().or_else(|| resolved.demand.clone());
    resolved
}

/// One signal: its number, or its failure counted and perhaps served by the fallback.
#[expect(
    clippy::too_many_arguments,
    reason = "each is one fact of this tick; a struct would only rename them"
)]
fn settle(
    spec: &Spec,
    fallback: Option<&Fallback>,
    signal: &Signal,
    state: &mut SignalState,
    said: Said,
    fleet: Fleet,
    now: Time,
    trace: &mut Trace,
) -> Amount {
    let why = match said {
        Said::Number { value, published, active } => {
            state.failures = 0;
            state.counted_at = None;
            let active = active.unwrap_or(match signal.activation {
                Activation::Above(threshold) => value > threshold,
                Activation::Never => false,
                Activation::Always => true,
            });
            return Amount::Read { value, published, active };
        }
        Said::PerPod => {
            state.failures = 0;
            state.counted_at = None;
            return Amount::PerPod;
        }
        Said::Lost(why) => why,
    };
    let name = || Arc::clone(&signal.name);
    let guarded = fallback.filter(|_| matches!(signal.metric, Metric::External(_)));
    let Some(fallback) = guarded else {
        trace.note(
            Rule::SignalLost,
            fleet.spec,
            Because::Lost { signal: name(), why: why.clone(), failures: None },
        );
        return Amount::Lost(why);
    };
    count_failure(state, now, spec.polling_interval);
    if state.failures <= fallback.failure_threshold {
        let failures = Some((state.failures, fallback.failure_threshold));
        trace.note(
            Rule::SignalLost,
            fleet.spec,
            Because::Lost { signal: name(), why: why.clone(), failures },
        );
        return Amount::Lost(why);
    }
    let replicas = fallback_replicas(fallback, fleet.spec);
    let because = Because::Fallback {
        signal: name(),
        failures: state.failures,
        behavior: fallback.behavior.name(),
        replicas,
    };
    trace.propose(Rule::Fallback, fleet.spec, replicas, because);
    Amount::Fallback { replicas }
}

/// What one signal's amount means for activity and errors of the whole.
fn weigh(resolved: &mut Resolved, signal: &Signal, amount: &Amount) {
    let name = || Arc::clone(&signal.name);
    let because = match amount {
        // KEDA never asks cpu and memory itself, so for activity they cannot fail.
        _ if matches!(signal.metric, Metric::Resource { .. }) => {
            if signal.activation == Activation::Always {
                resolved.active.get_or_insert(Because::ActiveAlways);
            }
            return;
        }
        Amount::Read { value, active, .. } if signal.metric == Metric::Demand => {
            let because = Because::Requests { waiting_or_running: *value };
            resolved.demand = active.then_some(because);
            return;
        }
        Amount::Lost(why) if signal.metric == Metric::Demand => {
            // Nobody has spoken yet where there is no gateway. One that has fallen silent may hold requests.
            resolved.failed |= *why != Lost::Unread;
            return;
        }
        _ if signal.metric == Metric::Demand => return,
        Amount::Lost(_) => {
            resolved.failed = true;
            return;
        }
        Amount::Fallback { .. } => {
            resolved.fell_back = true;
            Because::ActiveFallback { signal: name() }
        }
        Amount::Read { active: false, .. } => return,
        Amount::Read { value, .. } => match signal.activation {
            Activation::Above(above) if *value > above => {
                Because::Active { signal: name(), value: *value, above }
            }
            _ => Because::ActiveBySource { signal: name() },
        },
        Amount::PerPod => return,
    };
    resolved.active.get_or_insert(because);
}

/// One formula over all triggers. Activity is the formula's alone: above `activationTarget`, and never on an error.
fn compose(
    spec: &Spec,
    modifiers: &Modifiers,
    fallback: Option<&Fallback>,
    formula: Option<&dyn Formula>,
    fleet: Fleet,
    resolved: &mut Resolved,
    trace: &mut Trace,
) {
    resolved.active = None;
    let served_as =
        |replicas| fallback_metric(modifiers.goal(), replicas, fleet.ready).map_err(Lost::Unusable);
    let nil_for_failed = fallback.is_some_and(|f| f.behavior == FallbackBehavior::ScalingModifiers);
    let served = resolved.amounts.iter().find_map(|amount| match amount {
        Amount::Fallback { replicas } => Some(*replicas),
        _ => None,
    });
    let lost = spec.signals.iter().zip(&resolved.amounts).find_map(|(signal, amount)| match amount {
        Amount::Lost(why) if signal.in_formula => Some(why.clone()),
        _ => None,
    });
    let composite = match (served, lost) {
        (Some(replicas), _) if !nil_for_failed => served_as(replicas),
        (_, Some(why)) => Err(why),
        _ => match evaluate(spec, formula, &resolved.amounts) {
            Err(error) => {
                let message: Arc<str> = error.message.into();
                let because = Because::FormulaError { message: Arc::clone(&message) };
                trace.note(Rule::Formula, fleet.spec, because);
                Err(Lost::Error(message))
            }
            Ok(Some(value)) => {
                trace.note(Rule::Formula, fleet.spec, Because::FormulaValue { value });
                // Truncated, and negatives allowed, unlike a plain metric.
                Ok(Milli((value * 1000.0) as i64))
            }
            Ok(None) => {
                let replicas = fallback.map_or(0, |fallback| fallback.replicas);
                trace.note(Rule::Formula, fleet.spec, Because::FormulaNil { replicas });
                served_as(replicas)
            }
        },
    };
    resolved.composite = Some(match composite {
        Ok(milli) => {
            if milli.as_f64() > modifiers.activation_target {
                resolved.active = Some(match served {
                    Some(_) if !nil_for_failed => Because::ActiveFallback { signal: "formula".into() },
                    _ => Because::Active {
                        signal: "formula".into(),
                        value: milli.as_f64(),
                        above: modifiers.activation_target,
                    },
                });
            }
            Composite::Value(milli)
        }
        Err(why) => {
            // Upstream empties the metrics here and may go to zero for lack of sight; we hold.
            resolved.failed = true;
            Composite::Lost(why)
        }
    });
}

fn evaluate(
    spec: &Spec,
    formula: Option<&dyn Formula>,
    amounts: &[Amount],
) -> Result<Option<f64>, crate::formula::Error> {
    let Some(formula) = formula else {
        return Err(crate::formula::Error { message: "the formula was not compiled".into() });
    };
    let variables: Vec<_> = spec
        .signals
        .iter()
        .zip(amounts)
        .filter(|(signal, _)| signal.in_formula)
        .map(|(signal, amount)| match amount {
            Amount::Read { published, .. } => (&*signal.name, Some(published.as_f64())),
            _ => (&*signal.name, None),
        })
        .collect();
    formula.evaluate(&variables)
}
