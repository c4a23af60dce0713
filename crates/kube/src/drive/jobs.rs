//! ScaledJobs: their Jobs are counted, made and cleared away.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tidegate_core::scale::{Event, Job};

use super::entry::ECHO;
use super::{Error, Operator};
use crate::index::target::{Asks, Key};
use crate::jobs;
use crate::object::{Id, Object};
use crate::status::notes::{self, Said};
use crate::write::{self, NewJob, Sent, Write};

/// Jobs that were decided, until each is made or refused.
///
/// The first goes alone, and the others when it was taken: a template that the API server refuses costs one request
/// a poll, and not a thousand.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Not asked for yet.
    rest: VecDeque<NewJob>,
    /// Asked for by name, and not answered.
    open: BTreeSet<String>,
    made: u32,
    /// Why one was refused.
    failed: Option<String>,
    /// What was said of that last.
    said: Option<String>,
}

impl Batch {
    /// Those that are not answered for.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.open.iter().map(String::as_str).chain(self.rest.iter().map(|job| &*job.name))
    }

    /// Whether a Job was asked for, and is not answered.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.open.contains(name)
    }

    fn next(&mut self) -> Option<NewJob> {
        let job = self.rest.pop_front()?;
        self.open.insert(job.name.clone());
        Some(job)
    }
}

impl Operator {
    /// Tells a ScaledJob of its Jobs, and clears away those beyond its limits.
    pub(super) fn count_jobs(&mut self, key: &Key) -> Result<(), Error> {
        let now = self.clock.now();
        let Some(scaled_job) = self.index.object(&key.id()) else { return Ok(()) };
        let all: Vec<Arc<Object>> = self.index.jobs_of(key).collect();
        let known: Vec<&Object> = all.iter().map(|job| &**job).collect();
        let Some(entry) = self.entries.get(key) else { return Ok(()) };
        if entry.able() && !entry.watched() {
            self.clear(key, &scaled_job, &known);
        }
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        // What was made counts as running until it is seen; a list without it would make it again.
        entry.born.retain(|name, until| now < *until && known.iter().all(|job| *job.id.name != **name));
        if !entry.born.is_empty() || !entry.batch.open.is_empty() {
            return Ok(());
        }
        let found: Vec<Job> =
            known.iter().map(|job| jobs::counted(job, self.index.pods_of_job(&job.id))).collect();
        if entry.jobs.as_ref() == Some(&found) {
            return Ok(());
        }
        entry.jobs = Some(found.clone());
        let actions = self.step(key, &Event::Jobs(found))?;
        self.act(key, actions)
    }

    fn clear(&mut self, key: &Key, scaled_job: &Object, known: &[&Object]) {
        if self.connection.read_only {
            return;
        }
        let (now, foreground) = (self.clock.now(), jobs::foreground(scaled_job));
        let history = jobs::beyond_history(scaled_job, known).into_iter().map(|job| (job, false));
        let outdated = jobs::outdated(scaled_job, known);
        if jobs::immediate(scaled_job) {
            self.say_rollout(key, &outdated);
        } else if let Some(entry) = self.entries.get_mut(key) {
            // Those that were being ended may go on now, and nobody waits for their end.
            entry.outdated.clear();
        }
        let outdated = outdated.into_iter().filter(|job| !job.deleting()).map(|job| (job, foreground));
        for (job, foreground) in history.chain(outdated) {
            let write = Write::Delete { id: job.id.clone(), uid: job.uid().into(), foreground };
            if !self.queue.holds(&write) {
                self.queue.push(write, now);
            }
        }
    }

