//! From what is seen to events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tidegate_core::scale::spec::Life;
use tidegate_core::scale::{Event, Spec};
use tidegate_core::time::Time;
use tidegate_signals::{Shared, Sources};

use super::access::Access;
use super::adopt::Adoption;
use super::entry::{Entry, STARTS_MAX, Started};
use super::news::Ear;
use super::shards::{AGAIN, Beside};
use super::sight::unseen;
use super::{Error, Mind, Operator, Weight, room, shards};
use crate::adopt::{self, Plan};
use crate::aggregated::Questions;
use crate::index::pending::Cause;
use crate::index::pods::time;
use crate::index::target::{self, Asks, Key, Read};
use crate::index::{Index, Touched};
use crate::object::{Change, Id, Kind, Object, Scope};
use crate::owner;
use crate::status::hpa_name;
use crate::status::notes::Said;
use crate::watch::News;
use crate::write::{How, Patch, Write};

impl Operator {
    /// Takes news, and looks at whom they touch.
    pub(super) fn see(&mut self, news: impl Iterator<Item = News>) -> Result<(), Error> {
        let now = self.clock.now();
        let mut touched = Touched::default();
        for one in news {
            match one {
                News::Change(change) => {
                    if let Change::Listed(scope) = &change {
                        // Whoever looks at it may have waited for just this.
                        touched.read.extend(self.waiting_for(scope));
                    }
                    self.kedas.hear(&change, now);
                    if self.hear_of_shards(&change, now) {
                        touched.read.extend(self.leaning_on_shards());
                    }
                    self.say_authentication(&change);
                    self.registered.see(&change, &self.index);
                    let listed = match &change {
                        Change::Listed(scope) => Some(scope.kind.clone()),
                        _ => None,
                    };
                    touched.merge(self.index.apply(change));
                    if let Some(kind) = listed {
                        self.registered.listed(&kind, &self.index);
                    }
                }
                News::Blind(scope, why) => {
                    if self.blind.get(&scope) != Some(&why) {
                        // One reason for a kind is said once, however many of its objects are watched singly.
                        let said =
                            |(known, text): (&Scope, &String)| known.kind == scope.kind && *text == why;
                        if !self.blind.iter().any(said) {
                            let text = format!("cannot see {}: {why}", scope.kind.gvk().kind);
                            self.remark(Weight::Warning, &text);
                        }
                        touched.read.extend(self.index.users_of(&scope));
                        self.blind.insert(scope, why);
                    }
                }
                News::Sees(scope) => {
                    touched.read.extend(self.index.users_of(&scope));
                    self.blind.remove(&scope);
                }
            }
        }
        // Where leases may not be read, only KEDA's writes tell of it.
        let kedas = crate::watch::kedas();
        let looked = self.index.is_listed(&kedas) || self.blind.contains_key(&kedas);
        if !self.synced && looked && self.sight.scopes().iter().all(|scope| self.index.is_listed(scope)) {
            self.synced = true;
            self.look_at_kedas()?;
            self.stand();
        }
        if self.mind == Mind::Decides && !touched.is_empty() {
            self.touch(&touched)?;
        }
        Ok(())
    }

    /// Targets that were not complete before this was listed.
    fn waiting_for(&self, scope: &Scope) -> BTreeSet<Key> {
        if scope.name.is_none() {
            return BTreeSet::new();
        }
        let waiting = self.entries.values().filter(|entry| !entry.complete).map(|entry| entry.key.clone());
        waiting.collect()
    }

    /// Every object that asks us for replicas.
    pub(super) fn keys(&self) -> BTreeSet<Key> {
        let kinds = [Kind::ScaledObject, Kind::ScaledJob, Kind::HorizontalPodAutoscaler];
        kinds.iter().flat_map(|kind| self.index.ids_of(kind)).filter_map(Key::of).collect()
    }

    pub(super) fn touch(&mut self, touched: &Touched) -> Result<(), Error> {
        for key in &touched.read {
            self.read(key)?;
        }
        if !touched.read.is_empty() {
            self.want();
        }
        for key in touched.counted.iter().chain(&touched.read) {
            self.count(key)?;
        }
        Ok(())
    }

