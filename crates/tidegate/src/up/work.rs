//! What policy `slo` is told each second: what engines did, and how long starts took.

use std::io;
use std::sync::Arc;

use tidegate_core::scale::spec::Kind;
use tidegate_core::scale::{Event, Spec};
use tidegate_core::slo::Objective;
use tidegate_signals::work::AtGateways;

use super::fleet::Loop;

/// What a target of policy `slo` promises; `None` for another policy.
pub(super) fn objective(spec: &Spec) -> Option<Objective> {
    match &spec.kind {
        Kind::ScaledObject(keda) => keda.slo,
        _ => None,
    }
}

impl Loop {
    /// Tells a target of policy `slo` of its work; another's is not asked for it.
    pub(crate) fn tell_work(&mut self, name: &Arc<str>) -> io::Result<()> {
        let Some(objective) = self.control.spec(name).and_then(objective) else { return Ok(()) };
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
            ready.map(|one| (Arc::clone(&one.replica), scrapes.sample(&one.replica))).collect();
        let seen = samples
            .iter()
            .map(|(replica, said)| (replica, said.as_ref().map(|(sample, at)| (&**sample, *at))));
        // All requests come through our own gateway, so it is never silent.
        let flow = self.gateway.flow(name).map(|flow| vec![(Arc::clone(name), flow)]);
        let gateways = AtGateways { waiting: entry.used.demand.waiting, flows: flow.as_deref() };
        let load = entry.work.load(now, seen, gateways, &objective);
        for event in started.into_iter().chain(load.map(Event::Load)) {
            self.step(name, &event)?;
        }
        Ok(())
    }
}
