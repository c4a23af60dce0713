//! What holds for every mix of requests.

mod common;
#[path = "common/finish.rs"]
mod finish;

use common::plain;
use finish::finish;
use proptest::prelude::*;
use tidegate_core::time::Time;
use tidegate_sim::Profile;
use tidegate_sim::engine::{Detail, Engine, Outputs, Prefix, Request};

#[derive(Clone, Debug)]
struct Arrival {
    wait_us: i64,
    request: Request,
    cancel: bool,
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let one = (0i64..60_000, 1u32..400, 1u32..60, 1u32..60, 0u64..4, 0u8..10);
    prop::collection::vec(one, 1..60).prop_map(|rows| {
        let rows = rows.into_iter().enumerate();
        rows.map(|(id, (wait_us, prompt_tokens, output_tokens, max_tokens, family, cancel))| {
            let hashes = (0..8).map(|place| family * 100 + place).collect();
            let prefix = (family > 0).then_some(Prefix { hashes, tokens_per_hash: 32 });
            let request = Request { id: id as u64, prompt_tokens, output_tokens, max_tokens, prefix };
            Arrival { wait_us, request, cancel: cancel == 0 }
        })
        .collect()
    })
}

fn play(profile: &Profile, arrivals: &[Arrival]) -> (Outputs, Engine) {
    let mut engine = Engine::new(profile, Detail::EveryToken).expect("a profile of the test's own");
    let mut out = Outputs::default();
    let mut now = Time::ORIGIN;
    for arrival in arrivals {
        now = now + tidegate_core::time::Span::from_micros(arrival.wait_us);
        engine.step(now, &mut out);
        engine.submit(now, arrival.request.clone()).expect("it fits");
        engine.step(now, &mut out);
        let stats = engine.stats();
        assert!(stats.kv_blocks_used + stats.kv_blocks_remembered <= stats.kv_blocks_total);
        assert!(stats.running <= profile.max_num_seqs);
        if arrival.cancel {
            out.finished.extend(engine.cancel(now, arrival.request.id));
        }
    }
    let rest = finish(&mut engine, now);
    out.tokens.extend(rest.tokens);
    out.finished.extend(rest.finished);
    out.iterations.extend(rest.iterations);
    out.preempted.extend(rest.preempted);
    (out, engine)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_request_ends_once_with_exactly_its_tokens(
        arrivals in arrivals(),
        blocks in 30u64..120,
        seats in 1u32..12,
    ) {
        let profile =
            Profile { kv_tokens: blocks * 16, max_num_seqs: seats, max_batched_tokens: 64, ..plain() };
        let (out, engine) = play(&profile, &arrivals);
        prop_assert_eq!(out.finished.len(), arrivals.len());
        for arrival in &arrivals {
            let request = &arrival.request;
            let ends: Vec<_> = out.finished.iter().filter(|end| end.id == request.id).collect();
            prop_assert_eq!(ends.len(), 1);
            let tokens = out.tokens.iter().filter(|token| token.id == request.id);
            let indexes: Vec<u32> = tokens.map(|token| token.index).collect();
            let expected: Vec<u32> = (0..ends[0].output_tokens).collect();
            prop_assert_eq!(indexes, expected);
            if !arrival.cancel {
                prop_assert_eq!(ends[0].output_tokens, request.output_tokens.min(request.max_tokens));
            }
        }
        let stats = engine.stats();
        prop_assert_eq!((stats.running, stats.waiting, stats.kv_blocks_used), (0, 0, 0));
        prop_assert_eq!(stats.generation_tokens as usize, out.tokens.len());
        prop_assert_eq!(stats.preemptions as usize, out.preempted.len());
    }

    #[test]
    fn iterations_follow_each_other_and_keep_to_their_budget(arrivals in arrivals(), budget in 8u32..200) {
        let profile = Profile { kv_tokens: 1_600, max_batched_tokens: budget, ..plain() };
        let (out, _) = play(&profile, &arrivals);
        for step in &out.iterations {
            prop_assert!(step.tokens <= budget && step.ended > step.began);
        }
        for pair in out.iterations.windows(2) {
            prop_assert!(pair[1].began >= pair[0].ended);
        }
    }

    #[test]
    fn the_same_requests_give_the_same_outputs(arrivals in arrivals()) {
        let profile = Profile { kv_tokens: 800, ..plain() };
        prop_assert_eq!(play(&profile, &arrivals).0, play(&profile, &arrivals).0);
    }

    #[test]
    fn how_often_the_driver_looks_changes_nothing(arrivals in arrivals()) {
        let profile = Profile { kv_tokens: 800, ..plain() };
        let without = Vec::from_iter(arrivals.iter().cloned().map(|mut one| { one.cancel = false; one }));
        let (expected, _) = play(&profile, &without);
        let mut engine = Engine::new(&profile, Detail::EveryToken).expect("a profile of the test's own");
        let mut out = Outputs::default();
        let mut now = Time::ORIGIN;
        for arrival in &without {
            let until = now + tidegate_core::time::Span::from_micros(arrival.wait_us);
            while now < until {
                engine.step(now, &mut out);
                now = (now + tidegate_core::time::Span::from_micros(777)).min(until);
            }
            engine.step(now, &mut out);
            engine.submit(now, arrival.request.clone()).expect("it fits");
        }
        // One look at the end of time instead of one for each iteration.
        engine.step(now, &mut out);
        engine.step(Time::from_secs(1_000_000), &mut out);
        prop_assert_eq!(out, expected);
    }
}
