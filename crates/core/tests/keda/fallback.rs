//! Kinds `fallback` and `fallback_replicas`: what speaks for a source that has failed for long.
//!
//! Writing the status (`statusWritten`, `statusWriteFails`) is the operator's, and is not looked at.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_core::formula::{Compiler, Error, Formula, Variable};
use tidegate_core::scale::decision::Status;
use tidegate_core::scale::signals::fallback_metric;
use tidegate_core::scale::spec::{Fallback, FallbackBehavior, Goal, Keda, Kind, Metric, Modifiers, Tuning};
use tidegate_core::scale::{Because, Event, Fleet, Reading, Rule, Scaler, Spec};
use tidegate_core::time::Span;
use tidegate_core::units::Milli;

use super::NOW;
use crate::common::data::{Case, count, flag, get, int, must, number, same, text};
use crate::common::{Rig, Ticked, keda, milli, secs, signal, spec};

/// What is not as upstream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ours {
    /// The spec cannot say it: the manifest crate refuses it with the whole object.
    Refused,
    /// Without a count there is no decision, and no error to serve.
    Undecided,
    /// Failures counted after the reading.
    Failures(u64),
    /// The value served.
    Serves(f64),
}

pub(crate) const DIFFERENCES: [(&str, Ours, &str); 7] = [
    ("fallback-004", Ours::Failures(0), "a good reading clears the count, with or without a fallback"),
    ("fallback-009", Ours::Refused, "a negative threshold is refused with the manifest"),
    ("fallback-011", Ours::Refused, "a negative threshold is refused with the manifest"),
    ("fallback-031", Ours::Serves(12.5), "a target with decimals does not silently disable the fallback"),
    ("fallback-032", Ours::Refused, "a target of 0 is refused with the manifest"),
    ("fallback-035", Ours::Refused, "a negative count is refused with the manifest"),
    ("fallback-038", Ours::Undecided, "a target whose replicas were never seen is not decided"),
];

const OTHER: &str = "another metric name";

/// The two formulas of the table.
#[derive(Debug)]
struct TwoFormulas;

#[derive(Debug)]
struct Coalescing {
    otherwise: Option<f64>,
}

impl Compiler for TwoFormulas {
    fn compile(&self, source: &str, _variables: &[Arc<str>]) -> Result<Box<dyn Formula>, Error> {
        let otherwise = match source {
            "m" => None,
            "m ?? 8" => Some(8.0),
            other => return Err(Error { message: format!("cannot read {other}") }),
        };
        Ok(Box::new(Coalescing { otherwise }))
    }
}

