//! Laws that hold whatever happens, in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::route::{
    Action, Arrival, Demand, EndpointId, EndpointState, EngineLoad, Event, Limits, Outcome, Outlook,
    Priority, RequestId, Router, TargetId,
};
use tidegate_core::time::{Span, Time};

const T: TargetId = TargetId(3);
const LIMITS: Limits = Limits {
    hold_count_max: 40,
    hold_bytes_max: 4000,
    wait_no_replica: Span::from_secs(20),
    wait_busy: Span::from_secs(8),
    slots: 3,
    tenant_count_max: 15,
};

/// What happens next; the numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Do {
    Arrive { priority: u8, tenant: u64, tokens: u32, prefix: u64, patience_s: i64 },
    FirstByte(usize),
    Finish(usize, u8),
    Leave(usize),
    Ready(u32),
    Drain(u32),
    Gone(u32),
    Load(u32, EngineLoad),
    Outlook(u32, i64),
    Pass(i64),
    Limits(u32),
}

fn any_do() -> impl Strategy<Value = Do> {
    let endpoint = 0..6_u32;
    let load = (0..6_u32, 0..4_u32, 0.0..1.2_f64).prop_map(|(running, waiting, kv)| EngineLoad {
        running,
        waiting,
        kv_use: Some(kv),
    });
    let arrive = (0..3_u8, 0..4_u64, 0..3000_u32, 0..5_u64, 1..60_i64).prop_map(
        |(priority, tenant, tokens, prefix, patience_s)| Do::Arrive {
            priority,
            tenant,
            tokens,
            prefix,
            patience_s,
        },
    );
    prop_oneof![
        12 => arrive,
        6 => any::<prop::sample::Index>().prop_map(|which| Do::FirstByte(which.index(1000))),
        10 => (0..1000_usize, 0..8_u8).prop_map(|(which, how)| Do::Finish(which, how)),
        2 => (0..1000_usize).prop_map(Do::Leave),
        3 => endpoint.clone().prop_map(Do::Ready),
        1 => endpoint.clone().prop_map(Do::Drain),
        1 => endpoint.clone().prop_map(Do::Gone),
        2 => (endpoint, load).prop_map(|(endpoint, load)| Do::Load(endpoint, load)),
        1 => (0..3_u32, 0..30_i64).prop_map(|(starting, seconds)| Do::Outlook(starting, seconds)),
        4 => (1..2_000_000_i64).prop_map(Do::Pass),
        1 => (1..5_u32).prop_map(Do::Limits),
    ]
}

/// What a gateway knows of its own requests.
struct Model {
    router: Router,
    now: Time,
    next: u64,
    arrivals: BTreeMap<RequestId, Arrival>,
    waiting: BTreeSet<RequestId>,
    in_flight: BTreeMap<RequestId, EndpointId>,
    answering: BTreeSet<RequestId>,
    endpoints: BTreeMap<EndpointId, EndpointState>,
    /// Endpoints that failed once: they may be paused, which the machine tells nobody.
    suspect: BTreeSet<EndpointId>,
    /// Requests that failed once: they may wait for another endpoint beside a free one.
    tried: BTreeSet<RequestId>,
    told: (Demand, Time),
    log: Vec<Action>,
}

type Law = Result<(), TestCaseError>;

impl Model {
    fn new() -> Result<Self, TestCaseError> {
        let now = Time::from_secs(5);
        let mut model = Model {
            router: Router::new(now),
            now,
            next: 1,
            arrivals: BTreeMap::new(),
            waiting: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            answering: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            suspect: BTreeSet::new(),
            tried: BTreeSet::new(),
            told: (Demand::default(), now),
            log: Vec::new(),
        };
        model.tell(Event::Target { target: T, limits: LIMITS })?;
        Ok(model)
    }

    fn tell(&mut self, event: Event) -> Law {
        let mut out = Vec::new();
        self.router.step(self.now, event, &mut out);
        for action in &out {
            self.obey(action)?;
        }
        self.log.extend(out);
        self.check()
    }

    fn obey(&mut self, action: &Action) -> Law {
        match action {
            Action::Dispatch { request, endpoint } => {
                prop_assert!(self.waiting.remove(request), "{request:?} is dispatched and did not wait");
                prop_assert_eq!(self.endpoints.get(endpoint), Some(&EndpointState::Ready));
                self.in_flight.insert(*request, *endpoint);
                let here = self.in_flight.values().filter(|at| *at == endpoint).count();
                let view = self.router.endpoint(*endpoint).unwrap_or_default();
                prop_assert!(here <= view.slots as usize, "{here} of {} slots", view.slots);
                prop_assert!(!view.ejected);
            }
            Action::Refuse { request, retry_after, .. } => {
                prop_assert!(self.waiting.remove(request), "{request:?} is refused and did not wait");
                prop_assert!(retry_after.is_none_or(|span| span >= Span::from_secs(1)));
            }
            Action::Hold { request, .. } => prop_assert!(self.waiting.contains(request)),
            Action::Demand { demand, .. } => {
                let edge = is_some(*demand) != is_some(self.told.0);
                let apart = self.now.since(self.told.1);
                prop_assert!(edge || apart >= Span::from_micros(100_000), "a sample after {apart}");
                self.told = (*demand, self.now);
            }
            Action::Drained(endpoint) => {
                prop_assert!(!self.in_flight.values().any(|at| at == endpoint));
                prop_assert!(self.endpoints.get(endpoint) != Some(&EndpointState::Ready));
            }
            Action::Ejected { endpoint, until } => {
                prop_assert!(*until > self.now);
                prop_assert!(self.endpoints.contains_key(endpoint));
            }
        }
        Ok(())
    }

