//! From decisions to writes, and what became of them.

use std::sync::Arc;

use serde_json::json;
use tidegate_core::scale::decision::Status;
use tidegate_core::scale::{Action, Decision, Event, Fleet, Reading};
use tidegate_manifest::Called;
use tidegate_signals::Context;
use tokio::time::Instant;

use super::end::finalizers;
use super::entry::{Advice, COUNT, ECHO, OBJECT, STATUS};
use super::tell::listen;
use super::{Entry, Error, Mind, Operator, Weight, own};
use crate::adopt::CLAIM;
use crate::index::target::{Asks, Key};
use crate::object::{Kind, Object};
use crate::status::notes;
use crate::write::{self, How, Patch, Scale, Sent, Write};

/// Characters of a label's value at the most.
const LABEL_MAX: usize = 63;

/// KEDA's finalizer: with the same one either operator can let an object go.
pub(crate) const FINALIZER: &str = "finalizer.keda.sh";

impl Operator {
    /// Asks every target's sources; who is still being asked is decided on what there is.
    pub(super) fn tick(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        let late =
            self.last_tick.map_or(0.0, |last| now.since(last).as_secs_f64() - super::TICK.as_secs_f64());
        self.lag_s = late.max(0.0);
        self.last_tick = Some(now);
        if self.mind == Mind::Rests {
            self.stand();
        }
        self.measure();
        self.look_at_gateways();
        self.look_at_kedas()?;
        if self.mind == Mind::Decides {
            for key in std::mem::take(&mut self.again) {
                self.read(&key)?;
            }
            let recheck = |entry: &&Entry| entry.recheck.is_some_and(|at| at <= now);
            let again: Vec<Key> =
                self.entries.values().filter(recheck).map(|entry| entry.key.clone()).collect();
            let parting = self.parting.iter().filter(|(_, refusal)| !refusal.rests(now));
            let parting: Vec<Key> = parting.map(|(key, _)| key.clone()).collect();
            for key in again.into_iter().chain(parting) {
                self.read(&key)?;
            }
            if self.afar.due {
                self.want();
            }
            // What watches brought while a write of ours was fresh is looked at once that is over.
            let quiet = self.entries.values().filter(|entry| entry.quiet_is_over(now));
            let quiet: Vec<Key> = quiet.map(|entry| entry.key.clone()).collect();
            for key in quiet {
                self.count(&key)?;
            }
            // What was not said while an object was being claimed; no decision may come that would say it.
            let claimed = self.entries.values().filter(|entry| entry.claiming.is_some());
            let claimed: Vec<Key> = claimed.map(|entry| entry.key.clone()).collect();
            claimed.iter().for_each(|key| self.tell(key));
            self.look_at_usage();
            // A ScaledJob whose sources still have their time is asked again only after that.
            let open = self.entries.values().filter(|entry| entry.asked && entry.key.asks == Asks::ScaledJob);
            let open: Vec<Key> = open.map(|entry| entry.key.clone()).collect();
            open.iter().try_for_each(|key| self.answered(key))?;
            let able = self.entries.values().filter(|entry| entry.able() && entry.due <= now);
            let able = able.filter(|entry| !(entry.asked && entry.key.asks == Asks::ScaledJob));
            let keys: Vec<Key> = able.map(|entry| entry.key.clone()).collect();
            for key in keys {
                // Once a second, however often it is asked for its news.
                self.tell_work(&key)?;
                self.ask(&key)?;
            }
            self.patience = Some(Instant::now() + super::GRACE);
            self.tell_users();
            self.remember(false);
        }
        self.show();
        Ok(())
    }

