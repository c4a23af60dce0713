//! From engines' counters to what policy `slo` is told: what came and what was done between two looks.
//!
//! An engine's counters say what it did, not what was asked: a request that waits at the gateway is in no counter. So
//! arrivals are what engines took on, and who waits is told beside them. A replica that was not seen at the last look, or
//! whose counters fell (it was started again), says nothing until the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::slo::{Engines, Load, Objective};
use tidegate_core::time::{Span, Time};
use tidegate_metrics::sample::EngineSample;

/// Two looks further apart than this do not make one stretch: a rate over it would hide what happened.
const APART_MAX: Span = Span::from_secs(30);

/// What one target's replicas said at the last look; as many entries as it has replicas.
#[derive(Debug, Default)]
pub struct Work {
    at: Option<Time>,
    known: BTreeMap<Arc<str>, EngineSample>,
}

/// What one replica did between two looks.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    finished: f64,
    prompt: f64,
    output: f64,
    hits: f64,
    gaps: f64,
    gaps_s: f64,
    first_tokens: f64,
    late: f64,
}

impl Work {
    /// What came since the last look. `samples` are the latest of each ready replica, `waiting` the requests that
    /// wait at the gateway. `None` the first time, and when the looks are too far apart.
    pub fn load<'s>(
        &mut self,
        now: Time,
        samples: impl Iterator<Item = (&'s Arc<str>, &'s EngineSample)>,
        waiting: u32,
        objective: &Objective,
    ) -> Option<Load> {
        let over = self.at.replace(now).map(|before| now.since(before));
        let mut load = Load { over: over.unwrap_or_default(), waiting, ..Load::default() };
        let mut sum = Done::default();
        let (mut under_way, mut before) = (0.0, 0.0);
        let mut known = BTreeMap::new();
        for (replica, sample) in samples {
            known.insert(Arc::clone(replica), sample.clone());
            let running = sample.running.unwrap_or(0.0);
            let queued = sample.waiting.unwrap_or(0.0);
            load.waiting = load.waiting.saturating_add(count(queued));
            let Some((old, done)) =
                self.known.get(replica).and_then(|old| Some((old, done(old, sample, objective)?)))
            else {
                continue;
            };
            under_way += running + queued;
            before += old.running.unwrap_or(0.0) + old.waiting.unwrap_or(0.0);
            sum.add(&done);
            load.engines.reporting += 1;
            load.engines.running = load.engines.running.saturating_add(count(running));
            load.engines.kv_tokens += whole(sample.kv_capacity_tokens.unwrap_or(0.0));
        }
        self.known = known;
        over.filter(|over| *over > Span::ZERO && *over <= APART_MAX)?;
        // What is under way is what was, and what came, less what ended.
        load.arrived = count(sum.finished + under_way - before);
        load.prompt_tokens = whole(sum.prompt);
        load.ended = count(sum.finished);
        load.output_tokens = whole(sum.output);
        load.first_tokens = count(sum.first_tokens);
        load.late = count(sum.late);
        let itl_us = if sum.gaps > 0.0 { count(sum.gaps_s / sum.gaps * 1e6) } else { 0 };
        let (prefill_tokens, decode_tokens) = (whole(sum.prompt - sum.hits), whole(sum.output));
        load.engines = Engines { prefill_tokens, decode_tokens, itl_us, ..load.engines };
        Some(load)
    }
}

impl Done {
    fn add(&mut self, other: &Done) {
        self.finished += other.finished;
        self.prompt += other.prompt;
        self.output += other.output;
        self.hits += other.hits;
        self.gaps += other.gaps;
        self.gaps_s += other.gaps_s;
        self.first_tokens += other.first_tokens;
        self.late += other.late;
    }
}

/// What a replica did; `None` when its counters fell.
fn done(old: &EngineSample, new: &EngineSample, objective: &Objective) -> Option<Done> {
    let grown = |old: Option<f64>, new: Option<f64>| match (old, new) {
        (Some(old), Some(new)) => (new >= old).then_some(new - old),
        _ => Some(0.0),
    };
    let mut done = Done {
        finished: grown(old.finished_total, new.finished_total)?,
        prompt: grown(old.prompt_tokens_total, new.prompt_tokens_total)?,
        output: grown(old.output_tokens_total, new.output_tokens_total)?,
        hits: grown(old.prefix_hits_total, new.prefix_hits_total)?,
        ..Done::default()
    };
    if let Some(gaps) = new.itl_s.as_ref().and_then(|itl| itl.since(old.itl_s.as_ref()?)) {
        (done.gaps, done.gaps_s) = (gaps.count(), gaps.sum());
    }
    if let Some(ttft) = new.ttft_s.as_ref().and_then(|ttft| ttft.since(old.ttft_s.as_ref()?)) {
        let objective_s = objective.ttft.as_secs_f64();
        // The first bound at or above the objective: what lies between them is let pass.
        let within = ttft.buckets().iter().find(|(bound, _)| *bound >= objective_s);
        done.first_tokens = ttft.count();
        done.late = within.map_or(0.0, |(_, within)| ttft.count() - within);
    }
    Some(done)
}

/// A difference of counters as a count: what is none is 0.
fn count(value: f64) -> u32 {
    if value.is_finite() { value.round().clamp(0.0, f64::from(u32::MAX)) as u32 } else { 0 }
}

fn whole(value: f64) -> u64 {
    // 2^53 is as far as a counter is exact.
    if value.is_finite() { value.round().clamp(0.0, 9_007_199_254_740_992.0) as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
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

    fn look(work: &mut Work, second: i64, sample: &EngineSample, waiting: u32) -> Option<Load> {
        let replica: Arc<str> = "chat-0".into();
        work.load(Time::from_secs(second), [(&replica, sample)].into_iter(), waiting, &Objective::default())
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
}
