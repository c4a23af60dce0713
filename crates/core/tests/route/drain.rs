//! Leaving without cutting anything.

use tidegate_core::route::{Action, EndpointId, EndpointState, Event};

use crate::harness::{Gateway, LIMITS, T};

const DRAINED: Action = Action::Drained(EndpointId(1));

#[test]
fn a_draining_endpoint_gets_nothing_new_and_is_drained_with_its_last_answer() {
    let mut gateway = Gateway::with(LIMITS, 1);
    let (first, second) = (gateway.plain(), gateway.plain());
    assert_eq!(gateway.state(1, EndpointState::Draining), []);
    let third = gateway.plain();
    assert_eq!(gateway.held(third), Some((None, true)));
    assert!(!gateway.answer(first).contains(&DRAINED));
    assert!(gateway.answer(second).contains(&DRAINED));
    assert_eq!(gateway.at(third), None);
}

#[test]
fn an_idle_endpoint_is_drained_at_once_and_says_so_again_when_asked_again() {
    let mut gateway = Gateway::with(LIMITS, 1);
    assert_eq!(gateway.state(1, EndpointState::Draining), [DRAINED]);
    assert_eq!(gateway.state(1, EndpointState::Draining), [DRAINED]);
}

#[test]
fn an_endpoint_may_return_from_its_drain() {
    let mut gateway = Gateway::with(LIMITS, 1);
    gateway.plain();
    gateway.state(1, EndpointState::Draining);
    let waits = gateway.plain();
    gateway.ready(1);
    assert_eq!(gateway.at(waits), Some(1));
}

#[test]
fn the_requests_of_an_endpoint_that_is_gone_are_finished_one_by_one() {
    let mut gateway = Gateway::with(LIMITS, 1);
    let request = gateway.plain();
    gateway.gone(1);
    assert_eq!(gateway.demand().in_flight, 1);
    assert_eq!(gateway.router.endpoint(EndpointId(1)), None);
    gateway.answer(request);
    assert!(gateway.is_empty());
}

#[test]
fn an_endpoint_of_a_target_that_is_gone_still_drains() {
    let mut gateway = Gateway::with(LIMITS, 2);
    let request = gateway.plain();
    assert_eq!(gateway.at(request), Some(1));
    gateway.tell(Event::TargetGone(T));
    assert_eq!(gateway.state(1, EndpointState::Draining), []);
    assert_eq!(gateway.state(2, EndpointState::Draining), [Action::Drained(EndpointId(2))]);
    assert_eq!(gateway.answer(request), [DRAINED]);
    assert_eq!(gateway.state(1, EndpointState::Draining), [DRAINED]);
}

#[test]
fn an_endpoint_that_was_gone_and_is_back_still_has_what_it_had() {
    let mut gateway = Gateway::with(LIMITS, 1);
    let requests: Vec<_> = (0..3).map(|_| gateway.plain()).collect();
    gateway.gone(1);
    gateway.ready(1);
    let view = gateway.router.endpoint(EndpointId(1)).unwrap_or_default();
    assert_eq!((view.in_flight, view.tokens), (3, 600));
    let (last, waits) = (gateway.plain(), gateway.plain());
    assert_eq!((gateway.at(last), gateway.at(waits)), (Some(1), None), "four slots");
    for request in requests.into_iter().chain([last, waits]) {
        gateway.answer(request);
    }
    assert!(gateway.is_empty());
}

#[test]
fn an_endpoint_that_changes_its_target_begins_there_with_nothing() {
    let mut gateway = Gateway::with(LIMITS, 1);
    let request = gateway.plain();
    let other = tidegate_core::route::TargetId(2);
    gateway.tell(Event::Target { target: other, limits: LIMITS });
    let endpoint = EndpointId(1);
    gateway.tell(Event::Endpoint { endpoint, target: other, state: EndpointState::Ready });
    assert_eq!(gateway.router.endpoint(endpoint).map(|view| view.in_flight), Some(0));
    assert_eq!(gateway.router.endpoints(T).count(), 0);
    gateway.answer(request);
    assert_eq!(gateway.router.endpoint(endpoint).map(|view| view.in_flight), Some(0));
}
