//! The last minutes and hours of a target, in fixed memory.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Fine points kept: one a second for 15 minutes.
pub const FINE_MAX: usize = 15 * 60;

/// Seconds of one coarse point.
pub const COARSE_S: f64 = 10.0;

/// Coarse points kept: one in 10 s for 6 hours. With the fine ones 3,060 points of 88 bytes make
/// 270 KB a target, 27 MB for a hundred.
pub const COARSE_MAX: usize = 6 * 3600 / 10;

/// A target at one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// When, in Unix seconds.
    pub at_unix_s: f64,
    /// Replicas decided.
    pub wanted: u32,
    /// Replicas that serve.
    pub ready: u32,
    /// Replicas on their way, those that cannot start yet among them.
    pub starting: u32,
    /// Replicas that finish what they have.
    pub draining: u32,
    /// Requests that wait.
    pub waiting: u32,
    /// Requests at replicas.
    pub in_flight: u32,
    /// Time to first token, median.
    pub ttft_p50_s: Option<f32>,
    /// Time to first token, 95th percentile.
    pub ttft_p95_s: Option<f32>,
    /// Time between tokens, median.
    pub itl_p50_s: Option<f32>,
    /// Time between tokens, 95th percentile.
    pub itl_p95_s: Option<f32>,
    /// Share of the KV cache in use, 0 to 1, the fullest replica's.
    pub kv_use: Option<f32>,
    /// Tokens written a second.
    pub tokens_per_s: Option<f32>,
}

impl Sample {
    /// The greater of each: a peak must not vanish from the coarse line because ten seconds are long.
    fn merge(&mut self, other: &Sample) {
        let most = |a: Option<f32>, b: Option<f32>| match (a, b) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        self.wanted = self.wanted.max(other.wanted);
        self.ready = self.ready.max(other.ready);
        self.starting = self.starting.max(other.starting);
        self.draining = self.draining.max(other.draining);
        self.waiting = self.waiting.max(other.waiting);
        self.in_flight = self.in_flight.max(other.in_flight);
        self.ttft_p50_s = most(self.ttft_p50_s, other.ttft_p50_s);
        self.ttft_p95_s = most(self.ttft_p95_s, other.ttft_p95_s);
        self.itl_p50_s = most(self.itl_p50_s, other.itl_p50_s);
        self.itl_p95_s = most(self.itl_p95_s, other.itl_p95_s);
        self.kv_use = most(self.kv_use, other.kv_use);
        self.tokens_per_s = most(self.tokens_per_s, other.tokens_per_s);
    }
}

/// The samples of one target. A point older than the newest is dropped: a clock that was set back does
/// not draw a line backwards.
#[derive(Clone, Debug, Default)]
pub struct History {
    fine: VecDeque<Sample>,
    coarse: VecDeque<Sample>,
}

impl History {
    /// Takes the next sample; one with the newest's time takes its place.
    pub fn push(&mut self, sample: Sample) {
        let newest = self.fine.back().map_or(f64::NEG_INFINITY, |last| last.at_unix_s);
        if !sample.at_unix_s.is_finite() || sample.at_unix_s < newest {
            return;
        }
        if sample.at_unix_s <= newest {
            self.fine.pop_back();
        } else if self.fine.len() == FINE_MAX {
            self.fine.pop_front();
        }
        self.fine.push_back(sample);
        let bucket = (sample.at_unix_s / COARSE_S).floor() * COARSE_S;
        match self.coarse.back_mut() {
            Some(last) if last.at_unix_s >= bucket => last.merge(&sample),
            _ => {
                if self.coarse.len() == COARSE_MAX {
                    self.coarse.pop_front();
                }
                self.coarse.push_back(Sample { at_unix_s: bucket, ..sample });
            }
        }
    }

    /// The last `span_s` seconds before the newest sample: fine where they reach as far, coarse beyond.
    #[must_use]
    pub fn last(&self, span_s: f64) -> Vec<Sample> {
        let Some(newest) = self.fine.back() else { return Vec::new() };
        let fine = span_s <= FINE_MAX as f64;
        let points = if fine { &self.fine } else { &self.coarse };
        let oldest = newest.at_unix_s - span_s;
        points.iter().filter(|sample| sample.at_unix_s >= oldest).copied().collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.fine.clear();
        self.coarse.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(t: u32, waiting: u32) -> Sample {
        Sample { at_unix_s: f64::from(t), waiting, ..Sample::default() }
    }

    #[test]
    fn a_day_of_samples_takes_no_more_room_than_six_hours() {
        let mut history = History::default();
        (0..86_400).for_each(|t| history.push(at(t, 0)));
        assert_eq!(history.fine.len(), FINE_MAX);
        assert_eq!(history.coarse.len(), COARSE_MAX);
    }

    #[test]
    fn a_peak_of_one_second_is_still_seen_hours_later() {
        let mut history = History::default();
        (0..4000).for_each(|t| history.push(at(t, if t == 13 { 99 } else { 1 })));
        let long = history.last(6.0 * 3600.0);
        assert_eq!(long[1].waiting, 99);
        assert_eq!(long.iter().filter(|sample| sample.waiting == 99).count(), 1);
    }

    #[test]
    fn a_clock_set_back_draws_no_line_backwards() {
        let mut history = History::default();
        history.push(at(100, 1));
        history.push(at(40, 2));
        history.push(at(101, 3));
        let seen: Vec<f64> = history.last(900.0).iter().map(|sample| sample.at_unix_s).collect();
        assert_eq!(seen, [100.0, 101.0]);
    }

    #[test]
    fn fifteen_minutes_are_shown_by_the_second_and_more_by_ten_seconds() {
        let mut history = History::default();
        (0..1800).for_each(|t| history.push(at(t, 0)));
        assert_eq!(history.last(900.0).len(), 900);
        assert_eq!(history.last(1800.0).len(), 180);
        assert_eq!(history.last(60.0).len(), 61);
    }
}
