//! Signals as pages show them, whoever reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::scale::spec::{Goal, Metric, ResourceGoal, Signal};
use tidegate_core::scale::{Reading, Spec};
use tidegate_dashboard::brief::BriefSignal;
use tidegate_dashboard::model::{SignalState, SignalView};
use tidegate_signals::Liveness;
use tidegate_signals::trust::Trust;

/// Each signal of a spec, with what was read of it and whether that can be trusted.
pub(crate) fn view(spec: &Spec, readings: &BTreeMap<Arc<str>, Reading>, trust: &Trust) -> Vec<SignalView> {
    let view = |signal: &Signal| {
        let (state, value, text) = match readings.get(&signal.name) {
            None => (SignalState::Absent, None, "not read yet".to_owned()),
            Some(Reading::Value { value, .. }) => (SignalState::Found, Some(*value), value.to_string()),
            Some(Reading::Series(series)) => {
                let sum: f64 = series.iter().sum();
                (SignalState::Found, Some(sum), format!("{} series, {sum} in all", series.len()))
            }
            Some(Reading::Samples(samples)) => {
                (SignalState::Found, None, format!("{} samples", samples.len()))
            }
            Some(Reading::Stale { value, age }) => {
                (SignalState::Stale, Some(*value), format!("{value}, {age} old"))
            }
            Some(Reading::Absent) => (SignalState::Absent, None, "empty result".to_owned()),
            Some(Reading::Error(text)) => (SignalState::Error, None, text.to_string()),
        };
        let trust = trust.of(&signal.name);
        let state = match trust {
            Some((Liveness::NotMoving, _)) => SignalState::NotMoving,
            _ => state,
        };
        SignalView {
            name: signal.name.to_string(),
            value,
            target: goal(&signal.metric),
            state,
            text,
            since_unix_s: trust.map(|(_, since)| since.as_secs_f64()),
        }
    };
    spec.signals.iter().map(view).collect()
}

/// The same in short, and without a sentence: nothing is allocated for one but its place.
pub(crate) fn brief(spec: &Spec, readings: &BTreeMap<Arc<str>, Reading>, trust: &Trust) -> Vec<BriefSignal> {
    let brief = |signal: &Signal| {
        let (state, value) = match readings.get(&signal.name) {
            None | Some(Reading::Absent) => (SignalState::Absent, None),
            Some(Reading::Value { value, .. }) => (SignalState::Found, Some(*value)),
            Some(Reading::Series(series)) => (SignalState::Found, Some(series.iter().sum())),
            Some(Reading::Samples(_)) => (SignalState::Found, None),
            Some(Reading::Stale { value, .. }) => (SignalState::Stale, Some(*value)),
            Some(Reading::Error(_)) => (SignalState::Error, None),
        };
        let still = matches!(trust.of(&signal.name), Some((Liveness::NotMoving, _)));
        let state = if still { SignalState::NotMoving } else { state };
        BriefSignal { name: Arc::clone(&signal.name), value, target: goal(&signal.metric), state }
    };
    spec.signals.iter().map(brief).collect()
}

fn goal(metric: &Metric) -> Option<f64> {
    match metric {
        Metric::External(Goal::AverageValue(goal) | Goal::Value(goal))
        | Metric::Object(Goal::AverageValue(goal) | Goal::Value(goal)) => Some(goal.as_f64()),
        Metric::Pods { average } => Some(average.as_f64()),
        Metric::Resource { goal: ResourceGoal::Utilization(percent), .. } => Some(f64::from(*percent)),
        Metric::Resource { goal: ResourceGoal::AverageValue(goal), .. } => Some(goal.as_f64()),
        Metric::Demand | Metric::Unsupported => None,
    }
}
