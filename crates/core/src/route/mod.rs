//! The `route` machine, one per gateway: who waits, who goes where, and who is refused.
//!
//! A request touches it twice or three times: it arrives, its first byte comes, it is over. In between
//! the machine knows exactly what every endpoint has to do, because it gave it; a scrape only corrects
//! what it believes of an engine's size and speed. So it goes on when scrapes fail.
//!
//! The rooms:
//! - `queue`: hold, priorities and fairness: who is next;
//! - `choose`: drain time, prefix affinity, power of two: where it goes;
//! - `endpoint`, `fleet`: how much one takes, how fast it is, whether it can be trusted; who has room;
//! - `estimate`: tokens, and how long one waits;
//! - `demand`: when the scaler is told; `flow`: what is counted for it;
//! - `request`: those alive, by number; `target`: all of it together for one target.
//!
//! *Time to wait.* A target is *cold* while no endpoint can be used, and *busy* while one can. Each has
//! its budget, and the one in force is that of the present situation. A request's wait counts from its
//! entry into the queue, or from the last change between cold and busy if that was later: who waited 50 s
//! for a replica has the whole of `wait_busy` once one is there, for the replica is new and so is the
//! queue at it. Changes back and forth cannot stretch this for ever: after `wait_no_replica + wait_busy`
//! from its entry it is refused in either. The engine's own time-out does not run meanwhile; it begins
//! with the dispatch.
//!
//! *Failure before the first byte.* The request goes back before all that were not tried, in its order of
//! arrival, and not to where it failed if there is any other endpoint. After 3 retries it is refused, if
//! there is another endpoint still; while there is none it waits as at zero, for at most 12 tries.
//!
//! *Memory.* A request that lives costs 208 bytes, 48 to 96 in the index, and 80 or so more in the queue:
//! 20,000, half of them waiting, are 6 MB. How many wait is limited by `hold_count_max`, how many are in
//! flight by the slots. A target costs 1 KB, and 32 KiB more with prefixes; an endpoint 300 bytes. The
//! bench prints what 20,000 take.
mod choose;
mod demand;
mod endpoint;
mod estimate;
mod fleet;
mod flow;
mod queue;
mod request;
mod target;
mod types;

pub use flow::Flow;
pub use types::*;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use self::request::Requests;
use self::target::{Step, Target};
use crate::time::Time;

/// The machine.
#[derive(Clone, Debug)]
pub struct Router {
    now: Time,
    requests: Requests,
    targets: BTreeMap<TargetId, Target>,
    /// Whose an endpoint is.
    owners: BTreeMap<EndpointId, TargetId>,
    /// When each target is next to be looked at.
    timers: BTreeSet<(Time, TargetId)>,
}

