//! Targets that are taken over, and those that are let go.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};

use super::entry::OBJECT;
use super::sight::unseen;
use super::{Entry, Operator, Weight};
use crate::adopt::{self, Step};
use crate::index::target::{self, Asks, Key};
use crate::object::{Id, Kind, Object};
use crate::owner;
use crate::status::notes::{self, Said, sentence};
use crate::write::{self, How, Patch, Scale, Write};

/// Between two Events that say what an object's adoption waits for: a load that moves would give one a second.
const WAITS_PAUSE: Span = Span::from_secs(10);

/// How far the taking over of a target has come.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Adoption {
    /// What is done next, once our decision agrees.
    step: Step,
    /// Whether it was asked for: what comes of it is seen by the watches.
    asked: bool,
    /// What it waits for, and since when that is said.
    waits: Option<(String, Time)>,
}

impl Adoption {
    pub(super) const fn new(step: Step) -> Self {
        Adoption { step, asked: false, waits: None }
    }

    /// The same with what was said before: it is not said again.
    pub(super) fn after(mut self, before: Option<Self>) -> Self {
        self.waits = before.and_then(|before| before.waits);
        self
    }

    /// It did not come to pass, and is to be asked for again.
    pub(super) const fn failed(&mut self) {
        self.asked = false;
    }

    const fn at_once(&self) -> bool {
        match self.step {
            Step::Take { at_once, .. } => at_once,
            Step::Remove { .. } | Step::HandOver { .. } => true,
        }
    }
}

impl Operator {
    /// A decision about a target that somebody else still has: if it is what is there, the target is taken over.
    pub(super) fn consider(&mut self, key: &Key) {
        let Some(entry) = self.entries.get(key) else { return };
        let Some(adoption) = entry.adoption.clone().filter(|adoption| !adoption.asked) else { return };
        let refused = &entry.refused[OBJECT];
        if refused.rests(self.clock.now()) {
            return;
        }
        let first = refused.until().is_none();
        if !adoption.at_once() {
            match agrees(entry) {
                Agreed::Yes => {}
                Agreed::NotYet => return,
                Agreed::No(why) => return self.waits(key, why),
            }
        }
        if self.connection.read_only {
            return self.waits(key, "now; this operator only advises".to_owned());
        }
        if matches!(adoption.step, Step::HandOver { .. }) && !self.may_hand_over(key) {
            return;
        }
        if let Some(adoption) = self.entries.get_mut(key).and_then(|entry| entry.adoption.as_mut()) {
            adoption.asked = true;
        }
        let now = self.clock.now();
        match adoption.step.clone() {
            Step::Take { .. } => {
                // Of the object as it is now: what has moved since it was read is its status.
                let object = self.index.object(&key.id());
                let Some(json) = object.and_then(|object| adoption.step.patch(&object)) else { return };
                let patch = Patch { id: key.id(), subresource: None, how: How::Merge, json };
                self.queue.push(Write::Patch(patch), now);
                if !first {
                    return;
                }
                self.remark(Weight::Info, &format!("{key}: taken over"));
                let message = "Tidegate decides and scales from here on".to_owned();
                self.note(key, Said { warning: false, reason: "Adopted", message });
            }
            Step::HandOver { hpa } => {
                let Some(object) = self.index.object(&hpa) else { return };
                let json = adopt::hand_over(&object, &key.name, self.index.claim());
                let again = adopt::handed_to(&object).as_deref() == Some(&*key.name);
                let message = format!("The HorizontalPodAutoscaler {} is stopped for this object", hpa.name);
                self.queue
                    .push(Write::Patch(Patch { id: hpa, subresource: None, how: How::Merge, json }), now);
                if again {
                    return self.put_back(key, &object);
                }
                if !first {
                    return;
                }
                self.remark(Weight::Info, &format!("{key}: {message}"));
                self.note(key, Said { warning: false, reason: "AutoscalerHandedOver", message });
            }
            Step::Remove { hpa, uid } => {
                let message = format!("KEDA's HorizontalPodAutoscaler {} is removed", hpa.name);
                self.queue.push(Write::Delete { id: hpa, uid: uid.into(), foreground: false }, now);
                if !first {
                    return;
                }
                self.remark(Weight::Info, &format!("{key}: {message}"));
                self.note(key, Said { warning: false, reason: "AutoscalerRemoved", message });
            }
        }
    }

    /// Whether an autoscaler is handed over now: not to who leaves the workload to an elder that was read since, and not
    /// in turn with a tool that puts back what was written into it. 1, 2, 4 … 30 s lie between two times.
    fn may_hand_over(&mut self, key: &Key) -> bool {
        let now = self.clock.now();
        let Some(object) = self.index.object(&key.id()) else { return false };
        if self.has_elder(key, &object) {
            self.again.insert(key.clone());
            return false;
        }
        let Some(entry) = self.entries.get_mut(key).filter(|entry| !entry.handed.rests(now)) else {
            return false;
        };
        let _ = entry.handed.again("handed over", now);
        true
    }

