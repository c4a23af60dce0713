use tidegate_metrics::dialect::Engine;
use tidegate_metrics::exposition::Format;
use tidegate_metrics::sample::Reader;

use super::*;

fn page(requests: u32, running: u32) -> EngineSample {
    let text = format!(
        "vllm:num_requests_running {running}\nvllm:num_requests_waiting 2\n\
         vllm:prompt_tokens_total {}\nvllm:generation_tokens_total {}\n\
         vllm:request_success_total{{finished_reason=\"stop\"}} {requests}\n\
         vllm:inter_token_latency_seconds_sum {}\nvllm:inter_token_latency_seconds_count {}\n\
         vllm:time_to_first_token_seconds_bucket{{le=\"1.0\"}} {}\n\
         vllm:time_to_first_token_seconds_bucket{{le=\"2.5\"}} {}\n\
         vllm:time_to_first_token_seconds_bucket{{le=\"+Inf\"}} {requests}\n\
         vllm:time_to_first_token_seconds_sum 1\nvllm:time_to_first_token_seconds_count {requests}\n",
        requests * 100,
        requests * 10,
        f64::from(requests) * 0.2,
        requests * 10,
        requests / 2,
        requests - requests / 10,
    );
    Reader::new(Engine::Vllm).read(&text, Format::Text).expect("a page of vLLM")
}

fn at(second: i64) -> Time {
    Time::from_secs(second)
}

type Said<'s> = Option<(&'s EngineSample, Time)>;