    pub(super) fn ask(&mut self, key: &Key) -> Result<(), Error> {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        entry.asked_at = now;
        if key.asks == Asks::ScaledJob {
            // A job that has just started has not taken its work yet: a ScaledJob is decided once a poll.
            let pause = entry.spec.as_ref().map(|spec| spec.polling_interval).unwrap_or_default();
            (entry.due, entry.owed) = (now + pause, false);
        }
        self.tell_per_pod(key)?;
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let Some(sources) = entry.sources.clone() else { return Ok(()) };
        entry.asked = true;
        let known = own::readings(entry, &sources, &self.index, &self.scrapes);
        let (questions, client) = (entry.aggregated.due(now), self.connection.client.clone());
        let (demand, lost) = self.at_gateways(key, &sources);
        let Some(entry) = self.entries.get(key) else { return Ok(()) };
        let context = Context { unix_s: now.as_micros().div_euclid(1_000_000), demand };
        let (mut readings, asked) = sources.begin(now, &context, &self.rounds, key);
        readings.retain(|(name, _)| !entry.aggregated.has(name));
        readings.retain(|(name, _)| known.iter().chain(&lost).all(|(own, _)| own != name));
        readings.extend(known);
        readings.extend(lost);
        let awaited = asked || !questions.is_empty();
        if !questions.is_empty() {
            let (key, out) = (key.clone(), self.said.clone());
            self.tasks.spawn(async move {
                let readings = crate::aggregated::read(&client, &questions).await;
                // The loop has ended when nobody takes it.
                let _ = out.send((key, readings)).await;
            });
        }
        self.take_readings(key, readings)?;
        if awaited { Ok(()) } else { self.answered(key) }
    }

    /// A target's sources have answered, or it has waited for them as long as it may.
    pub(super) fn answered(&mut self, key: &Key) -> Result<(), Error> {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let Some(sources) = entry.sources.clone() else { return Ok(()) };
        if key.asks == Asks::ScaledJob && entry.asked && sources.awaits() && !entry.is_silent(now) {
            return Ok(());
        }
        let in_time = std::mem::take(&mut entry.asked);
        let answers = sources.answers();
        let nothing = answers.is_empty();
        let late = match key.asks {
            // What was said before is not decided on twice: Jobs have taken that work, or will. So one whose source
            // was silent is decided once more when it has spoken, unless Jobs were made without it.
            Asks::ScaledJob => !sources.awaits() && std::mem::take(&mut entry.owed),
            _ => !nothing,
        };
        entry.owed |= in_time && sources.awaits();
        self.take_readings(key, answers)?;
        if in_time {
            self.watch_signals(key);
        }
        if in_time || late { self.decide(key) } else { Ok(()) }
    }

    /// Those that wait for answers have waited long enough: they are decided on what there is.
    pub(super) fn waited(&mut self) -> Result<(), Error> {
        let waiting = self.entries.values().filter(|entry| entry.asked);
        let keys: Vec<Key> = waiting.map(|entry| entry.key.clone()).collect();
        keys.iter().try_for_each(|key| self.answered(key))
    }

    /// What was read of a target's signals.
    pub(super) fn take_readings(
        &mut self,
        key: &Key,
        readings: Vec<(Arc<str>, Reading)>,
    ) -> Result<(), Error> {
        for (signal, reading) in readings {
            if !reading.is_finite() {
                continue;
            }
            let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
            entry.tally(&signal, &reading);
            match entry.readings.get_mut(&signal) {
                Some(known) => known.clone_from(&reading),
                None => drop(entry.readings.insert(Arc::clone(&signal), reading.clone())),
            }
            let actions = self.step(key, &Event::Reading { signal, reading })?;
            self.act(key, actions)?;
        }
        Ok(())
    }

    pub(super) fn decide(&mut self, key: &Key) -> Result<(), Error> {
        if self.mind != Mind::Decides || !self.entries.get(key).is_some_and(super::Entry::able) {
            return Ok(());
        }
        self.tell_demand(key)?;
        let actions = self.step(key, &Event::Tick)?;
        self.act(key, actions)
    }

    /// Carries out what a step asked for.
    pub(super) fn act(&mut self, key: &Key, actions: Vec<Action>) -> Result<(), Error> {
        for action in actions {
            match action {
                Action::Decided(decision) => self.decided(key, decision),
                Action::Scale { from, to } => self.scale(key, from, to)?,
                Action::CreateJobs { count } => self.create_jobs(key, count)?,
                Action::Refused { message } => {
                    self.remark(Weight::Warning, &message);
                    if let Some(entry) = self.entries.get_mut(key) {
                        entry.trouble = Some(message);
                    }
                }
            }
        }
        Ok(())
    }

