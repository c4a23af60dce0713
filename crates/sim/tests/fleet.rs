//! How a simulated fleet behaves.

mod common;

use tidegate_core::time::{Span, Time};
use tidegate_sim::fleet::{self, Faults, Fleet, Outcome, Pool, Setup};
use tidegate_sim::policy::{Error as PolicyError, Fixed, Kpa, Policy, Seen, Wanted};
use tidegate_sim::trace::{Error, TraceRequest, demo_trace};
use tidegate_sim::{ColdStart, Profile};

/// So many replicas from each of these seconds on.
struct Steps(Vec<(i64, u32)>);

impl Policy for Steps {
    fn name(&self) -> String {
        "steps".to_owned()
    }

    fn next_look(&self) -> Time {
        self.0.first().map_or(Time::from_secs(1 << 40), |(at_s, _)| Time::from_secs(*at_s))
    }

    fn look(&mut self, now: Time, _: &Seen<'_>) -> Result<Option<Wanted>, PolicyError> {
        if self.0.first().is_none_or(|(at_s, _)| Time::from_secs(*at_s) > now) {
            return Ok(None);
        }
        Ok(Some(Wanted { replicas: self.0.remove(0).1, because: "the test says so".to_owned() }))
    }
}

fn request(at_s: f64, prompt_tokens: u32, output_tokens: u32) -> Result<TraceRequest, Error> {
    let at = Span::try_from_secs_f64(at_s).expect("within bounds");
    Ok(TraceRequest { at, prompt_tokens, output_tokens, hash_ids: Vec::new() })
}

fn setup(start_s: f64) -> Setup {
    let mut setup = Setup::new(common::plain());
    setup.start = ColdStart { init_s: start_s, ..ColdStart::NONE };
    setup.start_spread = 0.0;
    setup.initial = 0;
    setup
}

fn play(setup: &Setup, requests: Vec<Result<TraceRequest, Error>>, policy: &mut dyn Policy) -> Outcome {
    let outcome = fleet::run(setup, requests, policy, &mut |_| {}).expect("it runs");
    assert!(outcome.little.holds(), "{:?}", outcome.little);
    outcome
}

fn steady(seconds: u32, per_second: u32) -> Vec<Result<TraceRequest, Error>> {
    let count = seconds * per_second;
    (0..count).map(|n| request(f64::from(n) / f64::from(per_second), 100, 20)).collect()
}

#[test]
fn a_request_at_zero_waits_for_the_start_and_is_answered() {
    let outcome = play(&setup(60.0), vec![request(0.0, 100, 3)], &mut Steps(vec![(0, 1)]));
    assert_eq!((outcome.unfinished, outcome.starts, outcome.starts_wasted), (0, 1, 0));
    // 60 s of start, then 20 ms and 100 tokens of 0.1 ms.
    assert!((outcome.ttft_s.max - 60.03).abs() < 0.1, "{}", outcome.ttft_s.max);
}

#[test]
fn a_request_nobody_starts_a_replica_for_is_refused_and_counts_as_missed() {
    let outcome = play(&setup(60.0), vec![request(0.0, 100, 3)], &mut Fixed::new(0));
    assert_eq!((outcome.unfinished, outcome.refused.waited_too_long), (1, 1));
    assert!(outcome.slo_attainment.abs() < 1e-12);
}

#[test]
fn gpus_are_paid_from_the_start_to_the_end_and_not_past_the_last_arrival() {
    let mut requests = steady(100, 1);
    requests.push(request(1_000.0, 10, 1));
    // One replica from 0, a second from 100 to 400.
    let outcome = play(&setup(10.0), requests, &mut Steps(vec![(0, 1), (100, 2), (400, 1)]));
    let paid_s = outcome.gpu_hours * 3_600.0;
    assert!((paid_s - 1_300.0).abs() < 0.5, "{paid_s}");
    assert_eq!((outcome.scale_actions, outcome.replicas_max), (3, 2));
    assert_eq!(outcome.starts_wasted, 1, "the second never had anything to do");
}

