//! llm-d's Workload Variant Autoscaler (WVA), saturation analyser V2, for one variant.
//!
//! Source: llm-d-incubation/workload-variant-autoscaler, saturation V2. Every 15 s, in tokens of KV cache:
//!
//! ```text
//! capacity = min(k1, k2)       k1 = 0.80 × KV tokens of a replica
//!                              k2 = tokens a replica had in use when its queue was saturated (≥ 5 waiting)
//! demand   = tokens in use + requests queued × (mean prompt + mean output)
//! RC = max(0, demand / 0.85 − capacity × (ready + starting))     → up by ceil(RC / capacity)
//! SC = max(0, capacity × ready − demand / 0.70)                  → down by floor(SC / capacity)
//! ```
//!
//! k2 is k1 until a saturation was seen. The desired count is a metric that an HPA acts on at its next sync:
//! 15 s later. At least one replica stays; the wake from zero is another engine's, by the gateway's queue.
//!
//! *Worked* (448,000 tokens, nothing starting): capacity 358,400. Two replicas with 700,000 tokens of demand:
//! 700,000 / 0.85 = 823,529, less 716,800 leaves 106,729: one more. At 200,000: 716,800 − 285,714 = 431,086,
//! one less.

use tidegate_core::time::{Span, Time};

use super::window::ceil;
use super::{Error, Policy, ReplicaSeen, Seen, Wanted, next_of};

const LOOP: Span = Span::from_secs(15);
const KV_SHARE: f64 = 0.80;
const UP_AT: f64 = 0.85;
const DOWN_AT: f64 = 0.70;
const SATURATED_QUEUE: u32 = 5;
/// How much a new observation of k2 moves it.
const LEARN: f64 = 0.3;

/// The autoscaler.
#[derive(Clone, Debug)]
pub struct Wva {
    bounds: (u32, u32),
    block_tokens: u32,
    k2: Option<f64>,
    /// What the HPA will find at its next sync.
    published: Option<(u32, String)>,
    next: Time,
}

impl Wva {
    /// For engines with blocks of so many tokens, and these bounds.
    #[must_use]
    pub fn new(block_tokens: u32, (min, max): (u32, u32)) -> Wva {
        let bounds = (min.max(1), max.max(1));
        Wva { bounds, block_tokens, k2: None, published: None, next: Time::ORIGIN }
    }

    fn tokens(&self, blocks: u64) -> f64 {
        blocks as f64 * f64::from(self.block_tokens)
    }

    fn learn(&mut self, replicas: &[ReplicaSeen<'_>]) {
        for replica in replicas.iter().filter(|replica| replica.stats.waiting >= SATURATED_QUEUE) {
            let used = self.tokens(replica.stats.kv_blocks_used);
            self.k2 = Some(self.k2.map_or(used, |known| known + LEARN * (used - known)));
        }
    }

    /// Replicas more, or fewer, than the ones that are ready and start.
    fn balance(capacity: f64, demand: f64, ready: u32, starting: u32) -> i64 {
        let anticipated = capacity * f64::from(ready + starting);
        let required = (demand / UP_AT - anticipated).max(0.0);
        if required > 0.0 {
            return i64::from(ceil(required / capacity));
        }
        let spare = (capacity * f64::from(ready) - demand / DOWN_AT).max(0.0);
        -(libm::floor(spare / capacity) as i64)
    }
}

impl Policy for Wva {
    fn name(&self) -> String {
        "wva".to_owned()
    }

    fn next_look(&self) -> Time {
        self.next
    }

    fn look(&mut self, now: Time, seen: &Seen<'_>) -> Result<Option<Wanted>, Error> {
        self.next = next_of(now, LOOP);
        let due = self.published.take().filter(|(replicas, _)| *replicas != seen.wanted);
        let acted = due.map(|(replicas, because)| Wanted { replicas, because });
        let ready = seen.replicas.iter().filter(|replica| replica.ready);
        let Some(one) = ready.clone().next() else { return Ok(acted) };
        self.learn(seen.replicas);
        let k1 = KV_SHARE * self.tokens(one.stats.kv_blocks_total);
        let capacity = self.k2.map_or(k1, |k2| k2.min(k1)).max(1.0);
        let used: f64 = ready.clone().map(|replica| self.tokens(replica.stats.kv_blocks_used)).sum();
        let queued: u32 = ready.map(|replica| replica.stats.waiting).sum::<u32>() + seen.demand.waiting;
        let prompt = seen.arrived.prompt_tokens as f64 / seen.arrived.requests.max(1) as f64;
        let output = seen.arrived.output_tokens as f64 / seen.arrived.answered.max(1) as f64;
        let demand = used + f64::from(queued) * (prompt + output);
        let balance = Wva::balance(capacity, demand, seen.ready, seen.starting);
        let count = (i64::from(seen.ready + seen.starting) + balance).clamp(0, i64::from(u32::MAX)) as u32;
        let replicas = count.clamp(self.bounds.0, self.bounds.1);
        let because = format!(
            "{demand:.0} tokens wanted, {capacity:.0} a replica, {} ready, {} starting",
            seen.ready, seen.starting
        );
        self.published = Some((replicas, because));
        Ok(acted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_counts_what_starts_and_down_only_what_is_ready() {
        let capacity = 358_400.0;
        assert_eq!(Wva::balance(capacity, 700_000.0, 2, 0), 1);
        assert_eq!(Wva::balance(capacity, 700_000.0, 2, 1), 0, "one that starts will do");
        assert_eq!(Wva::balance(capacity, 200_000.0, 2, 0), -1);
        assert_eq!(Wva::balance(capacity, 550_000.0, 2, 0), 0, "between the two thresholds nothing changes");
        assert_eq!(Wva::balance(capacity, 3_000_000.0, 2, 0), 8);
    }
}
