//! Where the mathematics of queues has an answer, the simulator gives it.

mod common;

use tidegate_core::time::Span;
use tidegate_sim::fleet::{self, Outcome, Setup};
use tidegate_sim::policy::Fixed;
use tidegate_sim::random::Random;
use tidegate_sim::trace::TraceRequest;
use tidegate_sim::{ColdStart, Profile};

const REQUESTS: u64 = 100_000;
/// Tokens of a mean answer, of four milliseconds each: a service of one second.
const MEAN_TOKENS: f64 = 250.0;
/// One of them.
const STEP_S: f64 = 0.004;
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

/// What was drawn: requests, and the rate and the mean service they came out with.
///
/// The formulas are held against these, not against what was asked for: 100,000 draws are off by a third of a per cent,
/// and sixteen servers at 80 % make 5 % more wait of that.
struct Drawn {
    requests: Vec<TraceRequest>,
    rate: f64,
    service_s: f64,
}

fn drawn(rate: f64, exponential: bool) -> Drawn {
    let (mut gaps, mut lengths, mut at_s) = (Random::of(11, 0, 0), Random::of(11, 1, 0), 0.0);
    let mut requests = Vec::new();
    for _ in 0..REQUESTS {
        at_s += gaps.exponential(1.0 / rate);
        let tokens = if exponential { lengths.exponential(MEAN_TOKENS).max(1.0) } else { MEAN_TOKENS };
        requests.push(TraceRequest {
            at: Span::try_from_secs_f64(at_s).expect("within bounds"),
            prompt_tokens: 1,
            output_tokens: tokens as u32,
            hash_ids: Vec::new(),
        });
    }
    let tokens: f64 = requests.iter().map(|request| f64::from(request.output_tokens)).sum();
    let count = REQUESTS as f64;
    Drawn { requests, rate: count / at_s, service_s: tokens / count * STEP_S }
}

fn play(seats: u32, load: f64, exponential: bool) -> (Outcome, Drawn) {
    let mut setup = Setup::new(servers(seats));
    setup.max = 1;
    setup.limits.slots = u32::MAX;
    setup.limits.hold_count_max = u32::MAX;
    let drawn = drawn(load * f64::from(seats), exponential);
    let requests = drawn.requests.iter().cloned().map(Ok);
    let outcome = fleet::run(&setup, requests, &mut Fixed::new(1), &mut |_| {}).expect("it runs");
    assert_eq!((outcome.requests, outcome.unfinished), (REQUESTS, 0));
    assert!(outcome.little.holds(), "{:?}", outcome.little);
    (outcome, drawn)
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
    let (outcome, Drawn { rate, service_s, .. }) = play(1, 0.7, true);
    // W = 1 / (μ − λ).
    close(outcome.e2e_s.mean, 1.0 / (1.0 / service_s - rate), 0.06);
}

#[test]
fn one_server_with_equal_answers_waits_half_as_long() {
    let (outcome, Drawn { rate, service_s, .. }) = play(1, 0.7, false);
    // Pollaczek and Khinchine: Wq = ρ / (2 μ (1 − ρ)).
    let load = rate * service_s;
    close(outcome.ttft_s.mean - FIRST_S, load * service_s / (2.0 * (1.0 - load)), 0.05);
}

#[test]
fn several_servers_wait_as_erlang_says() {
    for seats in [4, 16] {
        let (outcome, Drawn { rate, service_s, .. }) = play(seats, 0.8, true);
        let (c, busy) = (f64::from(seats), rate * service_s);
        let wait_s = erlang_c(seats, busy) * service_s / (c - busy);
        close(outcome.ttft_s.mean - FIRST_S, wait_s, 0.09);
        close(outcome.e2e_s.mean, wait_s + service_s, 0.05);
    }
}

/// The mean wait of M/D/c by Crommelin's argument: who is in service now is gone a service time later, and who comes
/// until then is still there. So the number in the system, seen every service time, is the Markov chain
/// `N' = max(N − c, 0) + Poisson(a)`; its stationary mean less `a` busy servers waits, and Little's law makes a time of it.
fn m_d_c_wait_s(c: usize, rate: f64, service_s: f64) -> f64 {
    let (busy, states) = (rate * service_s, 12 * c + 100);
    let mut arrive = vec![libm::exp(-busy)];
    // More than six deviations above the mean never come in a service time.
    for k in 1..(busy + 20.0 + 6.0 * libm::sqrt(busy)) as usize {
        arrive.push(arrive[k - 1] * busy / k as f64);
    }
    // From an empty system: from a full one it would take a thousand turns to drain.
    let mut chance = vec![0.0; states];
    chance[0] = 1.0;
    for _ in 0..500 {
        let mut next = vec![0.0; states];
        for (n, p) in chance.iter().enumerate() {
            let left = n.saturating_sub(c);
            for (more, q) in arrive.iter().enumerate().take(states - left) {
                next[left + more] += p * q;
            }
        }
        let all: f64 = next.iter().sum();
        chance = next.into_iter().map(|p| p / all).collect();
    }
    let mean: f64 = chance.iter().enumerate().map(|(n, p)| n as f64 * p).sum();
    (mean - busy) / rate
}

#[test]
fn several_servers_with_equal_answers_wait_as_crommelin_says() {
    // The formula against itself: one server is Pollaczek and Khinchine's.
    close(m_d_c_wait_s(1, 0.7, 1.0), 0.7 / (2.0 * 0.3), 0.001);
    for seats in [4, 16] {
        let (outcome, Drawn { rate, service_s, .. }) = play(seats, 0.85, false);
        close(outcome.ttft_s.mean - FIRST_S, m_d_c_wait_s(seats as usize, rate, service_s), 0.09);
    }
}
