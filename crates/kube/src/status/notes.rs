//! Kubernetes Events: one for each change, with its reason.

use serde_json::Value;
use tidegate_core::scale::Decision;
use tidegate_core::scale::decision::{Because, Conditions, Lost, Rule, Status};

use crate::index::target::Asks;
use crate::object::{Id, Kind, Object};

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

/// The words that KEDA has for what happens to either kind of object.
struct Words {
    ready: &'static str,
    check_failed: &'static str,
    update_failed: &'static str,
    deleted: &'static str,
    paused: &'static str,
    unpaused: &'static str,
}

const SCALED_OBJECT: Words = Words {
    ready: "ScaledObjectReady",
    check_failed: "ScaledObjectCheckFailed",
    update_failed: "ScaledObjectUpdateFailed",
    deleted: "ScaledObjectDeleted",
    paused: "ScaledObjectPaused",
    unpaused: "ScaledObjectUnpaused",
};

const SCALED_JOB: Words = Words {
    ready: "ScaledJobReady",
    check_failed: "ScaledJobCheckFailed",
    update_failed: "ScaledJobUpdateFailed",
    deleted: "ScaledJobDeleted",
    paused: "ScaledJobPaused",
    unpaused: "ScaledJobUnpaused",
};

/// `None` for an autoscaler, which KEDA knows nothing of.
const fn words(asks: Asks) -> Option<&'static Words> {
    match asks {
        Asks::ScaledObject => Some(&SCALED_OBJECT),
        Asks::ScaledJob => Some(&SCALED_JOB),
        Asks::Autoscaler => None,
    }
}

fn said(warning: bool, reason: &'static str, message: impl Into<String>) -> Said {
    Said { warning, reason, message: message.into() }
}

/// Its sources are asked from here on.
#[must_use]
pub fn begun(asks: Asks) -> Option<Said> {
    words(asks).map(|_| said(false, "KEDAScalersStarted", "Its triggers are read each second"))
}

/// Its sources are asked no more.
#[must_use]
pub fn ended(asks: Asks) -> Option<Said> {
    words(asks).map(|_| said(false, "KEDAScalersStopped", "Its triggers are read no more"))
}

/// It is deleted, and its finalizer goes. KEDA calls that a warning for one of the two.
#[must_use]
pub fn deleted(asks: Asks) -> Option<Said> {
    let message = "It is let go: nothing scales its workload from here on";
    words(asks).map(|words| said(asks == Asks::ScaledObject, words.deleted, message))
}

/// It has become what can be scaled, after it was not, or was new.
#[must_use]
pub fn ready(asks: Asks) -> Option<Said> {
    words(asks).map(|words| said(false, words.ready, "It is ready for scaling"))
}

/// Nothing is decided about it, or nothing is done of that. Its triggers may be what cannot be read.
#[must_use]
pub fn refused(asks: Asks, triggers: bool, why: &str) -> Vec<Said> {
    let failed = words(asks).map(|words| said(true, words.check_failed, why));
    let scalers = words(asks).filter(|_| triggers).map(|_| said(true, "KEDAScalerFailed", why));
    failed.into_iter().chain(scalers).collect()
}

/// What we say on it was not taken.
#[must_use]
pub fn not_updated(asks: Asks, why: &str) -> Option<Said> {
    words(asks).map(|words| said(true, words.update_failed, why))
}

/// Jobs of an older version of a ScaledJob are being ended, because its rollout says so.
#[must_use]
pub fn rollout_begins(jobs: usize) -> Said {
    let message = format!("Ending {jobs} Jobs of an older version of the ScaledJob");
    said(false, "ScaledJobRolloutCleanupStarted", message)
}

/// They are gone.
#[must_use]
pub fn rollout_is_over(jobs: usize) -> Said {
    let message = format!("{jobs} Jobs of an older version of the ScaledJob have ended");
    said(false, "ScaledJobRolloutCleanupCompleted", message)
}

/// One of them may not be ended.
#[must_use]
pub fn rollout_fails(job: &str, why: &str) -> Said {
    said(true, "ScaledJobRolloutCleanupFailed", format!("The Job {job} cannot be ended: {why}"))
}

