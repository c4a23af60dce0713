//! Which endpoint a request goes to.

use std::collections::BTreeMap;

use tidegate_core::route::{EngineLoad, Event, Limits, RequestId};
use tidegate_core::time::Span;

use crate::harness::{Gateway, LIMITS};

const ROOM: Limits = Limits { slots: 64, hold_count_max: 10_000, ..LIMITS };

#[test]
fn a_request_goes_where_the_least_tokens_are_and_not_the_fewest_requests() {
    let mut gateway = Gateway::with(ROOM, 2);
    let long = gateway.arrive(|arrival| arrival.prompt_tokens = 10_000);
    assert_eq!(gateway.at(long), Some(1));
    for _ in 0..20 {
        let short = gateway.plain();
        assert_eq!(gateway.at(short), Some(2), "20 × 200 tokens are less than 10,100");
    }
}

#[test]
fn a_full_kv_cache_counts_as_seconds_of_work_until_the_scrape_is_old() {
    let mut gateway = Gateway::with(ROOM, 2);
    gateway.load(1, EngineLoad { running: 0, waiting: 0, kv_use: Some(0.9) });
    let first = gateway.plain();
    assert_eq!(gateway.at(first), Some(2), "0.15 × 0.9 / 0.1 = 1.35 s against none");
    gateway.pass(Span::from_secs(6));
    let second = gateway.plain();
    assert_eq!(gateway.at(second), Some(1), "without scrapes the own counts decide");
}

#[test]
fn the_same_prompt_head_goes_to_the_same_endpoint_while_that_is_not_far_behind() {
    let mut gateway = Gateway::with(ROOM, 4);
    let mut places = Vec::new();
    for _ in 0..12 {
        let request = gateway.arrive(|arrival| arrival.prefix = Some(42));
        places.push(gateway.at(request));
    }
    // At 1,000 tokens a second one of 200 takes 0.2 s. The best takes 0.2 s, so 1.25 × 0.2 + 0.25 = 0.5 s
    // is allowed: a second one at 0.4 s, not a third at 0.6 s.
    assert_eq!(places[..2], [Some(1), Some(1)]);
    assert_eq!(places[2..4], [Some(2), Some(2)], "then the cache is on the second as well");
    assert_eq!(places[4..6], [Some(3), Some(3)]);
}

#[test]
fn a_prefix_whose_endpoint_is_gone_finds_another() {
    let mut gateway = Gateway::with(ROOM, 2);
    let ask = |gateway: &mut Gateway| gateway.arrive(|arrival| arrival.prefix = Some(u64::MAX));
    let first = ask(&mut gateway);
    assert_eq!(gateway.at(first), Some(1));
    gateway.gone(1);
    let second = ask(&mut gateway);
    assert_eq!(gateway.at(second), Some(2));
}

#[test]
fn a_large_fleet_is_filled_evenly_by_the_better_of_two() {
    let mut gateway = Gateway::with(ROOM, 100);
    for _ in 0..1000 {
        gateway.plain();
    }
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    for endpoint in gateway.in_flight.values() {
        *counts.entry(endpoint.0).or_default() += 1;
    }
    let (least, most) = (counts.values().min().copied(), counts.values().max().copied());
    assert_eq!(counts.len(), 100);
    assert!(least >= Some(5) && most <= Some(14), "{least:?} to {most:?} about the mean of 10");
}

#[test]
fn one_free_place_among_five_hundred_is_found() {
    let mut gateway = Gateway::with(Limits { slots: 1, ..ROOM }, 500);
    let requests: Vec<RequestId> = (0..500).map(|_| gateway.plain()).collect();
    let waits = gateway.plain();
    assert_eq!(gateway.at(waits), None);
    let place = gateway.at(requests[321]);
    gateway.answer(requests[321]);
    assert_eq!(gateway.at(waits), place);
}

#[test]
fn an_endpoint_that_proved_slower_gets_less() {
    let mut gateway = Gateway::with(Limits { slots: 4, ..ROOM }, 2);
    // Both full all the time; the first needs 0.5 s for an answer, the second 1 s.
    for _ in 0..200 {
        gateway.plain();
    }
    let mut served = [0, 0];
    for half_second in 0..40 {
        gateway.pass(Span::from_micros(500_000));
        for endpoint in [1, 2_u32].into_iter().take(1 + half_second % 2) {
            let done: Vec<RequestId> =
                gateway.in_flight.iter().filter(|(_, at)| at.0 == endpoint).map(|(r, _)| *r).collect();
            for request in done {
                gateway.tell(Event::FirstByte(request));
                gateway.answer(request);
                served[endpoint as usize - 1] += 1;
            }
        }
        while gateway.demand().waiting < 50 {
            gateway.plain();
        }
    }
    assert_eq!(served, [160, 80]);
    // An empty fleet, 16,000 tokens at once: a third of them go to the slower.
    let left: Vec<RequestId> = gateway.in_flight.keys().copied().collect();
    assert_eq!(left.len(), 8);
    let drain = |gateway: &Gateway, endpoint| {
        let view = gateway.router.endpoint(tidegate_core::route::EndpointId(endpoint));
        view.map(|view| view.drain.as_secs_f64()).unwrap_or_default()
    };
    let ratio = drain(&gateway, 2) / drain(&gateway, 1);
    assert!((1.8..=2.2).contains(&ratio), "the same tokens take twice as long: {ratio}");
    let held = gateway.plain();
    let (expected, cold) = gateway.held(held).unwrap_or_default();
    assert!(!cold);
    let expected_s = expected.map(Span::as_secs_f64).unwrap_or_default();
    assert!((3.0..=6.0).contains(&expected_s), "51 × 200 tokens at 2,400 a second: {expected_s}");
}
