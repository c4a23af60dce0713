//! Replicas come and go: starts by phase, drains, crashes, nodes that are taken away.

use tidegate_core::route::{EndpointId, EndpointState, Event, Outcome as End, Outlook, RequestId};
use tidegate_core::time::Time;

use super::agenda::What;
use super::measure::Loss;
use super::nodes::Place;
use super::replica::{CRASH, NODE, Replica, State};
use super::setup::span;
use super::world::{Error, TARGET, World};
use crate::cold_start::Phase;
use crate::engine::{Detail, Engine, Outputs};
use crate::random::Random;

impl World<'_> {
    /// The replicas that are ready when the run begins, on nodes that are there.
    pub(super) fn start_ready(&mut self) -> Result<(), Error> {
        self.spot_nodes();
        for _ in 0..self.setup.initial {
            let number = self.new_replica();
            match self.nodes.take(self.now, self.setup.profile.gpus) {
                Place::None => continue,
                Place::Ready(node) | Place::Coming { node, .. } => {
                    self.nodes.is_ready(node);
                    self.watch_node(node, self.now);
                    self.hold(number, node);
                    self.ready(number)?;
                }
            }
        }
        self.outlook();
        Ok(())
    }

    /// Makes as many replicas as are wanted: starts those that lack, lets those go that are too many.
    pub(super) fn reconcile(&mut self) -> Result<(), Error> {
        loop {
            let count = self.replicas.values().filter(|replica| replica.counts()).count() as u32;
            if count < self.wanted {
                let number = self.new_replica();
                self.measures.starts += 1;
                self.place(number)?;
            } else if count > self.wanted {
                let Some(number) = self.victim() else { break };
                self.let_go(number)?;
            } else {
                break;
            }
        }
        self.outlook();
        Ok(())
    }

    fn new_replica(&mut self) -> u32 {
        let number = self.numbered;
        self.numbered += 1;
        self.replicas.insert(number, Replica::new(number, self.now, self.setup));
        number
    }

    /// Who goes first: who has no GPU yet, then who starts, the youngest of them; then who has least to do.
    fn victim(&self) -> Option<u32> {
        let counted = self.replicas.iter().filter(|(_, replica)| replica.counts());
        let rank = |number: u32, replica: &Replica| {
            let tokens = self.router.endpoint(EndpointId(number)).map_or(0, |view| view.tokens);
            let stage = match replica.state {
                State::Pending => 0,
                State::Starting(_) => 1,
                State::Ready | State::Draining => 2,
            };
            (stage, tokens, u32::MAX - number)
        };
        counted.min_by_key(|(number, replica)| rank(**number, replica)).map(|(number, _)| *number)
    }

    /// Finds GPUs for a replica, or leaves it pending.
    fn place(&mut self, number: u32) -> Result<(), Error> {
        match self.nodes.take(self.now, self.setup.profile.gpus) {
            Place::Ready(node) => {
                self.watch_node(node, self.now);
                self.hold(number, node);
                self.phase(number, 0)
            }
            Place::Coming { node, new } => {
                if let Some(replica) = self.replicas.get_mut(&number) {
                    replica.node = Some(node);
                }
                if let Some(at) = new {
                    self.agenda.put(at, What::Node(node));
                    self.watch_node(node, at);
                }
                Ok(())
            }
            Place::None => Ok(()),
        }
    }

    /// From now on a replica's GPUs are paid for.
    fn hold(&mut self, number: u32, node: u32) {
        if let Some(replica) = self.replicas.get_mut(&number) {
            replica.node = Some(node);
            replica.held = Some(self.now);
            self.measures.holds();
        }
    }

    /// A node that was asked for is there: those that wait for it start.
    pub(super) fn node_there(&mut self, node: u32) -> Result<(), Error> {
        self.nodes.is_ready(node);
        let waiting: Vec<u32> = self.of_node(node, |replica| replica.state == State::Pending);
        for number in waiting {
            self.hold(number, node);
            self.phase(number, 0)?;
        }
        Ok(())
    }

    fn of_node(&self, node: u32, which: impl Fn(&Replica) -> bool) -> Vec<u32> {
        let there = self.replicas.iter().filter(|(_, replica)| replica.node == Some(node) && which(replica));
        there.map(|(number, _)| *number).collect()
    }

    /// A replica enters a phase of its start.
    fn phase(&mut self, number: u32, place: usize) -> Result<(), Error> {
        let Some(replica) = self.replicas.get_mut(&number) else { return Ok(()) };
        let Some((phase, lasts)) = replica.phases.get(place).copied() else { return self.ready(number) };
        replica.state = State::Starting(place);
        if phase == Phase::Load
            && let Some(node) = replica.node
        {
            replica.phase_due = None;
            let next = self.nodes.load(self.now, node, number, lasts);
            self.foresee(node, next);
        } else {
            let due = self.now + lasts;
            replica.phase_due = Some(due);
            self.agenda.put(due, What::Phase(number));
        }
        Ok(())
    }

    pub(super) fn phase_over(&mut self, number: u32) -> Result<(), Error> {
        let Some(replica) = self.replicas.get_mut(&number) else { return Ok(()) };
        let State::Starting(place) = replica.state else { return Ok(()) };
        if replica.phase_due != Some(self.now) {
            return Ok(());
        }
        self.phase(number, place + 1)
    }

    pub(super) fn loaded(&mut self, node: u32, foreseen: u32) -> Result<(), Error> {
        let (ended, next) = self.nodes.loaded(self.now, node, foreseen);
        self.foresee(node, next);
        for number in ended {
            if let Some(State::Starting(place)) = self.replicas.get(&number).map(|replica| replica.state) {
                self.phase(number, place + 1)?;
            }
        }
        Ok(())
    }

    fn foresee(&mut self, node: u32, next: Option<(Time, u32)>) {
        if let Some((at, foreseen)) = next {
            self.agenda.put(at.max(self.now), What::Loaded(node, foreseen));
        }
    }

    /// A replica takes requests from now on.
    fn ready(&mut self, number: u32) -> Result<(), Error> {
        let Some(replica) = self.replicas.get_mut(&number) else { return Ok(()) };
        let factor = if replica.slow { self.setup.fleet.faults.slow_factor } else { 1.0 };
        let engine = if replica.slow {
            Engine::new(&self.setup.profile.slowed(factor), Detail::Milestones)?
        } else {
            Engine::new(&self.setup.profile, Detail::Milestones)?
        };
        let took = self.now.since(replica.asked);
        let began_ready = replica.asked == self.now && self.now == Time::ORIGIN;
        replica.engine = Some(Box::new(engine));
        replica.state = State::Ready;
        replica.since = self.now;
        replica.phase_due = None;
        let crashes = self.setup.fleet.faults.crashes_per_hour;
        if crashes > 0.0 {
            let mut random = Random::of(self.setup.seed, CRASH, u64::from(number));
            let at = self.now + span(random.exponential(3_600.0 / crashes).min(1e9));
            replica.crash_due = Some(at);
            self.agenda.put(at, What::Crash(number));
        }
        if !began_ready {
            self.started_in(took.as_secs_f64());
        }
        let endpoint = EndpointId(number);
        self.route(Event::Endpoint { endpoint, target: TARGET, state: EndpointState::Ready });
        self.outlook();
        Ok(())
    }

    /// Takes a replica out: at once where it has nothing to do, else when it has done it.
    fn let_go(&mut self, number: u32) -> Result<(), Error> {
        let Some(replica) = self.replicas.get_mut(&number) else { return Ok(()) };
        if replica.is_starting() {
            return self.gone(number);
        }
        replica.state = State::Draining;
        replica.since = self.now;
        let drain = span(self.setup.fleet.drain_max_s);
        self.agenda.put(self.now + drain, What::DrainOver(number));
        let endpoint = EndpointId(number);
        self.route(Event::Endpoint { endpoint, target: TARGET, state: EndpointState::Draining });
        self.sweep()
    }

    /// The router says that a draining replica has nothing left.
    pub(super) fn drained(&mut self, number: u32) {
        self.emptied.push(number);
    }

    /// Takes out the replicas that have drained.
    pub(super) fn sweep(&mut self) -> Result<(), Error> {
        while let Some(number) = self.emptied.pop() {
            if self.replicas.get(&number).is_some_and(|replica| replica.state == State::Draining) {
                self.gone(number)?;
            }
        }
        Ok(())
    }

    pub(super) fn drain_over(&mut self, number: u32) -> Result<(), Error> {
        let drains = |replica: &Replica| replica.state == State::Draining;
        if self.replicas.get(&number).is_some_and(drains) { self.gone(number) } else { Ok(()) }
    }

    pub(super) fn crash(&mut self, number: u32) -> Result<(), Error> {
        if self.replicas.get(&number).is_none_or(|replica| replica.crash_due != Some(self.now)) {
            return Ok(());
        }
        self.measures.losses += 1;
        self.gone(number)?;
        self.reconcile()
    }

    /// A replica's process ends, with whatever it still had.
    fn gone(&mut self, number: u32) -> Result<(), Error> {
        self.step(number);
        let Some(mut replica) = self.replicas.remove(&number) else { return Ok(()) };
        let mut cut = Outputs::default();
        if let Some(engine) = &mut replica.engine {
            self.measures.iterations += engine.stats().iterations;
            engine.cancel_all(self.now, &mut cut);
        }
        if replica.engine.is_some() {
            self.route(Event::Endpoint {
                endpoint: EndpointId(number),
                target: TARGET,
                state: EndpointState::Draining,
            });
        }
        for end in cut.finished {
            let begun = end.first_token.is_some();
            if begun {
                self.lose(end.id, Loss::Failed);
            }
            let outcome = if begun { End::Failed } else { End::Retry };
            self.route(Event::Finish { request: RequestId(end.id), outcome });
        }
        if replica.engine.is_some() {
            self.route(Event::EndpointGone(EndpointId(number)));
        }
        if replica.served == 0 && number >= self.setup.initial {
            self.measures.starts_wasted += 1;
        }
        if let Some(node) = replica.node {
            if let State::Starting(_) = replica.state {
                let next = self.nodes.forget_load(self.now, node, number);
                self.foresee(node, next);
            }
            self.nodes.give_back(self.now, node, self.setup.profile.gpus);
        }
        if let Some(held) = replica.held {
            self.measures.held(held, self.now);
        }
        self.place_pending()
    }

    /// There may be room again for those that found none.
    fn place_pending(&mut self) -> Result<(), Error> {
        let homeless = |replica: &Replica| replica.state == State::Pending && replica.node.is_none();
        let pending: Vec<u32> = self
            .replicas
            .iter()
            .filter(|(_, replica)| homeless(replica))
            .map(|(number, _)| *number)
            .collect();
        for number in pending {
            self.place(number)?;
        }
        Ok(())
    }

    /// Tells the gateway what is to come.
    fn outlook(&mut self) {
        let starting = self.replicas.values().filter(|replica| replica.is_starting());
        let start = span(self.setup.start.total_s());
        let ready_at = starting.clone().map(|replica| replica.asked + start).min();
        let outlook = Outlook { starting: starting.count() as u32, ready_at, start: Some(start) };
        self.route(Event::Outlook { target: TARGET, outlook });
    }

    /// Spot nodes that are there from the beginning can be taken away like any other.
    fn spot_nodes(&mut self) {
        for node in self.nodes.numbers() {
            self.watch_node(node, self.now);
        }
        let spot = (0..).zip(&self.setup.fleet.pools).filter(|(_, pool)| pool.spot);
        for (number, pool) in spot {
            for at_s in &pool.losses_at_s {
                let lost = Time::ORIGIN + span(*at_s);
                let notice = (lost - span(pool.notice_s)).max(Time::ORIGIN);
                self.agenda.put(notice, What::Taken(number, lost));
            }
        }
    }

    /// Draws when a spot node that is there from `at` on is taken away.
    fn watch_node(&mut self, node: u32, at: Time) {
        let Some(pool) = self.nodes.pool(node) else { return };
        if !pool.spot || pool.losses_per_hour <= 0.0 || !self.watched.insert(node) {
            return;
        }
        let lives =
            Random::of(self.setup.seed, NODE, u64::from(node)).exponential(3_600.0 / pool.losses_per_hour);
        let lost = at + span(lives.min(1e9));
        let notice = (lost - span(pool.notice_s)).max(at);
        self.agenda.put(notice, What::Notice(node));
        self.agenda.put(lost, What::NodeLost(node));
    }

    /// One node of a pool will go; none is there, none goes.
    pub(super) fn taken(&mut self, pool: u32, lost: Time) -> Result<(), Error> {
        let Some(node) = self.nodes.fullest(pool as usize) else { return Ok(()) };
        self.agenda.put(lost, What::NodeLost(node));
        self.notice(node)
    }

    /// A node will go: what is on it drains, and is replaced elsewhere at once.
    pub(super) fn notice(&mut self, node: u32) -> Result<(), Error> {
        self.nodes.doom(node);
        for number in self.of_node(node, Replica::counts) {
            self.let_go(number)?;
        }
        self.reconcile()
    }

    pub(super) fn node_lost(&mut self, node: u32) -> Result<(), Error> {
        let there = self.of_node(node, |_| true);
        self.nodes.lose(node);
        for number in there {
            self.measures.losses += 1;
            self.gone(number)?;
        }
        self.reconcile()
    }
}
