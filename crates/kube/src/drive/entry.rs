//! One target as the loop sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use tidegate_core::scale::spec::Life;
use tidegate_core::scale::{Decision, Fleet, Job, Pod, Reading, Room, Spec};
use tidegate_core::time::{Span, Time};
use tidegate_manifest::Called;
use tidegate_manifest::serving::Page;
use tidegate_signals::asker::SILENT;
use tidegate_signals::trust::Trust;
use tidegate_signals::work::Work;
use tidegate_signals::{Source, Sources};

use super::access::Access;
use super::jobs::Batch;
use super::leaving::{Leave, Taken};
use super::news::{Ear, Owed};
use super::refusal::Refusal;
use super::room;
use super::say::Ready;
use super::shards::Leans;
use crate::index::target::Key;
use crate::object::Id;

/// After a count was written, watches may still bring the one before. For so long they are not believed.
pub(super) const ECHO: Span = Span::from_secs(3);

/// A target.
#[derive(Debug)]
pub struct Entry {
    /// Whose it is.
    pub key: Key,
    /// How decisions name it.
    pub name: Arc<str>,
    /// What it scales; `None` for a ScaledJob.
    pub workload: Option<Id>,
    /// What is asked for; `None` where it cannot be read.
    pub spec: Option<Spec>,
    /// What KEDA calls its triggers.
    pub called: Box<[Called]>,
    /// What KEDA would call its autoscaler; empty of what is no ScaledObject.
    pub hpa: Box<str>,
    /// Why nothing is decided, or nothing of it is done.
    pub trouble: Option<String>,
    /// What keeps its pods from running, where something does.
    pub held: Option<String>,
    /// The last decision.
    pub latest: Option<Arc<Decision>>,
    /// What was read last of each signal.
    pub readings: BTreeMap<Arc<str>, Reading>,
    /// The replicas it was last told of.
    pub fleet: Option<Fleet>,
    /// What it would do, where we only advise and other replicas are there.
    pub advice: Option<Advice>,
    /// Its starts, newest last: when each was over, and how long its phases took.
    pub starts: Vec<Started>,
    /// What engines and gateways said of its work at the last look; only with policy `slo`.
    pub(super) work: Work,
    /// When what is remembered of it was written, where it began with that.
    pub(super) remembered: Option<Time>,
    /// Pods that are being drained, because there are to be fewer.
    pub leave: Option<Leave>,
    pub(super) taken: Option<Taken>,
    pub(super) adoption: Option<super::adopt::Adoption>,
    /// Between two times that its autoscaler is handed over: somebody may put back what was written into it.
    pub(super) handed: Refusal,
    /// Whether another shard has it, and writes its status.
    pub(super) elsewhere: bool,
    /// By what it depends on other shards.
    pub(super) leans: Leans,
    /// What was refused of its count, of what is written on it, and of its status.
    pub(super) refused: [Refusal; 3],
    /// When it is looked at again without anything having changed: a KEDA that was at work may have left.
    pub(super) recheck: Option<Time>,
    /// What is asked of the cluster's metrics adapters.
    pub(super) aggregated: crate::aggregated::Questions,
    pub(super) cause: Option<crate::index::pending::Kind>,
    /// What it was last told there is no more room for; `None` before the first time.
    pub room: Option<Option<Room>>,
    /// Since when pods wait for room.
    pub(super) short_since: Option<Time>,
    /// By what right its pods are asked.
    pub(super) access: Access,
    /// Where its pods have their metrics.
    pub(super) page: Option<Page>,
    /// The pods it was last told of, where it looks at each.
    pub(super) pods: Vec<Pod>,
    pub(super) sources: Option<Arc<Sources>>,
    /// Tells of what its sources push, where one does.
    pub(super) ear: Option<Ear>,
    /// That it is to be asked for its news as soon as that may be.
    pub(super) knocks: Owed,
    /// Which of its signals can be trusted.
    pub trust: Trust,
    /// Which object and decision its status was last made of, in short.
    pub(super) told: u64,
    /// Whether its sources are being asked.
    pub(super) asked: bool,
    /// When they were asked.
    pub(super) asked_at: Time,
    /// Whether a ScaledJob was decided without an answer that is still to come.
    pub(super) owed: bool,
    /// Whether everything that it refers to was looked for.
    pub(super) complete: bool,
    /// Since when it waits for that.
    pub(super) incomplete_since: Option<Time>,
    /// When it was last active.
    pub(super) active: Option<Time>,
    /// Whether it was, at the last decision.
    pub(super) was_active: bool,
    /// When its activity ended, to be written.
    pub(super) ended: Option<Time>,
    /// The count that was written last, and until when watches may not know.
    pub(super) echo: Option<(u32, Time)>,
    /// The status that was asked for last, in short, so that it is not asked for twice.
    pub(super) status: Option<u64>,
    /// The version of the object that our finalizer and label are being put on: its status is told of a later one.
    pub(super) claiming: Option<u64>,
    /// When its status was last written.
    pub(super) told_at: Option<Time>,
    /// Signals that answer with nothing: since when, and whether that counts as zero.
    pub silent: BTreeMap<Arc<str>, (Time, bool)>,
    /// Whether it was last told to be ready.
    pub(super) ready: Option<Ready>,
    /// Whether its trouble is that what it asks for cannot be read.
    pub(super) unreadable: bool,
    /// Events that would be repeated each second, with when each was last told. As many as there are reasons.
    pub(super) said: BTreeMap<&'static str, Time>,
    /// Whether it was told that it is let go.
    pub(super) parted: bool,
    /// How often each signal could not be read, since this operator decides. As many as there are signals.
    pub errors: BTreeMap<Arc<str>, u64>,
    /// How often each answered with nothing.
    pub empty: BTreeMap<Arc<str>, u64>,
    /// The replicas it was found with.
    pub(super) found: Option<u32>,
    /// When it is to be ticked, for a ScaledJob.
    pub(super) due: Time,
    /// The pods whose starts are counted.
    pub(super) counted: BTreeSet<Arc<str>>,
    /// What the object tells of its life.
    pub(super) life: Life,
    /// The Jobs it was told of; `None` before the first time.
    pub(super) jobs: Option<Vec<Job>>,
    /// Since when it is known, and what was last told of the requests at gateways.
    pub(super) since: Time,
    pub(super) demand: Option<Reading>,
    /// Whether it was told that no gateway has spoken yet.
    pub(super) waits: bool,
    /// Its Jobs of an older generation that are being ended, until the last of them is gone.
    pub(super) outdated: BTreeSet<Arc<str>>,
    /// Jobs that are being made.
    pub(super) batch: Batch,
    /// Jobs that were made, and until when watches may not know.
    pub(super) born: BTreeMap<String, Time>,
}