    /// What must be true after every step.
    fn check(&self) -> Law {
        let demand = self.router.demand(T);
        if self.waiting.len() + self.in_flight.len() > 0 {
            prop_assert_eq!(demand.waiting as usize, self.waiting.len());
        } else {
            prop_assert!(demand.waiting <= 1, "one for a promise");
        }
        prop_assert_eq!(demand.in_flight as usize, self.in_flight.len());
        prop_assert_eq!(is_some(demand), is_some(self.told.0), "an edge is told in its step");
        prop_assert_eq!(self.router.requests(), self.waiting.len() + self.in_flight.len());
        let listed: BTreeSet<_> = self.router.waiting(T).map(|held| held.request).collect();
        prop_assert_eq!(&listed, &self.waiting);
        let mut tokens = 0;
        let mut ejected = 0;
        let mut ready = 0;
        let somebody_waits = self.waiting.iter().any(|request| !self.tried.contains(request));
        for (endpoint, state, view) in self.router.endpoints(T) {
            prop_assert_eq!(self.endpoints.get(&endpoint), Some(&state));
            let here = self.in_flight.values().filter(|at| **at == endpoint).count();
            prop_assert_eq!(view.in_flight as usize, here);
            tokens += view.tokens;
            if state == EndpointState::Ready {
                ready += 1;
                ejected += u32::from(view.ejected);
                let free = view.in_flight < view.slots && !self.suspect.contains(&endpoint);
                prop_assert!(!(free && somebody_waits), "{endpoint:?} has room and somebody waits");
            }
        }
        prop_assert!(ejected * 2 <= ready);
        if self.in_flight.values().all(|at| self.endpoints.contains_key(at)) {
            prop_assert_eq!(tokens, demand.in_flight_tokens);
        }
        Ok(())
    }