    /// Tells that Jobs of an older generation are being ended, and when the last of them is gone.
    fn say_rollout(&mut self, key: &Key, outdated: &[&Object]) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let begins = entry.outdated.is_empty();
        entry.outdated.extend(outdated.iter().map(|job| Arc::clone(&job.id.name)));
        let count = entry.outdated.len();
        if begins && count > 0 {
            self.note(key, notes::rollout_begins(count));
        } else if !begins && outdated.is_empty() {
            entry.outdated.clear();
            self.note(key, notes::rollout_is_over(count));
        }
    }

    /// A Job of an older generation stays, since its removal is refused.
    pub(super) fn job_stays(&mut self, job: &Id, why: &str) {
        let of = self.index.object(job).and_then(|job| job.labels().remove(jobs::LABEL));
        let Some(name) = of else { return };
        let key = Key { asks: Asks::ScaledJob, namespace: Arc::clone(&job.namespace), name: name.into() };
        if self.entries.get(&key).is_some_and(|entry| entry.outdated.contains(&job.name)) {
            self.note_at_times(&key, notes::rollout_fails(&job.name, why));
        }
    }

    pub(super) fn create_jobs(&mut self, key: &Key, count: u32) -> Result<(), Error> {
        let now = self.clock.now();
        let Some(scaled_job) = self.index.object(&key.id()) else { return Ok(()) };
        if self.connection.read_only {
            return self.not_done(key);
        }
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        entry.owed = false;
        let known: Vec<Arc<str>> = self.index.jobs_of(key).map(|job| Arc::clone(&job.id.name)).collect();
        let taken = known.iter().map(|name| &**name).chain(entry.born.keys().map(String::as_str));
        let numbers = jobs::Numbers::of(&key.name, scaled_job.uid());
        let names = numbers.free(taken.chain(entry.batch.names()), count.min(jobs::AT_ONCE_MAX));
        for name in names {
            entry.born.insert(name.clone(), now + ECHO);
            let job = NewJob { key: key.clone(), json: jobs::new(&scaled_job, &name), name };
            entry.batch.rest.push_back(job);
        }
        if entry.batch.open.is_empty() {
            let first = entry.batch.next();
            first.into_iter().for_each(|job| self.queue.push(Write::Create(Box::new(job)), now));
        }
        Ok(())
    }

    /// A Job of a batch was made or not. The others follow the first that was; one that is refused ends the batch.
    pub(super) fn created(
        &mut self,
        job: &NewJob,
        failures: u32,
        outcome: Result<Sent, write::Error>,
    ) -> Result<(), Error> {
        let (now, key) = (self.clock.now(), &job.key);
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        entry.batch.open.remove(&job.name);
        match outcome {
            Ok(sent) => {
                // One that was there at the first try is somebody else's doing.
                entry.batch.made += u32::from(sent == Sent::Done || failures > 0);
                let rest: Vec<NewJob> = std::iter::from_fn(|| entry.batch.next()).collect();
                for job in rest {
                    entry.born.insert(job.name.clone(), now + ECHO);
                    self.queue.push(Write::Create(Box::new(job)), now);
                }
            }
            Err(error) => {
                let waiting = self.queue.forget_jobs(key);
                let rest = entry.batch.rest.drain(..).map(|job| job.name);
                for name in rest.chain(waiting).chain([job.name.clone()]) {
                    entry.batch.open.remove(&name);
                    entry.born.remove(&name);
                }
                // Without the name, which is another for each: else it would be said of each.
                entry.batch.failed = Some(error.to_string().replace(&job.name, &key.name));
            }
        }
        if entry.batch.open.is_empty() { self.batch_is_over(key) } else { Ok(()) }
    }

    /// Says what came of a batch, and counts anew.
    fn batch_is_over(&mut self, key: &Key) -> Result<(), Error> {
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let Batch { made, failed, said, .. } = std::mem::take(&mut entry.batch);
        // The same template is refused with each poll: that is said once.
        let news = failed.clone().filter(|failed| said.as_ref() != Some(failed));
        entry.batch.said.clone_from(&failed);
        if failed.is_some() {
            // What was asked for is not there, though the Jobs that are have not changed.
            entry.jobs = None;
        }
        if made > 0 {
            let message = format!("Created {made} jobs");
            self.note(key, Said { warning: false, reason: "KEDAJobsCreated", message });
        }
        if let Some(failed) = news {
            let message = format!("Not created: {failed}");
            self.note(key, Said { warning: true, reason: "KEDAJobCreateFailed", message });
        }
        if failed.is_some() {
            self.not_done(key)?;
        }
        // Watches may have brought them already, while they were not believed.
        self.count(key)
    }
}