/// A count that would be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The count there is.
    pub from: u32,
    /// The count there would be.
    pub to: u32,
    /// The decision in a sentence.
    pub why: String,
    /// Who wrote the count there is, where that is known.
    pub writer: Option<Arc<str>>,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Advice { from, to, why, writer } = self;
        let writer = writer.as_deref().unwrap_or("nobody known");
        write!(f, "would scale from {from} to {to}; {why} (the count there was written by {writer})")
    }
}

/// Which of a target's refusals: of its count.
pub(super) const COUNT: usize = 0;

/// Of what is written on it.
pub(super) const OBJECT: usize = 1;

/// Of its status.
pub(super) const STATUS: usize = 2;

/// A start: when it was over, and how long each phase of it took.
pub type Started = (Time, [(&'static str, Span); 3]);

/// Starts remembered of a target: a mean over twenty says how long the next will take.
pub(super) const STARTS_MAX: usize = 20;

impl Entry {
    pub(super) fn new(key: Key) -> Self {
        Entry {
            name: key.target(),
            key,
            workload: None,
            spec: None,
            called: Box::default(),
            hpa: Box::default(),
            trouble: None,
            held: None,
            adoption: None,
            handed: Refusal::default(),
            elsewhere: false,
            leans: Leans::default(),
            refused: Default::default(),
            recheck: None,
            aggregated: crate::aggregated::Questions::default(),
            cause: None,
            leave: None,
            taken: None,
            room: None,
            short_since: None,
            access: Access::default(),
            page: None,
            pods: Vec::new(),
            trust: Trust::default(),
            latest: None,
            readings: BTreeMap::new(),
            fleet: None,
            advice: None,
            starts: Vec::new(),
            work: Work::default(),
            remembered: None,
            sources: None,
            ear: None,
            knocks: Owed::default(),
            told: 0,
            asked: false,
            asked_at: Time::ORIGIN,
            owed: false,
            complete: false,
            incomplete_since: None,
            active: None,
            was_active: false,
            ended: None,
            echo: None,
            status: None,
            claiming: None,
            errors: BTreeMap::new(),
            empty: BTreeMap::new(),
            ready: None,
            unreadable: false,
            said: BTreeMap::new(),
            parted: false,
            told_at: None,
            silent: BTreeMap::new(),
            found: None,
            due: Time::ORIGIN,
            counted: BTreeSet::new(),
            life: Life::default(),
            jobs: None,
            since: Time::ORIGIN,
            demand: None,
            waits: false,
            outdated: BTreeSet::new(),
            batch: Batch::default(),
            born: BTreeMap::new(),
        }
    }

    /// Whether a time in which watches were not believed has just ended.
    pub(super) fn quiet_is_over(&self, now: Time) -> bool {
        let scaled = self.echo.is_some_and(|(_, until)| until <= now);
        let short = matches!(self.room, Some(None)) && room::is_over(self.short_since, now);
        let taken = self.taken.as_ref().is_some_and(|taken| taken.is_over(now));
        scaled || short || taken || self.born.values().any(|until| *until <= now)
    }

    /// What was refused is looked at again when its pause is over.
    pub(super) fn recheck_refused(&mut self, now: Time) {
        let later = self.refused.iter().filter_map(Refusal::until).filter(|until| *until > now);
        self.recheck = self.recheck.into_iter().chain(later).min();
    }

    /// The clock has jumped: what was counted by it is no older than before.
    pub(super) fn shift(&mut self, moved: Span) {
        let times = self.leave.iter_mut().flat_map(|leave| [&mut leave.since, &mut leave.until]);
        let times = times.chain(self.taken.iter_mut().map(|taken| &mut taken.until));
        let times = times.chain(self.echo.iter_mut().map(|(_, until)| until)).chain(self.born.values_mut());
        let times = times.chain(self.short_since.iter_mut()).chain(self.incomplete_since.iter_mut());
        // What was never asked, or is not known yet, stays so.
        let since = [&mut self.since, &mut self.asked_at].into_iter().filter(|time| **time != Time::ORIGIN);
        let times = times.chain(since);
        times.for_each(|time| *time = *time + moved);
    }

    /// Whether its sources have had their time: then those that are silent say so themselves.
    pub(super) fn is_silent(&self, now: Time) -> bool {
        now.since(self.asked_at) >= SILENT
    }

    /// How long each of its sources took to answer last, of those that are asked over a network.
    pub fn latencies(&self) -> impl Iterator<Item = (&Arc<str>, Span)> {
        let sources = self.sources.iter().flat_map(|sources| sources.iter());
        sources.filter_map(|(signal, source)| match source {
            Source::Remote(follower) => Some((signal, follower.took()?)),
            _ => None,
        })
    }

    /// Counts what was read that is no number.
    pub(super) fn tally(&mut self, signal: &Arc<str>, reading: &Reading) {
        let counts = match reading {
            Reading::Error(_) => &mut self.errors,
            Reading::Absent => &mut self.empty,
            _ => return,
        };
        match counts.get_mut(signal) {
            Some(count) => *count += 1,
            None => drop(counts.insert(Arc::clone(signal), 1)),
        }
    }

    /// Whether somebody else still has it, and it is only decided to see whether we agree.
    #[must_use]
    pub fn watched(&self) -> bool {
        self.adoption.is_some()
    }

    /// Whether it can be decided.
    pub(super) fn able(&self) -> bool {
        self.complete && self.sources.is_some() && self.trouble.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::target::Asks;

    #[test]
    fn a_clock_that_jumps_ends_no_drain_no_doubt_and_no_wait() {
        let key = Key { asks: Asks::ScaledObject, namespace: "prod".into(), name: "llama".into() };
        let (mut entry, now) = (Entry::new(key), Time::from_secs(1000));
        let soon = now + Span::from_secs(5);
        let pods = BTreeSet::from(["llama-0".into()]);
        entry.leave = Some(Leave { pods: pods.clone(), since: now, until: soon });
        entry.taken = Some(Taken { pods: pods.clone(), others: pods, until: soon });
        entry.echo = Some((2, soon));
        entry.born.insert("batch-1".to_owned(), soon);
        (entry.asked_at, entry.short_since, entry.room) = (now, Some(now), Some(None));
        let later = now + Span::from_secs(61);
        assert!(entry.quiet_is_over(later) && entry.is_silent(later), "so it is without the jump");
        entry.shift(Span::from_secs(60));
        assert!(!entry.quiet_is_over(later));
        let leave = entry.leave.clone().unwrap();
        assert_eq!((leave.since, leave.until), (now + Span::from_secs(60), soon + Span::from_secs(60)));
        assert!(entry.is_silent(later), "a second has passed, and no more");
        assert!(!entry.is_silent(later - Span::from_micros(1)));
        assert_eq!(entry.since, Time::ORIGIN);
        assert!(entry.quiet_is_over(soon + Span::from_secs(60)));
    }
}
