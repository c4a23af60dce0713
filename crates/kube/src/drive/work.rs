//! What policy `slo` is told each second: what came to gateways, what engines did, how long starts took. Targets of
//! another policy are asked for none of it.

use tidegate_core::scale::spec::Kind;
use tidegate_core::scale::{Event, Spec};
use tidegate_core::slo::Objective;
use tidegate_core::time::{Span, Time};
use tidegate_signals::work::AtGateways;

use super::entry::Started;
use super::{Error, Operator};
use crate::index::target::Key;
use crate::live::Pod;

/// What takes longer is no start: a pod that lost its readiness and found it again says when it did so last, and who
/// comes to lead sees no more than that. Looks ahead are a quarter of it at the most.
const START_MAX: Span = Span::from_secs(3600);

/// What is promised; `None` for another policy.
pub(super) fn objective(spec: &Spec) -> Option<Objective> {
    match &spec.kind {
        Kind::ScaledObject(keda) => keda.slo,
        Kind::Autoscaler | Kind::ScaledJob(_) => None,
    }
}

impl Operator {
    /// Tells a target of policy `slo` of its work since the last look.
    pub(super) fn tell_work(&mut self, key: &Key) -> Result<(), Error> {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let Some(objective) = entry.spec.as_ref().and_then(objective) else { return Ok(()) };
        let Some(id) = &entry.workload else { return Ok(()) };
        let ready = self.index.pods_of(id).filter(|(_, facts)| facts.ready && !facts.deleting);
        // One that is not asked, for whatever reason, is one that says nothing.
        let said: Vec<_> = ready
            .map(|(id, _)| {
                let pod = Pod { namespace: id.namespace.clone(), name: id.name.clone() };
                let name = pod.into();
                let said = self.scrapes.said(&name);
                (name, said)
            })
            .collect();
        let replicas =
            said.iter().map(|(name, said)| (name, said.as_ref().map(|(sample, at)| (&**sample, *at))));
        let book = &self.gateways.book;
        let flows = book.flows(key, now);
        let gateways = AtGateways { waiting: book.waiting(key), flows: flows.as_deref() };
        if let Some(load) = entry.work.load(now, replicas, gateways, &objective) {
            self.step(key, &Event::Load(load))?;
        }
        Ok(())
    }

    /// Tells a target of policy `slo` how long starts took, each once: those that were over when what is remembered
    /// of it was written are in that.
    pub(super) fn tell_starts(&mut self, key: &Key, starts: &[Started]) -> Result<(), Error> {
        let Some(entry) = self.entries.get(key) else { return Ok(()) };
        if entry.spec.as_ref().and_then(objective).is_none() {
            return Ok(());
        }
        let remembered = entry.remembered;
        let new = |ready: &Time| remembered.is_none_or(|remembered| *ready > remembered);
        let took: Vec<Span> =
            starts.iter().filter(|(ready, _)| new(ready)).map(|(_, phases)| total(phases)).collect();
        for took in took.into_iter().filter(|took| *took <= START_MAX) {
            self.step(key, &Event::Started(took))?;
        }
        Ok(())
    }
}

/// How long a start took, all phases of it.
fn total(phases: &[(&'static str, Span); 3]) -> Span {
    phases.iter().fold(Span::ZERO, |sum, (_, span)| sum + *span)
}