#[test]
fn a_drained_replica_finishes_what_it_has() {
    // Answers of 30 s, and half of the fleet is to go after 5 s.
    let requests = (0..8).map(|n| request(f64::from(n) / 100.0, 10, 3_000)).collect();
    let outcome = play(&Setup { initial: 2, ..setup(1.0) }, requests, &mut Steps(vec![(0, 2), (5, 1)]));
    assert_eq!((outcome.unfinished, outcome.losses), (0, 0));
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    let run = |seed| {
        let mut setup = Setup::new(Profile::named("h100-llama-3.1-8b").expect("built in"));
        setup.seed = seed;
        setup.fleet.faults =
            Faults { crashes_per_hour: 6.0, slow_share: 0.2, slow_factor: 2.0, ..Faults::default() };
        let trace = demo_trace().expect("built in").into_iter().map(Ok);
        fleet::run(&setup, trace, &mut Kpa::new(4.0, (1, 32)), &mut |_| {}).expect("it runs")
    };
    let (first, again, other) = (run(1), run(1), run(2));
    assert_eq!(first, again);
    assert_ne!(first.gpu_hours.to_bits(), other.gpu_hours.to_bits());
    assert!(first.little.holds() && other.little.holds());
}

#[test]
fn a_crash_before_the_first_token_is_tried_again_elsewhere() {
    let mut setup = Setup { initial: 4, ..setup(5.0) };
    setup.fleet.faults.crashes_per_hour = 60.0;
    let outcome = play(&setup, steady(600, 4), &mut Fixed::new(4));
    assert!(outcome.losses > 10, "{}", outcome.losses);
    assert_eq!(outcome.unfinished, outcome.refused.failed, "only answers that had begun are lost");
    assert!(outcome.refused.failed < 30, "{:?}", outcome.refused);
}

#[test]
fn a_spot_node_that_is_told_in_time_loses_nobody() {
    let pool = Pool { spot: true, losses_per_hour: 30.0, notice_s: 60.0, ..Pool::default() };
    let mut setup = Setup { initial: 2, ..setup(5.0) };
    setup.fleet = Fleet { pools: vec![pool], ..Fleet::default() };
    let outcome = play(&setup, steady(900, 4), &mut Fixed::new(2));
    assert!(outcome.starts >= 4, "{} replicas took the places of those that were told", outcome.starts);
    assert_eq!(outcome.unfinished, 0);
}

#[test]
fn a_replica_waits_for_its_node() {
    let pool = Pool { provision_s: 90.0, ..Pool::default() };
    let mut setup = setup(10.0);
    setup.fleet = Fleet { pools: vec![pool], ..Fleet::default() };
    let mut requests = vec![request(0.0, 10, 1)];
    requests.push(request(200.0, 10, 1));
    let outcome = play(&setup, requests, &mut Steps(vec![(0, 1)]));
    assert!((outcome.ttft_s.max - 100.0).abs() < 0.5, "{}", outcome.ttft_s.max);
    // Paid from when it has its GPU: 200 − 90.
    assert!((outcome.gpu_hours * 3_600.0 - 110.0).abs() < 0.5);
}

#[test]
fn a_request_longer_than_the_context_is_lost_and_said_so() {
    let outcome = play(&setup(0.0), vec![request(1.0, 20_000, 10)], &mut Steps(vec![(0, 1)]));
    assert_eq!(outcome.refused.too_long, 1);
}

#[test]
fn a_damaged_trace_ends_the_run_at_its_line() {
    let damaged = Error::Line { line: 7, what: "`x` is not a time".to_owned() };
    let requests = vec![request(0.0, 1, 1), Err(damaged)];
    let error = fleet::run(&setup(0.0), requests, &mut Fixed::new(1), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("line 7"), "{error}");
}

#[test]
fn a_spot_node_that_goes_at_a_set_time_is_replaced_before_it_does() {
    let mut setup = setup(30.0);
    setup.initial = 2;
    setup.fleet = Fleet {
        pools: vec![
            Pool {
                spot: true,
                gpus_per_node: 2,
                nodes_max: 1,
                losses_at_s: vec![300.0],
                notice_s: 100.0,
                ..Pool::default()
            },
            Pool::default(),
        ],
        ..Fleet::default()
    };
    let outcome = play(&setup, steady(600, 2), &mut Fixed::new(2));
    assert_eq!((outcome.unfinished, outcome.losses, outcome.starts), (0, 0, 2));
    let ready = |second: usize| outcome.timeline.bins[second].ready;
    // Told at 200 s, both drain; the new ones are there at 230 s, long before 300 s.
    assert_eq!((ready(199), ready(240), ready(310)), (2, 2, 2));
    assert!(ready(210) < 2, "{}", ready(210));
}
