//! Cumulative buckets: added up over engines, subtracted between scrapes, asked for quantiles.

/// The most buckets kept: vLLM's longest histogram has 24 a series; classic ones stay below 100.
pub const BUCKETS_MAX: usize = 256;

/// A histogram as it stands on a page: counts up to each bound, and in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Finite bounds, ascending, each with the observations up to it.
    buckets: Vec<(f64, f64)>,
    /// All observations, from the bucket `+Inf`.
    infinite: f64,
    /// All observations, from `_count`.
    count: f64,
    /// Sum of what was observed.
    sum: f64,
}

impl Histogram {
    /// Adds one `_bucket` sample. `le` is the bound as written; what is no number is left out, and so
    /// is a bucket beyond [`BUCKETS_MAX`], which makes a quantile coarser and never wrong.
    pub fn add_bucket(&mut self, le: &str, count: f64) {
        match le.parse::<f64>() {
            Ok(bound) if bound == f64::INFINITY => self.infinite = plus(self.infinite, count),
            Ok(bound) if bound.is_finite() => self.add(bound, count),
            _ => {}
        }
    }

    fn add(&mut self, bound: f64, count: f64) {
        // Pages list bounds in order, so the place is nearly always the end.
        let at = match self.buckets.last() {
            Some((last, _)) if *last < bound => self.buckets.len(),
            _ => self.buckets.partition_point(|(known, _)| *known < bound),
        };
        if let Some((_, counted)) =
            self.buckets.get_mut(at).filter(|(known, _)| known.total_cmp(&bound).is_eq())
        {
            *counted = plus(*counted, count);
        } else if self.buckets.len() < BUCKETS_MAX {
            self.buckets.insert(at, (bound, count));
        }
    }

    /// Adds one `_sum` sample.
    pub fn add_sum(&mut self, sum: f64) {
        self.sum = plus(self.sum, sum);
    }

    /// Adds one `_count` sample.
    pub fn add_count(&mut self, count: f64) {
        self.count = plus(self.count, count);
    }

    /// Observations in all.
    #[must_use]
    pub fn count(&self) -> f64 {
        self.count.max(self.infinite)
    }

    /// Sum of what was observed.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Mean of what was observed; `None` without an observation.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0.0).then(|| self.sum / count).filter(|mean| mean.is_finite())
    }

    /// Finite bounds, ascending, each with the observations up to it.
    #[must_use]
    pub fn buckets(&self) -> &[(f64, f64)] {
        &self.buckets
    }

    /// What was observed since `earlier`. `None` when any count fell, which is a restart, or when the
    /// bounds are others, which is another build of the engine.
    #[must_use]
    pub fn since(&self, earlier: &Histogram) -> Option<Histogram> {
        if self.buckets.len() != earlier.buckets.len() {
            return None;
        }
        let mut buckets = Vec::with_capacity(self.buckets.len());
        for ((bound, later), (known, before)) in self.buckets.iter().zip(&earlier.buckets) {
            let grown = later - before;
            if bound.total_cmp(known).is_ne() || grown < 0.0 {
                return None;
            }
            buckets.push((*bound, grown));
        }
        let since = Histogram {
            buckets,
            infinite: self.infinite - earlier.infinite,
            count: self.count - earlier.count,
            sum: self.sum - earlier.sum,
        };
        (since.infinite >= 0.0 && since.count >= 0.0).then_some(since)
    }

    /// The value that the share `q` (0 to 1) of observations does not exceed, as PromQL's
    /// `histogram_quantile` computes it. `None` without an observation.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.count();
        let all = self.buckets.iter().copied().chain([(f64::INFINITY, total)]);
        quantile(q, all.collect()).filter(|value| value.is_finite())
    }
}

/// A sum that stays finite: two numbers of 10³⁰⁸ on a page are nonsense, and still no infinity.
fn plus(a: f64, b: f64) -> f64 {
    (a + b).clamp(f64::MIN, f64::MAX)
}

