//! What is told of a target: its status, what is remembered of it, and the whole to who shows it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::work::objective;
use super::{Entry, Operator, View};
use crate::index::target::{Asks, Key};
use crate::lease::elector::Standing;
use crate::object::{Gvk, Object};
use crate::persist;
use crate::status::{Facts, status};
use crate::write::{Patch, Write};

impl Operator {
    /// Writes a target's status, if it is not what stands or was asked for last.
    pub(super) fn tell(&mut self, key: &Key) {
        if self.connection.read_only {
            return;
        }
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return };
        // While another has it, the status is the other's to write; an autoscaler's always is.
        if entry.watched() || entry.elsewhere || key.asks == Asks::Autoscaler {
            return;
        }
        let Some(object) = self.index.object(&key.id()) else { return };
        // Most decisions are those of the second before: then there is nothing to compare.
        let made_of = made_of(object, entry);
        if std::mem::replace(&mut entry.told, made_of) == made_of {
            return;
        }
        let gvk = entry.workload.as_ref().map(|id| id.kind.gvk());
        let plural = gvk.as_ref().map(plural).unwrap_or_default();
        let patch = status(&Facts {
            object,
            asks: key.asks,
            spec: entry.spec.as_ref(),
            decision: entry.latest.as_deref(),
            trouble: entry.trouble.as_deref(),
            workload: gvk.as_ref().map(|gvk| (gvk, plural.as_str())),
            found: entry.fleet.map(|fleet| fleet.spec),
            was_active: entry.ended,
            limited: entry
                .room
                .as_ref()
                .and_then(Option::as_ref)
                .filter(|room| room.limits())
                .map(|room| &*room.lacks),
        });
        let Some(json) = patch else {
            entry.status = None;
            return;
        };
        let mut hasher = DefaultHasher::new();
        json.to_string().hash(&mut hasher);
        let short = hasher.finish();
        if entry.status.replace(short) == Some(short) {
            return;
        }
        let patch = Patch { id: object.id.clone(), subresource: Some("status"), json };
        self.queue.push(Write::Patch(patch), now);
    }

    /// Writes what is remembered, if it is time; `last` when this is the end.
    pub(super) fn remember(&mut self, last: bool) {
        if self.connection.read_only || self.mind != super::Mind::Decides {
            return;
        }
        let now = self.clock.now();
        if !self.memory.due(now, last) {
            return;
        }
        let index = &self.index;
        let uid = |key: &Key| index.object(&key.id()).map(|object| object.uid().to_owned());
        let keys: Vec<(Key, String)> =
            self.entries.keys().filter_map(|key| Some((key.clone(), uid(key)?))).collect();
        let states = keys.iter().filter_map(|(key, uid)| {
            let entry = self.entries.get(key)?;
            let (name, state) = (Arc::clone(&entry.name), self.control.state(&entry.name)?);
            let mut mark = entry.latest.as_deref().map_or(0, persist::mark);
            if entry.spec.as_ref().and_then(objective).is_some() {
                mark = persist::mark_learned(mark, now);
            }
            Some(persist::Kept { name, uid, mark, state })
        });
        for page in self.memory.pages(states, now) {
            let patch = persist::patch(&self.namespace, &self.shard, &page);
            self.queue.push(Write::State(patch), now);
        }
    }

    pub(super) fn show(&mut self) {
        let view = View {
            at: self.clock.now(),
            standing: if self.connection.read_only { Standing::Standby } else { *self.standing.borrow() },
            advise: self.connection.read_only,
            deciding: self.mind == super::Mind::Decides,
            entries: &self.entries,
            waiting: self.queue.len(),
            blind: &self.blind,
            lag_s: self.lag_s,
            gateways: &self.gateways.book,
        };
        self.audience.look(&view);
    }
}

/// What a status is made of, in short: the object as it stands (each version is another value in memory),
/// the decision's conditions and rules, and what is wrong.
fn made_of(object: &Arc<Object>, entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    (Arc::as_ptr(object) as usize, entry.trouble.as_deref(), entry.ended, entry.fleet.is_some())
        .hash(&mut hasher);
    let limits = entry.room.as_ref().and_then(Option::as_ref).filter(|room| room.limits());
    limits.map(|room| &*room.lacks).hash(&mut hasher);
    if let Some(decision) = &entry.latest {
        let conditions = decision.conditions;
        let all = [conditions.ready, conditions.active, conditions.fallback, conditions.paused];
        for (status, reason) in all.into_iter().flatten() {
            (status as u8, reason).hash(&mut hasher);
        }
        decision.steps.iter().for_each(|step| (step.rule as u8).hash(&mut hasher));
    }
    hasher.finish()
}

/// A kind's plural as nearly every kind has it; only shown, never asked for.
fn plural(gvk: &Gvk) -> String {
    let lower = gvk.kind.to_lowercase();
    if lower.ends_with('s') { format!("{lower}es") } else { format!("{lower}s") }
}
