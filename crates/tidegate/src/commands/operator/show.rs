//! What the pages show of a cluster.

use std::sync::Arc;

use tidegate_core::scale::{Decision, Spec};
use tidegate_core::time::Time;
use tidegate_dashboard::brief::Brief;
use tidegate_dashboard::model::{Fleet, Note, Severity, StartView, TargetView};
use tidegate_dashboard::{Board, Health};
use tidegate_kube::demand::Known;
use tidegate_kube::drive::{Audience, Entry, View, Weight};
use tidegate_signals::Demand;

use super::metrics::Counts;
use crate::{output, signals};

/// Remarks shown: a screen of them.
const NOTES_MAX: usize = 20;

/// Targets with a card on the fleet's page. Of more a page would be 10 MB a second for each who looks at it; the others
/// are found by name, and are in the metrics as these are.
const SHOWN_MAX: usize = 500;

/// Tells the board, standard error and the metrics.
pub(super) struct Told {
    board: Arc<Board>,
    health: Arc<Health>,
    counts: Counts,
    notes: Vec<Note>,
}

impl Told {
    pub(super) fn new(board: Arc<Board>, counts: Counts) -> Self {
        let health = Arc::new(Health::new("not everything was listed yet"));
        board.set_health(Arc::clone(&health));
        Told { board, health, counts, notes: Vec::new() }
    }
}

impl Audience for Told {
    fn decided(&mut self, at: Time, from: u32, decision: &Arc<Decision>) {
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

    fn waits(&mut self) {
        self.health.tick();
    }

    fn look(&mut self, view: &View<'_>) {
        self.health.tick();
        // Also one that stands by: it answers admission reviews, hears gateways, and can lead at once.
        if view.synced {
            self.health.set_ready(Ok(()));
        }
        self.counts.look(view);
        self.board.publish(Fleet {
            at_unix_s: view.at.as_secs_f64(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            targets: view.entries.values().take(SHOWN_MAX).map(|entry| target(view, entry)).collect(),
            hidden: view.entries.len().saturating_sub(SHOWN_MAX) as u32,
            rest: view.entries.values().skip(SHOWN_MAX).map(|entry| brief(view, entry)).collect(),
            notes: self.notes.clone(),
            ..Fleet::default()
        });
    }
}

fn demand(view: &View<'_>, entry: &Entry) -> Demand {
    match view.gateways.demand(&entry.key, view.at) {
        Known::Nobody => Demand::default(),
        Known::Fresh(demand) | Known::Stale(demand, _) => demand,
    }
}

fn brief(view: &View<'_>, entry: &Entry) -> Brief {
    let (demand, fleet) = (demand(view, entry), entry.fleet.unwrap_or_default());
    Brief {
        name: Arc::clone(&entry.name),
        min: entry.spec.as_ref().map_or(0, |spec| spec.min),
        max: entry.spec.as_ref().map_or(0, |spec| spec.max),
        wanted: entry.latest.as_ref().map_or(fleet.spec, |decision| decision.replicas),
        ready: fleet.ready,
        starting: fleet.starting,
        // Whole numbers, summed.
        waiting: demand.waiting as u32,
        in_flight: demand.in_flight as u32,
        tokens: demand.tokens as u64,
        trouble: entry.trouble.clone().or_else(|| entry.held.clone()),
        signals: entry
            .spec
            .as_ref()
            .map(|spec| signals::brief(spec, &entry.readings, &entry.trust))
            .unwrap_or_default(),
    }
}

fn target(view: &View<'_>, entry: &Entry) -> TargetView {
    let demand = demand(view, entry);
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
        advice: entry.advice.as_ref().map(ToString::to_string),
        trouble: entry.trouble.clone().or_else(|| entry.held.clone()),
        signals: entry
            .spec
            .as_ref()
            .map(|spec| signals::view(spec, &entry.readings, &entry.trust))
            .unwrap_or_default(),
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
