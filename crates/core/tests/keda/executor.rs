//! Activation: kinds `executor`, `idle_or_min` and `object_state`.
//!
//! Here one tick is both of KEDA's halves. The signal that stands for the triggers reads exactly its
//! target, so that the autoscaler's half asks for nothing and what is written is activation's. What only
//! the operator writes (condition HPAActive, the paused count in the status) is not looked at.

use serde_json::Value;
use tidegate_core::scale::decision::Status;
use tidegate_core::scale::spec::{
    Activation, Fallback, FallbackBehavior, Keda, Kind, Life, Metric, ResourceGoal,
};
use tidegate_core::scale::{Because, Event, Reading, Rule, Spec};
use tidegate_core::time::Time;

use super::NOW;
use crate::common::data::{Case, count, flag, get, int, items, must, same, text};
use crate::common::{Rig, Ticked, average, keda, milli, secs, signal, spec};

/// What is written here, where that is not what KEDA's executor writes; `None`: no decision at all.
pub(crate) const DIFFERENCES: [(&str, Option<Option<u32>>, &str); 5] = [
    ("executor-006", Some(Some(0)), "the paused count is applied by the tick, in KEDA by the reconciler"),
    ("executor-098", Some(Some(3)), "the paused count is applied by the tick, in KEDA by the reconciler"),
    ("executor-079", Some(Some(5)), "the autoscaler's half corrects to the minimum in the same tick"),
    ("executor-084", Some(Some(5)), "the autoscaler's half corrects to the minimum in the same tick"),
    ("executor-099", None, "a target whose replicas were never seen is not decided"),
];

fn ago(value: &Value, key: &str) -> Option<Time> {
    int(value, key).map(|age| NOW - secs(age))
}

/// The annotations as the manifest crate reads them: anything but Go's spellings of false is true.
fn annotated(input: &Value, name: &str) -> bool {
    let value = text(get(input, "annotations"), &format!("autoscaling.keda.sh/{name}"));
    value.is_some_and(|value| !matches!(value, "0" | "f" | "F" | "false" | "False" | "FALSE"))
}

fn rules(input: &Value) -> Keda {
    let mut rules = Keda {
        idle: count(input, "idleReplicaCount"),
        cooldown: secs(int(input, "cooldownPeriodSeconds").unwrap_or(300)),
        initial_cooldown: secs(int(input, "initialCooldownPeriodSeconds").unwrap_or(0)),
        force_activation: annotated(input, "force-activation"),
        ..Keda::default()
    };
    rules.pause.all = annotated(input, "paused");
    rules.pause.scale_in = annotated(input, "paused-scale-in");
    rules.pause.scale_out = annotated(input, "paused-scale-out");
    let at = text(get(input, "annotations"), "autoscaling.keda.sh/paused-replicas");
    rules.pause.at = at.and_then(|at| at.parse().ok());
    // The executor is told of an error that no fallback served yet, so the threshold is never reached.
    rules.fallback = count(get(input, "fallback"), "replicas").map(|replicas| Fallback {
        failure_threshold: 100,
        replicas,
        behavior: FallbackBehavior::Static,
    });
    rules
}

/// One pass; `None` without a decision.
fn pass(input: &Value) -> (Rig, Option<Ticked>) {
    let mut signals = vec![average("testTrigger", 10.0)];
    if flag(input, "isError") {
        signals.push(average("failing", 10.0));
    }
    let mut rig = Rig::new(Spec {
        min: count(input, "minReplicaCount").unwrap_or(0),
        max: count(input, "maxReplicaCount").unwrap_or(100),
        ..spec(Kind::ScaledObject(rules(input)), signals)
    });
    rig.now = NOW;
    let life =
        Life { created: ago(input, "createdAgeSeconds"), last_active: ago(input, "lastActiveAgeSeconds") };
    rig.send(&Event::Life(life));
    let current = count(input, "currentReplicas");
    if let Some(current) = current {
        rig.fleet(current);
    }
    let quiet = 10.0 * f64::from(current.unwrap_or(0));
    rig.read("testTrigger", Reading::Value { value: quiet, active: Some(flag(input, "isActive")) });
    if flag(input, "isError") {
        rig.error("failing");
    }
    let ticked = rig.try_tick();
    (rig, ticked)
}

/// Compares a condition with `{status | statusNot, reason}`; null is not asserted.
fn condition(what: &str, found: Option<(Status, &str)>, expected: &Value) -> Result<(), String> {
    if expected.is_null() {
        return Ok(());
    }
    let name = found.map(|(status, _)| match status {
        Status::True => "True",
        Status::False => "False",
        Status::Unknown => "Unknown",
    });
    if let Some(status) = text(expected, "status") {
        same(what, name, Some(status))?;
    }
    if let Some(status) = text(expected, "statusNot")
        && name == Some(status)
    {
        return Err(format!("{what} is {status}"));
    }
    match text(expected, "reason") {
        Some(reason) => same(what, found.map(|(_, reason)| reason), Some(reason)),
        None => Ok(()),
    }
}

