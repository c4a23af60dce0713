//! The memory behind the pages: told once a second how things are, and of each decision as it is made.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tidegate_core::scale::Decision;
use tokio::sync::watch;

use crate::decision::{DecisionView, Made};
use crate::health::Health;
use crate::history::{History, Sample};
use crate::model::{Fleet, HELD_MAX, LAST_LINES_MAX, STARTS_MAX, TargetView};
use crate::source::Source;
use crate::why::{self, Counts, Why};

/// Changes remembered of a target. A change has about eight steps of 100 bytes: 0.4 MB a target. At one
/// change in ten seconds, which is more than any window lets through, that is an hour and a half.
pub const CHANGES_MAX: usize = 500;

/// Changes that go out with the fleet, the newest of each target: what a card and the list beside it show.
pub const CHANGES_SHOWN: usize = 20;

/// Targets with decisions but not in the published fleet, until they are: as many as a machine has ports
/// for models several times over. Beyond it decisions of unknown targets are dropped.
const UNPUBLISHED_MAX: usize = 1024;

/// Targets without a place on the pages of which it can still be told why: the latest decision, which whoever decided
/// holds too, and the last change, 1 KB a target.
const HIDDEN_MAX: usize = 20_000;

/// How long a hidden target is remembered that decides no more: three polls of a ScaledJob at the longest usual interval.
const HIDDEN_S: f64 = 900.0;

type Extra = Box<dyn Fn(&mut String) + Send + Sync>;

/// A [`Source`] that remembers what it is told. Any thread may tell it; readers never wait long.
pub struct Board {
    known: Mutex<Known>,
    extra: Mutex<Vec<Extra>>,
    version: watch::Sender<u64>,
    health: OnceLock<Arc<Health>>,
}

#[derive(Default)]
struct Known {
    fleet: Arc<Fleet>,
    targets: BTreeMap<String, Memory>,
    /// Those without a place in a fleet that says it hides some.
    hidden: BTreeMap<String, Hidden>,
}

/// What is remembered of a target that no page shows.
struct Hidden {
    latest: Made,
    change: Option<Made>,
}

#[derive(Default)]
struct Memory {
    history: History,
    /// Oldest first.
    changes: VecDeque<Made>,
    latest: Option<Made>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("version", &*self.version.borrow()).finish_non_exhaustive()
    }
}

impl Default for Board {
    fn default() -> Self {
        Board {
            known: Mutex::default(),
            extra: Mutex::default(),
            version: watch::Sender::new(0),
            health: OnceLock::new(),
        }
    }
}

