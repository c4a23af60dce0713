//! The loop: what is seen becomes events, decisions become processes.
//!
//! One task owns the scale machines and the journal, so every event has its place in one order and the
//! journal is that order. It never waits for a source: readings come in when they are there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tidegate_core::route::Demand;
use tidegate_core::scale::decision::Decision;
use tidegate_core::scale::spec::Signal;
use tidegate_core::scale::{Action, Event, Fleet, Pod, Reading, Requests, Spec, State};
use tidegate_core::time::Time;
use tidegate_dashboard::Board;
use tidegate_dashboard::model::Severity;
use tidegate_decide::Control;
use tidegate_gateway::Gateway;
use tidegate_journal::Journal;
use tidegate_local::Machine;
use tidegate_local::status::Status;
use tidegate_signals::process::Usage;
use tidegate_signals::trust::Trust;
use tidegate_signals::work::Work;
use tidegate_signals::{Asker, Context, Kept, Pushed, Queries, Shared, Sources};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use super::clock::Clock;
use super::swap::{self, Use};
use super::world::World;
use super::{limits, show, usage};
use crate::journals::Directory;
use crate::output;

/// How often everything is decided, whatever happens in between.
const TICK: Duration = Duration::from_secs(1);

/// The least time between two looks at a target's sources because one has news.
const NEWS_PACE: Duration = Duration::from_millis(100);

/// What the loop is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// A target's demand changed.
    Demand(Arc<str>, Demand),
    /// A target's sources were asked, and this is what they said.
    Readings(Arc<str>, Vec<(Arc<str>, Reading)>),
    /// What processes use.
    Usage(Vec<Usage>),
    /// A source of a target's has news: it is asked before the next tick.
    News(Arc<str>),
    /// The files changed, and they are good.
    World(Box<World>),
    /// The files changed, and they are not.
    Refused(String),
    /// The end: everything is to be drained.
    Stop,
}

/// One target as the loop sees it.
pub(crate) struct Entry {
    pub(crate) used: Use,
    pub(crate) sources: Arc<Sources>,
    /// The count asked of the machine.
    pub(crate) wanted: u32,
    pub(crate) seen: Option<Fleet>,
    /// The demand last told to the scale machine.
    told: Option<Demand>,
    /// Since when its sources are being asked; `None` when they are not.
    asked: bool,
    pub(crate) readings: BTreeMap<Arc<str>, Reading>,
    /// Which of them can be trusted.
    pub(crate) trust: Trust,
    /// What one replica asks for, and the replicas last told to the scale machine.
    pub(crate) requests: Requests,
    pub(crate) pods: Vec<Pod>,
    /// What its engines did when it was last looked at.
    pub(crate) work: Work,
    /// When its last start that was told of began.
    pub(crate) start_told: Option<Time>,
    /// Tells of news; it ends with the entry or its sources.
    news: Option<Abort>,
}

/// A task that ends when this is dropped.
pub(crate) struct Abort(AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Everything that decides and obeys.
pub(crate) struct Loop {
    pub(crate) clock: Clock,
    pub(crate) control: Control,
    pub(crate) journal: Journal<Directory>,
    pub(crate) machine: Machine,
    pub(crate) status: watch::Receiver<Arc<Status>>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) board: Arc<Board>,
    pub(crate) inbox: mpsc::UnboundedReceiver<Message>,
    pub(crate) outbox: mpsc::UnboundedSender<Message>,
    pub(crate) scrapes: Arc<super::scrape::Scrapes>,
    pub(crate) devices: Arc<super::devices::Devices>,
    /// Every target's series, as a Prometheus would have them.
    pub(crate) kept: Arc<Kept>,
    pub(crate) usage: usage::Look,
    /// Asks every server, for all targets.
    pub(crate) asker: Asker,
    /// What is pushed.
    pub(crate) pushed: Pushed,
    pub(crate) queries: Queries,
    pub(crate) entries: BTreeMap<Arc<str>, Entry>,
    /// Every unit, also those nothing scales.
    pub(crate) world: World,
    pub(crate) notes: Arc<show::Notes>,
    /// What was counted of each target when it was last shown.
    pub(crate) counted: BTreeMap<Arc<str>, show::Counted>,
    /// Targets that wait for a GPU nobody yields, and why.
    pub(crate) in_vain: BTreeMap<Arc<str>, String>,
    /// Replicas that failed, as last said on standard error.
    pub(crate) failing: BTreeMap<Arc<str>, String>,
    /// Where the journal is.
    pub(crate) state_dir: PathBuf,
}

