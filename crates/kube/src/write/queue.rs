//! What is to be written, in order of urgency: at most one thing of a kind for each object.
//!
//! A newer count takes the place of an older one that has not gone out yet, so the queue is never longer
//! than what there is to write about, and never writes what is no longer wanted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use tidegate_core::time::{Span, Time};

use crate::index::target::Key;
use crate::object::Id;

/// Events waiting to be written: at some 400 bytes each 1.6 MB. At ten changes a second, which is a fleet in turmoil,
/// that is seven minutes; two thousand objects that are new at once have two each. Beyond it the oldest is dropped and
/// counted.
const EVENTS_MAX: usize = 4000;

/// How often an Event that was not taken is tried again, after 250 ms, 500 ms and 1 s: one that comes late tells
/// nothing that the status does not. Then it is dropped and counted.
const EVENT_RETRIES_MAX: u32 = 3;

/// Writes under way at once: an API server takes about 10 ms for one, so 16 are 1,600 a second.
pub const FLIGHTS_MAX: usize = 16;

/// How long a write that failed waits, at the least and at the most; doubled each time.
const WAIT_MIN: Span = Span::from_micros(250_000);
const WAIT_MAX: Span = Span::from_secs(15);

/// A count for a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// For which target.
    pub key: Key,
    /// The workload.
    pub workload: Id,
    /// The object that is meant: one made anew under its name is another.
    pub uid: Arc<str>,
    /// The version of the object in which `from` was seen.
    pub version: Arc<str>,
    /// The count it was decided from.
    pub from: u32,
    /// The count it is to have.
    pub to: u32,
    /// The decision in a sentence.
    pub why: String,
}

/// A change to an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// The object.
    pub id: Id,
    /// `status`, or nothing for the object itself.
    pub subresource: Option<&'static str>,
    /// How it is said.
    pub how: How,
    /// What is said; with [`How::Apply`] without `apiVersion`, `kind` and name.
    pub json: Value,
}

/// How a change is said to the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// Server-side apply: `json` is all that is ours on this object (or this subresource of it). What we said
    /// before and do not say now is taken away, unless somebody else said it too.
    Apply {
        /// What must not remain though somebody else said it too: a tree whose leaves are the value that goes,
        /// or `null` for whatever is there. `Null` where nothing is like that.
        gone: Value,
    },
    /// A JSON merge patch: for what is somebody else's and has to go or to change.
    Merge,
}

impl How {
    /// Apply, and leave alone what others said too.
    pub const APPLY: How = How::Apply { gone: Value::Null };
}

/// A Kubernetes Event.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// What it is about.
    pub about: Id,
    /// Its uid.
    pub uid: Arc<str>,
    /// Whether somebody should look.
    pub warning: bool,
    /// In a word, as KEDA or the HPA controller name it.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
    /// When.
    pub at: Time,
    /// Its number among those of this queue, which tells it from others of the same moment. The queue gives it.
    pub number: u32,
}

/// A Job of a ScaledJob.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Whose.
    pub key: Key,
    /// Its name. It is chosen here, so that a write whose answer was lost makes no second one.
    pub name: String,
    /// The Job.
    pub json: Value,
}

/// One thing to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A count.
    Scale(Scale),
    /// A Job to create.
    Create(Box<NewJob>),
    /// An object to delete, by uid, with what it owns.
    Delete {
        /// The object.
        id: Id,
        /// Its uid.
        uid: Arc<str>,
        /// Whether what it owns goes before it.
        foreground: bool,
    },
    /// A change to an object.
    Patch(Patch),
    /// What is remembered, as a ConfigMap of the operator's namespace; made if it is not there.
    State(Patch),
    /// An Event.
    Note(Note),
}

/// What a write is about: there is one of each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Scale(Id),
    Create(Key, String),
    Delete(Id),
    Patch(Id, Option<&'static str>),
    State(Id),
}

impl Write {
    fn slot(&self) -> Option<Slot> {
        Some(match self {
            Write::Scale(scale) => Slot::Scale(scale.workload.clone()),
            Write::Create(job) => Slot::Create(job.key.clone(), job.name.clone()),
            Write::Delete { id, .. } => Slot::Delete(id.clone()),
            Write::Patch(patch) => Slot::Patch(patch.id.clone(), patch.subresource),
            Write::State(patch) => Slot::State(patch.id.clone()),
            Write::Note(_) => return None,
        })
    }
}

#[derive(Debug)]
struct Waiting {
    write: Write,
    /// Not before.
    due: Time,
    failures: u32,
}

/// Everything that waits to be written.
#[derive(Debug, Default)]
pub struct Queue {
    /// By slot, whose order is that of urgency: counts and Jobs first.
    waiting: BTreeMap<Slot, Waiting>,
    /// Slots whose write is under way: a second one of the same waits.
    flying: BTreeSet<Slot>,
    notes: VecDeque<Note>,
    /// Those that were not taken, with when each is tried again and how often it was.
    late: VecDeque<(Note, Time, u32)>,
    notes_flying: usize,
    /// Events so far.
    numbered: u32,
    dropped: u64,
}

