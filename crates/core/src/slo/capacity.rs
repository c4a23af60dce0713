//! What a replica can do: how many requests share an iteration, and how much of its second is work.
//!
//! Memory sets the batch: `0.9 × KV tokens / tokens of a request`, never more than engines were seen to take while
//! others waited, and no more than the time between tokens allows. Compute sets the rest: what a request
//! takes at that batch is the cost model's. How much of a replica's second the model accounts for is measured
//! whenever requests queue: if queued-up engines do only 0.9 s of reckoned work a second, a replica counts for 0.9.

use serde::{Deserialize, Serialize};

use super::cost::Cost;
use super::load::Load;
use super::planner::Objective;

/// Batch before anything is known of it: vLLM's default `max_num_seqs`.
const BATCH_FIRST: f64 = 256.0;
/// Share of the KV cache that may be planned with; above it engines preempt.
const KV_SHARE: f64 = 0.9;
/// Requests that wait, as a share of those that run, above which engines count as full: who waits among fewer
/// waits for the next iteration.
const CROWDED_SHARE: f64 = 0.25;
/// Seconds of a queue that make a replica full: less may be one burst that the next iterations take in.
const CROWDED_S: f64 = 3.0;
/// How far from the model the measured yield is believed.
const YIELD: (f64, f64) = (0.6, 1.15);
/// Weight of a second at the limit in the yield: it follows within two minutes of queueing.
const YIELD_WEIGHT: f64 = 0.02;
/// The batch seen follows a greater one within seconds and a lesser one within a minute.
const BATCH_WEIGHTS: (f64, f64) = (0.3, 0.02);

/// What was learned of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Capacity {
    /// Requests in a replica's batch while others waited.
    batch_full: Option<f64>,
    /// Tokens a replica's KV cache holds; 0 while unknown.
    kv_tokens: f64,
    crowded_s: f64,
    /// Reckoned work a second of a replica that has always something to do.
    yields: Option<f64>,
}

impl Capacity {
    /// Takes what engines say; `reckoned_s` is the work they did by the cost model, in seconds, where it is known.
    pub(crate) fn learn(&mut self, load: &Load, reckoned_s: Option<f64>) {
        let engines = &load.engines;
        if engines.reporting == 0 {
            return;
        }
        let replicas = f64::from(engines.reporting);
        if engines.kv_tokens > 0 {
            self.kv_tokens = engines.kv_tokens as f64 / replicas;
        }
        let crowded = f64::from(load.waiting) > CROWDED_SHARE * f64::from(engines.running);
        let over_s = load.over.as_secs_f64();
        self.crowded_s = if crowded { self.crowded_s + over_s } else { 0.0 };
        let running = f64::from(engines.running) / replicas;
        if self.crowded_s < CROWDED_S || running < 1.0 {
            return;
        }
        let known = self.batch_full.unwrap_or(running);
        let weight = if running > known { BATCH_WEIGHTS.0 } else { BATCH_WEIGHTS.1 };
        self.batch_full = Some(known + weight * (running - known));
        if let Some(reckoned_s) = reckoned_s {
            let yields = reckoned_s / (over_s * replicas);
            let known = self.yields.unwrap_or(1.0);
            self.yields = Some((known + YIELD_WEIGHT * (yields - known)).clamp(YIELD.0, YIELD.1));
        }
    }

    /// Reckoned work that a replica does in a second: 1 until it was measured.
    pub(crate) fn yields(&self) -> f64 {
        self.yields.unwrap_or(1.0)
    }

    /// The batch a replica can be planned with, for requests of such lengths.
    pub(crate) fn batch(&self, cost: &Cost, prompt: f64, output: f64, objective: &Objective) -> f64 {
        let mut batch = self.batch_full.unwrap_or(BATCH_FIRST);
        let context = prompt + output / 2.0;
        if self.kv_tokens > 0.0 && context > 0.0 {
            batch = batch.min(KV_SHARE * self.kv_tokens / context);
        }
        batch = batch.max(1.0);
        let Some(itl) = objective.itl else { return batch };
        // A replica at its limit writes a token for each of `k` requests in k·w/D seconds, which grows with k.
        let itl_s = |k: f64| k * cost.request_s(prompt, output, k) / output.max(1.0);
        let (mut low, mut high) = (1.0, batch);
        // 20 halvings of 256 are a thousandth of a request.
        for _ in 0..20 {
            let middle = f64::midpoint(low, high);
            if itl_s(middle) <= itl.as_secs_f64() { low = middle } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::Engines;
    use super::*;
    use crate::time::Span;

    const COST: Cost = Cost { prefill_s: 16e-6, iteration_s: 6.4e-3, decode_s: 54e-6 };

    fn objective(itl: Option<Span>) -> Objective {
        Objective { ttft: Span::from_secs(2), itl }
    }

    fn load(waiting: u32, running: u32) -> Load {
        let engines = Engines { reporting: 2, running, kv_tokens: 200_000, ..Engines::default() };
        Load { over: Span::from_secs(1), waiting, engines, ..Load::default() }
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
    }

    #[test]
    fn the_batch_is_what_the_cache_holds() {
        let mut capacity = Capacity::default();
        assert_near(capacity.batch(&COST, 1_000.0, 0.0, &objective(None)), 256.0);
        capacity.learn(&load(0, 10), None);
        // 0.9 of 100,000 tokens a replica, at 1,000 a request.
        assert_near(capacity.batch(&COST, 1_000.0, 0.0, &objective(None)), 90.0);
    }

    #[test]
    fn engines_that_queue_at_a_batch_are_believed_to_take_no_more() {
        let mut capacity = Capacity::default();
        for _ in 0..2 {
            capacity.learn(&load(50, 64), None);
        }
        assert_eq!(capacity.batch_full, None, "two seconds may be one burst");
        capacity.learn(&load(50, 64), Some(1.8));
        assert_near(capacity.batch(&COST, 100.0, 10.0, &objective(None)), 32.0);
        assert!(
            (capacity.yields() - 0.998).abs() < 1e-9,
            "1.8 s of work in 2 s: a fiftieth of the way to 0.9"
        );
    }

    #[test]
    fn the_time_between_tokens_limits_the_batch() {
        let capacity = Capacity::default();
        // k·w/D = k·(16 µs·1,000/200 + 54 µs) + 6.4 ms = 20 ms at k = 101.5.
        let batch = capacity.batch(&COST, 1_000.0, 200.0, &objective(Some(Span::from_micros(20_000))));
        assert!((batch - 101.5).abs() < 0.1, "{batch}");
    }
}