impl Formula for Coalescing {
    fn evaluate(&self, variables: &[Variable<'_>]) -> Result<Option<f64>, Error> {
        Ok(variables.first().and_then(|(_, value)| *value).or(self.otherwise))
    }
}

fn behavior(value: &Value) -> Result<FallbackBehavior, String> {
    Ok(match text(value, "behavior") {
        None | Some("static") => FallbackBehavior::Static,
        Some("currentReplicas") => FallbackBehavior::CurrentReplicas,
        Some("currentReplicasIfHigher") => FallbackBehavior::CurrentReplicasIfHigher,
        Some("currentReplicasIfLower") => FallbackBehavior::CurrentReplicasIfLower,
        Some("scalingModifiers") => FallbackBehavior::ScalingModifiers,
        Some(other) => return Err(format!("unknown behavior {other}")),
    })
}

fn goal(value: &Value, target: Milli) -> Goal {
    if text(value, "metricType") == Some("Value") { Goal::Value(target) } else { Goal::AverageValue(target) }
}

/// The rules of a case; `None` when a spec cannot hold them.
fn rules(input: &Value) -> Result<Option<Keda>, String> {
    let mut rules = keda();
    let given = get(input, "fallback");
    if !given.is_null() {
        let (Some(failure_threshold), Some(replicas)) =
            (count(given, "failureThreshold"), count(given, "replicas"))
        else {
            return Ok(None);
        };
        rules.fallback = Some(Fallback { failure_threshold, replicas, behavior: behavior(given)? });
    }
    let modifiers = get(input, "modifiers");
    if !modifiers.is_null() {
        let target = text(modifiers, "target").and_then(|target| target.parse().ok()).map(milli);
        let Some(target) = target.filter(|target| target.0 > 0) else { return Ok(None) };
        rules.modifiers = Some(Modifiers {
            formula: must(text(modifiers, "formula"), "formula")?.to_owned(),
            target,
            activation_target: 0.0,
            value: text(modifiers, "metricType") == Some("Value"),
        });
    }
    Ok(Some(rules))
}

/// One pass with the failures so far in memory; `None` for the rules that a spec cannot hold.
fn pass(input: &Value) -> Result<Option<(Rig, Option<Ticked>)>, String> {
    let Some(rules) = rules(input)? else { return Ok(None) };
    let needs_count = rules.fallback.is_some_and(|fallback| {
        !matches!(fallback.behavior, FallbackBehavior::Static | FallbackBehavior::ScalingModifiers)
    });
    let metric = must(text(input, "metric"), "metric")?;
    let target = milli(must(number(input, "target"), "target")?);
    let so_far = get(input, "failuresSoFar");
    let mut signals = vec![signal(metric, Metric::External(goal(input, target)))];
    let remembered = |failures: u64, ago: Span| json!({ "at": null, "slot": "unread", "last_good": null, "failures": failures, "counted_at": NOW - ago });
    // The metric is due to be counted again; the other one was counted a moment ago.
    let mut states = vec![remembered(get(so_far, metric).as_u64().unwrap_or(0), secs(60))];
    let other = get(so_far, OTHER).as_u64();
    if let Some(failures) = other {
        signals.push(signal(OTHER, Metric::External(Goal::AverageValue(target))));
        states.push(remembered(failures, secs(1)));
    }
    let none = json!({ "epoch": 0, "entries": [], "compact_at": 0, "joined": false });
    let state = json!({
        "life": { "created": null, "last_active": null },
        "signals": states,
        "memory": {
            "recommendations": none, "ups": none, "downs": none, "scaled_to_zero": false, "seeded": false,
        },
    });
    // Nothing is within a tolerance below zero, so every value that is served is seen.
    let tuning = Tuning { tolerance: -1.0, ..Tuning::default() };
    let spec = Spec { tuning, ..spec(Kind::ScaledObject(rules), signals) };
    let state = serde_json::from_value(state).map_err(|error| error.to_string())?;
    let scaler = Scaler::resume(spec, state, Arc::new(TwoFormulas)).map_err(|error| error.to_string())?;
    let mut rig = Rig { scaler, now: NOW };

    let current = count(input, "currentReplicas");
    if current.is_some() || !needs_count {
        let current = current.unwrap_or(5);
        let ready = count(input, "readyReplicas").unwrap_or(current);
        rig.send(&Event::Fleet(Fleet { spec: current, status: current, ready, starting: 0 }));
    }
    if flag(input, "readingFails") {
        rig.error(metric);
    } else {
        let value = must(number(input, "reading"), "reading")?;
        rig.read(metric, Reading::Value { value, active: None });
    }
    if other.is_some() {
        rig.error(OTHER);
    }
    let ticked = rig.try_tick();
    Ok(Some((rig, ticked)))
}

/// The value handed to the autoscaler for the metric, and its name there.
fn served(ticked: &Ticked, name: &str, goal: Goal, ready: u32) -> Option<Milli> {
    let steps = &ticked.decision.steps;
    let seen = steps.iter().filter(|step| step.rule == Rule::Signal).find_map(|step| match &step.because {
        Because::AverageValue { signal, total, .. } if **signal == *name => Some(*total),
        Because::Value { signal, value, .. } if **signal == *name => Some(*value),
        _ => None,
    });
    // With nothing running the autoscaler is not asked; what it would have been told follows from the step.
    let at_zero = steps.iter().find_map(|step| match &step.because {
        Because::Fallback { signal, replicas, .. } if step.from == 0 && **signal == *name => {
            fallback_metric(goal, *replicas, ready).ok()
        }
        _ => None,
    });
    seen.or(at_zero)
}

pub(crate) fn fallback(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let ours = DIFFERENCES.iter().find(|(id, ..)| *id == case.id).map(|(_, ours, _)| *ours);
    let (rig, ticked) = match (pass(input)?, ours) {
        (None, Some(Ours::Refused)) => return Ok(()),
        (None, _) => return Err("the spec cannot hold it".into()),
        (Some(_), Some(Ours::Refused)) => return Err("the spec can hold it".into()),
        (Some((_, None)), Some(Ours::Undecided)) => return Ok(()),
        (Some((rig, Some(ticked))), _) => (rig, ticked),
        (Some((_, None)), _) => return Err("no decision".into()),
    };
    let target = milli(must(number(input, "target"), "target")?);
    let metric = must(text(input, "metric"), "metric")?;
    let name = if get(input, "modifiers").is_null() { metric } else { "composite-metric" };
    let found = served(&ticked, name, goal(input, target), count(input, "readyReplicas").unwrap_or(0));
    match ours {
        Some(Ours::Serves(value)) => return same("the value served", found, Some(milli(value))),
        _ if flag(expected, "placeholder") => {
            // The formula saw nil and gave the 8 after its `??`.
            same("the formula", ticked.because(Rule::Formula), &Because::FormulaValue { value: 8.0 })?;
        }
        _ if flag(expected, "error") => same("the value served", found, None)?,
        _ => {
            if let Some(value) = number(expected, "metricValue") {
                same("the value served", found, Some(milli(value)))?;
            }
        }
    }
    if let Some(wanted) = text(expected, "metricName") {
        same("the metric's name", name, wanted)?;
    }
    let failures = rig.state()["signals"][0]["failures"].as_u64();
    let upstream = int(expected, "numberOfFailures").and_then(|failures| u64::try_from(failures).ok());
    let ours_counts = match ours {
        Some(Ours::Failures(failures)) => Some(failures),
        _ => upstream,
    };
    if ours_counts.is_some() {
        same("failures", failures, ours_counts)?;
    }
    if let Some(status) = text(expected, "status").filter(|_| ours.is_none()) {
        same("status", if failures == Some(0) { "Happy" } else { "Failing" }, status)?;
    }
    if let Some(active) = get(expected, "fallbackActive").as_bool() {
        let condition = ticked.decision.conditions.fallback.map(|(status, _)| status);
        same("condition Fallback", condition == Some(Status::True), active)?;
    }
    Ok(())
}

/// Settles on a good reading, loses the source, and settles again.
pub(crate) fn replicas(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let rules = Keda {
        fallback: Some(Fallback {
            failure_threshold: must(count(input, "failureThreshold"), "failureThreshold")?,
            replicas: must(count(input, "fallbackReplicas"), "fallbackReplicas")?,
            behavior: behavior(input)?,
        }),
        ..keda()
    };
    let target = milli(must(number(input, "target"), "target")?);
    let mut rig = Rig::new(Spec {
        min: count(input, "minReplicaCount").unwrap_or(0),
        max: must(count(input, "maxReplicaCount"), "maxReplicaCount")?,
        ..spec(Kind::ScaledObject(rules), vec![signal("q", Metric::External(goal(input, target)))])
    });
    let reading = must(number(input, "readingBefore"), "readingBefore")?;
    rig.fleet(0);
    let mut settled = [0, 0];
    for (phase, count) in settled.iter_mut().enumerate() {
        for _ in 0..1200 {
            if phase == 0 {
                rig.value("q", reading)
            } else {
                rig.error("q")
            }
            *count = rig.settle().replicas();
            rig.pass(1);
        }
    }
    same("replicas before", settled[0], must(count(expected, "replicasBefore"), "replicasBefore")?)?;
    same(
        "replicas in fallback",
        settled[1],
        must(count(expected, "replicasInFallback"), "replicasInFallback")?,
    )
}
