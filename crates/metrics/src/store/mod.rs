//! The series that queries read: bounded, packed, and ended when their writer is gone.
//!
//! One store a driver. What replicas show comes in page by page ([`Store::scraped`]), what others write
//! comes in sample by sample ([`Store::push`]). It reaches back [`RETENTION`], further for names a query
//! looks further back for ([`Store::keep`]), and whatever the length, a series keeps 1,800 samples at
//! the most: `rate(x[24h])` sees one each 48 s.
//!
//! # When a series has ended
//! At once, when a scrape that worked no longer shows it. When scrapes fail, after [`GRACE`]: one
//! refused connection must not look like a fall in load, and a dead replica must not be believed for
//! long. When the replica leaves, with [`Store::forget`]. What it was stays until it is too old, so that
//! `increase(x[5m])` does not forget the work of a replica that is gone.
//!
//! # Limits
//! [`SERIES_PER_REPLICA_MAX`], [`SERIES_MAX`] and [`BYTES_MAX`]: beyond them new series are dropped and
//! counted ([`Store::dropped`]), the known ones go on.

mod chunk;
mod intern;
mod replica;
mod series;
mod shared;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::time::{Span, Time};

use intern::Names;
use replica::Replica;
pub use series::{STALE_BITS, Series, is_stale};
pub use shared::Shared;

/// How far back the store reaches unless a query wants more.
pub const RETENTION: Span = Span::from_secs(15 * 60);

/// How long the series of a replica that no longer answers are still believed: four scrapes.
pub const GRACE: Span = Span::from_secs(5);

/// How long a sample that somebody wrote is believed, as in Prometheus.
pub const LOOKBACK: Span = Span::from_secs(5 * 60);

/// Series one replica may have here: vLLM's 300 that tell something, of 16 engines in one pod, are 4,800.
pub const SERIES_PER_REPLICA_MAX: usize = 5_000;

/// Series in all: 500 engines of 100 each. At 3 KB for 15 minutes of seconds, 150 MB.
pub const SERIES_MAX: usize = 50_000;

/// Bytes of packed samples in all: what [`SERIES_MAX`] take when each of 900 samples needs 6 bytes.
pub const BYTES_MAX: usize = 256 << 20;

/// The label that is a series' name.
pub const NAME: &str = "__name__";

/// Labels of a series, `__name__` among them: name and value, in order of names.
pub type LabelSet = Vec<(Arc<str>, Arc<str>)>;

/// The value of a label.
#[must_use]
pub fn label<'l>(labels: &'l LabelSet, name: &str) -> Option<&'l str> {
    labels.iter().find(|(label, _)| &**label == name).map(|(_, value)| &**value)
}

/// Milliseconds of an instant.
#[must_use]
pub const fn millis(at: Time) -> i64 {
    at.as_micros().div_euclid(1000)
}

/// How much of the past a series keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// How far back it reaches.
    pub retention: Span,
    /// Samples at the most; what comes faster is thinned.
    pub samples_max: u32,
}

impl Default for Past {
    /// [`RETENTION`], at two samples a second.
    fn default() -> Self {
        Past { retention: RETENTION, samples_max: series::SAMPLES_MAX }
    }
}

type Slot = usize;

/// The series of a driver.
#[derive(Clone, Debug, Default)]
pub struct Store {
    replicas: BTreeMap<Arc<str>, Replica>,
    slots: Vec<Option<Series>>,
    free: Vec<Slot>,
    by_labels: BTreeMap<Arc<LabelSet>, Slot>,
    by_name: BTreeMap<Arc<str>, Vec<Slot>>,
    names: Names,
    past: Past,
    /// What is believed beyond [`GRACE`], for scrapes that are further apart than ours.
    patience: Span,
    long: BTreeMap<Arc<str>, Span>,
    bytes: usize,
    swept_ms: i64,
    dropped: u64,
}