impl Queue {
    /// Puts a write in its slot.
    pub fn push(&mut self, write: Write, now: Time) {
        match (write.slot(), write) {
            (Some(slot), write) => {
                self.waiting.insert(slot, Waiting { write, due: now, failures: 0 });
            }
            (None, Write::Note(mut note)) => {
                if self.notes.len() == EVENTS_MAX {
                    self.notes.pop_front();
                    self.dropped += 1;
                }
                note.number = self.numbered;
                self.numbered = self.numbered.wrapping_add(1);
                self.notes.push_back(note);
            }
            (None, _) => {}
        }
    }

    /// The next write to send, if one is due and there is room for it. Tell [`Queue::landed`] or
    /// [`Queue::failed`] of it.
    pub fn pop(&mut self, now: Time) -> Option<(Write, u32)> {
        if self.flying.len() + self.notes_flying >= FLIGHTS_MAX {
            return None;
        }
        let due = |(slot, waiting): &(&Slot, &Waiting)| waiting.due <= now && !self.flying.contains(*slot);
        if let Some(slot) = self.waiting.iter().find(due).map(|(slot, _)| slot.clone()) {
            let waiting = self.waiting.remove(&slot)?;
            self.flying.insert(slot);
            return Some((waiting.write, waiting.failures));
        }
        let due = self.late.front().is_some_and(|(_, due, _)| *due <= now);
        let late = if due { self.late.pop_front() } else { None };
        let (note, failures) = match late {
            Some((note, _, failures)) => (note, failures),
            None => (self.notes.pop_front()?, 0),
        };
        self.notes_flying += 1;
        Some((Write::Note(note), failures))
    }

    /// A write is done, or will never be.
    pub fn landed(&mut self, write: &Write) {
        match write.slot() {
            Some(slot) => {
                self.flying.remove(&slot);
            }
            None => self.notes_flying = self.notes_flying.saturating_sub(1),
        }
    }

    /// A write did not get through and is to be tried again, unless a newer one has taken its place.
    pub fn failed(&mut self, write: Write, failures: u32, now: Time) {
        self.landed(&write);
        let wait = WAIT_MIN.as_micros().saturating_mul(1 << failures.min(10));
        let due = now + Span::from_micros(wait).min(WAIT_MAX);
        let Some(slot) = write.slot() else {
            let full = self.late.len() == EVENTS_MAX || failures >= EVENT_RETRIES_MAX;
            match write {
                Write::Note(note) if !full => self.late.push_back((note, due, failures + 1)),
                _ => self.dropped += 1,
            }
            return;
        };
        self.waiting.entry(slot).or_insert(Waiting { write, due, failures: failures.saturating_add(1) });
    }

    /// An Event was refused, and is not written.
    pub const fn lost(&mut self) {
        self.dropped += 1;
    }

    /// Forgets what waits to be written about a workload's count, and says whether something did.
    pub fn forget_scale(&mut self, workload: &Id) -> bool {
        self.waiting.remove(&Slot::Scale(workload.clone())).is_some()
    }

    /// Whether a count for this workload waits or is under way.
    #[must_use]
    pub fn scaling(&self, workload: &Id) -> bool {
        let slot = Slot::Scale(workload.clone());
        self.waiting.contains_key(&slot) || self.flying.contains(&slot)
    }

    /// Forgets the Jobs of a ScaledJob that wait to be made, and says which.
    pub fn forget_jobs(&mut self, key: &Key) -> Vec<String> {
        let of_key = |slot: &Slot| match slot {
            Slot::Create(whose, name) if whose == key => Some(name.clone()),
            _ => None,
        };
        let names: Vec<String> = self.waiting.keys().filter_map(of_key).collect();
        self.waiting.retain(|slot, _| of_key(slot).is_none());
        names
    }

    /// Whether Jobs of this ScaledJob wait to be made, or are being made.
    #[must_use]
    pub fn creating(&self, key: &Key) -> bool {
        let of_key = |slot: &Slot| matches!(slot, Slot::Create(whose, _) if whose == key);
        self.waiting.keys().any(of_key) || self.flying.iter().any(of_key)
    }

    /// Whether this very write waits or is under way.
    #[must_use]
    pub fn holds(&self, write: &Write) -> bool {
        let slot = write.slot();
        slot.is_some_and(|slot| self.waiting.contains_key(&slot) || self.flying.contains(&slot))
    }

    /// Writes that wait or are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        let notes = self.notes.len() + self.late.len() + self.notes_flying;
        self.waiting.len() + self.flying.len() + notes
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events that were never written: there were too many, or the API server did not take them.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets everything that waits: the lease is somebody else's.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.notes.clear();
        self.late.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::index::target::Asks;
    use crate::object::{Gvk, Kind};