    fn decided(&mut self, key: &Key, decision: Decision) {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return };
        let from = entry.fleet.map_or(0, |fleet| fleet.spec);
        let decision = Arc::new(decision);
        self.audience.decided(now, from, &decision);
        let active = decision.conditions.active.map(|(status, _)| status == Status::True);
        match active {
            Some(true) => {
                entry.active = Some(now);
                entry.was_active = true;
                entry.ended = None;
            }
            Some(false) if std::mem::take(&mut entry.was_active) => entry.ended = entry.active,
            _ => {}
        }
        listen(entry, &decision, now);
        if decision.replicas == from {
            entry.advice = None;
        }
        let stays = entry.leave.is_some() && decision.replicas >= from;
        let turned = match &entry.latest {
            Some(before) => notes::turned(key.asks, Some(before), &decision),
            None => {
                let object = self.index.object(&key.id());
                let before = object.map(|object| notes::standing(&object, &decision));
                notes::turned(key.asks, before.as_ref(), &decision)
            }
        };
        entry.latest = Some(decision);
        if stays {
            self.stay(key);
        }
        for said in turned {
            self.note_at_times(key, said);
        }
        self.tell(key);
        self.consider(key);
    }

    fn scale(&mut self, key: &Key, from: u32, to: u32) -> Result<(), Error> {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let Some(id) = entry.workload.clone() else { return Ok(()) };
        let Some(workload) = self.index.workload(&id) else { return self.not_done(key) };
        let why = entry.latest.as_deref().map(notes::sentence).unwrap_or_default();
        if entry.watched() || entry.refused[COUNT].rests(now) {
            return self.not_done(key);
        }
        if self.connection.read_only {
            let writer = crate::owner::last_writer(workload).map(Arc::from);
            let advice = Advice { from, to, why, writer };
            if entry.advice.as_ref().map(|known| (known.from, known.to)) != Some((from, to)) {
                let text = format!("{key}: {advice}");
                self.remark(Weight::Info, &text);
            }
            if let Some(entry) = self.entries.get_mut(key) {
                entry.advice = Some(advice);
            }
            return self.not_done(key);
        }
        // Where nothing may be written another may lead already, and drain others. It is asked for again with the next
        // tick, for as long as it is wanted.
        if to < from && !(self.gate.open() && self.may_shrink(key, &id, (from, to))) {
            return self.not_done(key);
        }
        let Some(workload) = self.index.workload(&id) else { return self.not_done(key) };
        let scale = Scale {
            key: key.clone(),
            uid: Arc::clone(&workload.uid),
            version: Arc::clone(&workload.resource_version),
            workload: id,
            from,
            to,
            why,
        };
        self.queue.push(Write::Scale(scale), now);
        Ok(())
    }

    /// What was asked for was not carried out: the machine takes it back.
    pub(super) fn not_done(&mut self, key: &Key) -> Result<(), Error> {
        let actions = self.step(key, &Event::ScaleFailed)?;
        self.act(key, actions)
    }

    /// What became of a write.
    pub(super) fn landed(
        &mut self,
        write: Write,
        (term, failures): (u64, u32),
        outcome: Result<Sent, write::Error>,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        if self.mind != Mind::Decides || term != self.term {
            // Decided before another led: whoever decides now decides anew.
            self.queue.landed(&write);
            return Ok(());
        }
        match outcome {
            Err(_) if !self.wanted(&write) => {
                // Its target has ended, or is another's by now.
                self.queue.landed(&write);
                return Ok(());
            }
            Err(error) if error.retry() => {
                if failures == 0 {
                    self.remark(Weight::Warning, &format!("a write waits: {error}"));
                }
                self.queue.failed(write, failures, now);
                return Ok(());
            }
            _ => self.queue.landed(&write),
        }
        match (write, outcome) {
            (Write::Scale(scale), outcome) => self.scaled(&scale, outcome)?,
            (Write::Create(job), outcome) => self.created(&job, failures, outcome)?,
            (Write::Delete { id, .. }, Err(error)) if id.kind == Kind::Job => {
                self.job_stays(&id, &error.to_string());
            }
            (Write::Delete { id, .. }, Err(error)) => self.not_removed(&id, &error.to_string()),
            (Write::State(patch), outcome) => self.remembered(&patch, outcome),
            (Write::Patch(patch), Err(error)) if self.not_handed(&patch.id, &error) => {}
            (Write::Patch(patch), Err(error)) => {
                // With the next tick it is made of what is there then.
                let which = if patch.subresource == Some("status") { STATUS } else { OBJECT };
                let news = match Key::of(&patch.id) {
                    Some(key) => self.not_patched(&key, which, &error),
                    None => self.users_untold(&patch.id, &error.to_string()),
                };
                if let (write::Error::Refused(why), Some(key)) = (&error, Key::of(&patch.id))
                    && let Some(said) = notes::not_updated(key.asks, why)
                {
                    self.note_at_times(&key, said);
                }
                if error != write::Error::Conflict && news {
                    let name = &patch.id.name;
                    self.remark(Weight::Warning, &format!("{name} cannot be written: {error}"));
                }
            }
            (Write::Patch(patch), Ok(_)) => {
                let which = if patch.subresource == Some("status") { STATUS } else { OBJECT };
                let key = Key::of(&patch.id);
                if let Some(entry) = key.as_ref().and_then(|key| self.entries.get_mut(key)) {
                    entry.refused[which].over();
                }
                match key {
                    Some(key) => drop(self.parting.remove(&key)),
                    None => self.users.refused.over(),
                }
            }
            (Write::Note(_), Err(_)) => self.queue.lost(),
            _ => {}
        }
        Ok(())
    }

    /// Whether a write that did not get through is still to be made.
    fn wanted(&self, write: &Write) -> bool {
        let deleting = |key: &Key| self.index.object(&key.id()).map(|object| object.deleting());
        match write {
            Write::Create(job) => {
                let open = |entry: &Entry| entry.batch.holds(&job.name);
                self.entries.get(&job.key).is_some_and(open) && deleting(&job.key) == Some(false)
            }
            Write::Scale(scale) => {
                self.entries.contains_key(&scale.key) || deleting(&scale.key) == Some(true)
            }
            _ => true,
        }
    }

    /// What was to be written on an object was not: with the next tick, or after a pause where it was refused, it is
    /// made of what is there then. Whether that is news.
    fn not_patched(&mut self, key: &Key, which: usize, error: &write::Error) -> bool {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else {
            if *error == write::Error::Conflict {
                self.again.insert(key.clone());
                return true;
            }
            return self.parting.entry(key.clone()).or_default().again(&error.to_string(), now);
        };
        (entry.status, entry.told) = (None, 0);
        if which == OBJECT {
            entry.claiming = None;
        }
        if let Some(adoption) = &mut entry.adoption {
            adoption.failed();
        }
        if *error == write::Error::Conflict {
            self.again.insert(key.clone());
            return true;
        }
        let news = entry.refused[which].again(&error.to_string(), now);
        entry.recheck_refused(now);
        news
    }

    /// A lower count was not written: the pods that were kept free for it take requests again.
    fn untaken(&mut self, key: &Key, (from, to): (u32, u32)) {
        let Some(entry) = self.entries.get_mut(key).filter(|_| to < from) else { return };
        if entry.taken.take().is_some() {
            self.settle(key);
        }
    }

    fn scaled(&mut self, scale: &Scale, outcome: Result<Sent, write::Error>) -> Result<(), Error> {
        let now = self.clock.now();
        let Scale { key, workload, from, to, why, .. } = scale;
        if key.asks == Asks::Autoscaler && !self.entries.contains_key(key) {
            match &outcome {
                Ok(Sent::Done) => self.woken(scale, None),
                Err(error) => self.woken(scale, Some(&error.to_string())),
                Ok(_) => {}
            }
        }
        match outcome {
            Ok(Sent::Done) => {
                self.remark(Weight::Info, &format!("{key}: {from} → {to}  {why}"));
                let object = self.index.object(&key.id()).filter(|object| object.deleting());
                let Some(entry) = self.entries.get_mut(key) else {
                    // It was deleted before we began, and never was a target of ours.
                    object.iter().for_each(|object| self.release(object));
                    return Ok(());
                };
                entry.refused[COUNT].over();
                entry.echo = Some((*to, now + ECHO));
                if let Some(fleet) = &mut entry.fleet {
                    // What a later count is compared with; the machine knows already.
                    fleet.spec = *to;
                }
                let trigger = entry.latest.as_deref().and_then(notes::trigger);
                let trigger = trigger.map(|signal| Called::metric(&entry.called, signal).to_owned());
                let said = notes::scaled(workload, *from, *to, why, trigger.as_deref());
                self.note(key, said);
                if let Some(object) = object {
                    // It may have been a count from before the deletion: then it is given back first.
                    self.leave(key, &object);
                }
                self.count(key)
            }
            Ok(Sent::Overtaken { found }) => {
                let text = format!("{key}: somebody else set {found} replicas meanwhile; decided anew");
                self.remark(Weight::Info, &text);
                if self.index.object(&key.id()).is_some_and(|object| object.deleting()) {
                    self.again.insert(key.clone());
                }
                self.untaken(key, (*from, *to));
                self.not_done(key)?;
                let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
                let fleet = Fleet { spec: found, ..entry.fleet.unwrap_or_default() };
                entry.fleet = Some(fleet);
                let actions = self.step(key, &Event::Fleet(fleet))?;
                self.act(key, actions)?;
                self.decide(key)
            }
            Ok(Sent::Advised | Sent::Exists) => self.not_done(key),
            Err(error) => {
                let refused = self.entries.get_mut(key).map(|entry| &mut entry.refused[COUNT]);
                if refused.is_none_or(|refused| refused.again(&error.to_string(), now)) {
                    self.note(key, notes::not_scaled(*from, *to, &error.to_string()));
                    self.remark(Weight::Warning, &format!("{key}: not scaled from {from} to {to}: {error}"));
                }
                if let Some(object) = self.index.object(&key.id()).filter(|object| object.deleting()) {
                    // What cannot be given back must not keep the object for ever.
                    self.release(&object);
                }
                self.untaken(key, (*from, *to));
                self.not_done(key)?;
                self.count(key)
            }
        }
    }

    /// Puts our claim on an object that has none: KEDA's finalizer and label, and which shard we are.
    pub(super) fn claim(&mut self, key: &Key, object: &Object) {
        let now = self.clock.now();
        let idle =
            |entry: &Entry| entry.trouble.is_some() || entry.watched() || entry.refused[OBJECT].rests(now);
        if self.connection.read_only || self.entries.get(key).is_some_and(idle) {
            return;
        }
        let marked = object.annotation(CLAIM) == Some(self.index.claim());
        let mut metadata = json!({"annotations": {CLAIM: self.index.claim()}});
        if !marked {
            // Of two shards that would have it one is the first.
            metadata["resourceVersion"] = json!(object.text("/metadata/resourceVersion"));
        }
        let label = match key.asks {
            Asks::ScaledJob => "scaledjob.keda.sh/name",
            Asks::ScaledObject => "scaledobject.keda.sh/name",
            Asks::Autoscaler => {
                // It has nothing that outlives it, so nothing holds it.
                if !marked {
                    let json = json!({"metadata": metadata});
                    let patch = Patch { id: object.id.clone(), subresource: None, how: How::Merge, json };
                    self.queue.push(Write::Patch(patch), self.clock.now());
                }
                return;
            }
        };
        let labelled = object.json.pointer("/metadata/labels").and_then(|labels| labels.get(label)?.as_str());
        // A name may be longer than a label's value.
        let fits = key.name.len() <= LABEL_MAX;
        let claimed = finalizers(object).iter().any(|one| one == FINALIZER);
        if marked && claimed && (!fits || labelled == Some(&*key.name)) {
            return;
        }
        let version = self.index.version(&object.id);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.claiming = version;
        }
        // By its uid, so that an object that is gone meanwhile is not made anew.
        metadata["uid"] = json!(object.uid());
        metadata["finalizers"] = json!([FINALIZER]);
        if fits {
            metadata["labels"] = json!({label: &*key.name});
        }
        let json = json!({"metadata": metadata});
        let patch = Patch { id: object.id.clone(), subresource: None, how: How::APPLY, json };
        self.queue.push(Write::Patch(patch), self.clock.now());
        if !claimed && let Some(said) = notes::begun(key.asks) {
            self.note_at_times(key, said);
        }
    }
}