    fn pass(&mut self, until: Time) -> Law {
        while let Some(at) = self.router.next_wakeup().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.tell(Event::Tick)?;
            prop_assert!(self.router.next_wakeup().is_none_or(|next| next > self.now));
        }
        self.now = until;
        Ok(())
    }

    fn state(&mut self, endpoint: u32, state: EndpointState) -> Law {
        let endpoint = EndpointId(endpoint);
        self.endpoints.insert(endpoint, state);
        self.tell(Event::Endpoint { endpoint, target: T, state })
    }

    fn nth_in_flight(&self, which: usize) -> Option<(RequestId, EndpointId)> {
        let at = which % self.in_flight.len().max(1);
        self.in_flight.iter().nth(at).map(|(request, endpoint)| (*request, *endpoint))
    }

    fn finish(&mut self, which: usize, how: u8) -> Law {
        let Some((request, endpoint)) = self.nth_in_flight(which) else { return Ok(()) };
        self.in_flight.remove(&request);
        let answering = self.answering.remove(&request);
        let outcome = match how {
            0..3 => Outcome::Answered { prompt_tokens: Some(50), output_tokens: Some(20) },
            3 => Outcome::Answered { prompt_tokens: None, output_tokens: None },
            4 => Outcome::Left,
            5 => Outcome::Failed,
            _ if answering => Outcome::Failed,
            _ => Outcome::Retry,
        };
        if matches!(outcome, Outcome::Retry | Outcome::Failed) {
            self.suspect.insert(endpoint);
        }
        if outcome == Outcome::Retry {
            self.waiting.insert(request);
            self.tried.insert(request);
        }
        self.tell(Event::Finish { request, outcome })
    }

    fn arrive(&mut self, arrival: Arrival) -> Law {
        let request = arrival.request;
        self.arrivals.insert(request, arrival);
        self.waiting.insert(request);
        let before = self.log.len();
        self.tell(Event::Arrive(arrival))?;
        let answers = self.log[before..].iter().filter(|action| match action {
            Action::Dispatch { request: whose, .. }
            | Action::Refuse { request: whose, .. }
            | Action::Hold { request: whose, .. } => *whose == request,
            _ => false,
        });
        prop_assert_eq!(answers.count(), 1, "a request at the door gets one answer");
        Ok(())
    }

    fn step(&mut self, what: Do) -> Law {
        match what {
            Do::Arrive { priority, tenant, tokens, prefix, patience_s } => {
                let request = RequestId(self.next);
                self.next += 1;
                self.arrive(Arrival {
                    request,
                    target: T,
                    priority: [Priority::Low, Priority::Normal, Priority::High][usize::from(priority)],
                    tenant,
                    prompt_tokens: tokens,
                    max_tokens: (tokens % 2 == 0).then_some(tokens / 4),
                    prefix: (prefix > 0).then_some(prefix),
                    bytes: u64::from(tokens / 10),
                    deadline: (patience_s < 30).then(|| self.now + Span::from_secs(patience_s)),
                })
            }
            Do::FirstByte(which) => {
                let Some((request, _)) = self.nth_in_flight(which) else { return Ok(()) };
                self.answering.insert(request);
                self.tell(Event::FirstByte(request))
            }
            Do::Finish(which, how) => self.finish(which, how),
            Do::Leave(which) => {
                let at = which % self.waiting.len().max(1);
                let Some(request) = self.waiting.iter().nth(at).copied() else { return Ok(()) };
                self.waiting.remove(&request);
                self.tell(Event::Leave(request))
            }
            Do::Ready(endpoint) => self.state(endpoint, EndpointState::Ready),
            Do::Drain(endpoint) => self.state(endpoint, EndpointState::Draining),
            Do::Gone(endpoint) => {
                self.endpoints.remove(&EndpointId(endpoint));
                self.tell(Event::EndpointGone(EndpointId(endpoint)))
            }
            Do::Load(endpoint, load) => self.tell(Event::Load { endpoint: EndpointId(endpoint), load }),
            Do::Outlook(starting, seconds) => {
                let start = Some(Span::from_secs(seconds));
                let ready_at = (starting > 0).then(|| self.now + Span::from_secs(seconds));
                self.tell(Event::Outlook { target: T, outlook: Outlook { starting, ready_at, start } })
            }
            Do::Pass(micros) => self.pass(self.now + Span::from_micros(micros)),
            Do::Limits(slots) => self.tell(Event::Target { target: T, limits: Limits { slots, ..LIMITS } }),
        }
    }

    /// Everything ends: what is in flight is answered, and who waits is served or refused in time.
    fn end(&mut self) -> Law {
        for _ in 0..1000 {
            if self.waiting.is_empty() && self.in_flight.is_empty() {
                break;
            }
            while !self.in_flight.is_empty() {
                self.finish(0, 0)?;
            }
            self.pass(self.now + Span::from_secs(1))?;
        }
        prop_assert!(self.waiting.is_empty() && self.in_flight.is_empty());
        // The last promise is over, too.
        self.pass(self.now + Span::from_secs(601))?;
        prop_assert_eq!(self.router.requests(), 0);
        prop_assert_eq!(self.router.demand(T), Demand::default());
        Ok(())
    }
}

fn is_some(demand: Demand) -> bool {
    demand.waiting + demand.in_flight > 0
}

fn run(steps: &[Do]) -> Result<Model, TestCaseError> {
    let mut model = Model::new()?;
    for what in steps {
        model.step(*what)?;
    }
    Ok(model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_request_ends_once_and_nothing_goes_where_it_may_not(steps in vec(any_do(), 1..250)) {
        run(&steps)?.end()?;
    }

    #[test]
    fn the_same_events_give_the_same_actions(steps in vec(any_do(), 1..150)) {
        prop_assert_eq!(run(&steps)?.log, run(&steps)?.log);
    }

    #[test]
    fn without_retries_one_tenants_requests_of_one_priority_go_in_order(steps in vec(any_do(), 1..250)) {
        let steps: Vec<Do> = steps
            .into_iter()
            .map(|what| match what {
                Do::Finish(which, how) if how > 5 => Do::Finish(which, 0),
                other => other,
            })
            .collect();
        let model = run(&steps)?;
        let mut last: BTreeMap<(u64, Priority), RequestId> = BTreeMap::new();
        for action in &model.log {
            let Action::Dispatch { request, .. } = action else { continue };
            let arrival = &model.arrivals[request];
            let before = last.insert((arrival.tenant, arrival.priority), *request);
            prop_assert!(before < Some(*request), "{request:?} after {before:?}");
        }
    }

    #[test]
    fn a_target_that_goes_leaves_nothing_behind(steps in vec(any_do(), 1..150)) {
        let mut model = run(&steps)?;
        let mut out = Vec::new();
        model.router.step(model.now, Event::TargetGone(T), &mut out);
        for action in &out {
            model.obey(action)?;
        }
        prop_assert!(model.waiting.is_empty());
        for request in model.in_flight.keys() {
            let outcome = Outcome::Retry;
            model.router.step(model.now, Event::Finish { request: *request, outcome }, &mut out);
        }
        prop_assert_eq!(model.router.requests(), 0);
        prop_assert_eq!(model.router.next_wakeup(), None);
        prop_assert_eq!(model.router.endpoints(T).count(), 0);
    }
}
