//! The series that queries name, as they were scraped: bounded, and gone when their writer is.
//!
//! One store a target. It keeps only names somebody asked for, as far back as the longest window among
//! the queries, at 240 points a series whatever the window: `rate(x[1h])` sees a point each 15 s.
//!
//! # When a series is gone
//! At once, when a scrape that worked no longer shows it. When a scrape fails, after [`GRACE`]: one
//! refused connection must not look like a fall in load, and a dead replica must not be believed for
//! long. When the replica leaves, with [`Store::forget`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tidegate_core::time::{Span, Time};

use crate::exposition::Sample;

/// How long the series of a replica that no longer answers are still believed: four scrapes.
pub const GRACE: Span = Span::from_secs(5);

/// Series one replica may have here: 12 histograms of 30 buckets of 5 engines are 1,800.
pub const SERIES_PER_REPLICA_MAX: usize = 2_000;

/// Series in all, at most 20 MiB of names and 80 MiB of points (240 of 16 bytes).
pub const SERIES_MAX: usize = 20_000;

/// Points a series keeps beside its newest.
const POINTS: i64 = 240;

/// Labels of a series: name and value, in order of names.
pub type LabelSet = Vec<(Arc<str>, Arc<str>)>;

/// The series of one target's replicas.
#[derive(Clone, Debug, Default)]
pub struct Store {
    replicas: BTreeMap<Arc<str>, Replica>,
    horizon: Span,
    /// What is believed beyond [`GRACE`], for scrapes that are further apart than ours.
    patience: Span,
    series: usize,
    dropped: u64,
}

#[derive(Clone, Debug, Default)]
struct Replica {
    labels: LabelSet,
    /// The last scrape that worked.
    scraped: Option<Time>,
    /// A scrape has failed since.
    failed: bool,
    /// By name and labels as written on the page.
    series: BTreeMap<Box<str>, Series>,
}

/// One series of one replica.
#[derive(Clone, Debug)]
pub struct Series {
    name: Box<str>,
    labels: LabelSet,
    points: VecDeque<(Time, f64)>,
}

impl Series {
    /// The metric's name as written.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its labels with those the replica was given; the engine's own win. In order of names.
    #[must_use]
    pub fn labels(&self) -> &LabelSet {
        &self.labels
    }

    /// The newest value.
    #[must_use]
    pub fn latest(&self) -> Option<(Time, f64)> {
        self.points.back().copied()
    }

    /// Points after `start`, in order.
    pub fn since(&self, start: Time) -> impl Iterator<Item = (Time, f64)> {
        self.points.iter().copied().filter(move |(at, _)| *at > start)
    }
}

impl Store {
    /// A store that reaches back as far as `horizon`, the longest window among the queries.
    #[must_use]
    pub fn new(horizon: Span) -> Self {
        Store { horizon, ..Store::default() }
    }

    /// The same for scrapes `every` so often: each is believed until the next one should have come, as
    /// Prometheus does between two scrapes.
    #[must_use]
    pub fn scraped_every(self, every: Span) -> Self {
        Store { patience: every, ..self }
    }

    /// Names a replica with the labels that every series of it gets, such as `pod` and `namespace`.
    pub fn add(&mut self, replica: &Arc<str>, labels: &[(&str, &str)]) {
        let mut labels: LabelSet =
            labels.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect();
        labels.sort();
        self.replicas.entry(Arc::clone(replica)).or_default().labels = labels;
    }