    /// Whether the workload of an object is an elder's, of ours or of another shard at work.
    fn has_elder(&self, key: &Key, object: &Object) -> bool {
        owner::elder_of(&self.index, key, object).is_some()
            || self.beside(key, object, self.clock.now()).elder.is_some()
    }

    /// Says that somebody has written into an autoscaler that was handed over, and that it is handed over again.
    fn put_back(&mut self, key: &Key, hpa: &Object) {
        let message = format!(
            "The HorizontalPodAutoscaler {} was changed by somebody and is stopped for this object once more; have a tool \
             that applies it ignore /spec/behavior, /spec/minReplicas and /spec/maxReplicas of it",
            hpa.id.name
        );
        self.note_at_times(key, Said { warning: true, reason: "AutoscalerChanged", message });
    }

    /// Says what an adoption waits for, when that is something else than was said last.
    pub(super) fn waits(&mut self, key: &Key, why: String) {
        let now = self.clock.now();
        let adoption = self.entries.get_mut(key).and_then(|entry| entry.adoption.as_mut());
        let Some(adoption) = adoption else { return };
        let silent = |(said, at): &(String, Time)| *said == why || now.since(*at) < WAITS_PAUSE;
        if adoption.waits.as_ref().is_some_and(silent) {
            return;
        }
        adoption.waits = Some((why.clone(), now));
        self.remark(Weight::Info, &format!("{key}: would be taken over: {why}"));
        self.note(key, Said { warning: false, reason: "AdoptionWaits", message: why });
    }

    /// An autoscaler that was to be removed is still there.
    pub(super) fn not_removed(&mut self, hpa: &Id, why: &str) {
        let now = self.clock.now();
        let removes =
            |adoption: &Adoption| matches!(&adoption.step, Step::Remove { hpa: other, .. } if other == hpa);
        let mut entries = self.entries.values_mut();
        let entry = entries.find(|entry| entry.adoption.as_ref().is_some_and(removes));
        let Some(entry) = entry else { return };
        if let Some(adoption) = &mut entry.adoption {
            adoption.failed();
        }
        entry.refused[OBJECT].again(why, now);
        let (key, message) = (entry.key.clone(), format!("{} cannot be removed: {why}", hpa.name));
        self.waits(&key, message);
    }

    /// An autoscaler that was to be handed over was not: it is asked for again with another decision. Whether it was
    /// one.
    pub(super) fn not_handed(&mut self, hpa: &Id, error: &write::Error) -> bool {
        let now = self.clock.now();
        let hands = |adoption: &Adoption| matches!(&adoption.step, Step::HandOver { hpa: one } if one == hpa);
        let mut entries = self.entries.values_mut();
        let Some(entry) = entries.find(|entry| entry.adoption.as_ref().is_some_and(hands)) else {
            return false;
        };
        if let Some(adoption) = &mut entry.adoption {
            adoption.failed();
        }
        if *error != write::Error::Conflict {
            entry.refused[OBJECT].again(&error.to_string(), now);
            let (key, why) = (entry.key.clone(), format!("{} cannot be stopped: {error}", hpa.name));
            self.waits(&key, why);
        }
        true
    }

    /// Looks with the next tick whether the autoscalers that were handed over to a target are still to be stopped.
    pub(super) fn look_at_handed(&mut self, key: &Key) {
        let Some(entry) = self.entries.get(key).filter(|_| key.asks == Asks::ScaledObject) else { return };
        let handed = |hpa: &Arc<Object>| adopt::handed_to(hpa).as_deref() == Some(&*key.name);
        let keys: Vec<Key> = match &entry.workload {
            Some(workload) => {
                let all = self.index.autoscalers_of(workload).filter(handed);
                all.filter_map(|hpa| Key::of(&hpa.id)).collect()
            }
            // One that could never be read: what it scales is not known once it is gone.
            None => {
                let all = self.index.objects_of(&Kind::HorizontalPodAutoscaler, &key.namespace);
                all.filter(handed).filter_map(|hpa| Key::of(&hpa.id)).collect()
            }
        };
        self.again.extend(keys);
    }

    /// Whether an autoscaler is stopped for a ScaledObject that takes it over still, or is another operator's to start.
    fn stays_handed(&mut self, hpa: &Object) -> bool {
        let Some(to) = adopt::handed_to(hpa) else { return false };
        let id = Id::new(Kind::ScaledObject, &hpa.id.namespace, &to);
        let object = self.index.object(&id);
        self.look_for_claimer_of(hpa);
        if hpa.annotation(adopt::CLAIM) != Some(self.index.claim()) {
            if self.is_of_another_shard(hpa, self.clock.now()) {
                // Where its ScaledObject is gone it is looked at until that shard has started it, or is gone as well: a
                // lease that ends brings nothing of the objects it stood for.
                if object.is_none() {
                    self.again.extend(Key::of(&hpa.id));
                }
                return true;
            }
            if object.as_ref().is_some_and(|object| !self.index.shares(object)) {
                return true;
            }
        }
        object.is_some_and(|object| {
            self.index.ours(&object)
                && !object.deleting()
                && adopt::hands_over(&object, hpa)
                && Key::of(&id).is_some_and(|key| !self.has_elder(&key, &object))
                && target::scaled(&object).map(|id| id.name) == target::scaled(hpa).map(|id| id.name)
        })
    }

