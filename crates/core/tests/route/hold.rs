//! Waiting: for a first replica, for a busy one, and until when.

use tidegate_core::route::{
    Action, Demand, EndpointState, Event, Limits, Outlook, Priority, Refusal, RequestId, TargetId,
};
use tidegate_core::time::Span;

use crate::harness::{Gateway, LIMITS, T};

const fn starts_in(gateway: &Gateway, seconds: i64) -> Outlook {
    let micros = gateway.now.as_micros() + seconds * 1_000_000;
    let ready_at = Some(tidegate_core::time::Time::from_micros(micros));
    Outlook { starting: 1, ready_at, start: Some(Span::from_secs(seconds)) }
}

#[test]
fn a_request_at_zero_waits_and_is_dispatched_when_an_endpoint_is_ready() {
    let mut gateway = Gateway::at_zero(LIMITS);
    let request = gateway.plain();
    assert_eq!(gateway.held(request), Some((None, true)));
    gateway.ready(1);
    assert_eq!(gateway.at(request), Some(1));
    gateway.answer(request);
    assert!(gateway.is_empty());
}

#[test]
fn five_hundred_of_one_tenant_at_zero_are_served_in_order_of_arrival_and_none_twice() {
    let mut gateway = Gateway::at_zero(Limits { tenant_count_max: 500, ..LIMITS });
    for _ in 0..500 {
        // Of all sizes: fairness between tenants must not reorder one tenant's.
        gateway.arrive(|arrival| {
            arrival.tenant = 7;
            arrival.prompt_tokens = 1 + arrival.request.0 as u32 * 7919 % 4000;
        });
    }
    gateway.ready(1);
    gateway.ready(2);
    while let Some(request) = gateway.in_flight.keys().next().copied() {
        gateway.answer(request);
    }
    assert_eq!(gateway.dispatched(), (1..=500).collect::<Vec<u64>>());
    assert!(gateway.is_empty());
}

#[test]
fn a_higher_priority_goes_first_and_each_keeps_its_order() {
    let mut gateway = Gateway::at_zero(Limits { slots: 100, ..LIMITS });
    for priority in [Priority::Low, Priority::Normal, Priority::High, Priority::Normal, Priority::High] {
        gateway.arrive(|arrival| arrival.priority = priority);
    }
    gateway.ready(1);
    assert_eq!(gateway.dispatched(), [3, 5, 2, 4, 1]);
}

#[test]
fn requests_told_out_of_order_still_go_by_their_number() {
    let mut gateway = Gateway::at_zero(LIMITS);
    let (first, second) = (gateway.arrival(), gateway.arrival());
    gateway.tell(Event::Arrive(second));
    gateway.tell(Event::Arrive(first));
    gateway.ready(1);
    assert_eq!(gateway.dispatched(), [1, 2]);
}

#[test]
fn more_than_may_wait_are_refused_by_count_and_by_bytes() {
    let mut gateway = Gateway::at_zero(Limits { hold_count_max: 2, hold_bytes_max: 1000, ..LIMITS });
    let first = gateway.plain();
    let too_long = gateway.arrive(|arrival| arrival.bytes = 601);
    assert_eq!(gateway.refused(too_long), Some((Refusal::HoldBytesFull, None)));
    gateway.arrive(|arrival| arrival.bytes = 600);
    let third = gateway.plain();
    assert_eq!(gateway.refused(third), Some((Refusal::HoldFull, None)));
    // Who leaves makes room.
    gateway.tell(Event::Leave(first));
    let fourth = gateway.plain();
    assert_eq!(gateway.refused(fourth), None);
}

#[test]
fn the_expected_wait_is_the_rest_of_the_start_and_a_refusal_says_when_to_come_again() {
    let mut gateway = Gateway::at_zero(Limits { hold_count_max: 1, ..LIMITS });
    let outlook = starts_in(&gateway, 20);
    gateway.outlook(outlook);
    gateway.pass(Span::from_secs(5));
    let held = gateway.plain();
    assert_eq!(gateway.held(held), Some((Some(Span::from_secs(15)), true)));
    let refused = gateway.plain();
    assert_eq!(gateway.refused(refused), Some((Refusal::HoldFull, Some(Span::from_secs(18)))));
}

