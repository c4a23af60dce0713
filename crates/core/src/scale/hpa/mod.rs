//! The horizontal pod autoscaler's part: from one replica up.
//!
//! `reconcile` is one pass of kubernetes v1.36.2 `horizontal.go` as a function of what it reads:
//! bounds first, then proposals combined, then windows, then rates. The constants, the order of the
//! tests and the rounding are upstream's; the conformance table runs against exactly this function.

pub mod behavior;
pub mod calculator;
pub mod pods;

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::decision::{Because, Conditions, Lost, Rule, Status, Trace};
use super::observe::Room;
use super::spec::{Behavior, Metric, Select, Tuning};
use crate::time::{Span, Time};
use crate::window::{Recommendations, ScaleEvents, Windows};
use behavior::{Done, down_limit, ladder, up_limit};
pub use calculator::{Against, Proposal, Tolerance, Usage};

/// What the autoscaler remembers of one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// What was recommended, before windows and rates.
    pub recommendations: Recommendations,
    /// What was added.
    pub ups: ScaleEvents,
    /// What was removed.
    pub downs: ScaleEvents,
    /// Condition ScaledToZero (feature gate HPAScaleToZero).
    pub scaled_to_zero: bool,
    /// Whether the first pass has entered the count it found as a recommendation.
    pub seeded: bool,
}

impl Memory {
    /// Forgets windows and rates, as deleting and creating the HPA object does.
    pub fn forget(&mut self) {
        *self = Memory::default();
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.recommendations.heap_bytes() + self.ups.heap_bytes() + self.downs.heap_bytes()
    }
}

/// One metric's result.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The signal.
    pub signal: Arc<str>,
    /// Its source type, for the reason when it fails.
    pub failed_reason: &'static str,
    /// Its proposal, or why there is none.
    pub result: Result<Proposal, Lost>,
}

/// Upstream's reason for a failed metric of this kind.
#[must_use]
pub fn failed_reason(metric: &Metric) -> &'static str {
    match metric {
        Metric::External(_) => "FailedGetExternalMetric",
        Metric::Object(_) => "FailedGetObjectMetric",
        Metric::Pods { .. } => "FailedGetPodsMetric",
        Metric::Resource { container: None, .. } => "FailedGetResourceMetric",
        Metric::Resource { container: Some(_), .. } => "FailedGetContainerResourceMetric",
        Metric::Demand | Metric::Unsupported => "InvalidMetricSourceType",
    }
}

/// What one pass reads besides its memory.
#[derive(Debug)]
pub struct Pass<'a> {
    /// Now.
    pub now: Time,
    /// `spec.replicas`.
    pub current: u32,
    /// The HPA's minimum.
    pub min: u32,
    /// The HPA's maximum.
    pub max: u32,
    /// `behavior`, defaults filled in.
    pub behavior: Option<&'a Behavior>,
    /// The controller's constants.
    pub tuning: &'a Tuning,
    /// Whether any metric is of a kind that can be read at zero replicas (Object, External).
    pub readable_at_zero: bool,
    /// Ascent or descent paused by annotation rather than by the manifest's own `selectPolicy`.
    pub paused: (bool, bool),
    /// What there is no more room for.
    pub room: Option<&'a Room>,
}

/// Whether this pass computes metrics at zero replicas (feature gate HPAScaleToZero).
fn awake_at_zero(pass: &Pass<'_>, memory: &Memory) -> bool {
    pass.tuning.scale_to_zero && memory.scaled_to_zero && (pass.min != 0 || pass.readable_at_zero)
}

/// One pass: the wanted count. `answers` is asked only when metrics matter.
pub(crate) fn reconcile(
    pass: &Pass<'_>,
    memory: &mut Memory,
    answers: impl FnOnce() -> Vec<Answer>,
    trace: &mut Trace,
    conditions: &mut Conditions,
) -> u32 {
    let current = pass.current;
    conditions.able_to_scale = Some((Status::True, "SucceededGetScale"));
    if !memory.seeded {
        memory.seeded = true;
        memory.recommendations.record(pass.now, current.min(pass.max), windows(pass));
    }
    let desired = if current == 0 && !awake_at_zero(pass, memory) {
        conditions.scaling_active = Some((Status::False, "ScalingDisabled"));
        trace.settle(Rule::AtZero, 0, 0, Because::NothingRuns);
        return 0;
    } else if current > pass.max {
        trace.settle(Rule::Max, current, pass.max, Because::AboveMax { max: pass.max })
    } else if current < pass.min && current != 0 {
        trace.settle(Rule::Min, current, pass.min, Because::BelowMin { min: pass.min })
    } else {
        let Some(wanted) = combine(current, answers(), trace, conditions) else { return current };
        let limited = match pass.behavior {
            None => without_behavior(pass, memory, wanted, trace, conditions),
            Some(behavior) => with_behavior(pass, behavior, memory, wanted, trace, conditions),
        };
        let limited = leave_zero(pass, limited, trace, conditions);
        within_room(pass, limited, trace, conditions)
    };
    if desired != current {
        carry_out(pass, memory, desired);
        conditions.able_to_scale = Some((Status::True, "SucceededRescale"));
    }
    note_zero(pass, memory, desired, conditions);
    desired
}

