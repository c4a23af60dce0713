//! When the scaler is told.

use tidegate_core::route::{Action, Demand, Outcome};
use tidegate_core::time::Span;

use crate::harness::{Gateway, LIMITS, T};

fn told(actions: &[Action]) -> Vec<Demand> {
    let demand = actions.iter().filter_map(|action| match action {
        Action::Demand { demand, .. } => Some(*demand),
        _ => None,
    });
    demand.collect()
}

#[test]
fn the_first_request_and_the_last_answer_are_told_in_the_same_step() {
    let mut gateway = Gateway::with(LIMITS, 1);
    let request = gateway.plain();
    let one = Demand { in_flight: 1, in_flight_tokens: 200, ..Demand::default() };
    assert_eq!(told(&gateway.did), [one]);
    assert_eq!(told(&gateway.answer(request)), [Demand::default()]);
}

#[test]
fn ten_thousand_changes_in_a_second_make_ten_samples_and_the_last_one_is_true() {
    let mut gateway = Gateway::with(LIMITS, 1);
    gateway.plain();
    gateway.did.clear();
    for _ in 0..5_000 {
        gateway.pass(Span::from_micros(100));
        let request = gateway.plain();
        gateway.pass(Span::from_micros(100));
        gateway.answer(request);
    }
    let samples = told(&gateway.did).len();
    assert!((9..=10).contains(&samples), "{samples}");
    gateway.plain();
    gateway.pass(Span::from_secs(1));
    assert_eq!(told(&gateway.did).last(), Some(&gateway.demand()));
}

#[test]
fn the_tokens_fall_with_the_first_byte_and_again_with_the_end() {
    let mut gateway = Gateway::with(LIMITS, 1);
    let request = gateway.plain();
    assert_eq!(gateway.demand().in_flight_tokens, 200);
    gateway.tell(tidegate_core::route::Event::FirstByte(request));
    assert_eq!(gateway.demand().in_flight_tokens, 100);
    gateway.tell(tidegate_core::route::Event::FirstByte(request));
    assert_eq!(gateway.demand().in_flight_tokens, 100);
    gateway.finish(request, Outcome::Left);
    assert!(gateway.is_empty());
}

#[test]
fn prompts_are_counted_as_the_engine_counted_those_before() {
    let mut gateway = Gateway::with(LIMITS, 1);
    let request = gateway.arrive(|arrival| arrival.max_tokens = None);
    assert_eq!(gateway.demand().in_flight_tokens, 356, "100 of the prompt, and 256 until answers were seen");
    gateway.finish(request, Outcome::Answered { prompt_tokens: Some(150), output_tokens: Some(40) });
    gateway.arrive(|arrival| arrival.max_tokens = None);
    assert_eq!(gateway.demand().in_flight_tokens, 190);
    assert_eq!(gateway.demand().waiting, 0);
    assert_eq!(gateway.router.demand(T), gateway.demand());
}
