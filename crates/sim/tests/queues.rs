//! Where the mathematics of queues has an answer, the simulator gives it.

mod common;

use tidegate_core::time::Span;
use tidegate_sim::fleet::{self, Outcome, Setup};
use tidegate_sim::policy::Fixed;
use tidegate_sim::random::Random;
use tidegate_sim::trace::{Error, TraceRequest};
use tidegate_sim::{ColdStart, Profile};

const REQUESTS: u64 = 40_000;
/// Tokens of a mean answer, of four milliseconds each: a service of one second.
const MEAN_TOKENS: f64 = 250.0;
/// Half an iteration until the next begins, and one for the first token.
const FIRST_S: f64 = 0.006;

/// An engine with `seats` servers: an iteration lasts four milliseconds however many take part.
fn servers(seats: u32) -> Profile {
    Profile {
        decode_base_ms: 4.0,
        prefill_base_ms: 4.0,
        prefill_per_token_us: 0.0,
        kv_tokens: 1 << 30,
        max_num_seqs: seats,
        max_batched_tokens: 1 << 20,
        max_model_len: 1 << 24,
        cold_start: ColdStart::NONE,
        ..common::plain()
    }
}

fn arrivals(rate: f64, exponential: bool) -> impl Iterator<Item = Result<TraceRequest, Error>> {
    let (mut gaps, mut lengths, mut at_s) = (Random::of(11, 0, 0), Random::of(11, 1, 0), 0.0);
    (0..REQUESTS).map(move |_| {
        at_s += gaps.exponential(1.0 / rate);
        let tokens = if exponential { lengths.exponential(MEAN_TOKENS).max(1.0) } else { MEAN_TOKENS };
        Ok(TraceRequest {
            at: Span::try_from_secs_f64(at_s).expect("within bounds"),
            prompt_tokens: 1,
            output_tokens: tokens as u32,
            hash_ids: Vec::new(),
        })
    })
}

fn play(seats: u32, load: f64, exponential: bool) -> Outcome {
    let mut setup = Setup::new(servers(seats));
    setup.max = 1;
    setup.limits.slots = u32::MAX;
    setup.limits.hold_count_max = u32::MAX;
    let arrivals = arrivals(load * f64::from(seats), exponential);
    let outcome = fleet::run(&setup, arrivals, &mut Fixed::new(1), &mut |_| {}).expect("it runs");
    assert_eq!((outcome.requests, outcome.unfinished), (REQUESTS, 0));
    assert!(outcome.little.holds(), "{:?}", outcome.little);
    outcome
}

/// Erlang's C: the share of arrivals that find all `c` servers busy, at a load of `a` of them.
fn erlang_c(c: u32, a: f64) -> f64 {
    let mut blocked = 1.0;
    for servers in 1..=c {
        blocked = a * blocked / (f64::from(servers) + a * blocked);
    }
    let load = a / f64::from(c);
    blocked / (1.0 - load + load * blocked)
}

fn close(found_s: f64, wanted_s: f64, within: f64) {
    assert!((found_s / wanted_s - 1.0).abs() < within, "{found_s} s, expected {wanted_s} s");
}

#[test]
fn one_server_with_exponential_answers_waits_as_m_m_1_says() {
    let load = 0.7;
    let outcome = play(1, load, true);
    // W = 1 / (μ − λ), with μ = 1.
    close(outcome.e2e_s.mean, 1.0 / (1.0 - load), 0.06);
}

#[test]
fn one_server_with_equal_answers_waits_half_as_long() {
    let load = 0.7;
    let outcome = play(1, load, false);
    // Pollaczek and Khinchine: Wq = ρ / (2 μ (1 − ρ)).
    close(outcome.ttft_s.mean - FIRST_S, load / (2.0 * (1.0 - load)), 0.05);
}

#[test]
fn several_servers_wait_as_erlang_says() {
    for (seats, load) in [(4, 0.8), (16, 0.8)] {
        let outcome = play(seats, load, true);
        let c = f64::from(seats);
        let wait_s = erlang_c(seats, load * c) / (c * (1.0 - load));
        close(outcome.ttft_s.mean - FIRST_S, wait_s, 0.12);
        close(outcome.e2e_s.mean, wait_s + 1.0, 0.04);
    }
}
