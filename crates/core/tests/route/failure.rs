//! What fails, and who notices.

use tidegate_core::route::{Action, EndpointId, Limits, Outcome, Refusal, RequestId};
use tidegate_core::time::Span;

use crate::harness::{Gateway, LIMITS, T};

const ROOM: Limits = Limits { slots: 64, ..LIMITS };

fn ejections(gateway: &Gateway) -> Vec<u32> {
    let ejected = gateway.did.iter().filter_map(|action| match action {
        Action::Ejected { endpoint, .. } => Some(endpoint.0),
        _ => None,
    });
    ejected.collect()
}

/// Fails the next request given to an endpoint, `times` times, with pauses waited out.
fn fail(gateway: &mut Gateway, endpoint: u32, times: u32) {
    let mut failed = 0;
    for _ in 0..100 * times {
        if failed == times {
            return;
        }
        let request = gateway.plain();
        if gateway.at(request) == Some(endpoint) {
            gateway.finish(request, Outcome::Failed);
            failed += 1;
        } else {
            gateway.finish(request, Outcome::Left);
        }
        gateway.pass(Span::from_micros(200_000));
    }
    assert_eq!(failed, times);
}

#[test]
fn a_retry_goes_elsewhere_and_before_those_who_were_not_yet_tried() {
    let mut gateway = Gateway::with(Limits { slots: 1, ..LIMITS }, 2);
    let (first, second, third) = (gateway.plain(), gateway.plain(), gateway.plain());
    let did = gateway.finish(first, Outcome::Retry);
    assert_eq!(gateway.at(first), None, "the other endpoint is full");
    assert!(matches!(did.last(), Some(Action::Hold { request, .. }) if *request == first));
    gateway.answer(second);
    assert_eq!(gateway.at(first), Some(2));
    gateway.pass(Span::from_micros(50_000));
    assert_eq!(gateway.at(third), Some(1), "it does not stand in the way of who may go there");
}

#[test]
fn after_three_retries_a_request_is_refused_while_others_could_still_be_tried() {
    let mut gateway = Gateway::with(ROOM, 5);
    let request = gateway.plain();
    for tried in 1..=4 {
        assert_eq!(gateway.at(request), Some(tried));
        gateway.finish(request, Outcome::Retry);
    }
    assert_eq!(gateway.refused(request), Some((Refusal::RetriesSpent, None)));
    assert!(gateway.is_empty());
}

#[test]
fn a_retry_after_the_first_byte_is_refused() {
    let mut gateway = Gateway::with(ROOM, 2);
    let request = gateway.plain();
    gateway.tell(tidegate_core::route::Event::FirstByte(request));
    gateway.finish(request, Outcome::Retry);
    assert_eq!(gateway.refused(request), Some((Refusal::RetriesSpent, None)));
    assert!(gateway.is_empty());
}

#[test]
fn the_death_of_the_only_replica_is_invisible_to_those_not_yet_answered() {
    let mut gateway = Gateway::with(ROOM, 1);
    let requests: Vec<RequestId> = (0..20).map(|_| gateway.plain()).collect();
    for request in &requests {
        gateway.finish(*request, Outcome::Retry);
    }
    assert_eq!(gateway.in_flight.len(), 0, "nobody runs into the dead one at once");
    assert!(gateway.held(requests[0]).is_some_and(|(_, cold)| cold));
    // The driver takes four seconds to see it; meanwhile one at a time is tried, with growing pauses.
    for _ in 0..40 {
        gateway.pass(Span::from_micros(100_000));
        let tried: Vec<RequestId> = gateway.in_flight.keys().copied().collect();
        assert!(tried.len() <= 20);
        for request in tried {
            gateway.finish(request, Outcome::Retry);
        }
    }
    gateway.gone(1);
    gateway.pass(Span::from_secs(20));
    gateway.did.clear();
    gateway.ready(2);
    assert_eq!(gateway.dispatched(), (1..=20).collect::<Vec<u64>>(), "all of them, in order of arrival");
    for request in requests {
        assert_eq!(gateway.refused(request), None);
        gateway.answer(request);
    }
    assert!(gateway.is_empty());
}

#[test]
fn one_death_is_one_failure_however_many_requests_it_took() {
    let mut gateway = Gateway::with(ROOM, 1);
    let requests: Vec<RequestId> = (0..50).map(|_| gateway.plain()).collect();
    for request in requests {
        gateway.finish(request, Outcome::Retry);
    }
    gateway.pass(Span::from_micros(49_999));
    assert_eq!(gateway.in_flight.len(), 0);
    gateway.pass(Span::from_micros(1));
    assert_eq!(gateway.in_flight.len(), 50, "the pause is the first one's 50 ms, and all go again");
}

#[test]
fn a_request_that_kills_whoever_takes_it_is_given_up() {
    let mut gateway = Gateway::at_zero(ROOM);
    let request = gateway.plain();
    let mut killed = 0;
    while gateway.refused(request).is_none() {
        killed += 1;
        gateway.ready(killed);
        assert_eq!(gateway.at(request), Some(killed));
        gateway.finish(request, Outcome::Retry);
        gateway.gone(killed);
    }
    assert_eq!(killed, 12);
    assert_eq!(gateway.refused(request), Some((Refusal::RetriesSpent, None)));
}