/// A look at replicas, each with its sample and when it was taken; `None` for one that says nothing.
fn look_at(
    work: &mut Work,
    second: i64,
    replicas: &[(&str, Option<(&EngineSample, i64)>)],
    gateways: AtGateways<'_>,
) -> Option<Load> {
    let named: Vec<(Arc<str>, Said<'_>)> = replicas
        .iter()
        .map(|(name, said)| (Arc::from(*name), said.map(|(sample, second)| (sample, at(second)))))
        .collect();
    let replicas = named.iter().map(|(name, said)| (name, *said));
    work.load(at(second), replicas, gateways, &Objective::default())
}

fn look(work: &mut Work, second: i64, sample: &EngineSample, waiting: u32) -> Option<Load> {
    let gateways = AtGateways { waiting, flows: None };
    look_at(work, second, &[("chat-0", Some((sample, second)))], gateways)
}

fn flow(requests: u64) -> Flow {
    Flow {
        arrived: requests,
        prompt_tokens: requests * 50,
        ended: requests,
        output_tokens: requests * 10,
        first_tokens: requests,
        late: requests / 2,
    }
}

fn flows(of: &[(&str, u64)]) -> Vec<(Arc<str>, Flow)> {
    of.iter().map(|(name, requests)| (Arc::from(*name), flow(*requests))).collect()
}

#[test]
fn counters_between_two_looks_are_the_work_of_that_time() {
    let mut work = Work::default();
    assert_eq!(look(&mut work, 10, &page(100, 4), 0), None, "nothing to compare with");
    let load = look(&mut work, 11, &page(120, 7), 3).expect("a second look");
    // 20 ended and 3 more are under way.
    assert_eq!((load.arrived, load.ended, load.waiting), (23, 20, 5));
    assert_eq!((load.prompt_tokens, load.output_tokens), (2_000, 200));
    assert_eq!((load.first_tokens, load.late), (20, 2), "two in twenty above 2.5 s");
    assert_eq!((load.engines.reporting, load.engines.running, load.engines.itl_us), (1, 7, 20_000));
}

#[test]
fn an_engine_that_was_started_again_says_nothing_until_the_next_look() {
    let mut work = Work::default();
    look(&mut work, 10, &page(100, 4), 0);
    let load = look(&mut work, 11, &page(5, 1), 0).expect("a stretch");
    assert_eq!((load.engines.reporting, load.arrived), (0, 0));
    let load = look(&mut work, 12, &page(9, 1), 0).expect("a stretch");
    assert_eq!((load.engines.reporting, load.ended), (1, 4));
}

#[test]
fn looks_far_apart_make_no_rate() {
    let mut work = Work::default();
    look(&mut work, 10, &page(100, 4), 0);
    assert_eq!(look(&mut work, 50, &page(120, 4), 0), None);
}

#[test]
fn engines_that_say_nothing_any_more_are_not_engines_at_rest() {
    let mut work = Work::default();
    look(&mut work, 10, &page(100, 4), 0);
    let old = page(120, 4);
    assert!(look(&mut work, 11, &old, 0).is_some());
    // The last sample grows old, and with it the word that something was there.
    let silent = |work: &mut Work, second| {
        look_at(work, second, &[("chat-0", Some((&old, 11)))], AtGateways { waiting: 0, flows: None })
    };
    assert!(silent(&mut work, 15).is_some(), "four seconds are two scrapes that were lost");
    for second in 16..30 {
        assert_eq!(silent(&mut work, second), None, "second {second}");
    }
    // When it speaks again it has one look to begin with.
    assert_eq!(look(&mut work, 30, &page(500, 4), 0), None);
    let load = look(&mut work, 31, &page(510, 4), 0).expect("it is heard");
    assert_eq!(load.ended, 10);
}

#[test]
fn a_replica_that_never_said_a_word_is_not_waited_for_and_then_it_is() {
    let mut work = Work::default();
    let nothing = |work: &mut Work, second| look_at(work, second, &[("chat-0", None)], AtGateways::default());
    nothing(&mut work, 0);
    for second in 1..=10 {
        assert!(nothing(&mut work, second).is_some(), "it has just begun");
    }
    assert_eq!(nothing(&mut work, 11), None);
}

#[test]
fn where_most_speak_they_speak_for_the_one_that_is_silent() {
    let mut work = Work::default();
    let all = |work: &mut Work, second, said: [Option<&EngineSample>; 3]| {
        let names = ["a", "b", "c"];
        let replicas: Vec<_> =
            names.into_iter().zip(said).map(|(name, said)| (name, said.map(|s| (s, second)))).collect();
        look_at(work, second, &replicas, AtGateways::default())
    };
    let (old, new) = (page(100, 4), page(120, 4));
    all(&mut work, 0, [Some(&old); 3]);
    let load = all(&mut work, 1, [Some(&new), Some(&new), None]).expect("two of three");
    assert_eq!((load.arrived, load.engines.reporting, load.engines.running), (60, 3, 12));
    let newer = page(140, 4);
    assert_eq!(all(&mut work, 2, [Some(&newer), None, None]), None, "one of three");
}

#[test]
fn no_replica_and_nobody_asking_is_a_zero_that_is_known() {
    let mut work = Work::default();
    look_at(&mut work, 0, &[], AtGateways::default());
    let load = look_at(&mut work, 1, &[], AtGateways::default()).expect("there is nobody to be silent");
    assert_eq!((load.arrived, load.engines.reporting), (0, 0));
}

#[test]
fn what_came_is_what_gateways_counted_together() {
    let mut work = Work::default();
    let (old, new) = (page(100, 4), page(110, 4));
    let two = |a, b| flows(&[("a", a), ("b", b)]);
    let (before, after) = (two(1_000, 40), two(1_030, 50));
    let engine = |sample, second| [("chat-0", Some((sample, second)))];
    look_at(&mut work, 0, &engine(&old, 0), AtGateways { waiting: 0, flows: Some(&before) });
    let told = AtGateways { waiting: 5, flows: Some(&after) };
    let load = look_at(&mut work, 1, &engine(&new, 1), told).expect("a stretch");
    assert_eq!(
        (load.arrived, load.prompt_tokens, load.waiting),
        (40, 2_000, 7),
        "and two in the engine's queue"
    );
    assert_eq!((load.ended, load.output_tokens), (10, 100), "what was done only engines know");
    // The gateways saw 20 of 40 late, their wait included; the engine one in ten.
    assert_eq!((load.first_tokens, load.late), (40, 20));
}

#[test]
fn a_gateway_that_is_new_or_began_again_is_counted_from_the_next_look_on() {
    let mut work = Work::default();
    let mut told = |second, of: &[(&str, u64)]| {
        let flows = flows(of);
        let load = look_at(&mut work, second, &[], AtGateways { waiting: 0, flows: Some(&flows) });
        load.map(|load| load.arrived)
    };
    told(0, &[("a", 1_000)]);
    assert_eq!(told(1, &[("a", 1_010), ("b", 500)]), Some(10));
    assert_eq!(told(2, &[("a", 1_020), ("b", 503)]), Some(13));
    assert_eq!(told(3, &[("a", 4), ("b", 504)]), Some(1), "its count fell");
    assert_eq!(told(4, &[("b", 505)]), Some(1), "it is gone");
}

#[test]
fn while_a_gateway_is_silent_engines_say_what_came_and_nothing_comes_twice() {
    let mut work = Work::default();
    let pages = [page(100, 4), page(120, 4), page(140, 4), page(160, 4), page(180, 4)];
    let mut told = |second: usize, flows: Option<&[(Arc<str>, Flow)]>| {
        let replicas = [("chat-0", Some((&pages[second], second as i64)))];
        look_at(&mut work, second as i64, &replicas, AtGateways { waiting: 0, flows })
            .map(|load| load.arrived)
    };
    told(0, Some(&flows(&[("a", 100)])));
    assert_eq!(told(1, Some(&flows(&[("a", 121)]))), Some(21));
    assert_eq!(told(2, None), Some(20), "by the engine's own count");
    assert_eq!(told(3, Some(&flows(&[("a", 161)]))), Some(20), "the first look after silence");
    assert_eq!(told(4, Some(&flows(&[("a", 182)]))), Some(21));
}

#[test]
fn estimated_prompts_are_set_right_by_what_engines_count() {
    let mut work = Work::default();
    let mut last = None;
    for second in 0..20_u32 {
        // 500 requests a second of 50 tokens by their bytes, and of 100 by the engine.
        let sample = page(second * 500, 4);
        let flows = flows(&[("a", u64::from(second) * 500)]);
        let replicas = [("chat-0", Some((&sample, i64::from(second))))];
        let gateways = AtGateways { waiting: 0, flows: Some(&flows) };
        last = look_at(&mut work, i64::from(second), &replicas, gateways);
    }
    let load = last.expect("a stretch");
    assert_eq!((load.arrived, load.prompt_tokens), (500, 50_000));
}

#[test]
fn an_engine_that_does_not_count_what_ended_still_shows_that_requests_come() {
    let page = |tokens: u32, running: u32| {
        let text = format!(
            "llamacpp:prompt_tokens_total {}\nllamacpp:tokens_predicted_total {tokens}\n\
             llamacpp:requests_processing {running}\nllamacpp:requests_deferred 1\n",
            tokens * 2
        );
        Reader::new(Engine::LlamaCpp).read(&text, Format::Text).expect("a page of llama.cpp")
    };
    let mut work = Work::default();
    look(&mut work, 0, &page(100, 1), 0);
    let load = look(&mut work, 1, &page(180, 3), 0).expect("a stretch");
    assert_eq!((load.arrived, load.ended, load.output_tokens), (2, 0, 80));
    let load = look(&mut work, 2, &page(200, 1), 0).expect("a stretch");
    assert_eq!((load.arrived, load.ended), (0, 2));
}
