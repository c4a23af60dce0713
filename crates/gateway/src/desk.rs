//! The one place where requests meet the `route` machine.
//!
//! The machine is behind a lock that is held for the microseconds of one step. What a step says to other
//! requests goes through their channels; what it says of demand goes out after the lock is given back, in the
//! order in which it was said: a zero that overtook a one would leave a request waiting for nobody.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderValue;
use tidegate_core::route::{
    Action, Arrival, Demand, EndpointId, EndpointState, EndpointView, EngineLoad, Event, Limits, Outcome,
    Outlook, Priority, Refusal, RequestId, Router, TargetId,
};
use tidegate_core::time::{Span, Time};
use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;
use crate::config::OnDemand;
use crate::stats::Stats;

/// A replica requests can be sent to.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) id: EndpointId,
    pub(crate) addr: SocketAddr,
    pub(crate) target: TargetId,
    pub(crate) replica: Arc<str>,
    /// The replica's name as a header.
    pub(crate) header: HeaderValue,
    /// What goes into `Authorization`, where its engine asks for a key.
    pub(crate) authorization: Option<HeaderValue>,
}

/// What the machine said to a request.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Go(Arc<Endpoint>),
    Refused { refusal: Refusal, retry_after: Option<Span> },
}

/// The same, with the third answer that only the request itself can get.
#[derive(Debug)]
pub(crate) enum Fate {
    Done(Verdict),
    Held(Hold),
}

impl Fate {
    /// Whether its tenant has as many requests here as it may: such a one is no work for any replica.
    pub(crate) fn is_over_own_limit(&self) -> bool {
        matches!(self, Fate::Done(Verdict::Refused { refusal: Refusal::TenantFull, .. }))
    }
}

/// What of a request stays the same wherever it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) request: RequestId,
    pub(crate) target: TargetId,
    pub(crate) priority: Priority,
    pub(crate) prompt_tokens: u32,
}

impl Claim {
    pub(crate) fn of(arrival: &Arrival) -> Self {
        let Arrival { request, target, priority, prompt_tokens, .. } = *arrival;
        Claim { request, target, priority, prompt_tokens }
    }
}

/// A request's place in the line.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) expected: Option<Span>,
    pub(crate) cold: bool,
    pub(crate) verdict: oneshot::Receiver<Verdict>,
}

/// A request that waits, as pages show it.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its number.
    pub request: RequestId,
    /// Since when it waits.
    pub since: Time,
    /// How important it is.
    pub priority: Priority,
    /// Tokens of its prompt, as the gateway estimated them.
    pub prompt_tokens: u32,
    /// Whether it waits for a first replica, rather than for a busy one.
    pub cold: bool,
    /// How long it was expected to wait when it came, where that was known.
    pub expected: Option<Span>,
}

struct Waiter {
    target: TargetId,
    tell: oneshot::Sender<Verdict>,
    held: Held,
}

struct Inner {
    router: Router,
    actions: Vec<Action>,
    /// In order of arrival, which is the order pages show them in.
    waiters: BTreeMap<RequestId, Waiter>,
    endpoints: BTreeMap<EndpointId, Arc<Endpoint>>,
    drains: BTreeMap<EndpointId, Vec<oneshot::Sender<()>>>,
    targets: BTreeMap<TargetId, (Arc<str>, Arc<Stats>)>,
    next_endpoint: u32,
    next_target: u32,
    /// When the timer task wakes next; `None` when it waits for a call.
    armed: Option<Time>,
}

/// The machine, its lock, and who waits for its word.
pub(crate) struct Desk {
    inner: Mutex<Inner>,
    clock: Clock,
    next_request: AtomicU64,
    outbox: Mutex<VecDeque<(Arc<str>, Demand)>>,
    delivery: Mutex<()>,
    on_demand: OnDemand,
    rearm: Notify,
}