fn leave_zero(pass: &Pass<'_>, wanted: u32, trace: &mut Trace, conditions: &mut Conditions) -> u32 {
    if pass.current == 0 && pass.min != 0 && wanted < pass.min {
        conditions.scaling_limited = Some((Status::True, "TooFewReplicas"));
        return trace.settle(Rule::Min, wanted, pass.min, Because::LeavesZero { min: pass.min });
    }
    wanted
}

/// Nothing is raised while what was raised before waits for room; what is lowered is lowered, and what waits for
/// something else is only told.
fn within_room(pass: &Pass<'_>, wanted: u32, trace: &mut Trace, conditions: &mut Conditions) -> u32 {
    if let Some(room) = pass.room.filter(|room| !room.limits()) {
        trace.note(
            Rule::Room,
            wanted,
            Because::NoRoom { waiting: room.waiting, lacks: Arc::clone(&room.lacks) },
        );
        return wanted;
    }
    let Some(room) = pass.room.filter(|_| wanted > pass.current) else { return wanted };
    let most = room.replicas.max(pass.current);
    if wanted <= most {
        return wanted;
    }
    conditions.scaling_limited = Some((Status::True, "NoRoom"));
    let because = Because::NoRoom { waiting: room.waiting, lacks: Arc::clone(&room.lacks) };
    trace.settle(Rule::Room, wanted, most, because)
}

fn note_zero(pass: &Pass<'_>, memory: &mut Memory, desired: u32, conditions: &mut Conditions) {
    if !pass.tuning.scale_to_zero {
        memory.scaled_to_zero = false;
    } else if desired == 0 && pass.current != 0 {
        memory.scaled_to_zero = true;
        conditions.scaled_to_zero = Some((Status::True, "ScaledToZero"));
    } else if desired != 0 && memory.scaled_to_zero {
        memory.scaled_to_zero = false;
        conditions.scaled_to_zero = Some((Status::False, "NotScaledToZero"));
    }
}

/// Remembers a change for the rates. A driver that could not write it takes it back.
fn carry_out(pass: &Pass<'_>, memory: &mut Memory, desired: u32) {
    let (up_period, down_period) = match pass.behavior {
        Some(behavior) => (behavior.up.longest_period(), behavior.down.longest_period()),
        None => (pass.tuning.sync_period, pass.tuning.sync_period),
    };
    if desired > pass.current {
        memory.ups.record(pass.now, desired - pass.current, up_period);
    } else {
        memory.downs.record(pass.now, pass.current - desired, down_period);
    }
}

/// The highest proposal; `None` when what is lost forbids a change.
///
/// One lost metric blocks the way down and not the way up: the others' ascent is real whatever the
/// lost one would have said, their descent is not.
fn combine(
    current: u32,
    answers: Vec<Answer>,
    trace: &mut Trace,
    conditions: &mut Conditions,
) -> Option<u32> {
    let mut best: Option<(u32, Arc<str>, bool)> = None;
    let mut first_lost = None;
    let mut proposals = 0;
    for answer in &answers {
        // What was lost in reading is in the trace already; what cannot be reckoned with is not.
        if let Err(why @ Lost::Unusable(_)) = &answer.result {
            let because =
                Because::Lost { signal: Arc::clone(&answer.signal), why: why.clone(), failures: None };
            trace.note(Rule::SignalLost, current, because);
        }
    }
    for answer in answers {
        match answer.result {
            Ok(proposal) => {
                proposals += 1;
                let rule = if proposal.within_tolerance { Rule::Tolerance } else { Rule::Signal };
                trace.propose(rule, current, proposal.replicas, proposal.because);
                if best.as_ref().is_none_or(|(replicas, ..)| proposal.replicas > *replicas) {
                    best = Some((proposal.replicas, answer.signal, proposal.within_tolerance));
                }
            }
            Err(_) => {
                first_lost.get_or_insert(answer.failed_reason);
            }
        }
    }
    if let Some(reason) = first_lost
        && best.as_ref().is_none_or(|(replicas, ..)| *replicas < current)
    {
        conditions.scaling_active = Some((Status::False, reason));
        let because = match best {
            Some((best, ..)) => Because::SomeLostWouldShrink { best },
            None => Because::AllLost,
        };
        trace.settle(Rule::Hold, current, current, because);
        return None;
    }
    let (wanted, signal, within) = best?;
    conditions.scaling_active = Some((Status::True, "ValidMetricFound"));
    if proposals > 1 {
        trace.propose(Rule::Highest, current, wanted, Because::HighestOf { signal, proposals });
    }
    // Within tolerance the count is that of the pods that exist, which need not be the one asked for.
    trace.settled_by(match (wanted != current, proposals > 1, within) {
        (true, true, _) => Rule::Highest,
        (true, false, false) => Rule::Signal,
        (_, _, true) => Rule::Tolerance,
        (false, _, false) => Rule::Steady,
    });
    Some(wanted)
}

