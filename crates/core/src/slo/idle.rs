//! How long to stay warm for nobody.
//!
//! A wake costs a start of the GPU, in which it serves nobody, and somebody who waits for it. Staying costs the GPU. With the
//! gaps between requests that were seen, staying `t` after the last request costs
//!
//! `Σ over gaps: min(gap, t) + (gap > t) · wake`
//!
//! and the `t` that costs the least is kept to. Before there is a history it is the price of a wake itself: who
//! rents until the rent is the price never pays more than twice the best.
//!
//! *Worked*: a start of 60 s and a wait of 60 s worth ten times as much make a wake 660 s of GPU. Of gaps that are all
//! 300 s each costs 300 s to bridge, so it stays. Of gaps that are all two hours it goes at once: 660 s are less.

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// What a second of somebody who waits for a start is worth, in seconds of a replica. A GPU at 3 $ an hour and a
/// person at 30 $ an hour are one to ten.
pub const WAIT_WORTH: f64 = 10.0;

/// Buckets of gaps: the n-th ends at 2ⁿ s, so 18 reach 36 hours.
const BUCKETS: usize = 18;
/// Gaps shorter than this are pauses between requests: no decision is as fast.
const GAP_LEAST_S: f64 = 1.0;
/// Gaps that make a history.
const GAPS_FIRST: f64 = 8.0;
/// How an old gap counts when a new one comes: half after 69.
const FADE: f64 = 0.99;

/// The gaps that were seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Idle {
    since: Option<Time>,
    gaps: [f32; BUCKETS],
}

impl Idle {
    /// Whether somebody is there.
    pub(crate) fn observe(&mut self, now: Time, busy: bool) {
        if !busy {
            self.since.get_or_insert(now);
            return;
        }
        let Some(since) = self.since.take() else { return };
        let gap_s = now.since(since).as_secs_f64();
        if gap_s <= GAP_LEAST_S {
            return;
        }
        self.gaps.iter_mut().for_each(|count| *count *= FADE as f32);
        let bucket = (libm::ceil(libm::log2(gap_s)) as usize).min(BUCKETS - 1);
        self.gaps[bucket] += 1.0;
    }

    /// How long to stay.
    pub(crate) fn stay(&self, start: Span) -> Stay {
        let wake_s = start.as_secs_f64() * (1.0 + WAIT_WORTH);
        let seen: f64 = self.gaps.iter().map(|count| f64::from(*count)).sum();
        if seen < GAPS_FIRST {
            return Stay { at_most: span(wake_s), wake: span(wake_s), gaps: seen as u32 };
        }
        // Only the ends of buckets can be best, or not to stay at all: between two of them the cost only grows.
        let ends = (0..BUCKETS).map(end_s);
        let cost = |stay_s: f64| -> f64 {
            let each = self.gaps.iter().enumerate().map(|(bucket, count)| {
                let gap_s = end_s(bucket);
                f64::from(*count) * if gap_s <= stay_s { gap_s } else { stay_s + wake_s }
            });
            each.sum()
        };
        let (_, best_s) = ends.fold((cost(0.0), 0.0), |(least, best), stay_s| {
            let this = cost(stay_s);
            if this < least { (this, stay_s) } else { (least, best) }
        });
        Stay { at_most: span(best_s), wake: span(wake_s), gaps: seen as u32 }
    }
}

/// How long to stay warm, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// After the last request.
    pub at_most: Span,
    /// What a wake costs, in time of a replica.
    pub wake: Span,
    /// Gaps it was learned from, old ones faded.
    pub gaps: u32,
}

fn end_s(bucket: usize) -> f64 {
    libm::exp2(bucket as f64)
}

fn span(seconds: f64) -> Span {
    Span::try_from_secs_f64(libm::round(seconds)).unwrap_or(Span::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_gaps(gap_s: i64) -> Stay {
        let mut idle = Idle::default();
        for round in 0..20 {
            let at = Time::from_secs(round * (gap_s + 1));
            idle.observe(at, false);
            idle.observe(at + Span::from_secs(gap_s), true);
        }
        idle.stay(Span::from_secs(60))
    }

    #[test]
    fn short_gaps_are_bridged_and_long_ones_are_not() {
        assert_eq!(after_gaps(300).at_most, Span::from_secs(512), "the end of the bucket of 300 s");
        assert_eq!(after_gaps(7_200).at_most, Span::ZERO);
    }

    #[test]
    fn without_a_history_it_stays_as_long_as_a_wake_costs() {
        let stay = Idle::default().stay(Span::from_secs(60));
        assert_eq!((stay.at_most, stay.wake), (Span::from_secs(660), Span::from_secs(660)));
    }

    #[test]
    fn a_pause_between_two_requests_is_no_gap() {
        let mut idle = Idle::default();
        idle.observe(Time::from_micros(0), false);
        idle.observe(Time::from_micros(900_000), true);
        assert_eq!(idle.stay(Span::from_secs(1)).gaps, 0);
    }
}