impl Router {
    /// A machine that knows nothing yet.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Router {
            now,
            requests: Requests::default(),
            targets: BTreeMap::new(),
            owners: BTreeMap::new(),
            timers: BTreeSet::new(),
        }
    }

    /// One event, and what is to be done for it, appended to `out` in order.
    ///
    /// Time does not go back: an earlier `now` counts as the latest seen. A request, target or endpoint
    /// that is not known is passed over, for its end may cross an event on the way: but a request for an
    /// unknown target is refused, and one whose number is alive already is not taken twice.
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match event {
            Event::Target { target, limits } => {
                let now = self.now;
                self.targets.entry(target).or_insert_with(|| Target::new(target, limits, now));
                self.with(target, out, |target, step| target.set_limits(step, limits));
            }
            Event::TargetGone(target) => self.with(target, out, |target, step| target.close(step)),
            Event::Endpoint { endpoint, target, state } => self.endpoint_is(endpoint, target, state, out),
            Event::EndpointGone(endpoint) => {
                if let Some(target) = self.owners.remove(&endpoint) {
                    self.with(target, out, |target, step| target.forget_endpoint(step, endpoint));
                }
            }
            Event::Load { endpoint, load } => {
                if let Some(target) = self.owners.get(&endpoint) {
                    self.with(*target, out, |target, step| target.load(step, endpoint, load));
                }
            }
            Event::Outlook { target, outlook } => {
                self.with(target, out, |target, _| target.set_outlook(outlook));
            }
            Event::Arrive(arrival) => self.arrive(arrival, out),
            Event::FirstByte(request) => self.with_request(request, out, Target::first_byte),
            Event::Finish { request, outcome } => {
                self.with_request(request, out, |target, step, slot| target.finish(step, slot, outcome));
            }
            Event::Leave(request) => self.with_request(request, out, Target::leave),
            Event::Tick => self.tick(out),
        }
    }

    fn endpoint_is(
        &mut self,
        endpoint: EndpointId,
        target: TargetId,
        state: EndpointState,
        out: &mut Vec<Action>,
    ) {
        let known = self.targets.get(&target).is_some_and(|target| !target.gone);
        let owner = self.owners.get(&endpoint).copied();
        if !known && owner != Some(target) {
            if state == EndpointState::Draining {
                out.push(Action::Drained(endpoint));
            }
            return;
        }
        if let Some(old) = owner.filter(|old| *old != target) {
            self.with(old, out, |old, step| old.forget_endpoint(step, endpoint));
        }
        self.owners.insert(endpoint, target);
        self.with(target, out, |target, step| target.set_endpoint(step, endpoint, state));
    }

    fn arrive(&mut self, arrival: Arrival, out: &mut Vec<Action>) {
        let target = self.targets.get(&arrival.target);
        if target.is_none_or(|target| target.gone) {
            let request = arrival.request;
            out.push(Action::Refuse { request, refusal: Refusal::TargetGone, retry_after: None });
            return;
        }
        self.with(arrival.target, out, |target, step| target.arrive(step, arrival));
    }

    fn tick(&mut self, out: &mut Vec<Action>) {
        while let Some((_, target)) = self.timers.first().copied().filter(|(at, _)| *at <= self.now) {
            self.timers.pop_first();
            if let Some(target) = self.targets.get_mut(&target) {
                target.timer = None;
            }
            self.with(target, out, Target::tick);
        }
    }

    fn with_request(
        &mut self,
        request: RequestId,
        out: &mut Vec<Action>,
        change: impl FnOnce(&mut Target, &mut Step<'_>, u32),
    ) {
        let Some(slot) = self.requests.find(request) else { return };
        let target = self.requests.get(slot).arrival.target;
        self.with(target, out, |target, step| change(target, step, slot));
    }

    /// Changes a target, then tells its demand and sets its timer.
    fn with(&mut self, id: TargetId, out: &mut Vec<Action>, change: impl FnOnce(&mut Target, &mut Step<'_>)) {
        let Some(target) = self.targets.get_mut(&id) else { return };
        let mut step = Step { now: self.now, requests: &mut self.requests, out };
        change(target, &mut step);
        let next = target.settle(&mut step);
        // Only ever earlier: a timer that comes too early costs one look, and is set right by it.
        if let Some(next) = next.filter(|next| target.timer.is_none_or(|timer| *next < timer)) {
            if let Some(timer) = target.timer.replace(next) {
                self.timers.remove(&(timer, id));
            }
            self.timers.insert((next, id));
        }
        if target.is_over() {
            self.drop_target(id);
        }
    }

    fn drop_target(&mut self, id: TargetId) {
        let Some(target) = self.targets.remove(&id) else { return };
        for endpoint in &target.fleet.list {
            self.owners.remove(&endpoint.id);
        }
        if let Some(timer) = target.timer {
            self.timers.remove(&(timer, id));
        }
    }

    /// What is asked of a target now; nothing of an unknown one.
    #[must_use]
    pub fn demand(&self, target: TargetId) -> Demand {
        self.targets.get(&target).map(Target::demand).unwrap_or_default()
    }

    /// What is in flight at an endpoint.
    #[must_use]
    pub fn endpoint(&self, endpoint: EndpointId) -> Option<EndpointView> {
        let fleet = &self.targets.get(self.owners.get(&endpoint)?)?.fleet;
        fleet.find(endpoint).map(|at| fleet.list[at].view(self.now))
    }

    /// A target's endpoints, by number.
    pub fn endpoints(
        &self,
        target: TargetId,
    ) -> impl Iterator<Item = (EndpointId, EndpointState, EndpointView)> {
        let endpoints = self.targets.get(&target).into_iter().flat_map(|target| &target.fleet.list);
        endpoints.map(|endpoint| (endpoint.id, endpoint.state, endpoint.view(self.now)))
    }

    /// Who waits for a target: highest priority first, then in order of arrival. For pages: it sorts.
    pub fn waiting(&self, target: TargetId) -> impl Iterator<Item = Held> {
        let target = self.targets.get(&target);
        target.map(|target| target.held(self.now, &self.requests)).unwrap_or_default().into_iter()
    }

    /// Requests that wait or are in flight, of all targets: what the memory follows.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.count()
    }

    /// When the next [`Event::Tick`] is needed: a wait or an ejection ends, or a sample of the demand is
    /// due. It may be early, never late; a tick at that time moves it on.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }
}
