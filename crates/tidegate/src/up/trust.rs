//! Says when a signal cannot be trusted any more, and when it can again.

use tidegate_dashboard::model::Severity;
use tidegate_signals::trust::sentence;

use super::fleet::Loop;
use crate::output;

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
                let said = sentence(&name, change, entry.readings.get(&name));
                lines.push((change.to, format!("{target}: {said}")));
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
