//! Which signals can be trusted, and a remark when that changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};
use tidegate_dashboard::model::Severity;
use tidegate_signals::liveness::{Change, Expect, Liveness, Watch};
use tidegate_signals::{Source, Sources};

use super::fleet::Loop;
use crate::output;

/// How long a replica has served before its numbers have to be there: five scrapes at one a second.
const READ_AFTER: Span = Span::from_secs(5);

/// A watch over each signal of one target.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    watches: BTreeMap<Arc<str>, Watch>,
    /// Since when a replica has served all along.
    serves_since: Option<Time>,
}

impl Trust {
    /// What a signal is like, and since when.
    pub(crate) fn of(&self, signal: &str) -> Option<(Liveness, Time)> {
        self.watches.get(signal).map(|watch| (watch.state(), watch.since()))
    }

    /// One tick of all signals: what there is to remark.
    fn tick(
        &mut self,
        now: Time,
        sources: &Sources,
        readings: &BTreeMap<Arc<str>, Reading>,
        demand: tidegate_signals::Demand,
        ready: u32,
    ) -> Vec<(Arc<str>, Change)> {
        self.watches.retain(|name, _| sources.iter().any(|(known, _)| known == name));
        self.serves_since = (ready > 0).then(|| self.serves_since.unwrap_or(now));
        let value = self.serves_since.is_some_and(|since| now.since(since) >= READ_AFTER);
        let mut remarks = Vec::new();
        for (name, source) in sources.iter() {
            let watch = self.watches.entry(Arc::clone(name)).or_default();
            // The clock stands still for hours, and the gateway's own count is the load itself.
            let moves = matches!(source, Source::Remote(_) | Source::Embedded(_));
            let change = watch.tick(now, readings.get(name), demand, Expect { moves, value });
            remarks.extend(change.map(|change| (Arc::clone(name), change)));
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
            let ready = entry.seen.map_or(0, |fleet| fleet.ready);
            let remarks = entry.trust.tick(now, &entry.sources, &entry.readings, demand, ready);
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
