use super::*;

fn plan(text: &str) -> Plan {
    Plan::parse(text).unwrap()
}

fn trace() -> Vec<TraceRequest> {
    let request = |at_s, prompt_tokens| TraceRequest {
        at: Span::from_secs(at_s),
        prompt_tokens,
        ..TraceRequest::default()
    };
    vec![request(10, 100), request(14, 300), request(12, 200)]
}

#[test]
fn the_same_seed_gives_the_same_schedule_and_another_one_does_not() {
    let make = |seed| Schedule::from_plan(plan("0s:50rps 4s:50rps"), Arrivals::Poisson, seed, Mix::of("m"));
    let (first, again, other): (Vec<_>, Vec<_>, Vec<_>) =
        (make(1).collect(), make(1).collect(), make(2).collect());
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn poisson_arrivals_follow_the_plan() {
    let schedule = Schedule::from_plan(plan("0s:0rps 100s:200rps"), Arrivals::Poisson, 3, Mix::of("m"));
    let times: Vec<_> = schedule.map(|planned| planned.at.as_secs_f64()).collect();
    // 10,000 are expected, give or take 100; a quarter of them in the first half.
    assert!((9_500..10_500).contains(&times.len()), "{}", times.len());
    let early = times.iter().filter(|at| **at < 50.0).count();
    assert!((2_300..2_700).contains(&early), "{early}");
    assert!(times.is_sorted());
}

#[test]
fn uniform_arrivals_are_even() {
    let schedule = Schedule::from_plan(plan("0s:2rps 3s:2rps"), Arrivals::Uniform, 0, Mix::of("m"));
    let times: Vec<_> = schedule.map(|planned| planned.at.as_micros()).collect();
    assert_eq!(times, [250_000, 750_000, 1_250_000, 1_750_000, 2_250_000, 2_750_000]);
}

#[test]
fn another_mix_does_not_move_the_arrivals() {
    let times = |share| {
        let mix = Mix { stream_share: share, ..Mix::of("m") };
        let schedule = Schedule::from_plan(plan("0s:9rps 9s:9rps"), Arrivals::Poisson, 5, mix);
        schedule.map(|planned| planned.at).collect::<Vec<_>>()
    };
    assert_eq!(times(0.0), times(0.7));
}

#[test]
fn models_are_asked_for_by_their_weights() {
    let mix = Mix { models: Weighted::parse("a=2,b=1").unwrap(), ..Mix::of("m") };
    let schedule = Schedule::from_plan(plan("0s:3000rps 1s:3000rps"), Arrivals::Uniform, 1, mix);
    let (a, b): (Vec<_>, Vec<_>) = schedule.partition(|planned| &*planned.model == "a");
    assert_eq!(a.len() + b.len(), 3_000);
    assert!((1_900..2_100).contains(&a.len()), "{}", a.len());
}

#[test]
fn a_trace_is_sorted_begins_at_once_and_goes_as_fast_as_told() {
    let schedule = Schedule::from_trace(trace(), 2.0, 0, Mix::of("m")).unwrap();
    let seen: Vec<_> = schedule.map(|it| (it.at.as_micros(), it.prompt_tokens, it.output_tokens)).collect();
    // An answer of no token cannot be asked for: it becomes one.
    assert_eq!(seen, [(0, 100, 1), (1_000_000, 200, 1), (2_000_000, 300, 1)]);
}

#[test]
fn a_repeated_trace_begins_again_a_mean_gap_after_its_end() {
    let schedule = Schedule::from_trace(trace(), 1.0, 0, Mix::of("m")).unwrap().repeated();
    let times: Vec<_> = schedule.take(5).map(|planned| planned.at.as_micros() / 1_000_000).collect();
    assert_eq!(times, [0, 2, 4, 6, 8]);
}

#[test]
fn a_schedule_ends_at_its_limit_and_at_its_length() {
    let make = || Schedule::from_plan(plan("0s:1rps"), Arrivals::Uniform, 0, Mix::of("m"));
    assert_eq!(make().count(), 0);
    assert_eq!(make().lasting(Span::from_secs(10)).count(), 10);
    assert_eq!(make().lasting(Span::from_secs(10)).limited(3).count(), 3);
    let short = Schedule::from_plan(plan("0s:1rps 60s:1rps"), Arrivals::Uniform, 0, Mix::of("m"));
    assert_eq!(short.lasting(Span::from_secs(10)).count(), 10);
}

#[test]
fn what_is_no_mix_is_refused() {
    assert_eq!(Weighted::parse("a=0"), Err(Error::Weight("a=0".to_owned())));
    assert_eq!(Weighted::parse("a,,b"), Err(Error::Name("a,,b".to_owned())));
    for bad in ["", "0", "5..4", "x", "1..99999999"] {
        assert_eq!(Tokens::parse(bad), Err(Error::Tokens(bad.to_owned())));
    }
    assert!(matches!(Schedule::from_trace(Vec::new(), 1.0, 0, Mix::of("m")), Err(Error::EmptyTrace)));
    assert!(matches!(Schedule::from_trace(trace(), f64::NAN, 0, Mix::of("m")), Err(Error::Speed)));
}
