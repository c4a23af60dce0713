//! What a replica's samples say over the last half minute: tokens a second, time to first token, ….

use std::collections::VecDeque;

use tidegate_core::time::{Span, Time};

use crate::counter;
use crate::histogram::Histogram;
use crate::sample::EngineSample;

/// The window where nobody says otherwise: long enough for a few answers of a slow model, short enough
/// to see a wave of load in it.
pub const WINDOW: Span = Span::from_secs(30);

/// Samples kept a replica. With the newest that makes steps of a sixth of the window (5 s), and with
/// three histograms of 24 buckets 8 × 1.2 KB = 10 KB a replica.
const KEPT_MAX: usize = 8;
const STEPS: i64 = 6;

/// What changed over a window. A field is `None` where the engine has no such metric, where nothing was
/// observed, or where fewer than two samples since the last restart are at hand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    /// Seconds between the two samples compared.
    pub window_s: f64,
    /// Prompt tokens a second.
    pub prompt_tokens_per_s: Option<f64>,
    /// Output tokens a second.
    pub output_tokens_per_s: Option<f64>,
    /// Requests finished a second.
    pub finished_per_s: Option<f64>,
    /// Requests preempted a second.
    pub preempted_per_s: Option<f64>,
    /// Share of looked-up prompt tokens that the prefix cache had.
    pub prefix_hit_ratio: Option<f64>,
    /// Time to first token: half are faster.
    pub ttft_p50_s: Option<f64>,
    /// Time to first token: 95 of 100 are faster.
    pub ttft_p95_s: Option<f64>,
    /// Time between tokens: half are faster.
    pub itl_p50_s: Option<f64>,
    /// Time between tokens: 95 of 100 are faster.
    pub itl_p95_s: Option<f64>,
    /// Time in the engine's queue: half are faster.
    pub queue_p50_s: Option<f64>,
    /// Time in the engine's queue: 95 of 100 are faster.
    pub queue_p95_s: Option<f64>,
}

/// The last samples of one replica.
#[derive(Clone, Debug)]
pub struct Trail {
    window: Span,
    kept: VecDeque<(Time, EngineSample)>,
}

impl Default for Trail {
    fn default() -> Self {
        Trail::new(WINDOW)
    }
}

impl Trail {
    /// A trail that looks back over `window`.
    #[must_use]
    pub const fn new(window: Span) -> Self {
        Trail { window, kept: VecDeque::new() }
    }

    /// Adds a sample and says what changed over the window up to it. A fall in any total is a restart:
    /// what came before is forgotten. A sample no newer than the last one is ignored.
    pub fn push(&mut self, at: Time, sample: EngineSample) -> Rates {
        if let Some((last, before)) = self.kept.back() {
            if at <= *last {
                return self.rates();
            }
            if restarted(before, &sample) {
                self.kept.clear();
            }
        }
        // One that is too close to its forerunner only made the newest end: the new one takes its place.
        let step = Span::from_micros(self.window.as_micros() / STEPS);
        let [.., (forerunner, _), (last, _)] = self.kept.make_contiguous() else {
            self.kept.push_back((at, sample));
            return self.rates();
        };
        if last.since(*forerunner) < step {
            self.kept.pop_back();
        }
        self.kept.push_back((at, sample));
        while self.kept.len() > KEPT_MAX || self.outlived(at) {
            self.kept.pop_front();
        }
        self.rates()
    }

    /// Whether the second sample reaches back far enough alone.
    fn outlived(&self, now: Time) -> bool {
        self.kept.len() > 2 && self.kept.get(1).is_some_and(|(at, _)| now.since(*at) >= self.window)
    }

    /// The newest sample.
    #[must_use]
    pub fn latest(&self) -> Option<&(Time, EngineSample)> {
        self.kept.back()
    }