/// How often what is over is looked for.
const SWEEP_MS: i64 = 60_000;

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Store::default()
    }

    /// An empty store that keeps another past.
    #[must_use]
    pub fn with_past(past: Past) -> Self {
        Store { past, ..Store::default() }
    }

    /// The same for scrapes `every` so often: each is believed until the next one should have come, as
    /// Prometheus does between two scrapes. To be said before anything is scraped.
    #[must_use]
    pub fn scraped_every(self, every: Span) -> Self {
        Store { patience: every, ..self }
    }

    /// Keeps the series of `name` for `reach` at least, a day at the most.
    pub fn keep(&mut self, name: &str, reach: Span) {
        const LONGEST: Span = Span::from_secs(86_400 + 300);
        let reach = reach.min(LONGEST);
        if reach <= self.past.retention {
            return;
        }
        let name = self.names.get(name);
        for slot in self.by_name.get(&name).into_iter().flatten() {
            if let Some(Some(series)) = self.slots.get_mut(*slot) {
                series.set_retention(reach);
            }
        }
        let known = self.long.entry(name).or_insert(reach);
        *known = reach.max(*known);
    }

    /// Adds one sample of one series that nobody scrapes: `labels` has `__name__`, any order. Returns
    /// false for one dropped at a limit, for one not newer than what is there, and for one of a series
    /// that we scrape.
    pub fn push(&mut self, labels: &[(&str, &str)], at_ms: i64, value: f64) -> bool {
        let labels = self.labels(labels.iter().copied());
        let Some(slot) = self.slot_of(labels, None, LOOKBACK) else { return false };
        let ours =
            self.slots.get(slot).and_then(Option::as_ref).is_some_and(|series| series.target().is_some());
        !ours && self.push_at(slot, at_ms, value)
    }

    fn labels<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>) -> LabelSet {
        let named = labels.filter(|(_, value)| !value.is_empty());
        let mut set: LabelSet =
            named.map(|(name, value)| (self.names.get(name), self.names.get(value))).collect();
        set.sort_by(|a, b| a.0.cmp(&b.0));
        set.dedup_by(|later, first| later.0 == first.0);
        set
    }

    fn slot_of(&mut self, labels: LabelSet, target: Option<Arc<str>>, lookback: Span) -> Option<Slot> {
        if let Some(slot) = self.by_labels.get(&labels) {
            return Some(*slot);
        }
        let Some(name) = labels.iter().find(|(name, _)| &**name == NAME).map(|(_, value)| Arc::clone(value))
        else {
            self.dropped += 1;
            return None;
        };
        if self.len() >= SERIES_MAX || self.bytes >= BYTES_MAX {
            self.dropped += 1;
            return None;
        }
        let labels = Arc::new(labels);
        let retention = self.long.get(&name).copied().unwrap_or(self.past.retention);
        let past = Past { retention, ..self.past };
        let series = Series::new(Arc::clone(&labels), target, lookback, past);
        self.bytes += series.bytes();
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Some(series));
        } else {
            self.slots[slot] = Some(series);
        }
        self.by_labels.insert(labels, slot);
        self.by_name.entry(name).or_default().push(slot);
        Some(slot)
    }

    fn push_at(&mut self, slot: Slot, at_ms: i64, value: f64) -> bool {
        let Some(Some(series)) = self.slots.get_mut(slot) else { return false };
        series.push(at_ms, value)
    }

    /// Lets go of series that are over at `now_ms`, once a minute, and counts bytes anew. A scrape does
    /// it by itself.
    pub fn sweep(&mut self, now_ms: i64) {
        if now_ms.saturating_sub(self.swept_ms) < SWEEP_MS && self.swept_ms != 0 {
            return;
        }
        self.swept_ms = now_ms;
        let mut gone = 0;
        self.bytes = 0;
        for (slot, place) in self.slots.iter_mut().enumerate() {
            match place {
                Some(series) if series.is_over(now_ms) => {
                    self.by_labels.remove(series.shared_labels());
                    *place = None;
                    self.free.push(slot);
                    gone += 1;
                }
                Some(series) => self.bytes += series.bytes(),
                None => {}
            }
        }
        if gone == 0 {
            return;
        }
        let slots = &self.slots;
        let there = |slot: &Slot| slots.get(*slot).is_some_and(Option::is_some);
        self.by_name.retain(|_, named| {
            named.retain(there);
            !named.is_empty()
        });
        for replica in self.replicas.values_mut() {
            replica.retain(there);
        }
        self.names.sweep();
    }

    /// Series kept, ended ones that queries may still look back at included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_labels.len()
    }

    /// Whether no series is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_labels.is_empty()
    }

    /// Samples dropped at a limit so far, of pages and of what others wrote.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes of packed samples, labels and pages' lines not counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.all().map(Series::bytes).sum()
    }

    /// Every series.
    pub fn all(&self) -> impl Iterator<Item = &Series> {
        self.slots.iter().flatten()
    }

    /// The series of one name, as it is written.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Series> {
        let slots = self.by_name.get(name).into_iter().flatten();
        slots.filter_map(|slot| self.slots.get(*slot)?.as_ref())
    }

    /// The names there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }
}

/// How far back the store must reach for a query that looks back `window`: its first sample may be as
/// old as a sample is believed.
#[must_use]
pub const fn reach(window: Span) -> Span {
    Span::from_micros(window.as_micros().saturating_add(LOOKBACK.as_micros()))
}
