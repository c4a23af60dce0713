//! What replicas show, page by page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_core::time::{Span, Time};

use super::series::STALE_BITS;
use super::{GRACE, LOOKBACK, LabelSet, NAME, SERIES_PER_REPLICA_MAX, Slot, Store, millis};
use crate::exposition::Sample;

#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    target: Option<Arc<str>>,
    labels: LabelSet,
    /// The last scrape that worked.
    scraped: Option<Time>,
    /// A scrape has failed since.
    failed: bool,
    /// Place of each line by name and labels as written on the page.
    lines: BTreeMap<Arc<str>, usize>,
    /// In the order of the page, which is the same from page to page.
    order: Vec<Line>,
    pages: u64,
    /// Names of series that the last page showed and that found no place.
    dropped: BTreeSet<Box<str>>,
}

#[derive(Clone, Debug)]
struct Line {
    text: Arc<str>,
    slot: Slot,
    page: u64,
}

impl Replica {
    fn answers(&self, now: Time, believed: Span) -> bool {
        self.scraped.is_some_and(|at| now.since(at) <= believed)
    }

    /// The line of `text`, most often the one after the last.
    fn find(&self, text: &str, guess: usize) -> Option<usize> {
        if self.order.get(guess).is_some_and(|line| &*line.text == text) {
            return Some(guess);
        }
        self.lines.get(text).copied()
    }

    pub(super) fn retain(&mut self, there: impl Fn(&Slot) -> bool) {
        let before = self.order.len();
        self.order.retain(|line| there(&line.slot));
        if self.order.len() < before {
            self.lines =
                self.order.iter().enumerate().map(|(at, line)| (Arc::clone(&line.text), at)).collect();
        }
    }
}

impl Store {
    /// Names a replica of `target` with the labels that every series of it gets, such as `pod` and
    /// `namespace`; `instance` is its name unless they say otherwise, so that two replicas are never one.
    pub fn add(&mut self, replica: &Arc<str>, target: Option<&str>, labels: &[(&str, &str)]) {
        let instance = [("instance", &**replica)];
        let own = labels.iter().copied();
        let labels = self.labels(own.chain(instance));
        let target = target.map(|target| self.names.get(target));
        let found = self.replicas.entry(Arc::clone(replica)).or_default();
        found.labels = labels;
        found.target = target;
    }

