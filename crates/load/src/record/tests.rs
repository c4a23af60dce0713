use super::*;
use crate::schedule::{Mix, Planned, Schedule};
use crate::{Plan, schedule::Arrivals};

fn planned() -> Planned {
    let plan = Plan::parse("0s:1rps 9s:1rps").unwrap();
    Schedule::from_plan(plan, Arrivals::Uniform, 0, Mix::of("m")).next().unwrap()
}

/// A stream of three tokens: meant for `at` ms, sent 10 ms late, first token after 100 ms, then 20 ms each.
fn outcome(start: Instant, at: u64) -> Outcome {
    let ms = |ms| start + Duration::from_millis(at + ms);
    let mut outcome = Outcome::new(planned(), ms(0));
    outcome.sent = ms(10);
    outcome.first = Some(ms(110));
    outcome.last = Some(ms(150));
    outcome.end = ms(151);
    outcome.gaps_us = vec![20_000, 20_000];
    outcome.answer.counted = 3;
    outcome
}

fn slo(ttft_ms: u64, itl_ms: u64) -> Slo {
    let ms = |ms| Some(Duration::from_millis(ms));
    Slo { ttft: ms(ttft_ms), itl: ms(itl_ms) }
}

fn about(got: Option<f64>, want: f64) {
    let got = got.unwrap();
    assert!((got - want).abs() <= want * 2e-3, "{got}, not {want}");
}

#[test]
fn times_are_told_from_the_sending_and_from_the_time_it_was_meant_for() {
    let start = Instant::now();
    let mut recorder = Recorder::new(Slo::default()).unwrap();
    recorder.ended(outcome(start, 0), start, 0);
    let report = recorder.report("", 1.0, 0, false);
    about(report.ttft_s.p50, 0.1);
    about(report.ttft_intended_s.p50, 0.11);
    about(report.e2e_s.p50, 0.141);
    about(report.e2e_intended_s.max, 0.151);
    about(report.send_lag_s.p99, 0.01);
    about(report.itl_s.p50, 0.02);
    about(report.tpot_s.p50, 0.02);
    assert_eq!(report.itl_s.count, 2);
}

#[test]
fn a_failed_request_is_counted_but_not_timed() {
    let start = Instant::now();
    let mut recorder = Recorder::new(Slo::default()).unwrap();
    recorder.ended(outcome(start, 0).failed(Kind::Status(503), "busy"), start, 0);
    recorder.ended(outcome(start, 0).failed(Kind::Status(503), "later"), start, 0);
    let report = recorder.report("", 1.0, 0, false);
    assert_eq!((report.requests, report.failed, report.ttft_s.count), (2, 2, 0));
    assert_eq!(report.errors["status 503"], 2);
    assert_eq!(report.examples["status 503"], "busy");
    assert_eq!(report.goodput.share, Some(0.0));
}

#[test]
fn a_stream_is_good_when_both_bounds_are_kept() {
    let start = Instant::now();
    let good = |slo| {
        let mut recorder = Recorder::new(slo).unwrap();
        recorder.ended(outcome(start, 0), start, 0);
        recorder.report("", 1.0, 0, false).goodput.good
    };
    assert_eq!(
        [good(slo(100, 20)), good(slo(99, 20)), good(slo(100, 19)), good(Slo::default())],
        [1, 0, 0, 1]
    );
}

#[test]
fn an_answer_that_is_no_stream_is_good_as_fast_as_a_good_stream_of_its_tokens() {
    let start = Instant::now();
    let good = |slo| {
        let mut recorder = Recorder::new(slo).unwrap();
        let mut outcome = outcome(start, 0);
        // 141 ms for three tokens.
        (outcome.first, outcome.last) = (None, None);
        outcome.answer.whole(
            br#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":3}}"#,
        );
        recorder.ended(outcome, start, 0);
        recorder.report("", 1.0, 0, false).goodput.good
    };
    assert_eq!([good(slo(101, 20)), good(slo(100, 20)), good(Slo { itl: None, ..slo(1, 1) })], [1, 0, 1]);
}

#[test]
fn a_long_run_keeps_its_time_line_within_its_bins() {
    let start = Instant::now();
    let mut recorder = Recorder::new(Slo::default()).unwrap();
    for second in 0..5_000 {
        recorder.due(Duration::from_secs(second));
        recorder.ended(outcome(start, second * 1_000), start, 1);
    }
    let report = recorder.report("", 5_000.0, 0, false);
    assert!(report.timeline.len() <= BINS_MAX);
    let sum = |of: fn(&Bin) -> u64| report.timeline.iter().map(of).sum::<u64>();
    assert_eq!((sum(|bin| bin.due), sum(|bin| bin.ok)), (5_000, 5_000));
    assert!(report.timeline.iter().all(|bin| bin.seconds == 16 && bin.ttft_p50_s.is_some()));
}

#[test]
fn in_flight_is_carried_over_stretches_where_nothing_changes() {
    let mut recorder = Recorder::new(Slo::default()).unwrap();
    recorder.in_flight(Duration::from_secs(0), 7);
    recorder.in_flight(Duration::from_secs(0), 5);
    recorder.in_flight(Duration::from_secs(2), 0);
    let report = recorder.report("", 3.0, 0, false);
    let most: Vec<_> = report.timeline.iter().map(|bin| bin.in_flight_max).collect();
    assert_eq!(most, [7, 5, 5]);
}

#[test]
fn models_past_the_limit_are_counted_together() {
    let start = Instant::now();
    let mut recorder = Recorder::new(Slo::default()).unwrap();
    for number in 0..GROUPS_MAX + 3 {
        let mut outcome = outcome(start, 0);
        outcome.planned.model = format!("m{number:03}").into();
        recorder.ended(outcome, start, 0);
    }
    let report = recorder.report("", 1.0, 0, false);
    assert_eq!(report.models["others"].requests, 3);
    assert_eq!(report.models.len(), GROUPS_MAX + 1);
}
