//! One target: its requests come, wait, go and end here.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::choose::{Affinity, Ask};
use super::demand::{Promise, Told};
use super::endpoint::{Endpoint, Failure};
use super::estimate::{Position, Prospect, Tokens, retry_after};
use super::fleet::Fleet;
use super::queue::Queue;
use super::request::{Place, RETRIES_MAX, Request, Requests};
use super::types::{
    Action, Arrival, Demand, EndpointId, EndpointState, EngineLoad, Held, Limits, Outcome, Outlook, Refusal,
    TargetId,
};
use crate::time::{Span, Time};

/// Tries a request gets at the most, also where there never was another endpoint: 6.4 s of growing
/// pauses and 25 s at their longest, enough for a driver to see that a replica died; and a request that
/// kills whoever takes it has killed twelve.
const FAILS_MAX: u8 = 12;

/// What one step works with besides the target.
pub(super) struct Step<'a> {
    pub(super) now: Time,
    pub(super) requests: &'a mut Requests,
    pub(super) out: &'a mut Vec<Action>,
}

/// One target.
#[derive(Clone, Debug)]
pub(super) struct Target {
    id: TargetId,
    limits: Limits,
    outlook: Outlook,
    tokens: Tokens,
    queue: Queue,
    pub(super) fleet: Fleet,
    affinity: Affinity,
    /// Requests of each tenant that are alive. Its size is bounded by theirs.
    tenants: BTreeMap<u64, u32>,
    in_flight: u32,
    in_flight_tokens: u64,
    dispatches: u64,
    /// No endpoint can be used, and since when that is so or not so.
    cold: bool,
    cold_since: Time,
    told: Told,
    promise: Option<Promise>,
    /// When it is next to be looked at; may be early, never late.
    pub(super) timer: Option<Time>,
    /// The target is no more; only what is in flight is still counted.
    pub(super) gone: bool,
}

impl Target {
    pub(super) fn new(id: TargetId, limits: Limits, now: Time) -> Self {
        Target {
            id,
            limits,
            outlook: Outlook::default(),
            tokens: Tokens::new(),
            queue: Queue::default(),
            fleet: Fleet { random: u64::from(id.0), ..Fleet::default() },
            affinity: Affinity::default(),
            tenants: BTreeMap::new(),
            in_flight: 0,
            in_flight_tokens: 0,
            dispatches: 0,
            cold: true,
            cold_since: now,
            told: Told::default(),
            promise: None,
            timer: None,
            gone: false,
        }
    }

    pub(super) fn set_limits(&mut self, step: &mut Step<'_>, limits: Limits) {
        self.gone = false;
        if limits.slots != self.limits.slots {
            self.fleet.slots_last = None;
        }
        self.limits = limits;
        for endpoint in &mut self.fleet.list {
            endpoint.set_slots(limits.slots);
        }
        self.fleet.rebuild();
        self.pump(step);
    }

    pub(super) fn set_outlook(&mut self, outlook: Outlook) {
        self.outlook = outlook;
    }

    /// The target is no more.
    pub(super) fn close(&mut self, step: &mut Step<'_>) {
        self.gone = true;
        self.promise = None;
        for waiter in self.queue.everyone(step.requests) {
            self.refuse(step, waiter.slot, Refusal::TargetGone);
        }
    }

    /// A request is at the door.
    pub(super) fn arrive(&mut self, step: &mut Step<'_>, arrival: Arrival) {
        if let Err((refusal, retry_after)) = self.admit(step.now, &arrival) {
            step.out.push(Action::Refuse { request: arrival.request, refusal, retry_after });
            return;
        }
        let (prompt, output) = self.tokens.of(arrival.prompt_tokens, arrival.max_tokens);
        let Some(slot) = step.requests.insert(Request::new(arrival, step.now, prompt, output)) else {
            return;
        };
        if arrival.tenant != 0 {
            *self.tenants.entry(arrival.tenant).or_default() += 1;
        }
        if self.queue.count == 0
            && let Some(at) = self.choose(step, slot)
        {
            self.dispatch(step, slot, at);
            return;
        }
        self.queue.push(slot, step.requests.get_mut(slot));
        self.pump(step);
        self.tell_held(step, slot);
    }