    /// Takes in what a scrape of `replica` at `at` showed; a replica nobody added is ignored, and so is
    /// a scrape no newer than the one before. Series beyond a limit are dropped and counted.
    pub fn scraped(&mut self, replica: &str, at: Time, samples: &[Sample<'_>]) {
        let Some(mut found) = self.replicas.remove(replica) else { return };
        if found.scraped.is_none_or(|last| last < at) {
            self.take(&mut found, at, samples);
        }
        self.replicas.insert(replica.into(), found);
        self.sweep(millis(at));
    }

    fn take(&mut self, found: &mut Replica, at: Time, samples: &[Sample<'_>]) {
        found.scraped = Some(at);
        found.failed = false;
        found.pages += 1;
        found.dropped.clear();
        let at_ms = millis(at);
        let page = found.pages;
        let mut guess = 0;
        for sample in samples {
            let place = match found.find(sample.series, guess) {
                Some(place) => place,
                None => match self.new_line(found, sample) {
                    Some(place) => place,
                    None => {
                        found.dropped.insert(sample.name.into());
                        continue;
                    }
                },
            };
            guess = place + 1;
            let line = &mut found.order[place];
            line.page = page;
            self.push_at(line.slot, at_ms, sample.value);
        }
        // What the page no longer shows has ended.
        for line in found.order.iter().filter(|line| line.page != page) {
            self.end(line.slot, at_ms);
        }
        self.push_up(found, at_ms, 1.0);
    }

    fn new_line(&mut self, found: &mut Replica, sample: &Sample<'_>) -> Option<usize> {
        if found.order.len() >= SERIES_PER_REPLICA_MAX {
            self.dropped += 1;
            return None;
        }
        // The engine's own labels stand first and win.
        let own: Vec<_> = sample.labels.iter().collect();
        let own = own.iter().map(|(name, value)| (*name, value.as_ref()));
        let given = found.labels.iter().map(|(name, value)| (&**name, &**value));
        let labels = self.labels(own.chain(given).chain([(NAME, sample.name)]));
        // Its last instant included: a look back is open at its far end.
        let believed = Span::from_micros(self.believed().as_micros() + 1_000);
        let slot = self.slot_of(labels, found.target.clone(), believed)?;
        let text: Arc<str> = Arc::from(sample.series);
        found.order.push(Line { text: Arc::clone(&text), slot, page: 0 });
        found.lines.insert(text, found.order.len() - 1);
        Some(found.order.len() - 1)
    }

    fn push_up(&mut self, found: &Replica, at_ms: i64, value: f64) {
        let given = found.labels.iter().map(|(name, value)| (&**name, &**value));
        let labels: Vec<(&str, &str)> = given.chain([(NAME, "up")]).collect();
        let labels = self.labels(labels.into_iter());
        if let Some(slot) = self.slot_of(labels, found.target.clone(), LOOKBACK) {
            self.push_at(slot, at_ms, value);
        }
    }

    fn end(&mut self, slot: Slot, at_ms: i64) {
        if let Some(Some(series)) = self.slots.get_mut(slot)
            && !series.has_ended()
        {
            series.push(at_ms, f64::from_bits(STALE_BITS));
        }
    }

    /// A scrape of `replica` failed at `at`.
    pub fn failed(&mut self, replica: &str, at: Time) {
        let Some(mut found) = self.replicas.remove(replica) else { return };
        found.failed = true;
        self.push_up(&found, millis(at), 0.0);
        self.replicas.insert(replica.into(), found);
    }

    /// A replica is gone: its series end, and stay until they are too old.
    pub fn forget(&mut self, replica: &str) {
        let Some(gone) = self.replicas.remove(replica) else { return };
        let slots: Vec<Slot> = gone.order.iter().map(|line| line.slot).collect();
        for slot in slots {
            self.end_after_last(slot);
        }
        let given = gone.labels.iter().map(|(name, value)| (&**name, &**value));
        let labels: Vec<(&str, &str)> = given.chain([(NAME, "up")]).collect();
        let labels = self.labels(labels.into_iter());
        if let Some(slot) = self.by_labels.get(&labels).copied() {
            self.end_after_last(slot);
        }
    }

    /// Ends a series a millisecond after its last sample: nobody says when the replica left.
    fn end_after_last(&mut self, slot: Slot) {
        let last = self.slots.get(slot).and_then(Option::as_ref).and_then(|series| series.newest());
        if let Some((last_ms, _)) = last {
            self.end(slot, last_ms + 1);
        }
    }

    /// Replicas known, of `target` or of all.
    #[must_use]
    pub fn replicas(&self, target: Option<&str>) -> usize {
        self.of(target).count()
    }

    /// Replicas whose last good scrape is not older than [`GRACE`].
    #[must_use]
    pub fn answering(&self, target: Option<&str>, now: Time) -> usize {
        let believed = self.believed();
        self.of(target).filter(|replica| replica.answers(now, believed)).count()
    }

    /// Replicas that were asked and do not answer: what they would say is not known. One that has not
    /// been asked yet is none of them.
    #[must_use]
    pub fn silent(&self, target: Option<&str>, now: Time) -> usize {
        let asked = |replica: &&Replica| replica.failed || replica.scraped.is_some();
        let believed = self.believed();
        self.of(target).filter(asked).filter(|replica| !replica.answers(now, believed)).count()
    }

    /// Whether the last page of a replica showed series of one of `names` that found no place. A query
    /// over what was dropped would be too low, so whoever asks it must be told.
    #[must_use]
    pub fn lacks(&self, target: Option<&str>, names: &[String]) -> bool {
        self.of(target).any(|replica| names.iter().any(|name| replica.dropped.contains(name.as_str())))
    }

    /// How long a scrape is believed.
    fn believed(&self) -> Span {
        GRACE + self.patience
    }

    fn of(&self, target: Option<&str>) -> impl Iterator<Item = &Replica> {
        let wanted = move |replica: &&Replica| target.is_none() || replica.target.as_deref() == target;
        self.replicas.values().filter(wanted)
    }
}
