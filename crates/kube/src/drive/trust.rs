//! Says when a signal cannot be trusted any more, and when it can again: a remark, and an Event of the object.

use super::{Operator, Weight};
use crate::demand::Known;
use crate::index::target::Key;
use crate::status::notes::Said;
use tidegate_signals::trust::sentence;

impl Operator {
    /// Looks at every signal of a target, whose sources have just been read.
    pub(super) fn watch_signals(&mut self, key: &Key) {
        let now = self.clock.now();
        let demand = match self.gateways.book.demand(key, now) {
            Known::Nobody => tidegate_signals::Demand::default(),
            Known::Fresh(demand) | Known::Stale(demand, _) => demand,
        };
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(sources) = entry.sources.clone() else { return };
        let ready = entry.fleet.map_or(0, |fleet| fleet.ready);
        let remarks = entry.trust.tick(now, &sources, &entry.readings, demand, ready);
        let lines: Vec<(bool, String)> = remarks
            .into_iter()
            .map(|(name, change)| {
                (change.to.is_trouble(), sentence(&name, change, entry.readings.get(&name)))
            })
            .collect();
        for (warning, message) in lines {
            let weight = if warning { Weight::Warning } else { Weight::Info };
            self.remark(weight, &format!("{key}: {message}"));
            let reason = if warning { "SignalLost" } else { "SignalFound" };
            self.note(key, Said { warning, reason, message });
        }
    }
}