    /// Whether a request may come in, to go at once or to wait.
    fn admit(&mut self, now: Time, arrival: &Arrival) -> Result<(), (Refusal, Option<Span>)> {
        let of_tenant = if arrival.tenant == 0 { None } else { self.tenants.get(&arrival.tenant) };
        let (ahead, ahead_tokens) = self.queue.ahead(arrival.priority);
        let (prompt, output) = self.tokens.of(arrival.prompt_tokens, arrival.max_tokens);
        let position = Position { count: ahead + 1, tokens: ahead_tokens + prompt + output };
        let expired = arrival.deadline.is_some_and(|deadline| deadline <= now);
        let goes_at_once = self.queue.count == 0 && !self.fleet.open.is_empty();
        let refusal = if of_tenant.is_some_and(|count| *count >= self.limits.tenant_count_max) {
            Refusal::TenantFull
        } else if goes_at_once && !expired {
            return Ok(());
        } else if self.queue.count >= self.limits.hold_count_max {
            Refusal::HoldFull
        } else if self.queue.bytes.saturating_add(arrival.bytes) > self.limits.hold_bytes_max {
            Refusal::HoldBytesFull
        } else {
            let Some(deadline) = arrival.deadline else { return Ok(()) };
            let wait = if goes_at_once { None } else { self.prospect().wait(now, position) };
            if now + wait.unwrap_or(Span::ZERO) <= deadline && !expired {
                return Ok(());
            }
            Refusal::DeadlineTooSoon
        };
        let again = self.prospect().wait(now, position).map(retry_after);
        if refusal == Refusal::DeadlineTooSoon {
            self.promise(now, again, position.tokens);
        }
        Err((refusal, again))
    }

    /// Keeps a wake-up alive for a client that was told to come again.
    fn promise(&mut self, now: Time, retry_after: Option<Span>, tokens: u64) {
        if self.fleet.ready().0 == 0 {
            let span = retry_after.unwrap_or(self.limits.wait_no_replica);
            self.promise = Some(Promise::new(now, span, tokens));
        }
    }

    /// Places whoever can be placed.
    pub(super) fn pump(&mut self, step: &mut Step<'_>) {
        self.watch_cold(step.now);
        while self.queue.count > 0 && !self.fleet.open.is_empty() {
            let (fleet, affinity, requests) = (&mut self.fleet, &self.affinity, &*step.requests);
            let next = self.queue.next(|slot| fleet.choose(step.now, ask(requests.get(slot)), affinity));
            let Some((slot, at)) = next else { return };
            self.queue.dispatched(slot, step.requests.get(slot));
            self.dispatch(step, slot, at);
        }
    }

    fn watch_cold(&mut self, now: Time) {
        let cold = self.fleet.usable == 0;
        if cold != self.cold {
            self.cold = cold;
            self.cold_since = now;
        }
    }

    fn choose(&mut self, step: &Step<'_>, slot: u32) -> Option<usize> {
        self.fleet.choose(step.now, ask(step.requests.get(slot)), &self.affinity)
    }

    fn dispatch(&mut self, step: &mut Step<'_>, slot: u32, at: usize) {
        self.dispatches += 1;
        let request = step.requests.get_mut(slot);
        let endpoint = self.fleet.list[at].id;
        request.place = Place::InFlight { endpoint, dispatch: self.dispatches, answering: false };
        self.fleet.list[at].take(step.now, request.left_tokens);
        self.fleet.update(at);
        self.in_flight += 1;
        self.in_flight_tokens += request.left_tokens;
        if let Some(prefix) = request.arrival.prefix {
            self.affinity.remember(prefix, endpoint);
        }
        step.out.push(Action::Dispatch { request: request.arrival.request, endpoint });
    }

    /// Says that a request waits, if it still does.
    fn tell_held(&mut self, step: &mut Step<'_>, slot: u32) {
        let request = step.requests.get(slot);
        if request.place != Place::Waiting {
            return;
        }
        let (count, tokens) = self.queue.ahead(request.arrival.priority);
        // It is in the queue itself; a retry stands before the others of its priority.
        let position = if request.fails > 0 {
            Position { count: 1, tokens: request.left_tokens }
        } else {
            Position { count, tokens }
        };
        let expected = self.prospect().wait(step.now, position);
        step.out.push(Action::Hold { request: request.arrival.request, expected, cold: self.cold });
    }

    /// Slots of a replica of which nothing is known yet.
    fn slots(&self) -> u32 {
        self.fleet.slots_last.unwrap_or(self.limits.slots)
    }

    fn prospect(&self) -> Prospect {
        Prospect {
            cold: self.fleet.usable == 0,
            reopens: self.fleet.reopens,
            outlook: self.outlook,
            slots: self.slots(),
            rate: self.fleet.rate(),
        }
    }

    /// The engine began to answer.
    pub(super) fn first_byte(&mut self, step: &mut Step<'_>, slot: u32) {
        let request = step.requests.get_mut(slot);
        let Place::InFlight { endpoint, answering, .. } = &mut request.place else { return };
        if core::mem::replace(answering, true) {
            return;
        }
        let prompt = request.prompt_tokens;
        request.left_tokens -= prompt;
        self.in_flight_tokens -= prompt;
        if let Some(at) = self.fleet.find(*endpoint) {
            self.fleet.list[at].tokens -= prompt;
            self.fleet.done(step.now, at, prompt);
            self.fleet.lives(at);
        }
        self.pump(step);
    }