impl Desk {
    pub(crate) fn new(clock: Clock, on_demand: OnDemand) -> Self {
        Desk {
            inner: Mutex::new(Inner {
                router: Router::new(clock.now()),
                actions: Vec::new(),
                waiters: BTreeMap::new(),
                endpoints: BTreeMap::new(),
                drains: BTreeMap::new(),
                targets: BTreeMap::new(),
                next_endpoint: 0,
                next_target: 0,
                armed: None,
            }),
            clock,
            next_request: AtomicU64::new(1),
            outbox: Mutex::default(),
            delivery: Mutex::default(),
            on_demand,
            rearm: Notify::new(),
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn next_request(&self) -> RequestId {
        RequestId(self.next_request.fetch_add(1, Ordering::Relaxed))
    }

    /// A request arrived, just now.
    pub(crate) fn arrive(&self, arrival: Arrival, now: Time) -> Fate {
        self.place(Claim::of(&arrival), Event::Arrive(arrival), now)
    }

    /// The endpoint failed before the first byte: where to now?
    pub(crate) fn retry(&self, claim: Claim) -> Fate {
        let event = Event::Finish { request: claim.request, outcome: Outcome::Retry };
        self.place(claim, event, self.clock.now())
    }

    fn place(&self, claim: Claim, event: Event, now: Time) -> Fate {
        let Claim { request, target, priority, prompt_tokens } = claim;
        let mut inner = self.lock();
        let mut own = None;
        inner.step(now, event, Some(request), &mut own, &self.outbox);
        let fate = match own {
            Some(Own::Done(verdict)) => Fate::Done(verdict),
            Some(Own::Hold { expected, cold }) => {
                let (tell, verdict) = oneshot::channel();
                let held = Held { request, since: now, priority, prompt_tokens, cold, expected };
                inner.waiters.insert(request, Waiter { target, tell, held });
                Fate::Held(Hold { expected, cold, verdict })
            }
            // The machine answers every arrival; if it ever does not, the client must not hang.
            None => Fate::Done(Verdict::Refused { refusal: Refusal::TargetGone, retry_after: None }),
        };
        self.after(inner);
        fate
    }

    /// The client of a request that was told to wait is gone. If it was placed in the same moment, its place
    /// is given back.
    pub(crate) fn leave(&self, request: RequestId, verdict: &mut oneshot::Receiver<Verdict>) {
        let mut inner = self.lock();
        let event = if inner.waiters.remove(&request).is_some() {
            Event::Leave(request)
        } else if let Ok(Verdict::Go(_)) = verdict.try_recv() {
            Event::Finish { request, outcome: Outcome::Left }
        } else {
            return;
        };
        inner.step(self.clock.now(), event, None, &mut None, &self.outbox);
        self.after(inner);
    }

    /// Tells the machine something that is about no request's own fate.
    pub(crate) fn tell(&self, event: Event) {
        self.tell_at(event, self.clock.now());
    }

    /// The same for those who have just looked at the clock: a look costs as much as the rest of a step.
    pub(crate) fn tell_at(&self, event: Event, now: Time) {
        let mut inner = self.lock();
        inner.step(now, event, None, &mut None, &self.outbox);
        self.after(inner);
    }

    pub(crate) fn add_target(&self, name: Arc<str>, stats: Arc<Stats>, limits: Limits) -> TargetId {
        let mut inner = self.lock();
        let target = TargetId(inner.next_target);
        inner.next_target += 1;
        inner.targets.insert(target, (name, stats));
        inner.step(self.clock.now(), Event::Target { target, limits }, None, &mut None, &self.outbox);
        self.after(inner);
        target
    }

    pub(crate) fn remove_target(&self, target: TargetId) {
        self.tell(Event::TargetGone(target));
        self.lock().targets.remove(&target);
    }

    pub(crate) fn add_endpoint(
        &self,
        target: TargetId,
        addr: SocketAddr,
        replica: Arc<str>,
        authorization: Option<HeaderValue>,
    ) -> EndpointId {
        let mut inner = self.lock();
        let id = EndpointId(inner.next_endpoint);
        inner.next_endpoint += 1;
        let header = HeaderValue::from_str(&replica).unwrap_or(HeaderValue::from_static("unnamed"));
        let endpoint = Endpoint { id, addr, target, replica, header, authorization };
        inner.endpoints.insert(id, Arc::new(endpoint));
        let event = Event::Endpoint { endpoint: id, target, state: EndpointState::Ready };
        inner.step(self.clock.now(), event, None, &mut None, &self.outbox);
        self.after(inner);
        id
    }

    /// Gives an endpoint nothing more; the receiver hears when it has nothing left.
    pub(crate) fn drain(&self, endpoint: EndpointId) -> oneshot::Receiver<()> {
        let (tell, drained) = oneshot::channel();
        let mut inner = self.lock();
        let Some(target) = inner.endpoints.get(&endpoint).map(|e| e.target) else {
            // Dropping the sender resolves the receiver: what is gone is drained.
            return drained;
        };
        inner.drains.entry(endpoint).or_default().push(tell);
        let event = Event::Endpoint { endpoint, target, state: EndpointState::Draining };
        inner.step(self.clock.now(), event, None, &mut None, &self.outbox);
        self.after(inner);
        drained
    }

    pub(crate) fn remove_endpoint(&self, endpoint: EndpointId) {
        let mut inner = self.lock();
        inner.step(self.clock.now(), Event::EndpointGone(endpoint), None, &mut None, &self.outbox);
        inner.endpoints.remove(&endpoint);
        inner.drains.remove(&endpoint);
        self.after(inner);
    }

    pub(crate) fn load(&self, endpoint: EndpointId, load: EngineLoad) {
        self.tell(Event::Load { endpoint, load });
    }

    pub(crate) fn outlook(&self, target: TargetId, outlook: Outlook) {
        self.tell(Event::Outlook { target, outlook });
    }

    /// Whether an endpoint is still there, for those who keep connections to it.
    pub(crate) fn knows(&self, endpoint: EndpointId) -> bool {
        self.lock().endpoints.contains_key(&endpoint)
    }

    pub(crate) fn endpoints(&self, target: TargetId) -> Vec<(Arc<Endpoint>, EndpointState, EndpointView)> {
        let inner = self.lock();
        let mut all: Vec<_> = inner
            .router
            .endpoints(target)
            .filter_map(|(id, state, view)| Some((inner.endpoints.get(&id)?.clone(), state, view)))
            .collect();
        all.sort_by_key(|(endpoint, _, _)| endpoint.id);
        all
    }

    pub(crate) fn demand(&self, target: TargetId) -> Demand {
        self.lock().router.demand(target)
    }

    /// Who waits for a target, the longest first, at most so many.
    pub(crate) fn held(&self, target: TargetId, max: usize) -> Vec<Held> {
        let inner = self.lock();
        inner.waiters.values().filter(|w| w.target == target).take(max).map(|w| w.held.clone()).collect()
    }

    /// Wakes the machine whenever it wants to be woken.
    pub(crate) async fn run_timer(&self) {
        loop {
            let wake = {
                let mut inner = self.lock();
                inner.armed = inner.router.next_wakeup();
                inner.armed
            };
            match wake {
                Some(at) => {
                    let at = tokio::time::Instant::from_std(self.clock.instant(at));
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => self.tell(Event::Tick),
                        () = self.rearm.notified() => {}
                    }
                }
                None => self.rearm.notified().await,
            }
        }
    }

    /// Gives the lock back, then delivers demand and wakes the timer where the machine wants it sooner.
    fn after(&self, mut inner: MutexGuard<'_, Inner>) {
        let wake = inner.router.next_wakeup();
        let sooner = wake.is_some_and(|wake| inner.armed.is_none_or(|armed| wake < armed));
        if sooner {
            inner.armed = wake;
        }
        drop(inner);
        if sooner {
            self.rearm.notify_one();
        }
        self.deliver();
    }

    fn deliver(&self) {
        if lock(&self.outbox).is_empty() {
            return;
        }
        // Whoever comes second waits for the first to be done, and then finds nothing left or what is its own.
        let _turn = lock(&self.delivery);
        loop {
            let next = lock(&self.outbox).pop_front();
            let Some((name, demand)) = next else { break };
            (self.on_demand)(&name, demand);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not stop the gateway; the machine's step is all or nothing to those who wait.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Own {
    Done(Verdict),
    Hold { expected: Option<Span>, cold: bool },
}

impl Inner {
    fn step(
        &mut self,
        now: Time,
        event: Event,
        me: Option<RequestId>,
        own: &mut Option<Own>,
        outbox: &Mutex<VecDeque<(Arc<str>, Demand)>>,
    ) {
        let mut actions = std::mem::take(&mut self.actions);
        self.router.step(now, event, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Dispatch { request, endpoint } => {
                    let verdict = match self.endpoints.get(&endpoint) {
                        Some(endpoint) => Verdict::Go(endpoint.clone()),
                        None => Verdict::Refused { refusal: Refusal::TargetGone, retry_after: None },
                    };
                    self.say(request, me, verdict, own);
                }
                Action::Refuse { request, refusal, retry_after } => {
                    self.say(request, me, Verdict::Refused { refusal, retry_after }, own);
                }
                Action::Hold { request, expected, cold } => {
                    if me == Some(request) {
                        *own = Some(Own::Hold { expected, cold });
                    }
                }
                Action::Demand { target, demand } => {
                    if let Some((name, _)) = self.targets.get(&target) {
                        lock(outbox).push_back((name.clone(), demand));
                    }
                }
                Action::Drained(endpoint) => {
                    for tell in self.drains.remove(&endpoint).unwrap_or_default() {
                        let _ = tell.send(());
                    }
                }
                Action::Ejected { endpoint, until } => {
                    let target = self.endpoints.get(&endpoint).map(|e| (e.target, &e.replica));
                    if let Some((target, replica)) = target {
                        tracing::warn!(%replica, until_s = until.since(now).as_secs_f64(), "replica ejected");
                        if let Some((_, stats)) = self.targets.get(&target) {
                            stats.ejected();
                        }
                    }
                }
            }
        }
        self.actions = actions;
    }

    fn say(&mut self, request: RequestId, me: Option<RequestId>, verdict: Verdict, own: &mut Option<Own>) {
        if me == Some(request) {
            *own = Some(Own::Done(verdict));
        } else if let Some(waiter) = self.waiters.remove(&request) {
            // The channel keeps the verdict if its owner is just leaving; it looks there before it goes.
            let _ = waiter.tell.send(verdict);
        }
    }
}
