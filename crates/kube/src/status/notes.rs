//! Kubernetes Events: one for each change, with its reason.

use tidegate_core::scale::Decision;
use tidegate_core::scale::decision::{Because, Rule, Status};

use crate::index::target::Asks;
use crate::object::Id;

/// What an Event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whether somebody should look.
    pub warning: bool,
    /// In a word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// A decision in a sentence: the rule that settled it, and why.
#[must_use]
pub fn sentence(decision: &Decision) -> String {
    let settled = decision.steps.iter().rev().find(|step| step.rule == decision.rule);
    settled.map_or_else(String::new, |step| format!("{}: {}", step.rule, step.because))
}

/// A count that was written. Between zero and one in KEDA's words, else in those of the HPA controller.
#[must_use]
pub fn scaled(workload: &Id, from: u32, to: u32, why: &str, trigger: Option<&str>) -> Said {
    let what = format!("{} {}/{}", workload.kind.gvk().keda(), workload.namespace, workload.name);
    let (reason, message) = match (from, to) {
        (0, _) => {
            let by = trigger.map_or_else(String::new, |trigger| format!(", triggered by {trigger}"));
            ("KEDAScaleTargetActivated", format!("Scaled {what} from {from} to {to}{by}; {why}"))
        }
        (_, 0) => ("KEDAScaleTargetDeactivated", format!("Deactivated {what} from {from} to {to}; {why}")),
        _ => ("SuccessfulRescale", format!("New size: {to}; reason: {why} ({what} had {from})")),
    };
    Said { warning: false, reason, message }
}

/// A count that was refused.
#[must_use]
pub fn not_scaled(from: u32, to: u32, error: &str) -> Said {
    let reason = match (from, to) {
        (0, _) => "KEDAScaleTargetActivationFailed",
        (_, 0) => "KEDAScaleTargetDeactivationFailed",
        _ => "FailedRescale",
    };
    Said { warning: true, reason, message: format!("Not scaled from {from} to {to}: {error}") }
}

/// The signal that makes a decision active.
#[must_use]
pub fn trigger(decision: &Decision) -> Option<&str> {
    decision.steps.iter().filter(|step| step.rule == Rule::Activity).find_map(|step| match &step.because {
        Because::Active { signal, .. }
        | Because::ActiveBySource { signal }
        | Because::ActiveFallback { signal } => Some(&**signal),
        _ => None,
    })
}

/// What became different between two decisions, other than the count.
#[must_use]
pub fn turned(asks: Asks, before: Option<&Decision>, now: &Decision) -> Vec<Said> {
    let mut all = Vec::new();
    if asks != Asks::ScaledObject {
        return all;
    }
    let is = |condition: Option<(Status, &'static str)>| condition.map(|(status, _)| status == Status::True);
    let (old, new) = (before.map(|before| before.conditions), now.conditions);
    let mut turn =
        |old: Option<bool>, new: Option<bool>, yes: (bool, &'static str, &str), no: (&'static str, &str)| {
            match (old, new) {
                (Some(false) | None, Some(true)) => {
                    all.push(Said { warning: yes.0, reason: yes.1, message: yes.2.to_owned() });
                }
                (Some(true), Some(false)) => {
                    all.push(Said { warning: false, reason: no.0, message: no.1.to_owned() });
                }
                _ => {}
            }
        };
    turn(
        old.and_then(|old| is(old.fallback)),
        is(new.fallback),
        (
            true,
            "ScaledObjectFallbackActivated",
            "a trigger has failed for too long: the fallback speaks for it",
        ),
        ("ScaledObjectFallbackDeactivated", "all triggers can be read again"),
    );
    turn(
        old.and_then(|old| is(old.paused)),
        is(new.paused),
        (false, "ScaledObjectPaused", "ScaledObject is paused"),
        ("ScaledObjectUnpaused", "pause annotation removed for ScaledObject"),
    );
    all
}