/// An authentication came, has changed, or is gone.
#[must_use]
pub fn authentication(kind: &Kind, happened: Happened) -> Option<Said> {
    let reason = match (kind, happened) {
        (Kind::TriggerAuthentication, Happened::Added) => "TriggerAuthenticationAdded",
        (Kind::TriggerAuthentication, Happened::Updated) => "TriggerAuthenticationUpdated",
        (Kind::TriggerAuthentication, Happened::Deleted) => "TriggerAuthenticationDeleted",
        (Kind::ClusterTriggerAuthentication, Happened::Added) => "ClusterTriggerAuthenticationAdded",
        (Kind::ClusterTriggerAuthentication, Happened::Updated) => "ClusterTriggerAuthenticationUpdated",
        (Kind::ClusterTriggerAuthentication, Happened::Deleted) => "ClusterTriggerAuthenticationDeleted",
        _ => return None,
    };
    let message = match happened {
        Happened::Added => "Triggers can refer to it",
        Happened::Updated => "Triggers that refer to it are read anew",
        Happened::Deleted => "Triggers that refer to it cannot be read any more",
    };
    Some(said(false, reason, message))
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It came.
    Added,
    /// It asks for something else.
    Updated,
    /// It is gone.
    Deleted,
}

/// What became different between two decisions, other than the count.
#[must_use]
pub fn turned(asks: Asks, before: Option<&Decision>, now: &Decision) -> Vec<Said> {
    let Some(words) = words(asks) else { return Vec::new() };
    let mut all = lost(before, now);
    let is = |condition: Option<(Status, &'static str)>| condition.map(|(status, _)| status == Status::True);
    let (old, new) = (before.map(|before| before.conditions), now.conditions);
    let mut turn =
        |old: Option<bool>, new: Option<bool>, yes: (bool, &'static str, &str), no: (&'static str, &str)| {
            match (old, new) {
                (Some(false) | None, Some(true)) => all.push(said(yes.0, yes.1, yes.2)),
                (Some(true), Some(false)) => all.push(said(false, no.0, no.1)),
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
    let paused = if asks == Asks::ScaledJob { "ScaledJob is paused" } else { "ScaledObject is paused" };
    turn(
        old.and_then(|old| is(old.paused)),
        is(new.paused),
        (false, words.paused, paused),
        (words.unpaused, "the pause annotation is removed, or says false"),
    );
    if asks == Asks::ScaledJob {
        turn(
            old.and_then(|old| is(old.active)),
            is(new.active),
            (false, "ScaledJobActive", "its triggers have work"),
            ("ScaledJobInactive", "its triggers have no work"),
        );
    }
    all
}

/// Triggers named in one Event.
const LOST_MAX: usize = 3;

/// Triggers that can be read no more, since the decision before.
fn lost(before: Option<&Decision>, now: &Decision) -> Vec<Said> {
    let of = |decision: &Decision| -> Vec<(std::sync::Arc<str>, String)> {
        let steps = decision.steps.iter().filter_map(|step| match &step.because {
            // One that nobody has asked yet has not failed.
            Because::Lost { why: Lost::Unread, .. } => None,
            Because::Lost { signal, .. } | Because::Fallback { signal, .. } => {
                Some((std::sync::Arc::clone(signal), step.because.to_string()))
            }
            _ => None,
        });
        steps.collect()
    };
    // Most decisions have lost nothing.
    let now = of(now);
    if now.is_empty() {
        return Vec::new();
    }
    let known = before.map(of).unwrap_or_default();
    let new = now.into_iter().filter(|(signal, _)| known.iter().all(|(other, _)| other != signal));
    let new: Vec<String> = new.take(LOST_MAX).map(|(_, why)| why).collect();
    if new.is_empty() { Vec::new() } else { vec![said(true, "KEDAMetricSourceFailed", new.join("; "))] }
}

/// What an object's own conditions say was decided before: whoever decides it for the first time tells only what is
/// different.
#[must_use]
pub fn standing(object: &Object, now: &Decision) -> Decision {
    let all = object.json.pointer("/status/conditions").and_then(Value::as_array);
    let is = |type_: &str| {
        let text = |one: &Value, at: &str| one.get(at).and_then(Value::as_str).map(str::to_owned);
        let found = all.into_iter().flatten().find(|one| text(one, "type").as_deref() == Some(type_))?;
        match text(found, "status").as_deref() {
            Some("True") => Some((Status::True, "")),
            Some("False") => Some((Status::False, "")),
            _ => None,
        }
    };
    let conditions = Conditions {
        active: is("Active"),
        fallback: is("Fallback"),
        paused: is("Paused"),
        ..Conditions::default()
    };
    Decision { steps: Vec::new(), conditions, ..now.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_core::scale::Step;

    use super::*;

    fn decision(lost: &[(&str, Lost)], conditions: Conditions) -> Decision {
        let step = |(signal, why): &(&str, Lost)| Step {
            rule: Rule::SignalLost,
            from: 1,
            to: 1,
            because: Because::Lost { signal: (*signal).into(), why: why.clone(), failures: None },
        };
        let steps = lost.iter().map(step).collect();
        Decision { target: "prod/a".into(), replicas: 1, rule: Rule::Steady, steps, conditions }
    }

    fn reasons(asks: Asks, before: Option<&Decision>, now: &Decision) -> Vec<&'static str> {
        turned(asks, before, now).iter().map(|said| said.reason).collect()
    }

    #[test]
    fn a_trigger_that_fails_is_told_once_and_one_that_was_never_asked_is_not() {
        let error = || Lost::Error("away".into());
        let well = decision(&[], Conditions::default());
        let one = decision(&[("s0", error())], Conditions::default());
        let both = decision(&[("s0", error()), ("s1", error())], Conditions::default());
        let unread = decision(&[("s0", Lost::Unread)], Conditions::default());
        let failed = ["KEDAMetricSourceFailed"];
        assert_eq!(reasons(Asks::ScaledObject, Some(&well), &one), failed);
        assert_eq!(reasons(Asks::ScaledObject, Some(&one), &one), [""; 0]);
        assert_eq!(turned(Asks::ScaledJob, Some(&one), &both)[0].message, "s1: error: away");
        assert_eq!(reasons(Asks::ScaledObject, None, &unread), [""; 0]);
        assert_eq!(reasons(Asks::ScaledObject, Some(&unread), &one), failed);
    }

    #[test]
    fn a_scaled_job_is_told_of_in_words_of_its_own() {
        let of = |active, paused| {
            let condition = |is| Some((if is { Status::True } else { Status::False }, "x"));
            let conditions =
                Conditions { active: condition(active), paused: condition(paused), ..Conditions::default() };
            decision(&[], conditions)
        };
        let jobs = |before: &Decision, now: &Decision| reasons(Asks::ScaledJob, Some(before), now);
        assert_eq!(jobs(&of(false, false), &of(true, false)), ["ScaledJobActive"]);
        assert_eq!(jobs(&of(true, false), &of(false, true)), ["ScaledJobPaused", "ScaledJobInactive"]);
        assert_eq!(jobs(&of(false, true), &of(false, false)), ["ScaledJobUnpaused"]);
        assert_eq!(reasons(Asks::ScaledObject, None, &of(true, true)), ["ScaledObjectPaused"]);
        assert_eq!(reasons(Asks::Autoscaler, None, &of(true, true)), [""; 0]);
    }

    #[test]
    fn what_stands_on_an_object_is_not_told_again() {
        let paused =
            Conditions { paused: Some((Status::True, "ScaledObjectPaused")), ..Conditions::default() };
        let now = decision(&[], paused);
        let told = |conditions: Value| {
            let json = json!({"metadata": {"name": "a"}, "status": {"conditions": conditions}});
            let object = Object::new(Kind::ScaledObject, json).unwrap();
            reasons(Asks::ScaledObject, Some(&standing(&object, &now)), &now)
        };
        assert_eq!(told(json!([{"type": "Paused", "status": "True"}])), [""; 0]);
        assert_eq!(told(json!([{"type": "Paused", "status": "Unknown"}])), ["ScaledObjectPaused"]);
        assert_eq!(told(Value::Null), ["ScaledObjectPaused"]);
    }
}