#[test]
fn a_start_that_is_late_is_expected_any_moment_and_one_not_begun_takes_its_whole_time() {
    let mut gateway = Gateway::at_zero(LIMITS);
    let outlook = starts_in(&gateway, 1);
    gateway.outlook(outlook);
    gateway.pass(Span::from_secs(3));
    let late = gateway.plain();
    assert_eq!(gateway.held(late), Some((Some(Span::ZERO), true)));
    gateway.outlook(Outlook { starting: 0, ready_at: None, start: Some(Span::from_secs(40)) });
    let whole = gateway.plain();
    assert_eq!(gateway.held(whole), Some((Some(Span::from_secs(40)), true)));
}

#[test]
fn a_client_that_gives_up_before_a_replica_can_come_is_refused_at_once() {
    let mut gateway = Gateway::at_zero(LIMITS);
    let outlook = starts_in(&gateway, 20);
    gateway.outlook(outlook);
    let deadline = gateway.now + Span::from_secs(19);
    let request = gateway.arrive(|arrival| arrival.deadline = Some(deadline));
    assert_eq!(gateway.refused(request), Some((Refusal::DeadlineTooSoon, Some(Span::from_secs(24)))));
    let patient = gateway.arrive(|arrival| arrival.deadline = Some(deadline + Span::from_secs(1)));
    assert_eq!(gateway.refused(patient), None);
}

#[test]
fn a_refused_client_that_was_told_when_to_come_again_finds_the_start_kept_for_it() {
    let mut gateway = Gateway::at_zero(LIMITS);
    let outlook = starts_in(&gateway, 20);
    gateway.outlook(outlook);
    let deadline = gateway.now + Span::from_secs(1);
    gateway.arrive(|arrival| arrival.deadline = Some(deadline));
    assert_eq!(gateway.demand(), Demand { waiting: 1, waiting_tokens: 200, ..Demand::default() });
    assert!(matches!(gateway.did.last(), Some(Action::Demand { .. }) | Some(Action::Refuse { .. })));
    gateway.pass(Span::from_micros(23_999_999));
    assert_eq!(gateway.demand().waiting, 1);
    let told = gateway.pass(Span::from_micros(1));
    assert_eq!(told, [Action::Demand { target: T, demand: Demand::default() }]);
}

#[test]
fn a_deadline_that_passes_while_waiting_ends_the_wait() {
    let mut gateway = Gateway::at_zero(LIMITS);
    let deadline = gateway.now + Span::from_secs(7);
    let request = gateway.arrive(|arrival| arrival.deadline = Some(deadline));
    gateway.pass(Span::from_micros(6_999_999));
    assert_eq!(gateway.refused(request), None);
    gateway.pass(Span::from_micros(1));
    assert_eq!(gateway.refused(request), Some((Refusal::DeadlineTooSoon, None)));
}

#[test]
fn waiting_for_a_replica_and_waiting_for_a_busy_one_end_each_in_their_time() {
    let mut gateway = Gateway::at_zero(LIMITS);
    let request = gateway.plain();
    gateway.pass(Span::from_micros(59_999_999));
    assert_eq!(gateway.refused(request), None);
    gateway.pass(Span::from_micros(1));
    assert_eq!(gateway.refused(request), Some((Refusal::NoReplicaInTime, None)));

    let mut gateway = Gateway::with(Limits { slots: 1, ..LIMITS }, 1);
    gateway.plain();
    let request = gateway.plain();
    assert_eq!(gateway.held(request), Some((None, false)));
    gateway.pass(Span::from_secs(29));
    assert_eq!(gateway.refused(request), None);
    gateway.pass(Span::from_secs(1));
    assert_eq!(gateway.refused(request), Some((Refusal::BusyTooLong, None)));
}

#[test]
fn a_change_from_cold_to_busy_begins_the_busy_budget_anew() {
    let mut gateway = Gateway::at_zero(Limits { slots: 1, ..LIMITS });
    gateway.plain();
    let second = gateway.plain();
    gateway.pass(Span::from_secs(50));
    gateway.ready(1);
    gateway.pass(Span::from_secs(29));
    assert_eq!(gateway.refused(second), None);
    gateway.pass(Span::from_secs(1));
    assert_eq!(gateway.refused(second), Some((Refusal::BusyTooLong, None)));
}