/// PromQL's `bucketQuantile` over `(bound, cumulative count)` in ascending order, `+Inf` last: linear
/// inside a bucket, from 0 in the first one; the highest finite bound when the quantile lies above it.
/// Counts that fall by rounding are lifted to the one before. `None` where PromQL says NaN: fewer than
/// two buckets, the last one not infinite, no observation.
///
/// 100 observations, 80 up to 1 s and 100 up to 2 s: the 90th percentile is 1 + 1 × (90 − 80) / 20 = 1.5 s.
#[must_use]
pub fn quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> Option<f64> {
    let infinite = buckets.last().is_some_and(|(bound, _)| *bound == f64::INFINITY);
    if q.is_nan() || buckets.len() < 2 || !infinite {
        return None;
    }
    let mut most = 0.0_f64;
    for (_, count) in &mut buckets {
        most = most.max(*count);
        *count = most;
    }
    if most <= 0.0 {
        return None;
    }
    if q < 0.0 {
        return Some(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return Some(f64::INFINITY);
    }
    let rank = q * most;
    let at = buckets.partition_point(|(_, count)| *count < rank);
    let last = buckets.len() - 1;
    if at >= last {
        return Some(buckets[last - 1].0);
    }
    let (end, up_to) = buckets[at];
    if at == 0 && end <= 0.0 {
        return Some(end);
    }
    let (start, before) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    let inside = up_to - before;
    // Rank 0 in an empty first bucket: its lower end.
    let share = if inside > 0.0 { (rank - before) / inside } else { 0.0 };
    Some(start + (end - start) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(buckets: &[(&str, f64)]) -> Histogram {
        let mut histogram = Histogram::default();
        for (le, count) in buckets {
            histogram.add_bucket(le, *count);
        }
        histogram
    }

    #[test]
    fn a_quantile_is_interpolated_inside_its_bucket() {
        let times = histogram(&[("1.0", 80.0), ("2.0", 100.0), ("+Inf", 100.0)]);
        assert_eq!(times.quantile(0.9), Some(1.5));
        assert_eq!(times.quantile(0.4), Some(0.5));
        assert_eq!(times.quantile(1.0), Some(2.0));
    }

    #[test]
    fn a_quantile_above_the_last_bound_is_that_bound() {
        assert_eq!(histogram(&[("1", 10.0), ("+Inf", 100.0)]).quantile(0.9), Some(1.0));
    }

    #[test]
    fn without_observations_there_is_no_quantile() {
        assert_eq!(histogram(&[("1", 0.0), ("+Inf", 0.0)]).quantile(0.5), None);
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::default().mean(), None);
    }

    #[test]
    fn engines_add_up_bound_by_bound() {
        let mut both = histogram(&[("0.5", 3.0), ("1.0", 4.0), ("+Inf", 4.0)]);
        for (le, count) in [("0.5", 1.0), ("1", 6.0), ("+Inf", 8.0)] {
            both.add_bucket(le, count);
        }
        assert_eq!(both.buckets(), [(0.5, 4.0), (1.0, 10.0)]);
        assert!((both.count() - 12.0).abs() < 1e-9);
    }

    #[test]
    fn a_fall_between_scrapes_is_a_restart_and_gives_nothing() {
        let before = histogram(&[("1", 5.0), ("+Inf", 9.0)]);
        let after = histogram(&[("1", 2.0), ("+Inf", 12.0)]);
        assert_eq!(after.since(&before), None);
        let more = histogram(&[("1", 7.0), ("+Inf", 13.0)]).since(&before);
        assert_eq!(more.map(|more| more.count()), Some(4.0));
    }

    #[test]
    fn bounds_that_are_no_numbers_are_left_out() {
        let odd = histogram(&[("abc", 5.0), ("NaN", 5.0), ("-Inf", 5.0), ("1", 1.0), ("+Inf", 2.0)]);
        assert_eq!(odd.buckets(), [(1.0, 1.0)]);
    }
}