    fn workload(name: &str) -> Id {
        Id::new(Kind::Workload(Gvk::of(None, None)), "prod", name)
    }

    fn scale(name: &str, to: u32) -> Write {
        let key = Key { asks: Asks::ScaledObject, namespace: "prod".into(), name: name.into() };
        let (uid, version) = ("1".into(), "1".into());
        Write::Scale(Scale { key, workload: workload(name), uid, version, from: 0, to, why: String::new() })
    }

    fn note(message: &str) -> Write {
        let (about, uid, at) = (workload("a"), "1".into(), Time::ORIGIN);
        Write::Note(Note {
            about,
            uid,
            warning: false,
            reason: "x",
            message: message.to_owned(),
            at,
            number: 0,
        })
    }

    fn text(write: &Write) -> &str {
        let Write::Note(note) = write else { panic!("an Event") };
        &note.message
    }

    fn at(ms: i64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn a_newer_count_takes_the_place_of_one_that_waits() {
        let mut queue = Queue::default();
        queue.push(scale("a", 1), at(0));
        queue.push(scale("a", 2), at(0));
        assert_eq!(queue.pop(at(0)), Some((scale("a", 2), 0)));
        assert_eq!(queue.pop(at(0)), None);
    }

    #[test]
    fn two_counts_of_one_workload_are_never_under_way_at_once() {
        let mut queue = Queue::default();
        queue.push(scale("a", 1), at(0));
        let first = queue.pop(at(0)).unwrap().0;
        queue.push(scale("a", 2), at(0));
        assert_eq!(queue.pop(at(0)), None);
        queue.landed(&first);
        assert_eq!(queue.pop(at(0)), Some((scale("a", 2), 0)));
    }

    #[test]
    fn a_failed_write_waits_longer_each_time_and_yields_to_a_newer_one() {
        let mut queue = Queue::default();
        queue.push(scale("a", 1), at(0));
        let (write, failures) = queue.pop(at(0)).unwrap();
        queue.failed(write, failures, at(0));
        assert_eq!(queue.pop(at(249)), None);
        let (write, failures) = queue.pop(at(250)).unwrap();
        queue.push(scale("a", 7), at(300));
        queue.failed(write, failures, at(300));
        assert_eq!(queue.pop(at(300)), Some((scale("a", 7), 0)));
    }

    #[test]
    fn counts_go_before_statuses_and_those_before_events() {
        let mut queue = Queue::default();
        queue.push(note("first"), at(0));
        let patch =
            Patch { id: workload("a"), subresource: Some("status"), how: How::Merge, json: json!({}) };
        queue.push(Write::Patch(patch.clone()), at(0));
        queue.push(scale("z", 1), at(0));
        let order: Vec<Write> = std::iter::from_fn(|| Some(queue.pop(at(0))?.0)).collect();
        assert_eq!(order, [scale("z", 1), Write::Patch(patch), note("first")]);
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn events_are_bounded_and_the_oldest_go() {
        let mut queue = Queue::default();
        for number in 0..=EVENTS_MAX {
            queue.push(note(&number.to_string()), at(0));
        }
        assert_eq!((queue.len(), queue.dropped()), (EVENTS_MAX, 1));
        assert_eq!(text(&queue.pop(at(0)).unwrap().0), "1");
    }

    #[test]
    fn an_event_that_was_not_taken_is_tried_again_a_few_times_and_then_counted() {
        let mut queue = Queue::default();
        queue.push(note("a"), at(0));
        let mut tries = 0;
        for wait in [0, 250, 500, 1000] {
            tries += wait;
            if wait > 0 {
                assert_eq!(queue.pop(at(tries - 1)), None);
            }
            let (write, failures) = queue.pop(at(tries)).expect("it is due");
            queue.failed(write, failures, at(tries));
        }
        assert_eq!((queue.pop(at(60_000)), queue.len(), queue.dropped()), (None, 0, 1));
    }

    #[test]
    fn events_of_one_moment_have_numbers_of_their_own() {
        let mut queue = Queue::default();
        queue.push(note("a"), at(0));
        queue.push(note("b"), at(0));
        let numbers: Vec<u32> = std::iter::from_fn(|| match queue.pop(at(0))?.0 {
            Write::Note(note) => Some(note.number),
            _ => None,
        })
        .collect();
        assert_eq!(numbers, [0, 1]);
    }

    #[test]
    fn no_more_than_the_limit_is_under_way() {
        let mut queue = Queue::default();
        for number in 0..FLIGHTS_MAX + 1 {
            queue.push(scale(&format!("w{number}"), 1), at(0));
        }
        let flying: Vec<Write> = std::iter::from_fn(|| Some(queue.pop(at(0))?.0)).collect();
        assert_eq!(flying.len(), FLIGHTS_MAX);
        queue.landed(&flying[0]);
        assert!(queue.pop(at(0)).is_some());
    }
}