    /// A request is over, or is to be placed again.
    pub(super) fn finish(&mut self, step: &mut Step<'_>, slot: u32, outcome: Outcome) {
        let request = step.requests.get(slot);
        let Place::InFlight { endpoint, dispatch, answering } = request.place else {
            if outcome != Outcome::Retry {
                self.leave(step, slot);
            }
            return;
        };
        let left = request.left_tokens;
        let Request { arrival, prompt_tokens, output_tokens, .. } = *request;
        self.in_flight -= 1;
        self.in_flight_tokens -= left;
        let found = self.fleet.find(endpoint);
        if let Some(at) = found {
            self.fleet.list[at].give_back(step.now, left);
        }
        match (outcome, found) {
            (Outcome::Answered { prompt_tokens: counted, output_tokens: written }, found) => {
                self.tokens.learn(arrival.prompt_tokens, counted, written);
                if let Some(at) = found {
                    let prompt = if answering { 0 } else { prompt_tokens };
                    self.fleet.done(step.now, at, prompt + written.map_or(output_tokens, u64::from));
                    self.fleet.lives(at);
                    self.fleet.list[at].answered();
                }
            }
            (Outcome::Left, Some(at)) => self.fleet.list[at].left(dispatch),
            (Outcome::Retry | Outcome::Failed, Some(at)) => {
                let dispatches = self.dispatches;
                let retry = outcome == Outcome::Retry && !answering;
                let failure = Failure { retry, dispatch, dispatches, may_eject: false };
                if let Some(until) = self.fleet.failed(step.now, at, failure) {
                    step.out.push(Action::Ejected { endpoint, until });
                }
            }
            (_, None) => {}
        }
        let again = outcome == Outcome::Retry && self.again(step, slot, endpoint, answering);
        if !again {
            self.forget(step, slot);
        }
        if let Some(at) = found {
            self.fleet.update(at);
            self.settle_endpoint(step, at);
        }
        self.pump(step);
        if again {
            self.tell_held(step, slot);
        }
    }

    /// Puts a failed request back into the queue; false if it was refused.
    fn again(&mut self, step: &mut Step<'_>, slot: u32, endpoint: EndpointId, answering: bool) -> bool {
        let request = step.requests.get_mut(slot);
        request.fail(endpoint);
        let spent = request.fails >= FAILS_MAX
            || request.fails > RETRIES_MAX && self.fleet.elsewhere(request.failed());
        if answering || spent || self.gone {
            let refusal = if self.gone { Refusal::TargetGone } else { Refusal::RetriesSpent };
            let request = request.arrival.request;
            step.out.push(Action::Refuse { request, refusal, retry_after: None });
            return false;
        }
        request.place = Place::Waiting;
        request.left_tokens = request.prompt_tokens + request.output_tokens;
        request.queued_at = step.now;
        self.queue.push_retry(slot, request);
        true
    }

    /// Says when a draining endpoint has nothing left.
    fn settle_endpoint(&mut self, step: &mut Step<'_>, at: usize) {
        let endpoint = &self.fleet.list[at];
        if endpoint.in_flight == 0 && endpoint.state == EndpointState::Draining {
            step.out.push(Action::Drained(endpoint.id));
        }
    }

    /// An endpoint came or changed its state.
    pub(super) fn set_endpoint(&mut self, step: &mut Step<'_>, id: EndpointId, state: EndpointState) {
        let (target, slots, now, requests) = (self.id, self.slots(), step.now, &*step.requests);
        self.fleet.set(id, state, || {
            let mut endpoint = Endpoint::new(id, state, slots, now);
            (endpoint.in_flight, endpoint.tokens) = requests.in_flight_at(target, id);
            endpoint
        });
        if let Some(at) = self.fleet.find(id) {
            self.settle_endpoint(step, at);
        }
        self.pump(step);
    }

    pub(super) fn forget_endpoint(&mut self, step: &mut Step<'_>, id: EndpointId) {
        if let Some(at) = self.fleet.find(id) {
            self.fleet.remove(at);
        }
        self.pump(step);
    }

    pub(super) fn load(&mut self, step: &mut Step<'_>, id: EndpointId, load: EngineLoad) {
        if let Some(at) = self.fleet.find(id) {
            let learned = self.fleet.list[at].load(step.now, load);
            self.fleet.slots_last = learned.or(self.fleet.slots_last);
            self.fleet.update(at);
        }
        self.pump(step);
    }

