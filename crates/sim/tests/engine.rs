//! How the model of an engine behaves.

mod common;
#[path = "common/finish.rs"]
mod finish;

use common::plain;
use finish::finish;
use tidegate_core::time::Time;
use tidegate_sim::Profile;
use tidegate_sim::engine::{Detail, Engine, Error, Finish, Outputs, Prefix, Request};

fn request(id: u64, prompt_tokens: u32, output_tokens: u32) -> Request {
    Request { id, prompt_tokens, output_tokens, max_tokens: output_tokens, prefix: None }
}

fn ms(milliseconds: i64) -> Time {
    Time::from_micros(milliseconds * 1_000)
}

fn engine(profile: &Profile) -> Engine {
    Engine::new(profile, Detail::EveryToken).expect("a profile of the test's own")
}

#[test]
fn a_request_alone_takes_one_prefill_and_then_one_iteration_a_token() {
    let mut engine = engine(&plain());
    engine.submit(ms(5), request(1, 100, 3)).unwrap();
    let out = finish(&mut engine, ms(5));
    // 20 ms and 100 · 0.1 ms for the prompt, then 10 ms each.
    let times: Vec<_> = out.tokens.iter().map(|token| (token.index, token.at)).collect();
    assert_eq!(times, [(0, ms(35)), (1, ms(45)), (2, ms(55))]);
    let end = out.finished[0];
    assert_eq!((end.finish, end.at, end.first_token), (Finish::Length, ms(55), Some(ms(35))));
    assert_eq!((end.prompt_tokens, end.output_tokens), (100, 3));
}

#[test]
fn a_model_that_has_said_all_stops_before_the_limit() {
    let mut engine = engine(&plain());
    engine.submit(ms(0), Request { max_tokens: 9, ..request(1, 10, 4) }).unwrap();
    let end = finish(&mut engine, ms(0)).finished[0];
    assert_eq!((end.finish, end.output_tokens, end.max_tokens), (Finish::Stop, 4, 9));
}

#[test]
fn requests_share_iterations() {
    let mut engine = engine(&plain());
    for id in 0..8 {
        engine.submit(ms(0), request(id, 10, 5)).unwrap();
    }
    let out = finish(&mut engine, ms(0));
    assert_eq!(out.finished.len(), 8);
    assert_eq!(out.iterations.len(), 5, "one prefill of all, four decodes of all");
    assert!(out.finished.iter().all(|end| end.at == ms(20 + 8 + 4 * 10)));
}

#[test]
fn a_late_request_joins_the_next_iteration() {
    let mut engine = engine(&plain());
    let mut out = Outputs::default();
    engine.submit(ms(0), request(1, 100, 10)).unwrap();
    engine.step(ms(0), &mut out);
    engine.step(ms(7), &mut out);
    engine.submit(ms(7), request(2, 100, 10)).unwrap();
    assert_eq!(engine.stats().waiting, 1, "the iteration under way is not changed");
    engine.step(ms(30), &mut out);
    assert_eq!((engine.stats().running, engine.stats().waiting), (2, 0));
    // One decode beside the prefill: the larger base, and the prompt's tokens.
    assert_eq!(engine.next_iteration(ms(30)), Some(ms(60)));
}

