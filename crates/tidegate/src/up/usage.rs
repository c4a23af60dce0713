//! What replicas' processes use, for `cpu` and `memory` triggers: one look at the process table a tick,
//! beside the loop, for all targets that want it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_core::scale::{Event, Phase, Pod, Requests};
use tidegate_core::time::Time;
use tidegate_core::units::Milli;
use tidegate_local::Unit;
use tidegate_local::status::{ReplicaStatus, State, TargetStatus};
use tidegate_manifest::workload::{TargetRef, env_container};
use tidegate_manifest::{Manifests, Target, quantity};
use tidegate_signals::process::{Table, Usage};

use super::fleet::{Loop, Message};

/// The process table, and whether somebody looks at it.
#[derive(Debug, Default)]
pub(crate) struct Look {
    table: Arc<Mutex<Table>>,
    under_way: bool,
    /// When each replica was first seen running.
    started: BTreeMap<Arc<str>, Time>,
}

impl Loop {
    /// Looks, if some signal wants to know and nobody looks already.
    pub(crate) fn look_at_processes(&mut self) {
        if self.usage.under_way {
            return;
        }
        let status = Arc::clone(&self.status.borrow());
        let wanting = self.entries.iter().filter(|(_, entry)| entry.sources.wants_usage());
        let replicas: Vec<(Arc<str>, u32)> = wanting
            .filter_map(|(name, _)| status.target(name))
            .flat_map(|target| &target.replicas)
            .filter_map(|one| Some((Arc::clone(&one.replica), u32::try_from(one.pid?).ok()?)))
            .collect();
        if replicas.is_empty() {
            return;
        }
        self.usage.under_way = true;
        let (now, table, outbox) = (self.clock.now(), Arc::clone(&self.usage.table), self.outbox.clone());
        tokio::task::spawn_blocking(move || {
            // A table that a panic left behind is whole: it is replaced at the end of a look.
            let used = table.lock().unwrap_or_else(PoisonError::into_inner).look(now, &replicas);
            // The loop has ended when nobody takes it.
            let _ = outbox.send(Message::Usage(used));
        });
    }

    /// Hands each target what its replicas used, and which there are.
    pub(crate) fn used(&mut self, used: &[Usage]) -> io::Result<()> {
        self.usage.under_way = false;
        let status = Arc::clone(&self.status.borrow());
        let now = self.clock.now();
        let wanting: Vec<Arc<str>> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.sources.wants_usage())
            .map(|(name, _)| Arc::clone(name))
            .collect();
        self.usage.started.retain(|replica, _| {
            status.targets.iter().flat_map(|target| &target.replicas).any(|one| one.replica == *replica)
        });
        for name in wanting {
            let Some(target) = status.target(&name) else { continue };
            let pods = self.pods(target, now);
            if self.entries.get(&name).is_some_and(|entry| entry.pods != pods) {
                if let Some(entry) = self.entries.get_mut(&name) {
                    entry.pods.clone_from(&pods);
                }
                self.step(&name, &Event::Pods(pods))?;
            }
            let its = |usage: &&Usage| target.replicas.iter().any(|one| one.replica == usage.replica);
            let its: Vec<Usage> = used.iter().filter(its).cloned().collect();
            let readings = self.entries.get(&name).map(|entry| entry.sources.usage(&its));
            self.take_readings(&name, readings.unwrap_or_default())?;
        }
        self.flush()
    }

    /// The replicas as the resource arithmetic knows pods.
    fn pods(&mut self, target: &TargetStatus, now: Time) -> Vec<Pod> {
        let requests =
            self.entries.get(&target.target).map(|entry| entry.requests.clone()).unwrap_or_default();
        let mut pods = Vec::with_capacity(target.replicas.len());
        for one in &target.replicas {
            let started = one.pid.map(|_| *self.usage.started.entry(Arc::clone(&one.replica)).or_insert(now));
            pods.push(pod(one, started, &requests));
        }
        pods
    }
}

fn pod(one: &ReplicaStatus, started: Option<Time>, requests: &Requests) -> Pod {
    Pod {
        name: one.replica.to_string(),
        phase: match one.state {
            State::Failed { .. } => Phase::Failed,
            _ if one.pid.is_some() => Phase::Running,
            _ => Phase::Pending,
        },
        ready: started.map(|_| one.state == State::Ready),
        started,
        ready_changed: started.map(|_| one.since),
        deleting: one.state.is_leaving(),
        requests: requests.clone(),
    }
}

/// What one replica asks for: the requests of the container that runs here, and where it has none its
/// limits, as Kubernetes fills them in.
pub(crate) fn requests(target: &Target, unit: &Unit, manifests: &Manifests) -> Requests {
    let container = &unit.template.container;
    let found = || {
        let document = manifests.documents.get(target.document)?;
        let (_, template) = TargetRef::of(document)?.find(manifests)?.object.pod_template()?;
        env_container(template, Some(container))?.resources.clone()
    };
    let Some(resources) = found() else { return Requests::default() };
    let mut asked = BTreeMap::new();
    for (resource, amount) in resources.limits.iter().flatten().chain(resources.requests.iter().flatten()) {
        if let Ok(amount) = quantity::parse(&amount.0) {
            asked.insert(resource.clone(), Milli(amount.0));
        }
    }
    Requests { pod: BTreeMap::new(), containers: BTreeMap::from([(container.clone(), asked)]) }
}