fn windows(pass: &Pass<'_>) -> Windows {
    match pass.behavior {
        None => Windows { up: Span::ZERO, down: pass.tuning.downscale_stabilization, down_inclusive: true },
        Some(behavior) => {
            Windows { up: behavior.up.window, down: behavior.down.window, down_inclusive: false }
        }
    }
}

/// The window that both stabilises a descent and, since it takes the maximum whatever the direction,
/// raises a proposal to a remembered peak: after 10 → 0 → 1 within five minutes it asks for 10 again.
pub fn stabilise_legacy(memory: &mut Recommendations, now: Time, wanted: u32, window: Span) -> u32 {
    let windows = Windows { up: Span::ZERO, down: window, down_inclusive: true };
    memory.record(now, wanted, windows).greatest
}

/// The windows with `behavior`: the current count, pulled up to what was asked for all along the
/// scale-up window and down to the most that was asked for in the scale-down window.
pub fn stabilise(
    memory: &mut Recommendations,
    now: Time,
    current: u32,
    wanted: u32,
    windows: Windows,
) -> u32 {
    let extremes = memory.record(now, wanted, windows);
    current.max(extremes.least).min(extremes.greatest)
}

fn without_behavior(
    pass: &Pass<'_>,
    memory: &mut Memory,
    wanted: u32,
    trace: &mut Trace,
    conditions: &mut Conditions,
) -> u32 {
    let window = pass.tuning.downscale_stabilization;
    // Above the maximum every recommendation is the same to the window; clamping bounds its memory.
    let remembered = stabilise_legacy(&mut memory.recommendations, pass.now, wanted.min(pass.max), window);
    let stable = if remembered > wanted { remembered } else { wanted };
    if stable != wanted {
        conditions.able_to_scale = Some((Status::True, "ScaleDownStabilized"));
        trace.settle(
            Rule::StabiliseDown,
            wanted,
            stable,
            Because::WindowGreatest { greatest: stable, window },
        );
    } else {
        conditions.able_to_scale = Some((Status::True, "ReadyForNewScale"));
    }
    let rung = ladder(pass.now, pass.current, &memory.ups, pass.tuning);
    let start = pass.current.saturating_sub(rung.added);
    let (desired, reason) = convert_legacy(stable, pass.min, pass.max, rung.replicas);
    if desired != stable {
        let (rule, because) = match reason {
            "TooFewReplicas" => (Rule::Min, Because::BelowMin { min: pass.min }),
            "ScaleUpLimit" => {
                (Rule::Ladder, Because::LadderRung { limit: desired, start, period: rung.period })
            }
            _ => (Rule::Max, Because::AboveMax { max: pass.max }),
        };
        trace.settle(rule, stable, desired, because);
    }
    conditions.scaling_limited = Some((limited(desired != stable), reason));
    desired
}

/// Bounds and the ladder's rung, with upstream's reason.
#[must_use]
pub fn convert_legacy(wanted: u32, min: u32, max: u32, rung: u32) -> (u32, &'static str) {
    let (allowed, why) = if max > rung { (rung, "ScaleUpLimit") } else { (max, "TooManyReplicas") };
    if wanted < min {
        (min, "TooFewReplicas")
    } else if wanted > allowed {
        (allowed, why)
    } else {
        (wanted, "DesiredWithinRange")
    }
}

