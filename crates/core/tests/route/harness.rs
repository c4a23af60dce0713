//! A gateway without sockets: it does what the machine says and remembers who is where.

use std::collections::BTreeMap;

use tidegate_core::route::{
    Action, Arrival, Demand, EndpointId, EndpointState, EngineLoad, Event, Limits, Outcome, Outlook,
    Priority, Refusal, RequestId, Router, TargetId,
};
use tidegate_core::time::{Span, Time};

/// The target of most tests.
pub(crate) const T: TargetId = TargetId(1);

pub(crate) const LIMITS: Limits = Limits {
    hold_count_max: 1000,
    hold_bytes_max: 1_000_000,
    wait_no_replica: Span::from_secs(60),
    wait_busy: Span::from_secs(30),
    slots: 4,
    tenant_count_max: 100,
};

pub(crate) struct Gateway {
    pub(crate) router: Router,
    pub(crate) now: Time,
    /// Everything ever done.
    pub(crate) did: Vec<Action>,
    pub(crate) in_flight: BTreeMap<RequestId, EndpointId>,
    next: u64,
}

impl Gateway {
    /// One target, no endpoint.
    pub(crate) fn at_zero(limits: Limits) -> Self {
        let now = Time::from_secs(1000);
        let (did, in_flight) = (Vec::new(), BTreeMap::new());
        let mut gateway = Gateway { router: Router::new(now), now, did, in_flight, next: 1 };
        gateway.tell(Event::Target { target: T, limits });
        gateway
    }

    /// One target with endpoints 1 to `endpoints`.
    pub(crate) fn with(limits: Limits, endpoints: u32) -> Self {
        let mut gateway = Gateway::at_zero(limits);
        (1..=endpoints).for_each(|endpoint| gateway.ready(endpoint));
        gateway
    }

    /// One event; what was done for it.
    pub(crate) fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        if let Event::Finish { request, .. } = &event {
            self.in_flight.remove(request);
        }
        self.router.step(self.now, event, &mut out);
        for action in &out {
            if let Action::Dispatch { request, endpoint } = action {
                self.in_flight.insert(*request, *endpoint);
            }
        }
        self.did.extend(out.iter().cloned());
        out
    }

    /// Lets time pass, with every tick the machine asks for.
    pub(crate) fn pass(&mut self, span: Span) -> Vec<Action> {
        let until = self.now + span;
        let mut out = Vec::new();
        while let Some(at) = self.router.next_wakeup().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            out.extend(self.tell(Event::Tick));
            assert!(self.router.next_wakeup().is_none_or(|next| next > at), "a tick moves the next one on");
        }
        self.now = until;
        out
    }

    pub(crate) fn ready(&mut self, endpoint: u32) {
        self.state(endpoint, EndpointState::Ready);
    }

    pub(crate) fn state(&mut self, endpoint: u32, state: EndpointState) -> Vec<Action> {
        self.tell(Event::Endpoint { endpoint: EndpointId(endpoint), target: T, state })
    }

    pub(crate) fn gone(&mut self, endpoint: u32) -> Vec<Action> {
        self.tell(Event::EndpointGone(EndpointId(endpoint)))
    }

    /// The next request of nobody, of 100 tokens.
    pub(crate) fn arrival(&mut self) -> Arrival {
        let request = RequestId(self.next);
        self.next += 1;
        Arrival {
            request,
            target: T,
            priority: Priority::Normal,
            tenant: 0,
            prompt_tokens: 100,
            max_tokens: Some(100),
            prefix: None,
            bytes: 400,
            deadline: None,
        }
    }

    /// A request arrives, after `change`.
    pub(crate) fn arrive(&mut self, change: impl FnOnce(&mut Arrival)) -> RequestId {
        let mut arrival = self.arrival();
        change(&mut arrival);
        self.tell(Event::Arrive(arrival));
        arrival.request
    }

    pub(crate) fn plain(&mut self) -> RequestId {
        self.arrive(|_| {})
    }

    pub(crate) fn outlook(&mut self, outlook: Outlook) {
        self.tell(Event::Outlook { target: T, outlook });
    }

    pub(crate) fn load(&mut self, endpoint: u32, load: EngineLoad) -> Vec<Action> {
        self.tell(Event::Load { endpoint: EndpointId(endpoint), load })
    }

    pub(crate) fn finish(&mut self, request: RequestId, outcome: Outcome) -> Vec<Action> {
        self.tell(Event::Finish { request, outcome })
    }

    pub(crate) fn answer(&mut self, request: RequestId) -> Vec<Action> {
        self.finish(request, Outcome::Answered { prompt_tokens: Some(100), output_tokens: Some(100) })
    }

    pub(crate) fn at(&self, request: RequestId) -> Option<u32> {
        self.in_flight.get(&request).map(|endpoint| endpoint.0)
    }

    pub(crate) fn slots(&self, endpoint: u32) -> u32 {
        self.router.endpoint(EndpointId(endpoint)).map_or(0, |view| view.slots)
    }

    pub(crate) fn demand(&self) -> Demand {
        self.router.demand(T)
    }

    /// Dispatched requests, in order, by their numbers.
    pub(crate) fn dispatched(&self) -> Vec<u64> {
        let numbers = self.did.iter().filter_map(|action| match action {
            Action::Dispatch { request, .. } => Some(request.0),
            _ => None,
        });
        numbers.collect()
    }

    /// Why a request was refused, and when it may come again.
    pub(crate) fn refused(&self, request: RequestId) -> Option<(Refusal, Option<Span>)> {
        self.did.iter().find_map(|action| match action {
            Action::Refuse { request: whose, refusal, retry_after } if *whose == request => {
                Some((refusal.clone(), *retry_after))
            }
            _ => None,
        })
    }

    /// What the last word on holding a request was.
    pub(crate) fn held(&self, request: RequestId) -> Option<(Option<Span>, bool)> {
        self.did.iter().rev().find_map(|action| match action {
            Action::Hold { request: whose, expected, cold } if *whose == request => Some((*expected, *cold)),
            _ => None,
        })
    }

    /// Whether the machine has no request and no demand left.
    pub(crate) fn is_empty(&self) -> bool {
        self.router.requests() == 0 && self.demand() == Demand::default()
    }
}