#[test]
fn changes_back_and_forth_do_not_stretch_a_wait_beyond_both_budgets() {
    let mut gateway = Gateway::at_zero(Limits { slots: 1, ..LIMITS });
    let (first, second) = (gateway.plain(), gateway.plain());
    gateway.ready(1);
    for _ in 0..9 {
        assert_eq!(gateway.refused(second), None);
        gateway.pass(Span::from_secs(5));
        gateway.state(1, EndpointState::Draining);
        gateway.pass(Span::from_secs(5));
        gateway.ready(1);
    }
    assert_eq!(gateway.at(first), Some(1));
    assert_eq!(gateway.refused(second), Some((Refusal::NoReplicaInTime, None)), "90 s after it came");
}

#[test]
fn a_start_is_kept_for_those_who_waited_their_time_for_it() {
    let mut gateway = Gateway::at_zero(LIMITS);
    gateway.plain();
    gateway.pass(Span::from_secs(60));
    assert_eq!(gateway.demand().waiting, 1, "the first start ever takes longer than anybody may wait");
    gateway.pass(Span::from_secs(60));
    assert!(gateway.is_empty());
}

#[test]
fn a_client_that_leaves_is_forgotten_and_the_demand_goes_to_zero_at_once() {
    let mut gateway = Gateway::at_zero(LIMITS);
    let request = gateway.plain();
    let did = gateway.tell(Event::Leave(request));
    assert_eq!(did, [Action::Demand { target: T, demand: Demand::default() }]);
    gateway.ready(1);
    assert_eq!(gateway.dispatched(), []);
    assert!(gateway.is_empty());
}

#[test]
fn a_tenants_own_limit_counts_who_waits_and_who_is_served_and_nobody_has_none() {
    let mut gateway = Gateway::with(Limits { slots: 1, tenant_count_max: 2, ..LIMITS }, 1);
    let of = |gateway: &mut Gateway, tenant| gateway.arrive(|arrival| arrival.tenant = tenant);
    let first = of(&mut gateway, 5);
    of(&mut gateway, 5);
    let third = of(&mut gateway, 5);
    assert_eq!(gateway.refused(third), Some((Refusal::TenantFull, None)));
    let other = of(&mut gateway, 6);
    assert_eq!(gateway.refused(other), None);
    gateway.answer(first);
    let again = of(&mut gateway, 5);
    assert_eq!(gateway.refused(again), None);
    for _ in 0..10 {
        let nobodys = of(&mut gateway, 0);
        assert_eq!(gateway.refused(nobodys), None);
    }
}

#[test]
fn a_target_that_goes_refuses_who_waits_and_who_comes_but_finishes_what_it_has() {
    let mut gateway = Gateway::with(Limits { slots: 1, ..LIMITS }, 1);
    let (served, waits) = (gateway.plain(), gateway.plain());
    gateway.tell(Event::TargetGone(T));
    assert_eq!(gateway.refused(waits), Some((Refusal::TargetGone, None)));
    let late = gateway.plain();
    assert_eq!(gateway.refused(late), Some((Refusal::TargetGone, None)));
    assert_eq!(gateway.demand(), Demand::default());
    assert_eq!(gateway.refused(served), None);
    gateway.answer(served);
    assert!(gateway.is_empty());
    assert_eq!(gateway.router.next_wakeup(), None);
}

#[test]
fn a_request_for_a_target_nobody_knows_is_refused() {
    let mut gateway = Gateway::at_zero(LIMITS);
    let request = gateway.arrive(|arrival| arrival.target = TargetId(99));
    assert_eq!(gateway.refused(request), Some((Refusal::TargetGone, None)));
}

#[test]
fn those_who_wait_are_listed_in_the_order_they_will_go_with_what_they_may_expect() {
    let mut gateway = Gateway::at_zero(LIMITS);
    let outlook = starts_in(&gateway, 20);
    gateway.outlook(outlook);
    gateway.plain();
    let high = gateway.arrive(|arrival| arrival.priority = Priority::High);
    let listed: Vec<_> = gateway.router.waiting(T).map(|held| (held.request, held.expected)).collect();
    let expected = Some(Span::from_secs(20));
    assert_eq!(listed, [(high, expected), (RequestId(1), expected)]);
}

#[test]
fn a_client_that_has_given_up_already_is_refused_though_there_is_room() {
    let mut gateway = Gateway::with(LIMITS, 1);
    let now = gateway.now;
    let request = gateway.arrive(|arrival| arrival.deadline = Some(now));
    assert!(matches!(gateway.refused(request), Some((Refusal::DeadlineTooSoon, _))));
}