impl Board {
    /// A board that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Board::default()
    }

    /// Takes the fleet as it is now: to be called once a second, and as often as anything else changes.
    /// Each call is also a sample of every target (the last of a second counts). Decisions are filled in,
    /// lists are cut at their limits, and targets that are no longer there are forgotten.
    pub fn publish(&self, mut fleet: Fleet) {
        let mut known = self.known();
        if fleet.hidden == 0 {
            known.hidden.clear();
        }
        known.hidden.retain(|_, hidden| fleet.at_unix_s - hidden.latest.at_unix_s < HIDDEN_S);
        fleet.targets.sort_by(|a, b| a.name.cmp(&b.name));
        known
            .targets
            .retain(|name, _| fleet.targets.binary_search_by(|target| target.name.cmp(name)).is_ok());
        for target in &mut fleet.targets {
            cut(target);
            let memory = known.targets.entry(target.name.clone()).or_default();
            memory.history.push(sample(target, fleet.at_unix_s));
            memory.fill(target);
        }
        known.fleet = Arc::new(fleet);
        drop(known);
        self.tell();
    }

    /// Takes a decision, changed or not. `from` is the count before it.
    pub fn decided(&self, at_unix_s: f64, from: u32, decision: &Arc<Decision>) {
        let changed = from != decision.replicas;
        let mut known = self.known();
        let name = &*decision.target;
        let made = Made { at_unix_s, from, decision: Arc::clone(decision) };
        if !known.targets.contains_key(name)
            && (known.fleet.hidden > 0 || known.targets.len() >= UNPUBLISHED_MAX)
        {
            known.hide(name, made, changed);
            return;
        }
        let memory = known.targets.entry(name.to_owned()).or_default();
        if changed {
            if memory.changes.len() == CHANGES_MAX {
                memory.changes.pop_front();
            }
            memory.changes.push_back(made.clone());
        }
        memory.latest = Some(made);
        if changed {
            // The change is on the screen at once, not with the next second.
            let Known { fleet, targets, .. } = &mut *known;
            if let Some(memory) = targets.get(name)
                && let Some(target) = Arc::make_mut(fleet).targets.iter_mut().find(|one| one.name == name)
            {
                target.wanted = decision.replicas;
                memory.fill(target);
            }
        }
        drop(known);
        if changed {
            self.tell();
        }
    }

    /// Adds a writer of further metrics: Prometheus text without an end mark.
    pub fn add_metrics(&self, writer: impl Fn(&mut String) + Send + Sync + 'static) {
        self.extra.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(writer));
    }

    /// Lets probes be told by this; the first that is given stays.
    pub fn set_health(&self, health: Arc<Health>) {
        let _ = self.health.set(health);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What a thread that panicked left behind is still worth showing.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

impl Known {
    fn hide(&mut self, name: &str, made: Made, changed: bool) {
        if !self.hidden.contains_key(name) && self.hidden.len() >= HIDDEN_MAX {
            return;
        }
        let before = self.hidden.remove(name).and_then(|hidden| hidden.change);
        let change = if changed { Some(made.clone()) } else { before };
        self.hidden.insert(name.to_owned(), Hidden { latest: made, change });
    }
}

impl Hidden {
    /// The decision in force at a time, and the change that brought its count, as far as they are remembered.
    fn at(&self, at_unix_s: Option<f64>) -> Option<(&Made, Option<&Made>)> {
        let change = self.change.as_ref();
        match at_unix_s {
            Some(at) if at < self.latest.at_unix_s => {
                change.filter(|made| made.at_unix_s <= at).map(|made| (made, Some(made)))
            }
            _ => Some((&self.latest, change)),
        }
    }
}

impl Memory {
    fn fill(&self, target: &mut TargetView) {
        target.latest = self.latest.as_ref().map(DecisionView::from);
        target.decisions = self.changes.iter().rev().take(CHANGES_SHOWN).map(DecisionView::from).collect();
    }

    /// The decision in force at a time, and the change that brought its count.
    fn at(&self, at_unix_s: Option<f64>) -> Option<(&Made, Option<&Made>)> {
        let latest = self.latest.as_ref()?;
        let change = |before: f64| self.changes.iter().rev().find(|made| made.at_unix_s <= before);
        match at_unix_s {
            Some(at) if at < latest.at_unix_s => change(at).map(|made| (made, Some(made))),
            _ => Some((latest, change(f64::INFINITY))),
        }
    }
}

fn cut(target: &mut TargetView) {
    target.held.truncate(HELD_MAX);
    target.starts.truncate(STARTS_MAX);
    for replica in &mut target.replicas {
        let beyond = replica.last_lines.len().saturating_sub(LAST_LINES_MAX);
        replica.last_lines.drain(..beyond);
    }
}

fn sample(target: &TargetView, at_unix_s: f64) -> Sample {
    let kv_use = target.replicas.iter().filter_map(|replica| replica.kv_use).reduce(f64::max);
    Sample {
        // Whole seconds: a fleet that changes ten times a second is one point, not ten.
        at_unix_s: at_unix_s.floor(),
        wanted: target.wanted,
        ready: target.ready,
        starting: target.starting + target.pending,
        draining: target.draining,
        waiting: target.waiting,
        in_flight: target.in_flight,
        ttft_p50_s: target.ttft_s.map(|quantiles| quantiles.p50 as f32),
        ttft_p95_s: target.ttft_s.map(|quantiles| quantiles.p95 as f32),
        itl_p50_s: target.itl_s.map(|quantiles| quantiles.p50 as f32),
        itl_p95_s: target.itl_s.map(|quantiles| quantiles.p95 as f32),
        kv_use: kv_use.map(|share| share as f32),
        tokens_per_s: target.tokens_per_s.map(|rate| rate as f32),
    }
}

impl Source for Board {
    fn fleet(&self) -> Arc<Fleet> {
        Arc::clone(&self.known().fleet)
    }

    fn history(&self, target: &str, span_s: f64) -> Option<Vec<Sample>> {
        self.known().targets.get(target).map(|memory| memory.history.last(span_s))
    }

    fn decisions(&self, target: &str) -> Vec<DecisionView> {
        let changes = self.known().targets.get(target).map(|memory| memory.changes.clone());
        changes.unwrap_or_default().iter().rev().map(DecisionView::from).collect()
    }

    fn why(&self, target: &str, at_unix_s: Option<f64>) -> Result<Why, why::Error> {
        let known = self.known();
        if let Some(hidden) = known.hidden.get(target) {
            let target = target.to_owned();
            let (made, changed) = hidden.at(at_unix_s).ok_or(why::Error::Forgotten { target })?;
            let at = at_unix_s.unwrap_or(known.fleet.at_unix_s.max(made.at_unix_s));
            return Ok(why::explain(made, changed, at, "memory"));
        }
        let Some(memory) = known.targets.get(target) else {
            let names: Vec<&str> = known.targets.keys().map(String::as_str).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(why::Error::UnknownTarget { target: target.to_owned(), known });
        };
        let target = target.to_owned();
        if memory.latest.is_none() {
            return Err(why::Error::Undecided { target });
        }
        let Some((made, changed)) = memory.at(at_unix_s) else {
            return Err(why::Error::Forgotten { target });
        };
        let at = at_unix_s.unwrap_or(known.fleet.at_unix_s.max(made.at_unix_s));
        let mut why = why::explain(made, changed, at, "memory");
        let now = at_unix_s.is_none();
        if let Some(view) = known.fleet.targets.iter().find(|view| now && view.name == target) {
            why.trouble.clone_from(&view.trouble);
            why.advice.clone_from(&view.advice);
            why.replicas = Some(Counts::from(view));
            why.signals.clone_from(&view.signals);
        }
        Ok(why)
    }

    fn metrics(&self, out: &mut String) {
        for writer in self.extra.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            writer(out);
        }
    }

    fn health(&self) -> Option<&Health> {
        self.health.get().map(|health| &**health)
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