    /// Reads a target anew, or forgets it.
    pub(super) fn read(&mut self, key: &Key) -> Result<(), Error> {
        self.users.due = true;
        let id = key.id();
        let object = self.index.object(&id);
        if let Some(object) = object.as_ref().filter(|object| !self.index.ours(object)) {
            // One that was handed over has perhaps not our labels, but our claim.
            if self.index.shares(object) || adopt::handed_to(object).is_some() {
                self.let_go(key, object);
            } else {
                self.index.uses(key, BTreeSet::new());
                self.end(key);
            }
            return Ok(());
        }
        if let Some(object) = object.as_ref().filter(|object| object.deleting()) {
            self.leave(key, object);
            return Ok(());
        }
        let cluster = self.namespace.clone();
        let read = target::read(&mut self.index, key, &cluster);
        let (Some(read), Some(object)) = (read, object) else {
            self.parting.remove(key);
            self.end(key);
            return Ok(());
        };
        let now = self.clock.now();
        self.look_at_handed(key);
        let other = owner::other(&self.index, key, &object, now, self.kedas.at_work());
        let Beside { elsewhere, elder, leans } = self.beside(key, &object, now);
        let open = matches!(other, None | Some(owner::Other::Handed { .. }));
        let (rival, whose) = elder.filter(|_| open).unzip();
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry::new(key.clone()));
        if entry.since == Time::ORIGIN {
            entry.since = now;
        }
        entry.life = life(&object);
        let (before, troubled) = (entry.adoption.take(), entry.trouble.take());
        let keda = matches!(other, Some(owner::Other::Keda { .. }));
        // A lease that ends brings nothing of the objects it stood for. An elder of a shard that is away may be run again.
        entry.recheck = leans.elders.then(|| now + AGAIN).or_else(|| keda.then(|| now + owner::ALIVE));
        self.afar.due |= entry.leans != leans;
        entry.leans = leans;
        let other = rival.or(other);
        let mut saying = None;
        match adopt::plan(&object, other) {
            Plan::Write => {}
            Plan::WriteAnd(json) => saying = Some(json),
            Plan::Watch(step) => entry.adoption = Some(Adoption::new(step).after(before)),
            Plan::Leave(why) => entry.trouble = Some(shards::left(why, whose)),
        }
        let left = std::mem::replace(&mut entry.elsewhere, elsewhere.is_some());
        if let Some(why) = &elsewhere {
            (entry.adoption, entry.trouble, saying) = (None, Some(why.clone()), None);
            entry.recheck = Some(now + AGAIN);
        }
        entry.unreadable = read.is_err();
        match read {
            Ok(read) => self.take(key, &object, *read)?,
            Err(why) => {
                // Its replicas stay as they are, and the object says what is wrong.
                entry.trouble.get_or_insert_with(|| why.to_string());
            }
        }
        self.complete(key);
        match &elsewhere {
            Some(why) => self.leave_to_shard(key, why, troubled.as_ref().filter(|_| left)),
            None => self.lament(key, troubled.as_ref()),
        }
        self.hold_back(key)?;
        let entry = self.entries.get(key).filter(|entry| entry.watched());
        if let Some(why) = entry.and_then(|entry| entry.trouble.clone()) {
            self.waits(key, format!("when this is mended: {why}"));
        }
        self.say_or_claim(key, &object, saying);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.recheck_refused(now);
        }
        self.tell(key);
        Ok(())
    }

    /// Writes on an object that it is taken over, or else our claim, which follows when that is on it.
    fn say_or_claim(&mut self, key: &Key, object: &Object, saying: Option<Value>) {
        match saying.filter(|_| !self.connection.read_only) {
            Some(json) => {
                let patch = Patch { id: object.id.clone(), subresource: None, how: How::Merge, json };
                self.queue.push(Write::Patch(patch), self.clock.now());
            }
            None => self.claim(key, object),
        }
    }

    /// Says on an autoscaler what keeps its rules from being run: its status is another's to write.
    fn lament(&mut self, key: &Key, before: Option<&String>) {
        let trouble = self.entries.get(key).and_then(|entry| entry.trouble.clone());
        if let Some(message) = trouble.filter(|now| key.asks == Asks::Autoscaler && Some(now) != before) {
            self.note(key, Said { warning: true, reason: "NotOperated", message });
        }
    }

    fn take(&mut self, key: &Key, object: &Object, read: Read) -> Result<(), Error> {
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let Read { manifests, target, workload } = read;
        let files = BTreeMap::new();
        let shared = Shared {
            asker: &self.asker,
            pushed: &self.pushed,
            queries: self.queries,
            files: &files,
            cluster: Some(&self.cluster),
        };
        let sources = Sources::new(&target, &manifests, shared).keeping(&self.kept, &entry.name);
        entry.ear = Ear::of(key, &sources, &self.knocks);
        entry.sources = Some(Arc::new(sources));
        let page = workload.as_ref().and_then(|id| self.index.workload(id)?.page());
        let access =
            page.as_ref().map(|page| Access::of(page, &key.namespace, &self.index)).unwrap_or_default();
        if entry.page != page || entry.access != access {
            self.scrapes.forget(key);
            (entry.page, entry.access) = (page, access);
        }
        if key.asks == Asks::Autoscaler {
            entry.aggregated = Questions::of(&object.json, &target.spec);
        }
        let (asked, owed) = (std::mem::take(&mut entry.asked), std::mem::take(&mut entry.owed));
        if asked || owed {
            // What it was asked as another object is not decided on, and a ScaledJob's poll must not be lost with it.
            entry.due = Time::ORIGIN;
        }
        entry.workload = workload;
        let missing = entry.workload.as_ref().filter(|id| self.index.workload(id).is_none());
        if let Some(text) = missing.and_then(|id| unseen(id, &self.index, &self.blind)) {
            entry.trouble.get_or_insert(text);
        }
        let called = target.triggers;
        let spec = self.with_demand(key, object, target.spec);
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        entry.called = called;
        if key.asks == Asks::ScaledObject {
            entry.hpa = hpa_name(object).into();
        }
        let known = entry.spec.replace(spec.clone());
        let name = Arc::clone(&entry.name);
        if self.control.spec(&name).is_none() {
            self.begin(key, object, spec)?;
        } else if known.as_ref() != Some(&spec) {
            let actions = self.step(key, &Event::Spec(Box::new(spec)))?;
            self.act(key, actions)?;
        }
        Ok(())
    }

    /// A target that is not decided yet begins with what is remembered of it.
    fn begin(&mut self, key: &Key, object: &Object, spec: Spec) -> Result<(), Error> {
        let now = self.clock.now();
        let memory = self.memory.take(&key.target(), object.uid());
        let remembered = memory.as_ref().map(|memory| memory.at);
        let mut state = memory.map(|memory| memory.state).unwrap_or_default();
        if let Some(at) = remembered {
            state.unwatched(&spec, now.since(at));
        }
        let trouble = self.control.add(spec, state).err().map(|error| error.to_string());
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        entry.remembered = remembered;
        if entry.trouble.is_none() {
            entry.trouble = trouble;
        }
        let mut life = entry.life;
        if active(object) {
            // It was active when it was last looked at, so it counts as active until it is read.
            life.last_active = Some(now);
            entry.active = Some(now);
            entry.was_active = true;
        }
        // Also beside what is remembered, which may be half a minute older than the status: the later of both counts.
        self.step(key, &Event::Life(life))?;
        Ok(())
    }

    /// Tells a target of its replicas, if they have changed.
    pub(super) fn count(&mut self, key: &Key) -> Result<(), Error> {
        if key.asks == Asks::ScaledJob {
            return self.count_jobs(key);
        }
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let Some(id) = entry.workload.clone() else { return Ok(()) };
        let refused = self.index.refused(&id, now);
        let Some(fleet) = self.index.fleet(&id) else { return Ok(()) };
        if let Some((to, until)) = entry.echo {
            if fleet.spec != to && now < until {
                return Ok(());
            }
            entry.echo = None;
        }
        self.scrapes.follow(entry, &self.index);
        let Seen { held, starts, costed } = pods(&self.index, &id, &mut entry.counted);
        let leaving = costed || entry.leave.is_some() || entry.taken.is_some();
        let held: Vec<(u32, Cause)> = refused.map(|cause| (1, cause)).into_iter().chain(held).collect();
        let room = room::of(&held, fleet, &mut entry.short_since, now);
        let told = entry.room.replace(room.clone());
        let was = std::mem::replace(&mut entry.cause, held.first().map(|(_, cause)| cause.kind));
        let each: Vec<String> =
            held.iter().map(|(count, cause)| format!("{count} pods wait: {cause}")).collect();
        entry.held = (!each.is_empty()).then(|| each.join("; "));
        entry.starts.extend(&starts);
        let beyond = entry.starts.len().saturating_sub(STARTS_MAX);
        entry.starts.drain(..beyond);
        if !starts.is_empty() {
            self.tell_starts(key, &starts)?;
        }
        // A count that could not be written while its pods were kept free of requests is not written when they are not.
        let free = |entry: &Entry| entry.taken.as_ref().is_some_and(|taken| taken.is_over(now));
        let withdrawn = self.entries.get(key).is_some_and(free) && self.queue.forget_scale(&id);
        if leaving {
            self.settle(key);
        }
        if withdrawn {
            self.not_done(key)?;
        }
        if let Some((_, cause)) = held.into_iter().next().filter(|(_, cause)| was != Some(cause.kind)) {
            let message = format!("Pods of {} wait: {cause}", id.name);
            self.note(key, Said { warning: true, reason: "PodsWait", message });
        }
        if told.as_ref() != Some(&room) {
            self.step(key, &Event::Room(room))?;
            self.tell(key);
        }
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        if entry.fleet == Some(fleet) || self.queue.scaling(&id) {
            return Ok(());
        }
        entry.fleet = Some(fleet);
        entry.found.get_or_insert(fleet.spec);
        let actions = self.step(key, &Event::Fleet(fleet))?;
        self.act(key, actions)
    }
}