    /// Whether an autoscaler that was handed over can go on from the count that is there. At zero it rests by itself, so
    /// a workload that its ScaledObject has brought there is given its first replicas before; it is asked for again with
    /// each tick. Where that is refused, the autoscaler is given back all the same.
    fn wakes(&mut self, key: &Key, hpa: &Object) -> bool {
        let (Some(to), Some(id)) = (adopt::first_count(hpa), target::scaled(hpa)) else { return true };
        if self.parting.contains_key(key) {
            return true;
        }
        // It is watched until then: its ScaledObject looks at it no longer.
        self.index.uses(key, BTreeSet::from([id.clone()]));
        self.want();
        let Some(workload) = self.index.workload(&id) else {
            let looked = unseen(&id, &self.index, &self.blind).is_some();
            if !looked {
                self.again.insert(key.clone());
            }
            return looked;
        };
        if workload.fleet.spec > 0 {
            return true;
        }
        let scale = Scale {
            key: key.clone(),
            uid: Arc::clone(&workload.uid),
            version: Arc::clone(&workload.resource_version),
            workload: id,
            from: 0,
            to,
            why: "the HorizontalPodAutoscaler is given back, and would rest at zero".to_owned(),
        };
        self.queue.push(Write::Scale(scale), self.clock.now());
        self.again.insert(key.clone());
        false
    }

    /// What became of the first replicas of a workload whose autoscaler is given back.
    pub(super) fn woken(&mut self, scale: &Scale, refused: Option<&str>) {
        let (now, Scale { key, workload, to, .. }) = (self.clock.now(), scale);
        self.again.insert(key.clone());
        if let Some(why) = refused {
            let _ = self.parting.entry(key.clone()).or_default().again(why, now);
            return;
        }
        let message = format!(
            "{} had no replicas, where this autoscaler rests: it was given {to} before the autoscaler was given back",
            workload.name
        );
        self.note(key, Said { warning: false, reason: "WorkloadStarted", message });
    }

    /// An object is not ours, or not any more: what of ours is on it is taken away.
    pub(super) fn let_go(&mut self, key: &Key, object: &Object) {
        if self.stays_handed(object) {
            return;
        }
        self.index.uses(key, BTreeSet::new());
        self.end(key);
        let now = self.clock.now();
        let refused = self.parting.get(key);
        if self.connection.read_only
            || !adopt::to_give_back(object)
            || refused.is_some_and(|refused| refused.rests(now))
        {
            return;
        }
        let first = refused.is_none();
        if let Some(workload) = target::scaled(object) {
            // A count that is under way lands before the next owner is let in.
            let _ = self.queue.forget_scale(&workload);
            if self.queue.scaling(&workload) {
                self.again.insert(key.clone());
                return;
            }
        }
        if !self.wakes(key, object) {
            return;
        }
        let patch = Patch { id: key.id(), subresource: None, how: How::Merge, json: adopt::give(object) };
        self.queue.push(Write::Patch(patch), now);
        if !first {
            return;
        }
        self.remark(Weight::Info, &format!("{key}: given back"));
        if let Some(said) = notes::ended(key.asks) {
            self.note(key, said);
        }
        let message = "Tidegate leaves it alone from here on".to_owned();
        self.note(key, Said { warning: false, reason: "Released", message });
    }
}

enum Agreed {
    Yes,
    /// Not everything was read yet.
    NotYet,
    No(String),
}

/// Whether what is decided is what is there, and was decided by all it should be.
fn agrees(entry: &Entry) -> Agreed {
    let (Some(spec), Some(decision), Some(fleet)) = (&entry.spec, &entry.latest, &entry.fleet) else {
        return Agreed::NotYet;
    };
    for signal in &spec.signals {
        match entry.readings.get(&signal.name) {
            // A count that is held for lack of sight would always agree.
            None => return Agreed::NotYet,
            Some(Reading::Error(why)) => {
                return Agreed::No(format!("when {} can be read: {why}", signal.name));
            }
            Some(Reading::Stale { age, .. }) => {
                return Agreed::No(format!("when {} can be read: its value is {age} old", signal.name));
            }
            Some(_) => {}
        }
    }
    if decision.replicas == fleet.spec {
        return Agreed::Yes;
    }
    let (decided, there) = (decision.replicas, fleet.spec);
    let why = sentence(decision);
    Agreed::No(format!("when decisions agree: {decided} are decided ({why}), {there} are there"))
}
