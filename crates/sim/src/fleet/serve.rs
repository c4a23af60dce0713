//! Requests: in at the gateway, through the route machine, to an engine and out.

use tidegate_core::route::{
    Action, Arrival, EndpointId, Event, Outcome as End, Priority, Refusal, RequestId,
};
use tidegate_core::time::Time;

use super::agenda::What;
use super::live::Live;
use super::measure::{Answered, Loss};
use super::timeline::Levels;
use super::world::{TARGET, World};
use crate::engine::{Prefix, Request};
use crate::trace::TraceRequest;

/// Tokens of prompt that one of a trace's hashes stands for: Mooncake's.
const TOKENS_PER_HASH: u32 = 512;

impl World<'_> {
    /// A request comes.
    pub(super) fn arrive(&mut self, request: TraceRequest) {
        self.measures.events += 1;
        let work_s = self.setup.profile.work_s(request.prompt_tokens, request.output_tokens);
        self.measures.arrived(self.now, work_s);
        self.arrived.requests += 1;
        self.arrived.prompt_tokens += u64::from(request.prompt_tokens);
        let prompt_tokens = request.prompt_tokens;
        let prefix = request.hash_ids.first().copied();
        let number = self.lives.add(Live { arrived: self.now, first: None, request });
        self.route(Event::Arrive(Arrival {
            request: RequestId(number),
            target: TARGET,
            priority: Priority::Normal,
            tenant: 0,
            prompt_tokens,
            max_tokens: None,
            prefix,
            bytes: u64::from(prompt_tokens) * 4,
            deadline: None,
        }));
    }

    /// One event of the route machine, and everything that follows from it.
    pub(super) fn route(&mut self, event: Event) {
        self.inbox.push_back(event);
        if self.routing {
            return;
        }
        self.routing = true;
        let mut actions = std::mem::take(&mut self.actions);
        while let Some(event) = self.inbox.pop_front() {
            self.router.step(self.now, event, &mut actions);
            for action in actions.drain(..) {
                self.act(action);
            }
        }
        self.actions = actions;
        self.routing = false;
        let count = self.router.requests() as u64;
        self.measures.count(self.now, count);
        if (count == 0) != self.idle {
            self.idle = count == 0;
            self.edge = true;
        }
        if let Some(at) = self.router.next_wakeup()
            && self.route_due.is_none_or(|due| at < due)
        {
            let at = at.max(self.now);
            self.route_due = Some(at);
            self.agenda.put(at, What::Route);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dispatch { request, endpoint } => self.dispatch(request, endpoint),
            Action::Refuse { request, refusal, .. } => {
                let Some(live) = self.lives.remove(request.0) else { return };
                let why = match refusal {
                    Refusal::NoReplicaInTime | Refusal::BusyTooLong => Loss::WaitedTooLong,
                    Refusal::RetriesSpent => Loss::Failed,
                    _ => Loss::HoldFull,
                };
                self.measures.lost(self.now, live.arrived, why);
                self.arrived.first_tokens += 1;
                self.arrived.late += 1;
            }
            Action::Drained(endpoint) => self.drained(endpoint.0),
            Action::Demand { demand, .. } => {
                let ready = self.router.endpoints(TARGET).count() as u32;
                let levels = Levels {
                    wanted: self.wanted,
                    ready,
                    waiting: demand.waiting,
                    in_flight: demand.in_flight,
                };
                self.measures.levels(self.now, levels);
            }
            Action::Hold { .. } | Action::Ejected { .. } => {}
        }
    }

    fn dispatch(&mut self, request: RequestId, endpoint: EndpointId) {
        // What has ended by now is taken in first: the next iteration begins with whoever is there.
        self.step(endpoint.0);
        let now = self.now;
        let Some(live) = self.lives.get(request.0) else { return };
        let (prompt_tokens, output_tokens) = (live.request.prompt_tokens, live.request.output_tokens);
        let hashes = live.request.hash_ids.as_slice();
        let prefix =
            (!hashes.is_empty()).then(|| Prefix { hashes: hashes.into(), tokens_per_hash: TOKENS_PER_HASH });
        let Some(replica) = self.replicas.get_mut(&endpoint.0) else { return };
        let Some(engine) = &mut replica.engine else { return };
        let asked =
            Request { id: request.0, prompt_tokens, output_tokens, max_tokens: output_tokens, prefix };
        match engine.submit(now, asked) {
            Ok(()) => {
                replica.served += 1;
                if replica.wake != Some(now) {
                    replica.wake = Some(now);
                    self.agenda.put(now, What::Engine(endpoint.0));
                }
                self.watch_load();
            }
            Err(_) => {
                self.lose(request.0, Loss::TooLong);
                // An engine that refuses has answered: it is no fault of its own.
                let outcome = End::Answered { prompt_tokens: None, output_tokens: None };
                self.route(Event::Finish { request, outcome });
            }
        }
    }

    pub(super) fn lose(&mut self, request: u64, why: Loss) {
        if let Some(live) = self.lives.remove(request) {
            self.measures.lost(self.now, live.arrived, why);
        }
    }

    /// An engine's time has come: steps it, and looks when it is next to be stepped.
    pub(super) fn engine(&mut self, number: u32) {
        let now = self.now;
        if self.replicas.get(&number).is_none_or(|replica| replica.wake != Some(now)) {
            return;
        }
        self.step(number);
        let Some(replica) = self.replicas.get_mut(&number) else { return };
        let Some(engine) = &mut replica.engine else { return };
        replica.wake = engine.next_milestone(now);
        if let Some(at) = replica.wake {
            self.agenda.put(at, What::Engine(number));
        }
    }

    /// Brings an engine up to now, and tells what it told.
    pub(super) fn step(&mut self, number: u32) {
        let now = self.now;
        let Some(replica) = self.replicas.get_mut(&number) else { return };
        let Some(engine) = &mut replica.engine else { return };
        let mut outputs = std::mem::take(&mut self.outputs);
        engine.step(now, &mut outputs);
        if !outputs.is_empty() {
            for token in &outputs.tokens {
                self.first_token(number, token.id, token.at);
            }
            for end in &outputs.finished {
                self.finished(number, end.id, end.output_tokens);
            }
            self.measures.preemptions += outputs.preempted.len() as u64;
            outputs.clear();
        }
        self.outputs = outputs;
    }

    fn first_token(&mut self, number: u32, request: u64, at: Time) {
        let Some(live) = self.lives.get(request) else { return };
        live.first = Some(at);
        let arrived = live.arrived;
        self.measures.first_token(at, arrived);
        self.arrived.first_tokens += 1;
        self.arrived.late += u64::from(at.since(arrived) > self.setup.slo_ttft);
        if let Some(replica) = self.replicas.get_mut(&number) {
            replica.ttft.add(at.since(arrived).as_secs_f64());
        }
        self.route(Event::FirstByte(RequestId(request)));
    }

    fn finished(&mut self, number: u32, request: u64, output_tokens: u32) {
        let Some(live) = self.lives.remove(request) else { return };
        let answered = Answered {
            arrived: live.arrived,
            first: live.first.unwrap_or(self.now),
            ended: self.now,
            output_tokens,
        };
        self.measures.answered(&answered);
        self.arrived.answered += 1;
        self.arrived.output_tokens += u64::from(output_tokens);
        if let Some(replica) = self.replicas.get_mut(&number) {
            replica.finished += 1;
        }
        let outcome = End::Answered {
            prompt_tokens: Some(live.request.prompt_tokens),
            output_tokens: Some(output_tokens),
        };
        self.route(Event::Finish { request: RequestId(request), outcome });
    }
}
