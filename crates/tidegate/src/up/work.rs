//! What policy `slo` is told each second: what engines did, and how long starts took.

use std::io;
use std::sync::Arc;

use tidegate_core::scale::Event;
use tidegate_core::scale::spec::Kind;

use super::fleet::Loop;

impl Loop {
    /// Tells a target of policy `slo` of its work; another's is not asked for it.
    pub(crate) fn tell_work(&mut self, name: &Arc<str>) -> io::Result<()> {
        let objective = match self.control.spec(name).map(|spec| &spec.kind) {
            Some(Kind::ScaledObject(keda)) => keda.slo,
            _ => None,
        };
        let Some(objective) = objective else { return Ok(()) };
        let status = Arc::clone(&self.status.borrow());
        let Some(target) = status.target(name) else { return Ok(()) };
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(name) else { return Ok(()) };
        let told = entry.start_told;
        let started: Vec<Event> = target
            .starts
            .iter()
            .filter(|start| told.is_none_or(|told| start.at > told))
            .map(|start| Event::Started(start.total))
            .collect();
        entry.start_told = target.starts.iter().map(|start| start.at).max().max(told);
        let scrapes = &self.scrapes;
        let ready =
            target.replicas.iter().filter(|replica| replica.state == tidegate_local::status::State::Ready);
        let samples: Vec<_> =
            ready.filter_map(|one| Some((Arc::clone(&one.replica), scrapes.sample(&one.replica)?))).collect();
        let seen = samples.iter().map(|(replica, sample)| (replica, &**sample));
        let load = entry.work.load(now, seen, entry.used.demand.waiting, &objective);
        for event in started.into_iter().chain(load.map(Event::Load)) {
            self.step(name, &event)?;
        }
        Ok(())
    }
}
