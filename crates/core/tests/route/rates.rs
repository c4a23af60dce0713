//! What is learned of an endpoint's speed, seen in how long it expects to need.

use tidegate_core::route::{EndpointId, Limits, RequestId};
use tidegate_core::time::Span;

use crate::harness::{Gateway, LIMITS};

const FOUR: Limits = Limits { slots: 4, ..LIMITS };

/// `requests` of 200 tokens at once, answered together after so long.
fn round(gateway: &mut Gateway, requests: usize, takes_ms: i64) {
    let asked: Vec<RequestId> = (0..requests).map(|_| gateway.plain()).collect();
    gateway.pass(Span::from_micros(takes_ms * 1000));
    for request in asked {
        gateway.answer(request);
    }
}

/// Tokens a second, as an endpoint with 200 of them believes.
fn rate(gateway: &mut Gateway, endpoint: u32) -> u32 {
    let request = gateway.plain();
    assert_eq!(gateway.at(request), Some(endpoint));
    let view = gateway.router.endpoint(EndpointId(endpoint)).unwrap_or_default();
    gateway.finish(request, tidegate_core::route::Outcome::Left);
    (view.tokens as f64 / view.drain.as_secs_f64()).round() as u32
}

#[test]
fn nothing_is_learned_of_an_engine_with_little_to_do() {
    let mut gateway = Gateway::with(FOUR, 1);
    for _ in 0..20 {
        round(&mut gateway, 1, 2000);
    }
    assert_eq!(rate(&mut gateway, 1), 1000, "what is believed of any: 100 a second are a stream's speed");
}

#[test]
fn a_faster_window_counts_half_and_a_slower_one_a_twentieth() {
    let mut gateway = Gateway::with(FOUR, 1);
    // The first answer ends a window, with its own 200 tokens; the other three fall into the next one.
    for _ in 0..100 {
        round(&mut gateway, 4, 2000);
    }
    assert_eq!(rate(&mut gateway, 1), 400, "800 tokens in 2 s");
    round(&mut gateway, 4, 1000);
    assert_eq!(rate(&mut gateway, 1), 600, "half of the way to 800");
    round(&mut gateway, 4, 2000);
    assert_eq!(rate(&mut gateway, 1), 590, "a twentieth of the way back to 400");
}

#[test]
fn no_endpoint_counts_as_more_than_four_times_slower_than_the_best() {
    let mut gateway = Gateway::with(FOUR, 1);
    for _ in 0..100 {
        round(&mut gateway, 4, 16_000);
    }
    assert_eq!(rate(&mut gateway, 1), 50);
    gateway.state(1, tidegate_core::route::EndpointState::Draining);
    gateway.ready(2);
    for _ in 0..20 {
        round(&mut gateway, 4, 1000);
    }
    assert_eq!(rate(&mut gateway, 2), 800);
    gateway.ready(1);
    let places: Vec<Option<u32>> = (0..4)
        .map(|_| {
            let request = gateway.plain();
            gateway.at(request)
        })
        .collect();
    assert_eq!(
        places,
        [Some(2), Some(2), Some(2), Some(1)],
        "the fourth at 800 a second or the first at 200"
    );
}
