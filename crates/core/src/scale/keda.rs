//! The part of KEDA that moves between zero and the minimum.
//!
//! Follows KEDA 2.20 `pkg/scaling/executor/scale_scaledobjects.go`, branch by branch. What it says in
//! prose: an active target has at least one replica; an inactive one loses them all at once when the
//! cooldown since its last activity is over; while sources fail, nothing is taken away unless the
//! manifest's fallback says so.
//!
//! One difference, on purpose: with `idleReplicaCount` above zero KEDA writes the idle count and its
//! HPA writes the minimum back, for ever. Here an inactive target at its idle count, or found below
//! it, stays there.

use super::decision::{Because, Conditions, Rule, Status, Trace};
use super::signals::Resolved;
use super::spec::{Behavior, Keda, Kind, Life, Rules, Select, Spec};
use crate::time::{Span, Time};

/// What activation decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This count, now; the autoscaler's part is not asked.
    Set(u32),
    /// Nothing to do with zero: the autoscaler's part goes on.
    Continue,
}

/// What activation reads.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) keda: &'a Keda,
    pub(crate) current: u32,
    pub(crate) now: Time,
    pub(crate) first_seen: Time,
    /// Only requests woke it, they have left, and no replica was ready in between.
    pub(crate) withdrawn: bool,
    /// The manifest's cooldown, or what policy `slo` has found worth its price.
    pub(crate) cooldown: Span,
}

pub(crate) fn execute(
    facts: &Facts<'_>,
    resolved: &Resolved,
    life: &mut Life,
    trace: &mut Trace,
    conditions: &mut Conditions,
) -> Verdict {
    let current = facts.current;
    let because =
        if facts.keda.force_activation { Some(&Because::ActiveForced) } else { resolved.active.as_ref() };
    if let Some(because) = because {
        trace.note(Rule::Activity, current, because.clone());
        conditions.active = Some((Status::True, "ScalerActive"));
        activate(facts, resolved, life, trace, conditions)
    } else {
        let signals = facts.spec.signals.len() as u32;
        trace.note(Rule::Activity, current, Because::Inactive { signals });
        conditions.active = Some((Status::False, "ScalerNotActive"));
        deactivate(facts, resolved, life, trace, conditions)
    }
}

fn activate(
    facts: &Facts<'_>,
    resolved: &Resolved,
    life: &mut Life,
    trace: &mut Trace,
    conditions: &mut Conditions,
) -> Verdict {
    let Facts { spec, keda, current, now, .. } = *facts;
    if current == 0 || (keda.idle.is_some() && current < spec.min) {
        if keda.pause.scale_out {
            trace.settle(Rule::PausedScaleOut, current, current, Because::PausedDirection { up: true });
            return Verdict::Set(current);
        }
        life.last_active = Some(now);
        let to = spec.min.max(1);
        return Verdict::Set(trace.settle(Rule::Activate, current, to, Because::Activated { min: spec.min }));
    }
    if resolved.failed {
        // Upstream leaves lastActiveTime alone while any trigger fails.
        conditions.ready = Some((Status::Unknown, "PartialTriggerError"));
    } else {
        life.last_active = Some(now);
    }
    Verdict::Continue
}

fn deactivate(
    facts: &Facts<'_>,
    resolved: &Resolved,
    life: &Life,
    trace: &mut Trace,
    conditions: &mut Conditions,
) -> Verdict {
    let Facts { spec, keda, current, withdrawn, .. } = *facts;
    let rest = keda.idle.unwrap_or(spec.min);
    // The cooldown keeps warm what has served; this has not, and finishing its start would serve nobody.
    if withdrawn && current > rest && !keda.pause.scale_in {
        return Verdict::Set(trace.settle(Rule::Deactivate, current, rest, Because::NobodyWaits));
    }
    if resolved.failed {
        match keda.fallback {
            // A fallback of zero replicas promises nothing, so it holds nothing: as upstream.
            Some(fallback) if fallback.replicas != 0 => {
                trace.settle(Rule::Hold, current, current, Because::HeldForFallback);
                return Verdict::Continue;
            }
            None => {
                conditions.ready = Some((Status::False, "TriggerError"));
                trace.settle(Rule::Hold, current, current, Because::HeldOnError);
                return Verdict::Continue;
            }
            Some(_) => {}
        }
    }
    if keda.idle.is_some_and(|idle| current > idle) || (current > 0 && spec.min == 0) {
        return down(facts, life, trace, conditions);
    }
    match keda.idle {
        None if current < spec.min => {
            Verdict::Set(trace.settle(Rule::Min, current, spec.min, Because::BelowMin { min: spec.min }))
        }
        Some(idle) if current > 0 && current <= idle => {
            Verdict::Set(trace.settle(Rule::Idle, current, current, Because::IdleStays { idle }))
        }
        _ => Verdict::Continue,
    }
}

/// To zero or idle, if the cooldown is over; from any count at once, whatever `behavior` says.
fn down(facts: &Facts<'_>, life: &Life, trace: &mut Trace, conditions: &mut Conditions) -> Verdict {
    let Facts { spec, keda, current, now, cooldown, .. } = *facts;
    if keda.pause.scale_in {
        trace.settle(Rule::PausedScaleIn, current, current, Because::PausedDirection { up: false });
        return Verdict::Continue;
    }
    let (over, because) = match life.last_active {
        Some(at) => {
            let left = Span::from_micros((at + cooldown).since(now).as_micros().max(0));
            (at + cooldown < now, Because::CoolingDown { left, cooldown })
        }
        None => {
            let end = life.created.unwrap_or(facts.first_seen) + keda.initial_cooldown;
            // An object of unknown age without an initial cooldown is taken to be old enough.
            let over = end < now || (life.created.is_none() && keda.initial_cooldown == Span::ZERO);
            let left = Span::from_micros(end.since(now).as_micros().max(0));
            (over, Because::NeverActive { left })
        }
    };
    if !over {
        conditions.active = Some((Status::False, "ScalerCooldown"));
        trace.settle(Rule::Cooldown, current, current, because);
        return Verdict::Continue;
    }
    let because = Because::Deactivated {
        idle: keda.idle,
        min: spec.min,
        since: life.last_active.map(|at| now.since(at)),
        cooldown,
    };
    Verdict::Set(trace.settle(Rule::Deactivate, current, keda.idle.unwrap_or(spec.min), because))
}

/// KEDA writes a paused direction into its HPA as `selectPolicy: Disabled`, which also moves an
/// object without `behavior` to the default policies.
pub(super) fn behavior_while_paused(spec: &Spec) -> Option<Behavior> {
    let Kind::ScaledObject(keda) = &spec.kind else { return None };
    if !keda.pause.scale_in && !keda.pause.scale_out {
        return None;
    }
    let mut behavior = spec.behavior.clone().unwrap_or_else(|| Behavior {
        up: Rules::up_defaults(),
        down: Rules::down_defaults(spec.tuning.downscale_stabilization),
    });
    if keda.pause.scale_out {
        behavior.up.select = Select::Disabled;
    }
    if keda.pause.scale_in {
        behavior.down.select = Select::Disabled;
    }
    Some(behavior)
}