/// What pods of a workload say.
struct Seen {
    /// How many wait for each cause; what weighs most first.
    held: Vec<(u32, Cause)>,
    /// Starts that have ended.
    starts: Vec<Started>,
    /// Whether somebody has written what losing one costs.
    costed: bool,
}

/// What keeps pods of a workload, in a sentence, and the starts that have ended since last time.
fn pods(index: &Index, workload: &Id, counted: &mut BTreeSet<Arc<str>>) -> Seen {
    let (mut held, mut starts, mut costed) = (BTreeMap::<_, (u32, Cause)>::new(), Vec::new(), false);
    let mut present = BTreeSet::new();
    for (id, facts) in index.pods_of(workload) {
        present.insert(Arc::clone(&id.name));
        costed |= facts.deletion_cost.is_some();
        if facts.deleting {
            continue;
        }
        if let Some(cause) = &facts.cause {
            // By kind: what more replicas cannot help comes first.
            held.entry(cause.kind).or_insert_with(|| (0, cause.clone())).0 += 1;
        }
        if let Some(phases) = facts.start.phases()
            && let Some(ready) = facts.start.ready
            && counted.insert(Arc::clone(&id.name))
        {
            starts.push((ready, phases));
        }
    }
    counted.retain(|name| present.contains(name));
    starts.sort_by_key(|(ready, _)| *ready);
    Seen { held: held.into_values().collect(), starts, costed }
}

fn life(object: &Object) -> Life {
    Life {
        created: object.text("/metadata/creationTimestamp").and_then(time),
        last_active: object.text("/status/lastActiveTime").and_then(time),
    }
}

/// Whether the status that stands says Active.
fn active(object: &Object) -> bool {
    let conditions = object.json.pointer("/status/conditions").and_then(serde_json::Value::as_array);
    let text = |condition: &serde_json::Value, at: &str| {
        condition.get(at).and_then(serde_json::Value::as_str).map(str::to_owned)
    };
    conditions.into_iter().flatten().any(|condition| {
        text(condition, "type").as_deref() == Some("Active")
            && text(condition, "status").as_deref() == Some("True")
    })
}
