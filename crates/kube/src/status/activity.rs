//! What each trigger says by itself: whether it is active, and how often it could not be read of late.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_core::scale::decision::{AbsentAs, Because, Decision, Rule};
use tidegate_core::scale::spec::{Activation, Kind, Metric, Signal};
use tidegate_core::scale::{Reading, Spec};
use tidegate_manifest::Called;

/// What was read last of each signal.
pub type Readings = BTreeMap<Arc<str>, Reading>;

/// Failures that are told: one more than a fallback waits for says all there is to say. Without this a query that
/// stays away would be a write each polling interval, for ever.
fn told(failures: u32, threshold: u32) -> u32 {
    failures.min(threshold.saturating_add(1))
}

/// Whether a trigger makes its object active, by its own reading and threshold; `None` for cpu, memory and requests at
/// gateways, of which KEDA tells nothing, and before the first reading.
#[must_use]
pub fn active(signal: &Signal, reading: Option<&Reading>) -> Option<bool> {
    if !matches!(signal.metric, Metric::External(_)) {
        return None;
    }
    let above = |value: f64| match signal.activation {
        Activation::Above(threshold) => value > threshold,
        Activation::Never => false,
        Activation::Always => true,
    };
    Some(match reading? {
        Reading::Value { value, active } => active.unwrap_or_else(|| above(*value)),
        Reading::Series(values) => above(values.iter().sum()) || values.iter().any(|value| above(*value)),
        Reading::Samples(_) | Reading::Absent | Reading::Stale { .. } | Reading::Error(_) => false,
    })
}

/// The triggers of an object with whether each makes it active. One that its fallback speaks for does, as in KEDA.
pub fn triggers<'a>(
    spec: &'a Spec,
    readings: &'a Readings,
    decision: Option<&'a Decision>,
) -> impl Iterator<Item = (&'a Signal, bool)> {
    spec.signals.iter().filter_map(move |signal| Some((signal, of(signal, readings, decision)?)))
}

/// The same of one trigger; `None` as [`active`] has it.
#[must_use]
pub fn of(signal: &Signal, readings: &Readings, decision: Option<&Decision>) -> Option<bool> {
    let active = active(signal, readings.get(&signal.name))?;
    Some(active || decision.is_some_and(|decision| falls_back(decision, &signal.name)))
}

fn falls_back(decision: &Decision, name: &Arc<str>) -> bool {
    let mut steps = decision.steps.iter().filter(|step| step.rule == Rule::Fallback);
    steps.any(|step| matches!(&step.because, Because::Fallback { signal, .. } if signal == name))
}

/// Signals of which a decision says that there was nothing to read, and what that was taken for.
pub fn silent(decision: &Decision) -> impl Iterator<Item = (&Arc<str>, AbsentAs)> {
    decision.steps.iter().filter_map(|step| match &step.because {
        Because::Absent { signal, taken } => Some((signal, *taken)),
        _ => None,
    })
}

/// Failures of a signal in a row, as its fallback counts them, and whether there were any.
pub(super) fn failures(decision: &Decision, name: &Arc<str>, threshold: u32) -> u32 {
    let of = |because: &Because| match because {
        Because::Lost { signal, failures: Some((failures, _)), .. }
        | Because::Fallback { signal, failures, .. }
            if signal == name =>
        {
            Some(told(*failures, threshold))
        }
        _ => None,
    };
    decision.steps.iter().find_map(|step| of(&step.because)).unwrap_or(0)
}

/// `status.health`: KEDA keeps it where there is a fallback; `None` elsewhere, and while it is paused.
pub(super) fn health(spec: &Spec, called: &[Called], decision: &Decision) -> Option<Value> {
    let Kind::ScaledObject(keda) = &spec.kind else { return None };
    let fallback = keda.fallback.as_ref().filter(|_| !(keda.pause.all || keda.pause.at.is_some()))?;
    let external = spec.signals.iter().filter(|signal| matches!(signal.metric, Metric::External(_)));
    let each = external.map(|signal| {
        let failures = failures(decision, &signal.name, fallback.failure_threshold);
        let status = if failures == 0 { "Happy" } else { "Failing" };
        (
            Called::metric(called, &signal.name).to_owned(),
            json!({"numberOfFailures": failures, "status": status}),
        )
    });
    Some(Value::Object(each.collect()))
}

/// `status.triggersActivity`.
pub(super) fn told_of(
    spec: &Spec,
    called: &[Called],
    readings: &Readings,
    decision: Option<&Decision>,
) -> Value {
    let each = triggers(spec, readings, decision).map(|(signal, active)| {
        (Called::metric(called, &signal.name).to_owned(), json!({"isActive": active}))
    });
    Value::Object(each.collect())
}

#[cfg(test)]
mod tests {
    use tidegate_core::scale::spec::Goal;
    use tidegate_core::units::Milli;

    use super::*;

    fn signal() -> Signal {
        Signal {
            name: "s0-prometheus".into(),
            metric: Metric::External(Goal::AverageValue(Milli(5000))),
            activation: Activation::Above(2.0),
            ..Signal::demand()
        }
    }

    #[test]
    fn a_trigger_is_active_above_its_own_threshold_or_where_its_source_says_so() {
        let value = |value: f64, active| active_of(Reading::Value { value, active });
        assert_eq!((value(2.0, None), value(2.1, None)), (Some(false), Some(true)));
        assert_eq!((value(0.0, Some(true)), value(9.0, Some(false))), (Some(true), Some(false)));
        assert_eq!(active_of(Reading::Series(vec![1.0, 1.5])), Some(true), "their sum");
        assert_eq!(active_of(Reading::Absent), Some(false));
        assert_eq!(active_of(Reading::Error("away".into())), Some(false));
        assert_eq!(active(&signal(), None), None, "not read yet");
        assert_eq!(active(&Signal::demand(), Some(&Reading::Absent)), None);
    }

    fn active_of(reading: Reading) -> Option<bool> {
        active(&signal(), Some(&reading))
    }

    #[test]
    fn failures_are_told_up_to_the_one_too_many() {
        assert_eq!([told(0, 3), told(3, 3), told(4, 3), told(900, 3)], [0, 3, 4, 4]);
    }
}