#[test]
fn more_requests_than_seats_wait_in_order() {
    let mut engine = engine(&Profile { max_num_seqs: 2, ..plain() });
    for id in 0..6 {
        engine.submit(ms(0), request(id, 10, 5)).unwrap();
    }
    engine.step(ms(0), &mut Outputs::default());
    assert_eq!((engine.stats().running, engine.stats().waiting), (2, 4));
    let ids: Vec<u64> = finish(&mut engine, ms(0)).finished.iter().map(|end| end.id).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_long_prompt_is_cut_in_chunks_and_others_decode_meanwhile() {
    let mut engine = engine(&Profile { max_batched_tokens: 100, ..plain() });
    let mut out = Outputs::default();
    engine.submit(ms(0), request(1, 10, 20)).unwrap();
    engine.step(ms(0), &mut out);
    engine.submit(ms(1), request(2, 250, 1)).unwrap();
    let out = finish(&mut engine, ms(1));
    let chunks: Vec<u32> = out
        .iterations
        .iter()
        .filter(|step| step.prefill_tokens > 0)
        .map(|step| step.prefill_tokens)
        .collect();
    // The first prompt, then what 100 tokens leave beside one decode each: 99 + 99 + 52.
    assert_eq!(chunks, [10, 99, 99, 52]);
    let first_of_2 = out.tokens.iter().find(|token| token.id == 2).unwrap().at;
    let before = out.tokens.iter().filter(|token| token.id == 1 && token.at < first_of_2).count();
    assert_eq!(before, 3, "its own first token and one in each of the two chunks before the last");
}

#[test]
fn a_prompt_in_chunks_costs_no_attention_more_than_in_one_piece() {
    let quadratic = Profile { prefill_base_ms: 0.0, prefill_quadratic_ns: 1_000.0, ..plain() };
    let mut times = Vec::new();
    for max_batched_tokens in [1_000, 100] {
        let mut engine = engine(&Profile { max_batched_tokens, ..quadratic.clone() });
        engine.submit(ms(0), request(1, 1_000, 1)).unwrap();
        times.push(finish(&mut engine, ms(0)).finished[0].at);
    }
    assert_eq!(times[0], times[1]);
}

#[test]
fn a_full_cache_keeps_requests_waiting() {
    // 10 blocks; each prompt takes 4 and one more for its output.
    let mut engine = engine(&Profile { kv_tokens: 160, ..plain() });
    for id in 0..4 {
        engine.submit(ms(0), request(id, 60, 10)).unwrap();
    }
    engine.step(ms(0), &mut Outputs::default());
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.kv_blocks_used, stats.kv_blocks_total), (2, 2, 8, 10));
    let out = finish(&mut engine, ms(0));
    assert_eq!(out.finished.len(), 4);
    assert_eq!(engine.stats().kv_blocks_used, 0);
}

#[test]
fn the_youngest_is_pushed_out_when_blocks_run_out_and_still_writes_every_token_once() {
    // Two sequences of 4 blocks fit into 10, but grow to 7 each.
    let mut engine = engine(&Profile { kv_tokens: 160, ..plain() });
    for id in 0..2 {
        engine.submit(ms(0), request(id, 60, 50)).unwrap();
    }
    let out = finish(&mut engine, ms(0));
    assert_eq!(out.preempted.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1]);
    assert_eq!(engine.stats().preemptions, 1);
    for id in 0..2 {
        let indexes: Vec<u32> =
            out.tokens.iter().filter(|token| token.id == id).map(|token| token.index).collect();
        assert_eq!(indexes, (0..50).collect::<Vec<_>>());
    }
    let ends: Vec<_> = out.finished.iter().map(|end| (end.id, end.preemptions)).collect();
    assert_eq!(ends, [(0, 0), (1, 1)]);
    // The prompts, and once more what the second had when it was pushed out.
    assert!(engine.stats().prefill_tokens > 120 + 60);
    assert_eq!(engine.stats().prompt_tokens, 120, "recomputation is no new prompt");
}

#[test]
fn a_request_that_can_never_fit_is_refused() {
    let mut engine = engine(&Profile { kv_tokens: 160, ..plain() });
    let error = engine.submit(ms(0), request(1, 100, 61)).unwrap_err();
    assert!(matches!(error, Error::TooLong { prompt_tokens: 100, output_tokens: 61, max_tokens: 160 }));
    engine.submit(ms(0), request(1, 100, 60)).unwrap();
    assert_eq!(finish(&mut engine, ms(0)).tokens.len(), 60);
}

#[test]
fn a_cancelled_request_gives_back_its_blocks_and_writes_no_more() {
    let mut engine = engine(&Profile { max_num_seqs: 1, ..plain() });
    let mut out = Outputs::default();
    engine.submit(ms(0), request(1, 100, 10)).unwrap();
    engine.submit(ms(0), request(2, 100, 10)).unwrap();
    engine.step(ms(0), &mut out);
    engine.step(ms(40), &mut out);
    let gone = engine.cancel(ms(41), 1).unwrap();
    assert_eq!((gone.finish, gone.output_tokens), (Finish::Abort, 2));
    assert_eq!(engine.stats().kv_blocks_used, 0);
    assert_eq!(engine.cancel(ms(41), 1), None);
    let rest = finish(&mut engine, ms(41));
    assert!(rest.tokens.iter().all(|token| token.id == 2));
    assert_eq!(rest.finished[0].id, 2);
    engine.submit(ms(500), request(3, 10, 10)).unwrap();
    assert_eq!(engine.cancel(ms(500), 3).unwrap().scheduled, None, "it was still waiting");
}