impl Loop {
    /// Runs until it is told to stop or cannot write its journal.
    pub(crate) async fn run(mut self) -> Result<Machine> {
        self.respecify().context("cannot write the journal; free space and start again")?;
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let outcome = tokio::select! {
                message = self.inbox.recv() => match message {
                    None | Some(Message::Stop) => break,
                    Some(message) => self.take(message),
                },
                changed = self.status.changed() => match changed {
                    Ok(()) => self.look(),
                    Err(_) => break,
                },
                _ = ticker.tick() => self.tick(),
            };
            outcome.context("cannot write the journal; free space and start again")?;
        }
        self.journal.finish().context("cannot finish the journal")?;
        Ok(self.machine)
    }

    fn take(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Demand(target, demand) => self.demand(&target, demand),
            Message::Readings(target, readings) => self.readings(&target, readings),
            Message::Usage(used) => self.used(&used),
            Message::News(target) => {
                self.ask(&target);
                Ok(())
            }
            Message::World(world) => self.replace(*world),
            Message::Refused(reason) => {
                output::complain(&format!("the edit is refused, the old files stay in force: {reason}"));
                self.note(Severity::Error, format!("An edit was refused: {reason}"));
                Ok(())
            }
            Message::Stop => Ok(()),
        }
    }

    /// Demand is told with the next tick; an edge from or to zero is one.
    fn demand(&mut self, target: &Arc<str>, demand: Demand) -> io::Result<()> {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(target) else { return Ok(()) };
        let was = entry.used.demand;
        entry.used.demand = demand;
        if requests(was) > 0 || requests(demand) > 0 {
            entry.used.last_used = now;
        }
        if (requests(was) == 0) != (requests(demand) == 0) {
            if requests(demand) == 0 {
                self.look_at_who_answers(target)?;
            }
            self.decide(target)?;
            self.swap()?;
        }
        self.flush()
    }

    /// Replicas that the gateway sends requests to are ready, whether or not the machine's word of it is here: a
    /// request may be answered, and its demand be gone, before. Without it those who were answered would count as
    /// having left before a replica was ready, and the replica would be taken away at once.
    fn look_at_who_answers(&mut self, target: &Arc<str>) -> io::Result<()> {
        let Some(entry) = self.entries.get_mut(target) else { return Ok(()) };
        let answer = u32::try_from(self.gateway.least_busy(target).len()).unwrap_or(u32::MAX);
        if answer == 0 || entry.seen.is_some_and(|seen| seen.ready > 0) {
            return Ok(());
        }
        let told = show::fleet_of(&self.status.borrow(), target, entry.wanted);
        let ready = told.ready.max(answer);
        let status = told.status.max(ready);
        let fleet = Fleet { status, ready, starting: told.starting.min(status - ready), ..told };
        entry.seen = Some(fleet);
        self.step(target, &Event::Fleet(fleet))
    }

    fn readings(&mut self, target: &Arc<str>, readings: Vec<(Arc<str>, Reading)>) -> io::Result<()> {
        let Some(entry) = self.entries.get_mut(target) else { return Ok(()) };
        entry.asked = false;
        self.take_readings(target, readings)?;
        self.flush()
    }

    /// Readings of a target, and a decision on them.
    pub(crate) fn take_readings(
        &mut self,
        target: &Arc<str>,
        readings: Vec<(Arc<str>, Reading)>,
    ) -> io::Result<()> {
        for (signal, reading) in readings {
            if !reading.is_finite() {
                continue;
            }
            if let Some(entry) = self.entries.get_mut(target) {
                entry.readings.insert(Arc::clone(&signal), reading.clone());
            }
            self.step(target, &Event::Reading { signal, reading })?;
        }
        self.decide(target)
    }

    /// The machine's replicas changed.
    fn look(&mut self) -> io::Result<()> {
        let status = Arc::clone(&self.status.borrow_and_update());
        let names: Vec<Arc<str>> = self.entries.keys().cloned().collect();
        for name in names {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            let fleet = show::fleet_of(&status, &name, entry.wanted);
            if entry.seen != Some(fleet) {
                entry.seen = Some(fleet);
                self.step(&name, &Event::Fleet(fleet))?;
            }
        }
        self.swap()?;
        self.flush()?;
        self.complain(&status);
        self.publish();
        Ok(())
    }

    /// Says of each failed run why it failed. Back-off doubles, so a crash loop says a line every few minutes.
    fn complain(&mut self, status: &Status) {
        let failing = show::failing(status);
        for (target, why) in &failing {
            if self.failing.get(target) != Some(why) {
                output::complain(&format!("{target}: {why}"));
            }
        }
        self.failing = failing;
    }

    /// Asks every target's sources; who is still being asked is decided on what there is.
    fn tick(&mut self) -> io::Result<()> {
        let names: Vec<Arc<str>> = self.entries.keys().cloned().collect();
        for name in names {
            self.tell_work(&name)?;
            if !self.ask(&name) {
                self.decide(&name)?;
            }
        }
        self.look_at_processes();
        self.watch_signals();
        self.swap()?;
        self.flush()?;
        self.publish();
        Ok(())
    }

    /// Asks a target's sources, unless they are being asked.
    fn ask(&mut self, name: &Arc<str>) -> bool {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(name).filter(|entry| !entry.asked) else { return false };
        entry.asked = true;
        let context =
            Context { unix_s: now.as_micros().div_euclid(1_000_000), demand: Some(told(entry.used.demand)) };
        let (name, sources) = (Arc::clone(name), Arc::clone(&entry.sources));
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let readings = sources.read(now, &context).await;
            // The loop has ended when nobody takes it.
            let _ = outbox.send(Message::Readings(name, readings));
        });
        true
    }

    fn decide(&mut self, target: &Arc<str>) -> io::Result<()> {
        if let Some(entry) = self.entries.get_mut(target)
            && entry.told != Some(entry.used.demand)
        {
            let demand = entry.used.demand;
            entry.told = Some(demand);
            let value = f64::from(requests(demand));
            let reading = Reading::Value { value, active: None };
            self.step(target, &Event::Reading { signal: Signal::DEMAND.into(), reading })?;
        }
        self.step(target, &Event::Tick)
    }

    /// One event, written down with what followed from it, and carried out.
    pub(crate) fn step(&mut self, target: &Arc<str>, event: &Event) -> io::Result<()> {
        let now = self.clock.now();
        let mut actions = Vec::new();
        self.control.step(now, target, event, Some(&mut self.journal), &mut actions)?;
        let found = self.entries.get(target).map_or(0, |entry| entry.wanted);
        let mut decision = None;
        for action in actions {
            match action {
                Action::Decided(made) => {
                    let made = Arc::new(made);
                    self.board.decided(now.as_secs_f64(), found, &made);
                    decision = Some(made);
                }
                Action::Scale { from, to } => self.scale(target, from, to, decision.as_deref()),
                Action::Refused { message } => {
                    output::complain(&message);
                    self.note(Severity::Error, message);
                }
                Action::CreateJobs { .. } => {}
            }
        }
        Ok(())
    }

    fn scale(&mut self, target: &Arc<str>, from: u32, to: u32, decision: Option<&Decision>) {
        if let Err(error) = self.machine.scale(target, to) {
            self.note(Severity::Error, error.to_string());
            return;
        }
        if let Some(entry) = self.entries.get_mut(target) {
            entry.wanted = to;
        }
        let why = decision.map(show::sentence).unwrap_or_default();
        output::note(&format!("{target}: {from} → {to}  {why}"));
    }

    fn swap(&mut self) -> io::Result<()> {
        let uses: Vec<Use> = self.entries.values().map(|entry| entry.used.clone()).collect();
        if uses.iter().all(|used| used.demand.waiting == 0) {
            self.in_vain.clear();
            return Ok(());
        }
        let status = Arc::clone(&self.status.borrow());
        let found = swap::handovers(self.clock.now(), &uses, &status);
        self.in_vain = found.refused.into_iter().collect();
        for handover in found.now {
            let event = Event::Yield { to: handover.to, replicas: handover.replicas, idle: handover.idle };
            self.step(&handover.from, &event)?;
        }
        Ok(())
    }

    /// Good files take the place of the old ones: what stays goes on with what it remembers.
    fn replace(&mut self, world: World) -> io::Result<()> {
        let specs: BTreeSet<Arc<str>> =
            world.targets.iter().map(|target| Arc::clone(&target.spec.target)).collect();
        self.world = world;
        self.respecify()?;
        let world = &self.world;
        self.journal.turn(world.hash.clone())?;
        let gone: Vec<Arc<str>> =
            self.control.targets().filter(|name| !specs.contains(*name)).cloned().collect();
        for name in gone {
            self.control.remove(&name);
            self.entries.remove(&name);
        }
        for target in &world.targets {
            let name = &target.spec.target;
            if self.control.spec(name).is_none()
                && let Err(error) = self.control.add(target.spec.clone(), State::default())
            {
                self.note(Severity::Error, error.to_string());
            }
        }
        self.install();
        let told = "the files changed: the new ones are in force";
        output::note(told);
        self.note(Severity::Info, told.to_owned());
        self.flush()
    }

    /// Tells the scale machines of specs that are not what they were.
    fn respecify(&mut self) -> io::Result<()> {
        let changed: Vec<Spec> = self
            .world
            .targets
            .iter()
            .filter(|target| {
                self.control.spec(&target.spec.target).is_some_and(|known| *known != target.spec)
            })
            .map(|target| target.spec.clone())
            .collect();
        for spec in changed {
            let name = Arc::clone(&spec.target);
            self.step(&name, &Event::Spec(Box::new(spec)))?;
        }
        Ok(())
    }

    /// Tells the gateway and the machine of what is to run, and makes an entry for each target.
    pub(crate) fn install(&mut self) {
        let now = self.clock.now();
        // A worker that answers nobody has no models, and no place in the gateway.
        let routed = self.world.units.iter().filter(|unit| !unit.models.is_empty());
        let targets = &self.world.targets;
        let ttft = |name: &Arc<str>| {
            let target = targets.iter().find(|target| target.spec.target == *name)?;
            Some(super::work::objective(&target.spec)?.ttft)
        };
        self.gateway.set_targets(routed.map(|unit| limits::routed(unit, ttft(&unit.target))).collect());
        for target in &self.world.targets {
            let name = &target.spec.target;
            let Some(unit) = self.world.units.iter().find(|unit| unit.target == *name) else { continue };
            let shared = Shared {
                asker: &self.asker,
                pushed: &self.pushed,
                queries: self.queries,
                files: self.world.auth.all(),
                cluster: None,
            };
            let sources =
                Arc::new(Sources::new(target, &self.world.manifests, shared).keeping(&self.kept, name));
            self.scrapes.target(unit, sources.series().cloned());
            let requests = usage::requests(target, unit, &self.world.manifests);
            let news = news_of(name, &sources, &self.outbox);
            match self.entries.get_mut(name) {
                Some(entry) => {
                    entry.used.unit = unit.clone();
                    entry.used.min = target.spec.min;
                    entry.sources = sources;
                    entry.asked = false;
                    entry.requests = requests;
                    entry.news = news;
                }
                None => {
                    let used = Use {
                        unit: unit.clone(),
                        demand: Demand::default(),
                        min: target.spec.min,
                        last_used: now,
                    };
                    let wanted = self.control.wanted(name).unwrap_or(0);
                    let entry = Entry {
                        used,
                        sources,
                        wanted,
                        seen: None,
                        told: None,
                        asked: false,
                        readings: BTreeMap::new(),
                        trust: Trust::default(),
                        requests,
                        pods: Vec::new(),
                        work: Work::default(),
                        start_told: None,
                        news,
                    };
                    self.entries.insert(Arc::clone(name), entry);
                }
            }
        }
        self.machine.apply(self.world.units.clone());
        for (name, entry) in &self.entries {
            if let Err(error) = self.machine.scale(name, entry.wanted) {
                self.note(Severity::Error, error.to_string());
            }
        }
        for remark in self.world.remarks.clone() {
            self.note(Severity::Info, remark);
        }
    }

    pub(crate) fn note(&self, severity: Severity, text: String) {
        self.notes.add(self.clock.unix_s(), severity, text);
    }

    fn publish(&mut self) {
        let fleet = show::fleet(self);
        self.board.publish(fleet);
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.journal.finish()
    }
}

/// Tells the loop when a source of a target's has news.
fn news_of(target: &Arc<str>, sources: &Sources, outbox: &mpsc::UnboundedSender<Message>) -> Option<Abort> {
    let mut news = sources.news()?;
    let (target, outbox) = (Arc::clone(target), outbox.clone());
    let task = tokio::spawn(async move {
        while news.next().await && outbox.send(Message::News(Arc::clone(&target))).is_ok() {
            // Who pushes without end is heard at this pace.
            tokio::time::sleep(NEWS_PACE).await;
        }
    });
    Some(Abort(task.abort_handle()))
}

/// The demand as signals want it.
pub(crate) fn told(demand: Demand) -> tidegate_signals::Demand {
    tidegate_signals::Demand {
        waiting: f64::from(demand.waiting),
        in_flight: f64::from(demand.in_flight),
        tokens: (demand.waiting_tokens + demand.in_flight_tokens) as f64,
    }
}

/// Requests that wait or run.
pub(crate) fn requests(demand: Demand) -> u32 {
    demand.waiting.saturating_add(demand.in_flight)
}
