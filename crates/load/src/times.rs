//! Lengths of time, counted to three digits.

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

/// The longest time told apart: a day. What takes longer counts as a day.
const LONGEST_US: u64 = 86_400_000_000;

/// A histogram of times. With three digits (0.1 %) it takes 230 KB, with two 20 KB, however many times
/// are counted.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

/// What a distribution of times comes to, in seconds; every figure is `None` when nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many were counted.
    pub count: u64,
    /// The mean.
    pub mean: Option<f64>,
    /// Half took no longer.
    pub p50: Option<f64>,
    /// Nine in ten took no longer.
    pub p90: Option<f64>,
    /// Nineteen in twenty took no longer.
    pub p95: Option<f64>,
    /// Ninety-nine in a hundred took no longer.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

impl Times {
    pub(crate) fn new(digits: u8) -> Result<Times, CreationError> {
        Histogram::new_with_bounds(1, LONGEST_US, digits).map(Times)
    }

    pub(crate) fn record_us(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    pub(crate) fn add(&mut self, other: &Times) {
        // Both have the same bounds, so there is nothing that would not fit.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn quantile_s(&self, quantile: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(quantile) as f64 / 1e6)
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let some = !self.0.is_empty();
        Percentiles {
            count: self.0.len(),
            mean: some.then(|| self.0.mean() / 1e6),
            p50: self.quantile_s(0.5),
            p90: self.quantile_s(0.9),
            p95: self.quantile_s(0.95),
            p99: self.quantile_s(0.99),
            max: some.then(|| self.0.max() as f64 / 1e6),
        }
    }

    /// `[(seconds, share that took no longer)]`, rising.
    pub(crate) fn cumulative(&self) -> Vec<(f64, f64)> {
        let all = self.0.len() as f64;
        let mut sum = 0;
        let steps = self.0.iter_recorded();
        steps
            .map(|step| {
                sum += step.count_since_last_iteration();
                (step.value_iterated_to() as f64 / 1e6, sum as f64 / all)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Percentiles, Times};

    #[test]
    fn percentiles_of_nothing_are_absent_not_zero() {
        assert_eq!(Times::new(3).unwrap().percentiles(), Percentiles::default());
    }

    #[test]
    fn percentiles_hold_to_three_digits() {
        let mut times = Times::new(3).unwrap();
        (1..=1_000).for_each(|ms| times.record_us(ms * 1_000));
        let found = times.percentiles();
        for (got, want) in [(found.p50, 0.5), (found.p95, 0.95), (found.max, 1.0), (found.mean, 0.5005)] {
            assert!((got.unwrap() - want).abs() <= want * 1e-3, "{got:?} {want}");
        }
    }

    #[test]
    fn the_cumulative_share_rises_to_one() {
        let mut times = Times::new(2).unwrap();
        [10, 20, 20, 40].into_iter().for_each(|us| times.record_us(us));
        assert_eq!(times.cumulative(), [(1e-5, 0.25), (2e-5, 0.75), (4e-5, 1.0)]);
    }
}
