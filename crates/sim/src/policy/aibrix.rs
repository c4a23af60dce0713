//! AIBrix' adaptive pod autoscaler (APA), on the use of the KV cache.
//!
//! Source: AIBrix, `pkg/controller/podautoscaler` (algorithm APA). Every 10 s, with `n` ready pods and their
//! mean use over the stable window of 180 s:
//!
//! ```text
//! use / target > 1.1:  ceil(n × use / target), at most ceil(2 n)
//! use / target < 0.9:  ceil(n × use / target), at least floor(n / 2)
//! else:                n
//! ```
//!
//! Up at once; down not within 300 s of the last change. It does not start from zero, so its minimum is 1.
//!
//! *Worked* (target 0.5): 4 pods at 0.9 are ceil(4 × 1.8) = 8, which is the most for one step. 4 pods at 0.1
//! are ceil(0.8) = 1, and at least 2.

use tidegate_core::time::{Span, Time};

use super::window::{Window, ceil};
use super::{Error, Policy, Seen, Wanted, next_of};

const RESYNC: Span = Span::from_secs(10);
const STABLE: Span = Span::from_secs(180);
const DOWN_COOLDOWN: Span = Span::from_secs(300);
const UP_TOLERANCE: f64 = 0.1;
const DOWN_TOLERANCE: f64 = 0.1;
const RATE_MAX: f64 = 2.0;
/// Share of the KV cache in AIBrix' own examples.
pub(super) const TARGET: f64 = 0.5;

/// The autoscaler.
#[derive(Clone, Debug)]
pub struct Aibrix {
    target: f64,
    bounds: (u32, u32),
    usage: Window,
    changed: Option<Time>,
    next: Time,
}

impl Aibrix {
    /// So much of the KV cache, and these bounds.
    #[must_use]
    pub fn new(target: f64, (min, max): (u32, u32)) -> Aibrix {
        let bounds = (min.max(1), max.max(1));
        Aibrix { target, bounds, usage: Window::new(STABLE), changed: None, next: Time::ORIGIN }
    }

    /// The published formula.
    fn desired(&self, ready: u32, usage: f64) -> u32 {
        let (n, ratio) = (f64::from(ready), usage / self.target);
        if ratio > 1.0 + UP_TOLERANCE {
            ceil(n * ratio).min(ceil(n * RATE_MAX))
        } else if ratio < 1.0 - DOWN_TOLERANCE {
            ceil(n * ratio).max(libm::floor(n / RATE_MAX) as u32)
        } else {
            ready
        }
    }
}

impl Policy for Aibrix {
    fn name(&self) -> String {
        format!("aibrix:{}", self.target)
    }

    fn next_look(&self) -> Time {
        self.next
    }

    fn look(&mut self, now: Time, seen: &Seen<'_>) -> Result<Option<Wanted>, Error> {
        self.next = next_of(now, RESYNC);
        let ready = seen.replicas.iter().filter(|replica| replica.ready);
        let used = ready
            .clone()
            .map(|replica| replica.stats.kv_blocks_used as f64 / replica.stats.kv_blocks_total.max(1) as f64);
        if seen.ready > 0 {
            self.usage.push(now, used.sum::<f64>() / f64::from(seen.ready));
        }
        let usage = self.usage.mean();
        // What starts already counts as asked for: it is waited for, not asked for again.
        let desired = match seen.ready {
            0 => seen.wanted,
            ready => self.desired(ready, usage),
        };
        let mut replicas = desired.clamp(self.bounds.0, self.bounds.1);
        if replicas < seen.wanted && self.changed.is_some_and(|at| now.since(at) < DOWN_COOLDOWN) {
            replicas = seen.wanted;
        }
        if replicas == seen.wanted {
            return Ok(None);
        }
        self.changed = Some(now);
        let because =
            format!("{:.0} % of the KV cache in use, {:.0} % wanted", usage * 1e2, self.target * 1e2);
        Ok(Some(Wanted { replicas, because }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_formula_with_its_limits_and_its_dead_band() {
        let apa = Aibrix::new(0.5, (1, 100));
        let cases =
            [(4, 0.9, 8), (4, 0.7, 6), (4, 0.54, 4), (4, 0.46, 4), (4, 0.4, 4), (4, 0.3, 3), (4, 0.1, 2)];
        for (ready, usage, desired) in cases {
            assert_eq!(apa.desired(ready, usage), desired, "{ready} at {usage}");
        }
        assert_eq!(apa.desired(3, 0.01), 1);
    }
}
