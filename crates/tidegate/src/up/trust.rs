//! Which signals can be trusted, and a remark when that changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::scale::Reading;
use tidegate_core::time::Time;
use tidegate_dashboard::model::Severity;
use tidegate_signals::liveness::{Change, Liveness, Watch};
use tidegate_signals::{Source, Sources};

use super::fleet::Loop;
use crate::output;

/// A watch over each signal of one target.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    watches: BTreeMap<Arc<str>, (Watch, bool)>,
}

impl Trust {
    /// What a signal is like, and since when.
    pub(crate) fn of(&self, signal: &str) -> Option<(Liveness, Time)> {
        self.watches.get(signal).map(|(watch, _)| (watch.state(), watch.since()))
    }

    /// One tick of all signals: what there is to remark.
    fn tick(
        &mut self,
        now: Time,
        sources: &Sources,
        readings: &BTreeMap<Arc<str>, Reading>,
        demand: tidegate_signals::Demand,
        replicas: u32,
    ) -> Vec<(Arc<str>, Change)> {
        self.watches.retain(|name, _| sources.iter().any(|(known, _)| known == name));
        let mut remarks = Vec::new();
        for (name, source) in sources.iter() {
            let (watch, told) = self.watches.entry(Arc::clone(name)).or_default();
            // The clock stands still for hours, and the gateway's own count is the load itself.
            let moves = matches!(source, Source::Remote(_) | Source::Embedded(_));
            let Some(change) = watch.tick(now, readings.get(name), demand, moves) else { continue };
            // Without a replica there is nothing to scrape.
            let expected = change.to == Liveness::Absent && replicas == 0;
            let trouble = change.to.is_trouble() && !expected;
            if trouble || *told {
                remarks.push((Arc::clone(name), change));
            }
            *told = trouble;
        }
        remarks
    }
}

impl Loop {
    /// Looks at every signal of every target, and says what has changed.
    pub(crate) fn watch_signals(&mut self) {
        let now = self.clock.now();
        let mut lines = Vec::new();
        for (target, entry) in &mut self.entries {
            let demand = super::fleet::told(entry.used.demand);
            let remarks = entry.trust.tick(now, &entry.sources, &entry.readings, demand, entry.wanted);
            for (name, change) in remarks {
                lines.push((change.to, sentence(target, &name, change, entry.readings.get(&name))));
            }
        }
        for (state, line) in lines {
            if state.is_trouble() {
                output::complain(&line);
                self.note(Severity::Warning, line);
            } else {
                output::note(&line);
                self.note(Severity::Info, line);
            }
        }
    }
}

fn sentence(target: &str, name: &str, change: Change, reading: Option<&Reading>) -> String {
    let lasted = change.lasted;
    match (change.to, reading) {
        (Liveness::Stale, Some(Reading::Stale { value, age })) => {
            format!("{target}: signal {name} is stale: its source has not answered, and {value} is {age} old")
        }
        (Liveness::Error, Some(Reading::Error(why))) => {
            format!("{target}: signal {name} cannot be read: {why}")
        }
        (Liveness::Absent, _) => {
            format!("{target}: signal {name} is absent: its source answers, and there is no such value")
        }
        (Liveness::NotMoving, Some(Reading::Value { value, .. })) => format!(
            "{target}: signal {name} does not move: it says {value} while requests come and go; see its query"
        ),
        (Liveness::NotMoving, _) => {
            format!("{target}: signal {name} does not move while requests come and go; see its query")
        }
        (Liveness::Found, _) => {
            format!("{target}: signal {name} is found again; it was {} for {lasted}", change.from.name())
        }
        (state, _) => format!("{target}: signal {name} is {}", state.name()),
    }
}