    /// What changed over the window up to the newest sample.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let (Some((start, first)), Some((end, last))) = (self.kept.front(), self.kept.back()) else {
            return Rates::default();
        };
        if start >= end {
            return Rates::default();
        }
        let rate = |field: fn(&EngineSample) -> Option<f64>| {
            counter::rate((*start, field(first)?), (*end, field(last)?))
        };
        let grown = |field: fn(&EngineSample) -> Option<f64>| counter::increase(field(first)?, field(last)?);
        let observed = |field: fn(&EngineSample) -> Option<&Histogram>| field(last)?.since(field(first)?);
        let ttft = observed(|sample| sample.ttft_s.as_ref());
        let itl = observed(|sample| sample.itl_s.as_ref());
        let queue = observed(|sample| sample.queue_s.as_ref());
        let quantile = |of: &Option<Histogram>, q: f64| of.as_ref().and_then(|times| times.quantile(q));
        let looked_up = grown(|sample| sample.prefix_queries_total).filter(|tokens| *tokens > 0.0);
        Rates {
            window_s: end.since(*start).as_secs_f64(),
            prompt_tokens_per_s: rate(|sample| sample.prompt_tokens_total),
            output_tokens_per_s: rate(|sample| sample.output_tokens_total),
            finished_per_s: rate(|sample| sample.finished_total),
            preempted_per_s: rate(|sample| sample.preempted_total),
            prefix_hit_ratio: looked_up.and_then(|all| Some(grown(|sample| sample.prefix_hits_total)? / all)),
            ttft_p50_s: quantile(&ttft, 0.5),
            ttft_p95_s: quantile(&ttft, 0.95),
            itl_p50_s: quantile(&itl, 0.5),
            itl_p95_s: quantile(&itl, 0.95),
            queue_p50_s: quantile(&queue, 0.5),
            queue_p95_s: quantile(&queue, 0.95),
        }
    }
}

fn restarted(before: &EngineSample, after: &EngineSample) -> bool {
    let totals: [fn(&EngineSample) -> Option<f64>; 4] = [
        |sample| sample.prompt_tokens_total,
        |sample| sample.output_tokens_total,
        |sample| sample.finished_total,
        |sample| sample.prefix_queries_total,
    ];
    totals.iter().any(|total| match (total(before), total(after)) {
        (Some(before), Some(after)) => after < before,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(output: f64) -> EngineSample {
        EngineSample { output_tokens_total: Some(output), ..EngineSample::default() }
    }

    #[test]
    fn a_rate_is_over_the_window_and_not_over_the_whole_life() {
        let mut trail = Trail::default();
        let mut rates = Rates::default();
        let mut total = 0.0;
        for second in 0..200 {
            total += if second < 100 { 50.0 } else { 10.0 };
            rates = trail.push(Time::from_secs(second), sample(total));
        }
        assert_eq!(rates.output_tokens_per_s, Some(10.0));
        assert!((30.0..=36.0).contains(&rates.window_s), "{}", rates.window_s);
        assert!(trail.kept.len() <= KEPT_MAX);
    }

    #[test]
    fn the_second_sample_already_has_a_rate() {
        let mut trail = Trail::default();
        assert_eq!(trail.push(Time::from_secs(0), sample(5.0)), Rates::default());
        assert_eq!(trail.push(Time::from_secs(1), sample(9.0)).output_tokens_per_s, Some(4.0));
    }

    #[test]
    fn after_a_restart_only_what_came_since_counts() {
        let mut trail = Trail::default();
        trail.push(Time::from_secs(0), sample(1000.0));
        trail.push(Time::from_secs(1), sample(1100.0));
        assert_eq!(trail.push(Time::from_secs(2), sample(3.0)).output_tokens_per_s, None);
        assert_eq!(trail.push(Time::from_secs(3), sample(10.0)).output_tokens_per_s, Some(7.0));
    }

    #[test]
    fn a_sample_from_the_past_changes_nothing() {
        let mut trail = Trail::default();
        trail.push(Time::from_secs(5), sample(10.0));
        trail.push(Time::from_secs(6), sample(20.0));
        assert_eq!(trail.push(Time::from_secs(4), sample(0.0)).output_tokens_per_s, Some(10.0));
    }

    #[test]
    fn what_an_engine_does_not_write_has_no_rate() {
        let mut trail = Trail::default();
        trail.push(Time::from_secs(0), sample(1.0));
        let rates = trail.push(Time::from_secs(1), sample(2.0));
        assert_eq!((rates.ttft_p95_s, rates.prefix_hit_ratio, rates.finished_per_s), (None, None, None));
    }
}
