//! One target as the machine remembers it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::route::Outlook;
use tidegate_core::time::Time;

use super::replica::Replica;
use super::rollout::{self, Moves};
use crate::ledger::Holder;
use crate::starts::Starts;
use crate::status::{State, TargetStatus};
use crate::traffic::Traffic;
use crate::unit::Unit;

/// A target.
pub(super) struct Target {
    pub(super) unit: Unit,
    /// Counts changes of the template.
    pub(super) generation: u64,
    /// Whether the manifests still have it.
    pub(super) gone: bool,
    pub(super) wanted: u32,
    /// By number: the oldest first.
    pub(super) replicas: BTreeMap<u64, Replica>,
    pub(super) next_number: u64,
    pub(super) starts: Starts,
    /// The template of the last start, to tell a first start from a later one.
    pub(super) started: Option<u64>,
    pub(super) told: Option<Outlook>,
}

impl Target {
    pub(super) fn new(unit: Unit, next_number: u64) -> Self {
        Target {
            unit,
            generation: 0,
            gone: false,
            wanted: 0,
            replicas: BTreeMap::new(),
            next_number,
            starts: Starts::default(),
            started: None,
            told: None,
        }
    }

    /// Takes what the manifests say now.
    pub(super) fn update(&mut self, unit: Unit) {
        if unit.template != self.unit.template {
            self.generation += 1;
        }
        self.gone = false;
        self.unit = unit;
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.unit.target
    }

    pub(super) fn replica_mut(&mut self, holder: &Holder) -> Option<&mut Replica> {
        self.replicas.values_mut().find(|replica| replica.holder == *holder)
    }

    /// What is to come and to go.
    pub(super) fn moves(&self, wanted: u32, room: bool, traffic: &dyn Traffic) -> Moves {
        let staying = || self.replicas.values().filter(|replica| !replica.leaving);
        let count = staying().count();
        let stale = staying().any(|replica| replica.generation != self.generation);
        if count == wanted as usize && !stale {
            return Moves::default();
        }
        let names: Vec<Arc<str>> = staying()
            .filter(|replica| replica.state == State::Ready)
            .map(|replica| Arc::clone(&replica.holder.replica))
            .collect();
        let ordered = if names.len() > 1 { traffic.order(self.name(), &names) } else { names };
        let members: Vec<_> = staying()
            .map(|replica| {
                let position = ordered.iter().position(|name| *name == replica.holder.replica);
                replica.member(self.generation, position.unwrap_or(usize::MAX))
            })
            .collect();
        let old_leaving = self.replicas.values().any(|one| one.leaving && one.generation != self.generation);
        rollout::moves(wanted, &members, old_leaving, room)
    }

    /// Carries moves out.
    pub(super) fn carry_out(&mut self, moves: &Moves, now: Time) {
        for _ in 0..moves.create {
            let number = self.next_number;
            self.next_number += 1;
            let replica = format!("{}-{number}", self.unit.workload).into();
            let holder = Holder { target: Arc::clone(&self.unit.target), replica };
            let template = Arc::clone(&self.unit.template);
            self.replicas.insert(number, Replica::new(holder, number, self.generation, template, now));
        }
        self.replicas
            .retain(|_, replica| !(moves.leave.contains(&replica.holder.replica) && replica.leave(now)));
    }

    /// When its next replica should be ready.
    pub(super) fn outlook(&self, now: Time) -> Outlook {
        let starting = self.replicas.values().filter(|replica| {
            let up = matches!(replica.state, State::Starting { .. } | State::Pending { .. });
            up && !replica.leaving
        });
        let spawned = |replica: &Replica| replica.current.as_ref()?.spawned_at;
        let ready_at = starting.clone().filter_map(|one| self.starts.expected(spawned(one)?, now)).min();
        Outlook {
            starting: u32::try_from(starting.count()).unwrap_or(u32::MAX),
            ready_at,
            start: self.starts.percentile(50),
        }
    }

    pub(super) fn status(&self) -> TargetStatus {
        TargetStatus {
            target: Arc::clone(&self.unit.target),
            workload: self.unit.workload.clone(),
            models: self.unit.models.clone(),
            engine: self.unit.engine.map(|engine| engine.name()),
            wanted: self.wanted,
            replicas: self.replicas.values().map(|replica| replica.status(self.generation)).collect(),
            starts: self.starts.all(),
            start_p50: self.starts.percentile(50),
            start_p90: self.starts.percentile(90),
            gpus_per_replica: self.unit.template.gpus,
            resident_since: self.replicas.values().filter_map(|replica| replica.gpus_since).max(),
        }
    }
}
