//! ScaledJobs: their Jobs are counted, made and cleared away.

use std::sync::Arc;

use tidegate_core::scale::{Event, Job};

use super::entry::ECHO;
use super::{Error, Operator};
use crate::index::target::Key;
use crate::jobs;
use crate::object::Object;
use crate::status::notes::Said;
use crate::write::{NewJob, Write};

impl Operator {
    /// Tells a ScaledJob of its Jobs, and clears away those beyond its limits.
    pub(super) fn count_jobs(&mut self, key: &Key) -> Result<(), Error> {
        let now = self.clock.now();
        let Some(scaled_job) = self.index.object(&key.id()) else { return Ok(()) };
        let all: Vec<Arc<Object>> = self.index.jobs_of(key).collect();
        let known: Vec<&Object> = all.iter().map(|job| &**job).collect();
        self.clear(&scaled_job, &known);
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        // What was made counts as running until it is seen; a list without it would make it again.
        entry.born.retain(|name, until| now < *until && known.iter().all(|job| *job.id.name != **name));
        if !entry.born.is_empty() || self.queue.creating(key) {
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

    fn clear(&mut self, scaled_job: &Object, known: &[&Object]) {
        if self.connection.read_only {
            return;
        }
        let (now, foreground) = (self.clock.now(), jobs::foreground(scaled_job));
        for job in jobs::surplus(scaled_job, known) {
            let write = Write::Delete { id: job.id.clone(), uid: job.uid().into(), foreground };
            if !self.queue.holds(&write) {
                self.queue.push(write, now);
            }
        }
    }

    pub(super) fn create_jobs(&mut self, key: &Key, count: u32) -> Result<(), Error> {
        let now = self.clock.now();
        let Some(scaled_job) = self.index.object(&key.id()) else { return Ok(()) };
        if self.connection.read_only {
            return self.not_done(key);
        }
        let count = count.min(jobs::AT_ONCE_MAX);
        for _ in 0..count {
            let name = jobs::name(&key.name, fastrand::u64(..));
            if let Some(entry) = self.entries.get_mut(key) {
                entry.born.insert(name.clone(), now + ECHO);
            }
            let job = NewJob { key: key.clone(), json: jobs::new(&scaled_job, &name), name };
            self.queue.push(Write::Create(Box::new(job)), now);
        }
        let message = format!("Created {count} jobs");
        self.note(key, Said { warning: false, reason: "KEDAJobsCreated", message });
        Ok(())
    }
}