#[test]
fn five_failures_in_a_row_eject_for_ten_seconds_and_the_next_time_for_twenty() {
    let mut gateway = Gateway::with(ROOM, 2);
    fail(&mut gateway, 1, 5);
    assert_eq!(ejections(&gateway), [1]);
    assert!(gateway.router.endpoint(EndpointId(1)).is_some_and(|view| view.ejected));
    gateway.pass(Span::from_micros(9_700_000));
    let request = gateway.plain();
    assert_eq!(gateway.at(request), Some(2));
    gateway.finish(request, Outcome::Left);
    gateway.pass(Span::from_micros(300_000));
    let probe = gateway.plain();
    assert_eq!(gateway.at(probe), Some(1), "its time is over");
    gateway.answer(probe);
    let before = gateway.now;
    fail(&mut gateway, 1, 5);
    let until = gateway.did.iter().rev().find_map(|action| match action {
        Action::Ejected { until, .. } => Some(*until),
        _ => None,
    });
    let ejected_s = until.map(|until| until.since(before).as_secs_f64()).unwrap_or_default();
    assert!((20.0..=30.0).contains(&ejected_s), "{ejected_s} s with the failures themselves");
}

#[test]
fn an_answer_in_between_starts_the_count_anew() {
    let mut gateway = Gateway::with(ROOM, 2);
    for _ in 0..4 {
        fail(&mut gateway, 1, 4);
        gateway.pass(Span::from_secs(1));
        let request = gateway.plain();
        assert_eq!(gateway.at(request), Some(1));
        gateway.answer(request);
        // Enough answers that the share of failures stays below one half.
        for _ in 0..6 {
            let request = gateway.plain();
            gateway.answer(request);
        }
    }
    assert_eq!(ejections(&gateway), []);
}

#[test]
fn never_more_than_half_of_a_fleet_is_ejected_and_a_lone_endpoint_never() {
    let mut gateway = Gateway::with(ROOM, 3);
    let out = |gateway: &Gateway| gateway.router.endpoints(T).filter(|(_, _, view)| view.ejected).count();
    let mut most = 0;
    for _ in 0..200 {
        let request = gateway.plain();
        gateway.finish(request, Outcome::Failed);
        gateway.pass(Span::from_micros(500_000));
        most = most.max(out(&gateway));
    }
    assert_eq!(most, 1);
    let mut alone = Gateway::with(ROOM, 1);
    fail(&mut alone, 1, 8);
    assert_eq!(ejections(&alone), []);
}

#[test]
fn an_ejected_endpoint_is_let_back_in_when_the_others_have_gone() {
    let mut gateway = Gateway::with(ROOM, 2);
    fail(&mut gateway, 1, 5);
    gateway.gone(2);
    let request = gateway.plain();
    assert_eq!(gateway.at(request), Some(1));
}

#[test]
fn a_first_byte_ends_a_pause_for_it_shows_life() {
    let mut gateway = Gateway::with(ROOM, 1);
    let (first, second) = (gateway.plain(), gateway.plain());
    gateway.finish(first, Outcome::Retry);
    assert_eq!(gateway.at(first), None);
    gateway.tell(tidegate_core::route::Event::FirstByte(second));
    assert_eq!(gateway.at(first), Some(1));
}

#[test]
fn a_retry_waits_for_a_busy_endpoint_rather_than_go_where_it_failed() {
    let mut gateway = Gateway::with(Limits { slots: 1, ..LIMITS }, 2);
    let (first, second) = (gateway.plain(), gateway.plain());
    gateway.finish(first, Outcome::Retry);
    gateway.pass(Span::from_micros(50_000));
    assert_eq!(gateway.at(first), None, "where it failed has room again, and is not asked again");
    gateway.answer(second);
    assert_eq!(gateway.at(first), Some(2));
}

#[test]
fn an_endpoint_that_failed_twice_is_tried_by_one_at_a_time_until_it_answers() {
    let mut gateway = Gateway::with(ROOM, 1);
    let requests: Vec<RequestId> = (0..10).map(|_| gateway.plain()).collect();
    for _ in 0..2 {
        for request in &requests {
            gateway.finish(*request, Outcome::Retry);
        }
        gateway.pass(Span::from_micros(100_000));
    }
    assert_eq!(gateway.in_flight.len(), 1);
    let late = gateway.plain();
    assert_eq!(gateway.at(late), None);
    // A probe that is called off is followed by another; one that succeeds opens the way for all.
    gateway.finish(requests[0], Outcome::Left);
    assert_eq!(gateway.in_flight.keys().collect::<Vec<_>>(), [&requests[1]]);
    gateway.tell(tidegate_core::route::Event::FirstByte(requests[1]));
    assert_eq!(gateway.in_flight.len(), 10);
}
