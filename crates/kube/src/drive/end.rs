//! Targets that end: deleted, given back, or gone. Whatever the way, nothing of ours stays behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::act::FINALIZER;
use super::leaving::leaving;
use super::{Entry, Error, Operator};
use crate::adopt::CLAIM;
use crate::index::target::{self, Key};
use crate::object::Object;
use crate::owner::{self, Other};
use crate::status::notes;
use crate::write::{How, Patch, Scale, Write};

impl Operator {
    /// A target is decided no longer, whatever the reason: its pods are kept and asked for nothing, and nothing is
    /// remembered of it.
    pub(super) fn end(&mut self, key: &Key) {
        self.keep_pods(key);
        self.look_at_handed(key);
        let Some(entry) = self.entries.remove(key) else { return };
        if let Some(workload) = &entry.workload {
            let _ = self.queue.forget_scale(workload);
        }
        self.queue.forget_jobs(key);
        self.scrapes.forget(key);
        self.control.remove(&entry.name);
        self.memory.forget(&entry.name);
    }

    /// Nobody goes any more: gateways route to all pods again, and what we wrote of their cost is taken back.
    pub(super) fn keep_pods(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let left = leaving(entry);
        (entry.leave, entry.taken) = (None, None);
        let namespace = &key.namespace;
        self.live.drain(|pod| pod.namespace == *namespace && left.contains(&pod.name), &BTreeSet::new());
        if let Some(workload) = entry.workload.clone() {
            self.uncost(&workload, &left);
        }
    }

    /// Whether another is at work who will let an object go: what nobody has any more is ours to let go.
    fn is_theirs(&self, key: &Key, object: &Object) -> bool {
        let now = self.clock.now();
        match object.annotation(CLAIM) {
            Some(claim) if claim == self.index.claim() => false,
            Some(_) => self.is_of_another_shard(object, now),
            None => matches!(
                owner::other(&self.index, key, object, now, self.kedas.at_work()),
                Some(Other::Keda { .. } | Other::Autoscaler { owner: Some(_), .. })
            ),
        }
    }

    /// Of a target that is not decided nothing is written: nobody says who goes, and another may have begun to.
    pub(super) fn hold_back(&mut self, key: &Key) -> Result<(), Error> {
        let idle = |entry: &&Entry| entry.trouble.is_some() || entry.watched();
        let Some(entry) = self.entries.get(key).filter(idle) else { return Ok(()) };
        let (workload, drains) = (entry.workload.clone(), entry.leave.is_some() || entry.taken.is_some());
        if workload.is_some_and(|id| self.queue.forget_scale(&id)) {
            self.not_done(key)?;
        }
        if drains {
            self.keep_pods(key);
        }
        Ok(())
    }

    /// An object is being deleted: its replicas go back to what they were, if it asks so, and it is let go.
    pub(super) fn leave(&mut self, key: &Key, object: &Object) {
        if let Some(entry) = self.entries.get_mut(key) {
            (entry.sources, entry.ear) = (None, None);
        }
        self.keep_pods(key);
        self.queue.forget_jobs(key);
        if self.is_theirs(key, object) {
            // A KEDA's, or another shard's: the finalizer on it is theirs to take off, while they are there to do it.
            self.again.insert(key.clone());
            return;
        }
        if self.connection.read_only || !finalizers(object).iter().any(|one| one == FINALIZER) {
            return;
        }
        let restore = object.json.pointer("/spec/advanced/restoreToOriginalReplicaCount");
        let restore = restore.and_then(Value::as_bool) == Some(true);
        let original = object.count("/status/originalReplicaCount").filter(|_| restore);
        // What we have written ourselves counts, though no watch has brought it back yet.
        let written = self.entries.get(key).and_then(|entry| entry.echo).map(|(to, _)| to);
        let workload = target::scaled(object).and_then(|id| self.index.workload(&id));
        if let Some(id) = workload.map(|workload| workload.id.clone())
            && original.is_some()
            && self.queue.scaling(&id)
        {
            // A count is under way: with the next tick it is known what it has left. It is another object's where this
            // one was not decided.
            if self.entries.get(key).is_some_and(|entry| entry.trouble.is_none()) {
                let _ = self.queue.forget_scale(&id);
            }
            self.again.insert(key.clone());
            return;
        }
        let now = self.clock.now();
        if let (Some(to), Some(workload)) = (original, workload)
            && let found = written.unwrap_or(workload.fleet.spec)
            && found != to
        {
            let scale = Scale {
                key: key.clone(),
                workload: workload.id.clone(),
                uid: Arc::clone(&workload.uid),
                version: Arc::clone(&workload.resource_version),
                from: found,
                to,
                why: "the ScaledObject is deleted: as many as before it came".to_owned(),
            };
            self.queue.push(Write::Scale(scale), now);
            return;
        }
        if let Some(id) = target::scaled(object).filter(|_| original.is_none()) {
            // What was decided before is nobody's wish any more.
            let _ = self.queue.forget_scale(&id);
        }
        self.release(object);
    }

    pub(super) fn release(&mut self, object: &Object) {
        let Some(key) = Key::of(&object.id) else { return };
        let now = self.clock.now();
        let refused = self.parting.get(&key);
        if refused.is_some_and(|refused| refused.rests(now)) {
            return;
        }
        let first = refused.is_none();
        let mut left = finalizers(object);
        left.retain(|one| one != FINALIZER);
        let json = json!({"metadata": {
            "resourceVersion": object.text("/metadata/resourceVersion"), "finalizers": left,
        }});
        // Not by apply: KEDA writes the same finalizer, and then it would stay.
        let patch = Patch { id: object.id.clone(), subresource: None, how: How::Merge, json };
        self.queue.push(Write::Patch(patch), now);
        // After a conflict or a refusal it is let go once more, and is not told twice.
        if !first
            || self.entries.get_mut(&key).is_some_and(|entry| std::mem::replace(&mut entry.parted, true))
        {
            return;
        }
        for said in [notes::ended(key.asks), notes::deleted(key.asks)].into_iter().flatten() {
            self.note(&key, said);
        }
    }
}

pub(super) fn finalizers(object: &Object) -> Vec<String> {
    let all = object.json.pointer("/metadata/finalizers").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(|one| Some(one.as_str()?.to_owned())).collect()
}
