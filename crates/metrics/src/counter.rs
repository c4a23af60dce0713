//! How much a counter grew.
//!
//! Two readers, two rules. A **pod's total** is a sum over engines: when it falls, an engine restarted
//! or left, and what the rest gained in that time cannot be told apart, so [`increase`] gives nothing
//! and the next pair starts afresh. One **series** has one writer: after a fall it counts from zero, and
//! [`extrapolated_ms`] adds what it shows, as PromQL's `rate` does.

use tidegate_core::time::Time;

/// What a pod's total grew by between two scrapes; `None` after a restart.
#[must_use]
pub fn increase(earlier: f64, later: f64) -> Option<f64> {
    let grown = later - earlier;
    (grown >= 0.0 && grown.is_finite()).then_some(grown)
}

/// [`increase`] a second. `None` also when no time passed.
#[must_use]
pub fn rate(earlier: (Time, f64), later: (Time, f64)) -> Option<f64> {
    let seconds = later.0.since(earlier.0).as_secs_f64();
    (seconds > 0.0).then(|| increase(earlier.1, later.1).map(|grown| grown / seconds)).flatten()
}

/// How PromQL's functions over a window differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// `rate`: a counter's growth a second.
    Rate,
    /// `increase`: a counter's growth.
    Increase,
    /// `delta`: a gauge's difference.
    Delta,
}

/// PromQL's `extrapolatedRate`: the growth between the first and the last point of the window, stretched
/// to the window's ends. Times are milliseconds.
///
/// The stretch goes half a scrape interval at most where points are missing (more than 1.1 intervals
/// from the end of the window), and for a counter never further back than where it would have been 0.
/// Points are in order of time. `None` with fewer than two.
#[must_use]
pub fn extrapolated_ms(points: &[(i64, f64)], (start_ms, end_ms): (i64, i64), over: Over) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let seconds = |from_ms: i64, to_ms: i64| to_ms.saturating_sub(from_ms) as f64 / 1000.0;
    let sampled_s = seconds(first.0, last.0);
    if points.len() < 2 || sampled_s <= 0.0 {
        return None;
    }
    let counter = over != Over::Delta;
    let mut grown = last.1 - first.1;
    if counter {
        // Written out: an iterator's sum would be twice as slow, and this is the whole of `rate`.
        let mut before = first.1;
        for (_, value) in points {
            if *value < before {
                grown += before;
            }
            before = *value;
        }
    }
    let apart_s = sampled_s / (points.len() - 1) as f64;
    let to_end = |gap_s: f64| if gap_s >= apart_s * 1.1 { apart_s / 2.0 } else { gap_s };
    let mut before_s = to_end(seconds(start_ms, first.0));
    if counter && grown > 0.0 && first.1 >= 0.0 {
        before_s = before_s.min(sampled_s * (first.1 / grown));
    }
    let after_s = to_end(seconds(last.0, end_ms));
    let factor = (sampled_s + before_s + after_s) / sampled_s;
    let factor = if over == Over::Rate { factor / seconds(start_ms, end_ms) } else { factor };
    Some(grown * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<(i64, f64)> {
        values.iter().enumerate().map(|(at, value)| (at as i64 * 1000, *value)).collect()
    }

    #[test]
    fn a_total_that_fell_has_no_increase() {
        assert_eq!(increase(10.0, 12.5), Some(2.5));
        assert_eq!(increase(10.0, 10.0), Some(0.0));
        assert_eq!(increase(2000.0, 1000.0), None);
        assert_eq!(rate((Time::from_secs(1), 5.0), (Time::from_secs(3), 9.0)), Some(2.0));
        assert_eq!(rate((Time::from_secs(1), 5.0), (Time::from_secs(1), 9.0)), None);
    }

    #[test]
    fn a_steady_counter_has_its_slope_as_rate() {
        // 5 a second, eleven points over the ten seconds of the window: nothing to stretch.
        let steady = points(&[100.0, 105.0, 110.0, 115.0, 120.0, 125.0, 130.0, 135.0, 140.0, 145.0, 150.0]);
        assert_eq!(extrapolated_ms(&steady, (0, 10_000), Over::Rate), Some(5.0));
    }

    #[test]
    fn a_restarted_series_counts_from_zero() {
        let restarted = points(&[100.0, 110.0, 4.0, 14.0]);
        // 10, then 4 since the restart, then 10.
        assert_eq!(extrapolated_ms(&restarted, (0, 3_000), Over::Increase), Some(24.0));
    }

    #[test]
    fn a_counter_is_not_stretched_back_beyond_zero() {
        let young = [(8_000, 0.0), (9_000, 10.0), (10_000, 20.0)];
        assert_eq!(extrapolated_ms(&young, (0, 10_000), Over::Increase), Some(20.0));
        // A gauge is: half an interval back, so 20 over 2 s become 25 over 2.5 s.
        assert_eq!(extrapolated_ms(&young, (0, 10_000), Over::Delta), Some(25.0));
    }

    #[test]
    fn one_point_has_no_rate() {
        assert_eq!(extrapolated_ms(&points(&[1.0]), (-59_000, 1_000), Over::Rate), None);
    }
}
