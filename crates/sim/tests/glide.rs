//! Adding up a run of iterations gives what single iterations give, to the microsecond.

mod common;

use common::plain;
use proptest::prelude::*;
use tidegate_core::time::{Span, Time};
use tidegate_sim::Profile;
use tidegate_sim::engine::{Detail, Engine, Finished, Outputs, Prefix, Request, Stats, Token};

/// What a run shows of requests: first tokens, ends, pushed out, totals.
type Shown = (Vec<Token>, Vec<Finished>, Vec<(u64, Time)>, Stats);

fn play(profile: &Profile, detail: Detail, requests: &[(i64, Request)]) -> Shown {
    let mut engine = Engine::new(profile, detail).expect("a profile of the test's own");
    let (mut out, mut now) = (Outputs::default(), Time::ORIGIN);
    let mut come = requests.iter();
    let mut next = come.next();
    let mut arrives = Time::ORIGIN + Span::from_micros(next.map_or(0, |(wait_us, _)| *wait_us));
    loop {
        let tells = match detail {
            Detail::EveryToken => engine.next_iteration(now),
            Detail::Milestones => engine.next_milestone(now),
        };
        now = match (tells, next) {
            (Some(at), Some(_)) => at.min(arrives),
            (Some(at), None) => at,
            (None, Some(_)) => arrives,
            (None, None) => break,
        };
        engine.step(now, &mut out);
        while let Some((_, request)) = next.filter(|_| arrives <= now) {
            engine.submit(now, request.clone()).expect("it fits");
            next = come.next();
            arrives = arrives + Span::from_micros(next.map_or(0, |(wait_us, _)| *wait_us));
        }
    }
    out.tokens.retain(|token| token.index == 0);
    (out.tokens, out.finished, out.preempted, engine.stats())
}

fn requests() -> impl Strategy<Value = Vec<(i64, Request)>> {
    let one = (0i64..400_000, 1u32..400, 1u32..200, 0u64..4);
    prop::collection::vec(one, 1..60).prop_map(|rows| {
        let rows = rows.into_iter().enumerate();
        rows.map(|(id, (wait_us, prompt_tokens, output_tokens, family))| {
            let hashes = (0..8).map(|place| family * 100 + place).collect();
            let prefix = (family > 0).then_some(Prefix { hashes, tokens_per_hash: 32 });
            let max_tokens = output_tokens;
            (wait_us, Request { id: id as u64, prompt_tokens, output_tokens, max_tokens, prefix })
        })
        .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_run_of_iterations_ends_like_each_of_them(
        requests in requests(),
        kv_blocks in 60u64..400,
        max_num_seqs in 1u32..20,
        per_context_us in 0.0f64..3.0,
    ) {
        let profile = Profile {
            kv_tokens: kv_blocks * 16,
            max_num_seqs,
            decode_per_seq_ms: 0.137,
            decode_per_context_token_us: per_context_us,
            ..plain()
        };
        let each = play(&profile, Detail::EveryToken, &requests);
        let runs = play(&profile, Detail::Milestones, &requests);
        prop_assert_eq!(each, runs);
    }
}