fn limited(is: bool) -> Status {
    if is { Status::True } else { Status::False }
}

fn with_behavior(
    pass: &Pass<'_>,
    behavior: &Behavior,
    memory: &mut Memory,
    wanted: u32,
    trace: &mut Trace,
    conditions: &mut Conditions,
) -> u32 {
    let current = pass.current;
    let stable =
        stabilise(&mut memory.recommendations, pass.now, current, wanted.min(pass.max), windows(pass));
    // A wish above the maximum that nothing holds back goes on to be limited by it, with that reason.
    let stable = if stable == pass.max && wanted > pass.max { wanted } else { stable };
    if stable != wanted {
        // The reason names the direction wished for; the window that binds is the one it waits on.
        let (rule, reason, because) = if wanted >= current {
            let window = behavior.up.window;
            (Rule::StabiliseUp, "ScaleUpStabilized", Because::WindowLeast { least: stable, window })
        } else {
            let window = behavior.down.window;
            (Rule::StabiliseDown, "ScaleDownStabilized", Because::WindowGreatest { greatest: stable, window })
        };
        conditions.able_to_scale = Some((Status::True, reason));
        trace.settle(rule, wanted, stable, because);
    } else {
        conditions.able_to_scale = Some((Status::True, "ReadyForNewScale"));
    }
    let done = Done { up: &memory.ups, down: &memory.downs };
    let rated = convert_with_rates(pass.now, current, stable, (pass.min, pass.max), behavior, done);
    if rated.replicas != stable {
        let (rule, because) = rated.explain(pass, behavior);
        trace.settle(rule, stable, rated.replicas, because);
    }
    conditions.scaling_limited = Some((limited(rated.replicas != stable), rated.reason));
    rated.replicas
}

/// A count after rates and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rated {
    /// The count.
    pub replicas: u32,
    /// Upstream's reason.
    pub reason: &'static str,
    /// The limit that was asked, for the explanation.
    pub limit: behavior::Limit,
}

impl Rated {
    fn explain(&self, pass: &Pass<'_>, behavior: &Behavior) -> (Rule, Because) {
        let limit = self.limit;
        match self.reason {
            "TooManyReplicas" => (Rule::Max, Because::AboveMax { max: pass.max }),
            "TooFewReplicas" => (Rule::Min, Because::BelowMin { min: pass.min }),
            "ScaleUpLimit" if pass.paused.0 => (Rule::PausedScaleOut, Because::PausedDirection { up: true }),
            "ScaleDownLimit" if pass.paused.1 => {
                (Rule::PausedScaleIn, Because::PausedDirection { up: false })
            }
            "ScaleUpLimit" if behavior.up.select == Select::Disabled => {
                (Rule::PolicyUp, Because::DisabledDirection { up: true })
            }
            "ScaleDownLimit" if behavior.down.select == Select::Disabled => {
                (Rule::PolicyDown, Because::DisabledDirection { up: false })
            }
            "ScaleUpLimit" => {
                let because = Because::RateUp {
                    limit: limit.replicas,
                    added: limit.added,
                    removed: limit.removed,
                    period: limit.period,
                };
                (Rule::PolicyUp, because)
            }
            _ => {
                let because = Because::RateDown {
                    limit: limit.replicas,
                    added: limit.added,
                    removed: limit.removed,
                    period: limit.period,
                };
                (Rule::PolicyDown, because)
            }
        }
    }
}

/// Rates and bounds with `behavior`; `bounds` is `(min, max)`.
#[must_use]
pub fn convert_with_rates(
    now: Time,
    current: u32,
    wanted: u32,
    (min, max): (u32, u32),
    behavior: &Behavior,
    done: Done<'_>,
) -> Rated {
    if wanted > current {
        let limit = up_limit(now, current, done, &behavior.up);
        let (allowed, why) =
            if max > limit.replicas { (limit.replicas, "ScaleUpLimit") } else { (max, "TooManyReplicas") };
        let (replicas, reason) =
            if wanted > allowed { (allowed, why) } else { (wanted, "DesiredWithinRange") };
        Rated { replicas, reason, limit }
    } else {
        let limit = down_limit(now, current, done, &behavior.down);
        let (allowed, why) =
            if min < limit.replicas { (limit.replicas, "ScaleDownLimit") } else { (min, "TooFewReplicas") };
        let binds = wanted < current && wanted < allowed;
        let (replicas, reason) = if binds { (allowed, why) } else { (wanted, "DesiredWithinRange") };
        Rated { replicas, reason, limit }
    }
}
