//! What the pages show of a cluster.

use std::sync::Arc;

use tidegate_core::scale::spec::{Goal, Metric, ResourceGoal};
use tidegate_core::scale::{Decision, Reading, Spec};
use tidegate_core::time::Time;
use tidegate_dashboard::Board;
use tidegate_dashboard::model::{Fleet, Note, Severity, SignalState, SignalView, StartView, TargetView};
use tidegate_kube::demand::Known;
use tidegate_kube::drive::{Audience, Entry, View, Weight};
use tidegate_signals::{Demand, Liveness};

use super::metrics::Counts;
use crate::output;

/// Remarks shown: a screen of them.
const NOTES_MAX: usize = 20;

/// Targets shown on pages. A fleet with more is for metrics and `kubectl`; a page of it would be 10 MB a
/// second.
const SHOWN_MAX: usize = 500;

/// Tells the board, standard error and the metrics.
pub(super) struct Told {
    board: Arc<Board>,
    counts: Counts,
    notes: Vec<Note>,
}

impl Told {
    pub(super) fn new(board: Arc<Board>, counts: Counts) -> Self {
        Told { board, counts, notes: Vec::new() }
    }
}

impl Audience for Told {
    fn decided(&mut self, at: Time, from: u32, decision: &Decision) {
        self.board.decided(at.as_secs_f64(), from, decision);
    }

    fn remark(&mut self, at: Time, weight: Weight, text: &str) {
        output::note(text);
        let severity = match weight {
            Weight::Info => Severity::Info,
            Weight::Warning => Severity::Warning,
        };
        self.notes.retain(|note| note.text != text);
        if self.notes.len() == NOTES_MAX {
            self.notes.remove(0);
        }
        self.notes.push(Note { at_unix_s: at.as_secs_f64(), severity, text: text.to_owned() });
    }

    fn look(&mut self, view: &View<'_>) {
        self.counts.look(view);
        self.board.publish(Fleet {
            at_unix_s: view.at.as_secs_f64(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            targets: view.entries.values().take(SHOWN_MAX).map(|entry| target(view, entry)).collect(),
            notes: self.notes.clone(),
            ..Fleet::default()
        });
    }
}

fn target(view: &View<'_>, entry: &Entry) -> TargetView {
    let demand = match view.gateways.demand(&entry.key, view.at) {
        Known::Nobody => Demand::default(),
        Known::Fresh(demand) | Known::Stale(demand, _) => demand,
    };
    let fleet = entry.fleet.unwrap_or_default();
    let decided = entry.latest.as_ref().map(|decision| decision.replicas);
    TargetView {
        name: entry.name.to_string(),
        policy: entry.spec.as_ref().map_or("", Spec::policy).to_owned(),
        min: entry.spec.as_ref().map_or(0, |spec| spec.min),
        max: entry.spec.as_ref().map_or(0, |spec| spec.max),
        wanted: decided.unwrap_or(fleet.spec),
        ready: fleet.ready,
        starting: fleet.starting,
        // Whole numbers, summed.
        waiting: demand.waiting as u32,
        in_flight: demand.in_flight as u32,
        tokens: demand.tokens as u64,
        trouble: entry.trouble.clone().or_else(|| entry.held.clone()),
        signals: signals(entry),
        starts: entry.starts.iter().rev().map(|(at, phases)| start(*at, phases)).collect(),
        ..TargetView::default()
    }
}

fn start(at: Time, phases: &[(&'static str, tidegate_core::time::Span); 3]) -> StartView {
    StartView {
        at_unix_s: at.as_secs_f64(),
        replica: String::new(),
        phases: phases.iter().map(|(phase, span)| ((*phase).to_owned(), span.as_secs_f64())).collect(),
        total_s: phases.iter().map(|(_, span)| span.as_secs_f64()).sum(),
    }
}

fn signals(entry: &Entry) -> Vec<SignalView> {
    let Some(spec) = &entry.spec else { return Vec::new() };
    let view = |signal: &tidegate_core::scale::spec::Signal| {
        let (state, value, text) = match entry.readings.get(&signal.name) {
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
        let trust = entry.trust.of(&signal.name);
        let moves = trust.is_none_or(|(liveness, _)| liveness != Liveness::NotMoving);
        SignalView {
            name: signal.name.to_string(),
            value,
            target: goal(&signal.metric),
            state: if moves { state } else { SignalState::NotMoving },
            text,
            since_unix_s: trust.map(|(_, since)| since.as_secs_f64()),
        }
    };
    spec.signals.iter().map(view).collect()
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