    /// The client of a request that waits is gone.
    pub(super) fn leave(&mut self, step: &mut Step<'_>, slot: u32) {
        match step.requests.get(slot).place {
            Place::Waiting => {
                self.queue.remove(slot, step.requests.get(slot));
                self.forget(step, slot);
            }
            Place::InFlight { .. } => self.finish(step, slot, Outcome::Left),
        }
    }

    fn refuse(&mut self, step: &mut Step<'_>, slot: u32, refusal: Refusal) {
        let Request { arrival, left_tokens, .. } = *step.requests.get(slot);
        self.queue.remove(slot, step.requests.get(slot));
        self.forget(step, slot);
        let mut again = None;
        if refusal != Refusal::TargetGone {
            let (ahead, tokens) = self.queue.ahead(arrival.priority);
            let position = Position { count: ahead + 1, tokens: tokens + left_tokens };
            again = self.prospect().wait(step.now, position).map(retry_after);
            self.promise(step.now, again, left_tokens);
        }
        step.out.push(Action::Refuse { request: arrival.request, refusal, retry_after: again });
    }

    fn forget(&mut self, step: &mut Step<'_>, slot: u32) {
        let tenant = step.requests.get(slot).arrival.tenant;
        step.requests.remove(slot);
        if tenant == 0 {
            return;
        }
        match self.tenants.get_mut(&tenant) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.tenants.remove(&tenant);
            }
        }
    }

    /// Time passed: ejections, waits and promises end.
    pub(super) fn tick(&mut self, step: &mut Step<'_>) {
        self.fleet.reopen(step.now);
        // First those who can go, then those who waited too long: the other order would be unkind.
        self.pump(step);
        while let Some((at, slot)) = self.queue.next_deadline().filter(|(at, _)| *at <= step.now) {
            debug_assert_eq!(step.requests.get(slot).arrival.deadline, Some(at));
            self.refuse(step, slot, Refusal::DeadlineTooSoon);
        }
        while let Some((_, slot)) = self.queue.longest().filter(|(from, _)| self.wait_end(*from) <= step.now)
        {
            let refusal = if self.cold { Refusal::NoReplicaInTime } else { Refusal::BusyTooLong };
            self.refuse(step, slot, refusal);
        }
        self.promise = self.promise.filter(|promise| promise.until > step.now);
    }

    /// When a wait that began then is over.
    fn wait_end(&self, from: Time) -> Time {
        let Limits { wait_no_replica, wait_busy, .. } = self.limits;
        let budget = if self.cold { wait_no_replica } else { wait_busy };
        let counted_from = from.max(self.cold_since);
        (counted_from + budget).min(from + wait_no_replica + wait_busy)
    }

    /// What is asked of it now.
    pub(super) fn demand(&self) -> Demand {
        if self.gone {
            return Demand::default();
        }
        let mut demand = Demand {
            waiting: self.queue.count,
            in_flight: self.in_flight,
            waiting_tokens: self.queue.tokens,
            in_flight_tokens: self.in_flight_tokens,
        };
        if let Some(promise) = self.promise.filter(|_| demand.waiting + demand.in_flight == 0) {
            demand.waiting = 1;
            demand.waiting_tokens = promise.tokens;
        }
        demand
    }

    /// Tells the demand if it is time, and says when the target is next to be looked at.
    pub(super) fn settle(&mut self, step: &mut Step<'_>) -> Option<Time> {
        self.watch_cold(step.now);
        let demand = self.demand();
        if let Some(demand) = self.told.tell(step.now, demand) {
            step.out.push(Action::Demand { target: self.id, demand });
        }
        let waits = self.queue.longest().map(|(from, _)| self.wait_end(from));
        let deadline = self.queue.next_deadline().map(|(at, _)| at);
        let promise = self.promise.map(|promise| promise.until);
        let times = [waits, deadline, promise, self.fleet.reopens, self.told.due(demand)];
        times.into_iter().flatten().min()
    }

    /// Whether nothing is left of a target that is no more.
    pub(super) fn is_over(&self) -> bool {
        self.gone && self.in_flight == 0
    }

    /// Everyone that waits, in order of priority and arrival.
    pub(super) fn held(&self, now: Time, requests: &Requests) -> Vec<Held> {
        let prospect = self.prospect();
        let mut position = Position { count: 0, tokens: 0 };
        let held = self.queue.everyone(requests).into_iter().map(|waiter| {
            let request = requests.get(waiter.slot);
            position.count += 1;
            position.tokens += request.left_tokens;
            Held {
                request: waiter.request,
                priority: request.arrival.priority,
                since: request.since,
                prompt_tokens: request.arrival.prompt_tokens,
                expected: prospect.wait(now, position),
            }
        });
        held.collect()
    }
}

fn ask(request: &Request) -> Ask<'_> {
    Ask { tokens: request.left_tokens, prefix: request.arrival.prefix, failed: request.failed() }
}