#[test]
fn everything_can_be_cancelled_at_once() {
    let mut engine = engine(&Profile { max_num_seqs: 2, ..plain() });
    for id in 0..5 {
        engine.submit(ms(0), request(id, 10, 5)).unwrap();
    }
    let mut out = Outputs::default();
    engine.step(ms(0), &mut out);
    engine.cancel_all(ms(1), &mut out);
    assert!(out.finished.iter().all(|end| end.finish == Finish::Abort));
    assert_eq!(out.finished.iter().map(|end| end.id).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(engine.stats().kv_blocks_used, 0);
}

fn with_prefix(id: u64, hashes: &[u64], prompt_tokens: u32) -> Request {
    let prefix = Some(Prefix { hashes: hashes.into(), tokens_per_hash: 32 });
    Request { prefix, ..request(id, prompt_tokens, 4) }
}

#[test]
fn a_prompt_seen_before_is_prefilled_only_where_it_differs() {
    let mut engine = engine(&plain());
    engine.submit(ms(0), with_prefix(1, &[7, 8, 9], 100)).unwrap();
    finish(&mut engine, ms(0));
    assert_eq!(engine.stats().kv_blocks_used, 0);
    assert_eq!(engine.stats().kv_blocks_remembered, 6);
    engine.submit(ms(1_000), with_prefix(2, &[7, 8, 1], 100)).unwrap();
    let out = finish(&mut engine, ms(1_000));
    assert_eq!(out.finished[0].cached_tokens, 64);
    assert_eq!(out.iterations[0].prefill_tokens, 36);
    assert_eq!(engine.stats().prefix_hits_tokens, 64);
    assert_eq!(engine.stats().prefix_queries_tokens, 200);
}

#[test]
fn the_last_token_of_a_prompt_is_always_computed() {
    let mut engine = engine(&plain());
    for id in 0..2 {
        engine.submit(ms(id as i64 * 1_000), with_prefix(id, &[7, 8], 64)).unwrap();
        let out = finish(&mut engine, ms(id as i64 * 1_000));
        assert_eq!(out.finished[0].cached_tokens, 32 * id as u32);
    }
}

#[test]
fn sequences_with_one_prompt_hold_its_blocks_once() {
    let mut engine = engine(&plain());
    let mut out = Outputs::default();
    engine.submit(ms(0), with_prefix(1, &[7, 8, 9], 97)).unwrap();
    engine.step(ms(0), &mut out);
    engine.step(ms(30), &mut out);
    let alone = engine.stats().kv_blocks_used;
    engine.submit(ms(30), with_prefix(2, &[7, 8, 9], 97)).unwrap();
    engine.step(ms(40), &mut out);
    assert_eq!(engine.stats().kv_blocks_used, alone + 1, "six blocks are shared, one is its own");
}

#[test]
fn old_prompts_make_room_for_new_ones_oldest_first() {
    // 8 blocks: room for two remembered prompts of 4.
    let mut engine = engine(&Profile { kv_tokens: 128, ..plain() });
    let mut at = 0;
    for hashes in [[1, 2], [3, 4], [5, 6]] {
        engine.submit(ms(at), with_prefix(at as u64, &hashes, 64)).unwrap();
        finish(&mut engine, ms(at));
        at += 1_000;
    }
    for (hashes, cached) in [([3, 4], 32), ([1, 2], 0)] {
        engine.submit(ms(at), with_prefix(at as u64, &hashes, 64)).unwrap();
        assert_eq!(finish(&mut engine, ms(at)).finished[0].cached_tokens, cached, "{hashes:?}");
        at += 1_000;
    }
}

#[test]
fn without_prefix_caching_nothing_is_remembered() {
    let mut engine = engine(&Profile { prefix_caching: false, ..plain() });
    engine.submit(ms(0), with_prefix(1, &[7, 8, 9], 100)).unwrap();
    finish(&mut engine, ms(0));
    assert_eq!(engine.stats().kv_blocks_remembered, 0);
    assert_eq!(engine.stats().prefix_queries_tokens, 0);
}

#[test]
fn milestones_tell_the_same_ends_as_every_token() {
    let mut ends = Vec::new();
    for detail in [Detail::EveryToken, Detail::Milestones] {
        let mut engine = Engine::new(&Profile { kv_tokens: 480, ..plain() }, detail).unwrap();
        for id in 0..20 {
            engine.submit(ms(id), request(id as u64, 30 + id as u32, 40)).unwrap();
        }
        let out = finish(&mut engine, ms(20));
        assert_eq!(out.iterations.is_empty(), detail == Detail::Milestones);
        ends.push((out.finished, engine.stats()));
    }
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn an_idle_engine_has_nothing_to_wait_for() {
    let mut engine = engine(&plain());
    assert_eq!(engine.next_iteration(Time::ORIGIN), None);
    let mut out = Outputs::default();
    engine.step(ms(1_000_000), &mut out);
    assert!(out.is_empty());
}
