//! The loop: what happens next, and what it changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidegate_core::route::{self, EndpointId, EngineLoad, Router, TargetId};
use tidegate_core::time::{Span, Time};

use super::agenda::{Agenda, What};
use super::live::Lives;
use super::measure::{Loss, Measures};
use super::nodes::Nodes;
use super::outcome::Outcome;
use super::replica::{Replica, State};
use super::setup::{self, Setup};
use super::timeline::Levels;
use crate::engine::Outputs;
use crate::policy::{self, Arrived, Policy, ReplicaSeen, STARTS_KEPT, Seen, Wanted};
use crate::trace::{self, TraceRequest};

/// A run that could not be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The set-up has numbers out of range.
    #[error(transparent)]
    Setup(#[from] setup::Error),
    /// The profile's engine cannot be made.
    #[error(transparent)]
    Engine(#[from] crate::engine::Error),
    /// The trace is damaged.
    #[error("the trace: {0}")]
    Trace(#[from] trace::Error),
    /// The policy cannot go on.
    #[error(transparent)]
    Policy(#[from] policy::Error),
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Simulated time.
    pub at: Time,
    /// Requests so far.
    pub requests: u64,
}

/// How often the gateway reads the engines, as `tidegate up` does.
const LOAD_EVERY: Span = Span::from_secs(1);
/// After the last arrival the run goes on until every request is over, but no longer than this: the longest
/// wait for a first replica, for a place, and an answer of half an hour.
const TAIL: Span = Span::from_secs(600 + 120 + 1_800);
/// Requests between two calls of `progress`: some ten milliseconds.
const PROGRESS_EVERY: u64 = 4_096;
/// The one target.
pub(super) const TARGET: TargetId = TargetId(0);

/// Plays `requests` to a fleet that `policy` scales.
///
/// # Errors
/// See [`Error`]; a damaged trace ends the run at its line.
pub fn run(
    setup: &Setup,
    requests: impl IntoIterator<Item = Result<TraceRequest, trace::Error>>,
    policy: &mut dyn Policy,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, Error> {
    setup.check()?;
    let mut world = World::new(setup);
    world.begin(policy)?;
    let mut requests = requests.into_iter();
    let mut next = requests.next().transpose()?;
    let mut until = None;
    loop {
        let arrives = next.as_ref().map(|request| Time::ORIGIN + request.at);
        let happens = world.agenda.next();
        match (arrives, happens) {
            (Some(at), happens) if happens.is_none_or(|happens| at < happens) => {
                world.now = at;
                if let Some(request) = next.take() {
                    world.arrive(request);
                }
                next = requests.next().transpose()?;
                if world.measures.requests.is_multiple_of(PROGRESS_EVERY) {
                    progress(Progress { at, requests: world.measures.requests });
                }
            }
            (None, _) if world.lives.count() == 0 => break,
            (arrives, Some(at)) => {
                let last = world.measures.last_arrival;
                let end = *until.get_or_insert(last + TAIL);
                if arrives.is_some() {
                    until = None;
                } else if at > end {
                    break;
                }
                world.happen(policy)?;
            }
            (_, None) => break,
        }
        if !world.emptied.is_empty() {
            world.sweep()?;
        }
        if world.edge && policy.sees_edges() {
            world.look(policy)?;
        }
    }
    policy.finish()?;
    Ok(world.end(policy))
}

/// Everything that is simulated.
#[derive(Debug)]
pub(super) struct World<'s> {
    pub(super) setup: &'s Setup,
    pub(super) now: Time,
    pub(super) agenda: Agenda,
    pub(super) router: Router,
    /// Events for the router that came up while it was being answered.
    pub(super) inbox: VecDeque<route::Event>,
    pub(super) actions: Vec<route::Action>,
    pub(super) routing: bool,
    pub(super) route_due: Option<Time>,
    pub(super) load_due: Option<Time>,
    pub(super) look_due: Option<Time>,
    pub(super) replicas: BTreeMap<u32, Replica>,
    /// Numbers given to replicas so far.
    pub(super) numbered: u32,
    pub(super) wanted: u32,
    pub(super) lives: Lives,
    pub(super) nodes: Nodes,
    pub(super) outputs: Outputs,
    pub(super) measures: Measures,
    pub(super) arrived: Arrived,
    pub(super) starts_s: Vec<f64>,
    starts: u64,
    /// Whether demand has just come up from nothing, or gone.
    pub(super) edge: bool,
    pub(super) idle: bool,
    /// Draining replicas that have nothing left.
    pub(super) emptied: Vec<u32>,
    /// Spot nodes whose end is drawn.
    pub(super) watched: BTreeSet<u32>,
}

impl<'s> World<'s> {
    fn new(setup: &'s Setup) -> Self {
        World {
            setup,
            now: Time::ORIGIN,
            agenda: Agenda::default(),
            router: Router::new(Time::ORIGIN),
            inbox: VecDeque::new(),
            actions: Vec::new(),
            routing: false,
            route_due: None,
            load_due: None,
            look_due: None,
            replicas: BTreeMap::new(),
            numbered: 0,
            wanted: 0,
            lives: Lives::default(),
            nodes: Nodes::new(&setup.fleet.pools),
            outputs: Outputs::default(),
            measures: Measures::new(setup),
            arrived: Arrived::default(),
            starts_s: Vec::new(),
            starts: 0,
            edge: false,
            idle: true,
            emptied: Vec::new(),
            watched: BTreeSet::new(),
        }
    }

    fn begin(&mut self, policy: &mut dyn Policy) -> Result<(), Error> {
        self.route(route::Event::Target { target: TARGET, limits: self.setup.limits });
        self.wanted = self.setup.initial;
        self.start_ready()?;
        self.look(policy)
    }

    /// Takes the next thing from the agenda and lets it happen.
    fn happen(&mut self, policy: &mut dyn Policy) -> Result<(), Error> {
        let Some((at, what)) = self.agenda.take() else { return Ok(()) };
        self.now = at;
        self.measures.events += 1;
        match what {
            What::Engine(replica) => self.engine(replica),
            What::Phase(replica) => self.phase_over(replica)?,
            What::Loaded(node, foreseen) => self.loaded(node, foreseen)?,
            What::Node(node) => self.node_there(node)?,
            What::Notice(node) => self.notice(node)?,
            What::NodeLost(node) => self.node_lost(node)?,
            What::Taken(pool, lost) => self.taken(pool, lost)?,
            What::Crash(replica) => self.crash(replica)?,
            What::DrainOver(replica) => self.drain_over(replica)?,
            What::Route => {
                if self.route_due == Some(at) {
                    self.route_due = None;
                    self.route(route::Event::Tick);
                }
            }
            What::Load => self.load(),
            What::Look => {
                if self.look_due == Some(at) {
                    self.look(policy)?;
                }
            }
        }
        Ok(())
    }

    /// The gateway reads every engine that has something to do, or has just got rid of it.
    fn load(&mut self) {
        self.load_due = None;
        let ready: Vec<u32> = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.engine.is_some())
            .map(|(number, _)| *number)
            .collect();
        let mut busy = false;
        for number in ready {
            self.step(number);
            let Some(replica) = self.replicas.get_mut(&number) else { continue };
            let Some(engine) = &replica.engine else { continue };
            let stats = engine.reported();
            let idle = stats.running == 0 && stats.waiting == 0;
            busy |= !idle;
            if idle && replica.told_idle {
                continue;
            }
            replica.told_idle = idle;
            let kv_use = stats.kv_blocks_used as f64 / stats.kv_blocks_total.max(1) as f64;
            let load = EngineLoad { running: stats.running, waiting: stats.waiting, kv_use: Some(kv_use) };
            self.route(route::Event::Load { endpoint: EndpointId(number), load });
        }
        if busy {
            self.watch_load();
        }
    }

    /// Sees to it that engines with work are read.
    pub(super) fn watch_load(&mut self) {
        if self.load_due.is_none() {
            let at = policy::next_of(self.now, LOAD_EVERY);
            self.load_due = Some(at);
            self.agenda.put(at, What::Load);
        }
    }

    /// Shows the policy the world, and does what it wants.
    fn look(&mut self, policy: &mut dyn Policy) -> Result<(), Error> {
        self.edge = false;
        let ready: Vec<u32> = self.replicas.keys().copied().collect();
        for number in ready {
            self.step(number);
        }
        let demand = self.router.demand(TARGET);
        let seen: Vec<ReplicaSeen<'_>> = self
            .replicas
            .iter()
            .filter(|(_, replica)| replica.counts())
            .map(|(number, replica)| ReplicaSeen {
                number: *number,
                ready: replica.state == State::Ready,
                since: replica.since,
                stats: replica.engine.as_ref().map(|engine| engine.reported()).unwrap_or_default(),
                ttft: &replica.ttft,
                finished: replica.finished,
            })
            .collect();
        let ready = seen.iter().filter(|replica| replica.ready).count() as u32;
        let view = Seen {
            wanted: self.wanted,
            ready,
            starting: seen.len() as u32 - ready,
            demand,
            arrived: self.arrived,
            replicas: &seen,
            starts_s: &self.starts_s,
            starts: self.starts,
        };
        let answer = policy.look(self.now, &view)?;
        let levels =
            Levels { wanted: self.wanted, ready, waiting: demand.waiting, in_flight: demand.in_flight };
        self.measures.levels(self.now, levels);
        let next = policy.next_look().max(self.now + Span::from_micros(1));
        if self.look_due != Some(next) {
            self.look_due = Some(next);
            self.agenda.put(next, What::Look);
        }
        match answer {
            Some(wanted) => self.want(wanted),
            None => Ok(()),
        }
    }

    fn want(&mut self, wanted: Wanted) -> Result<(), Error> {
        let to = wanted.replicas.min(self.setup.max);
        if to == self.wanted {
            return Ok(());
        }
        self.measures.change(self.now, self.wanted, to, wanted.because);
        self.wanted = to;
        self.reconcile()
    }

    /// The last request is over, or the time is.
    fn end(mut self, policy: &dyn Policy) -> Outcome {
        for live in self.lives.rest().collect::<Vec<_>>() {
            self.measures.lost(self.now, live.arrived, Loss::AtTheEnd);
        }
        self.measures.count(self.now, 0);
        let end = self.now.max(self.measures.last_arrival);
        for replica in std::mem::take(&mut self.replicas).into_values() {
            if let Some(engine) = &replica.engine {
                self.measures.iterations += engine.stats().iterations;
            }
            if let Some(held) = replica.held {
                self.measures.held(held, end);
            }
        }
        self.measures.outcome(policy.name(), self.setup.seed, policy.remarks())
    }

    pub(super) fn started_in(&mut self, seconds: f64) {
        if self.starts_s.len() == STARTS_KEPT {
            self.starts_s.remove(0);
        }
        self.starts_s.push(seconds);
        self.starts += 1;
    }
}