    /// Takes in what a scrape of `replica` at `at` showed; a replica nobody added is ignored, and so is
    /// a scrape no newer than the one before. Series beyond a limit are dropped and counted.
    pub fn scraped(&mut self, replica: &str, at: Time, samples: &[Sample<'_>]) {
        let Some(found) = self.replicas.get_mut(replica) else { return };
        if found.scraped.is_some_and(|last| last >= at) {
            return;
        }
        found.scraped = Some(at);
        found.failed = false;
        let step = Span::from_micros(self.horizon.as_micros() / POINTS);
        for sample in samples {
            if let Some(series) = found.series.get_mut(sample.series) {
                series.push(at, sample.value, step, self.horizon);
            } else if found.series.len() < SERIES_PER_REPLICA_MAX && self.series < SERIES_MAX {
                self.series += 1;
                found.series.insert(sample.series.into(), Series::new(sample, &found.labels, at));
            } else {
                self.dropped += 1;
            }
        }
        // What the page no longer shows and no window reaches is gone for good.
        let keep_from = at - self.horizon.max(GRACE + self.patience);
        let before = found.series.len();
        found.series.retain(|_, series| series.latest().is_some_and(|(last, _)| last >= keep_from));
        self.series -= before - found.series.len();
    }

    /// A scrape of `replica` failed.
    pub fn failed(&mut self, replica: &str) {
        if let Some(found) = self.replicas.get_mut(replica) {
            found.failed = true;
        }
    }

    /// Forgets a replica with all its series.
    pub fn forget(&mut self, replica: &str) {
        if let Some(gone) = self.replicas.remove(replica) {
            self.series -= gone.series.len();
        }
    }

    /// Replicas known.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// Replicas whose last good scrape is not older than [`GRACE`].
    #[must_use]
    pub fn answering(&self, now: Time) -> usize {
        let patience = self.patience;
        self.replicas.values().filter(|replica| replica.answers(now, patience)).count()
    }

    /// Replicas that were asked and do not answer: what they would say is not known. One that has not
    /// been asked yet is none of them.
    #[must_use]
    pub fn silent(&self, now: Time) -> usize {
        let patience = self.patience;
        let asked = |replica: &&Replica| replica.failed || replica.scraped.is_some();
        self.replicas.values().filter(asked).filter(|replica| !replica.answers(now, patience)).count()
    }

    /// Series kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series
    }

    /// Whether no series is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// Samples dropped at a limit so far. A query over what was dropped would be too low, so whoever
    /// asks it must be told.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Series with a value now: on the last page of a replica that still answers.
    pub fn current(&self, now: Time) -> impl Iterator<Item = &Series> {
        let patience = self.patience;
        self.replicas.values().filter(move |replica| replica.answers(now, patience)).flat_map(|replica| {
            let scraped = replica.scraped;
            replica.series.values().filter(move |series| series.latest().map(|(at, _)| at) == scraped)
        })
    }

    /// Every series, for functions over a window.
    pub fn all(&self) -> impl Iterator<Item = &Series> {
        self.replicas.values().flat_map(|replica| replica.series.values())
    }

    /// Labels and state of each replica, for `up`: 1 where it answers.
    pub fn up(&self, now: Time) -> impl Iterator<Item = (&LabelSet, bool)> {
        let patience = self.patience;
        self.replicas.values().map(move |replica| (&replica.labels, replica.answers(now, patience)))
    }
}

impl Replica {
    fn answers(&self, now: Time, patience: Span) -> bool {
        self.scraped.is_some_and(|at| now.since(at) <= GRACE + patience)
    }
}

impl Series {
    fn new(sample: &Sample<'_>, replica: &LabelSet, at: Time) -> Self {
        let mut labels: LabelSet =
            sample.labels.iter().map(|(name, value)| (Arc::from(name), Arc::from(value.as_ref()))).collect();
        for (name, value) in replica {
            if !labels.iter().any(|(own, _)| own == name) {
                labels.push((Arc::clone(name), Arc::clone(value)));
            }
        }
        labels.sort();
        labels.dedup_by(|later, first| later.0 == first.0);
        Series { name: sample.name.into(), labels, points: VecDeque::from([(at, sample.value)]) }
    }

    fn push(&mut self, at: Time, value: f64, step: Span, horizon: Span) {
        // A newest point too close to its forerunner gives way, so that old points stand a step apart.
        let count = self.points.len();
        if count >= 2 && self.points[count - 1].0.since(self.points[count - 2].0) < step {
            self.points.pop_back();
        }
        self.points.push_back((at, value));
        while self.points.len() > 1
            && self.points.front().is_some_and(|(oldest, _)| at.since(*oldest) > horizon)
        {
            self.points.pop_front();
        }
    }
}