pub(crate) fn executor(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let (rig, ticked) = pass(input);
    let ours = DIFFERENCES.iter().find(|(id, ..)| *id == case.id).map(|(_, ours, _)| *ours);
    let upstream = Some(count(expected, "scaledTo"));
    if ours == Some(upstream) {
        return Err("listed as a difference, and is none".into());
    }
    let wanted = ours.unwrap_or(upstream);
    let (ticked, wanted) = match (ticked, wanted) {
        (None, None) => return Ok(()),
        (Some(ticked), Some(wanted)) => (ticked, wanted),
        (ticked, wanted) => {
            return Err(format!("decided {}, expected {}", ticked.is_some(), wanted.is_some()));
        }
    };
    same("the count written", ticked.scale.map(|(_, to)| to), wanted)?;
    let conditions = &ticked.decision.conditions;
    condition("Active", conditions.active, get(expected, "activeCondition"))?;
    condition("Ready", conditions.ready, get(expected, "readyCondition"))?;
    condition("Paused", conditions.paused, get(expected, "pausedCondition"))?;
    if get(expected, "activeConditionSet").as_bool() == Some(false) {
        same("Active", conditions.active, None)?;
    }
    if let Some(updated) = get(expected, "lastActiveUpdated").as_bool() {
        let now = get(&rig.state(), "last_active").as_i64() == Some(NOW.as_micros());
        same("last active now", now, updated)?;
    }
    if flag(expected, "activationForced") {
        same("the cause", ticked.because(Rule::Activity), &Because::ActiveForced)?;
    }
    event(&ticked, expected)
}

/// KEDA's events tell what the steps tell: who activated what.
fn event(ticked: &Ticked, expected: &Value) -> Result<(), String> {
    let Some(event) = expected.get("event") else { return Ok(()) };
    let rule = match text(event, "reason") {
        None => {
            let moved = ticked.step(Rule::Activate).or(ticked.step(Rule::Deactivate));
            return same("activation's step", moved, None);
        }
        Some("KEDAScaleTargetActivated") => Rule::Activate,
        Some("KEDAScaleTargetDeactivated") => Rule::Deactivate,
        Some(other) => return Err(format!("unknown event {other}")),
    };
    let step = must(ticked.step(rule), "step of activation")?;
    let told = (must(count(event, "from"), "from")?, must(count(event, "to"), "to")?);
    same("from and to", (step.from, step.to), told)?;
    for trigger in items(event, "triggeredBy").iter().filter_map(Value::as_str) {
        match ticked.because(Rule::Activity) {
            Because::ActiveBySource { signal } | Because::Active { signal, .. } if **signal == *trigger => {}
            other => return Err(format!("triggered by {other:?}, expected {trigger}")),
        }
    }
    Ok(())
}

pub(crate) fn idle_or_min(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let (idle, min) = (count(input, "idleReplicaCount"), count(input, "minReplicaCount").unwrap_or(0));
    let mut rig = Rig::new(Spec {
        min: idle.map_or(min, |idle| min.max(idle + 1)),
        ..spec(Kind::ScaledObject(Keda { idle, ..keda() }), vec![average("q", 10.0)])
    });
    // To a minimum above zero activation only ever corrects upwards.
    rig.fleet(if idle.is_none() && min > 0 { min - 1 } else { 10 });
    rig.pass(1000);
    rig.value("q", 0.0);
    let ticked = rig.tick();
    let wanted = must(count(expected, "replicas"), "expected.replicas")?;
    if wanted == 0 || flag(expected, "isIdle") {
        let Because::Deactivated { idle, .. } = ticked.because(Rule::Deactivate) else {
            return Err(format!("not deactivated: {}", ticked.text()));
        };
        same("idle", idle.is_some(), flag(expected, "isIdle"))?;
    }
    same("replicas", ticked.replicas(), wanted)
}

pub(crate) fn object_state(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let triggers = items(input, "triggers");
    let lone = triggers.iter().all(|trigger| text(trigger, "type") == Some("cpu"));
    let signals = triggers.iter().enumerate().map(|(index, trigger)| {
        if text(trigger, "type") == Some("cpu") {
            let goal = ResourceGoal::AverageValue(milli(10.0));
            let metric = Metric::Resource { resource: "cpu".into(), container: None, goal };
            let activation = if lone { Activation::Always } else { Activation::Never };
            tidegate_core::scale::spec::Signal { activation, ..signal(&format!("t{index}"), metric) }
        } else {
            average(&format!("t{index}"), 10.0)
        }
    });
    // A formula over nothing but cpu cannot be written: it may name no trigger, and is refused with the
    // manifest. What is left of it is an object with cpu alone.
    let mut rig = Rig::new(Spec { min: 1, ..spec(Kind::ScaledObject(keda()), signals.collect()) });
    rig.fleet(1);
    for (index, trigger) in triggers.iter().enumerate() {
        let name = format!("t{index}");
        if flag(trigger, "error") {
            rig.error(&name);
        } else {
            rig.read(&name, Reading::Value { value: 10.0, active: get(trigger, "active").as_bool() });
        }
    }
    let ticked = rig.tick();
    let conditions = &ticked.decision.conditions;
    let active = conditions.active.map(|(status, _)| status) == Some(Status::True);
    same("active", active, flag(expected, "isActive"))?;
    let error = matches!(conditions.ready, Some((_, "TriggerError" | "PartialTriggerError")));
    same("error", error, flag(expected, "isError"))
}
