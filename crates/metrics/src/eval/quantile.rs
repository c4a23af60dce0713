//! Quantiles: of values, and of classic histograms' buckets.

use std::collections::BTreeMap;

use super::Vector;
use super::element::nameless;
use crate::store::{LabelSet, label};

/// The value that the share `q` of `values` does not exceed, interpolated between ranks. Out of 0 to 1
/// an infinity; NaN of nothing.
pub(super) fn of_values(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // NaN sorts first, as Prometheus has it.
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = q * (values.len() - 1) as f64;
    let lower = (rank.floor().max(0.0) as usize).min(values.len() - 1);
    let upper = (lower + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// Elements with `le` gathered into histograms, each `(bound, cumulative count)`.
fn histograms(elements: Vector) -> BTreeMap<LabelSet, Vec<(f64, f64)>> {
    let mut found: BTreeMap<LabelSet, Vec<(f64, f64)>> = BTreeMap::new();
    for (mut labels, count) in elements {
        let bound = label(&labels, "le").and_then(|le| le.parse::<f64>().ok());
        let Some(bound) = bound.filter(|bound| !bound.is_nan()) else { continue };
        labels.retain(|(name, _)| &**name != "le");
        found.entry(labels).or_default().push((bound, count));
    }
    found
}

/// `histogram_quantile`.
pub(super) fn of_buckets(q: f64, elements: Vector) -> Vector {
    let one = |(mut labels, buckets): (LabelSet, Vec<(f64, f64)>)| {
        nameless(&mut labels);
        (labels, of_histogram(q, merged(buckets)))
    };
    histograms(elements).into_iter().map(one).collect()
}

/// In order, two spellings of one bound (`1` and `1.0`) as one bucket, and never falling.
fn merged(mut buckets: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets.dedup_by(|later, first| {
        let same = later.0.total_cmp(&first.0).is_eq();
        if same {
            first.1 += later.1;
        }
        same
    });
    let mut most = buckets.first().map_or(0.0, |(_, count)| *count);
    for (_, count) in &mut buckets {
        // A count that lacks a last digit of the one before is the same.
        if *count < most || (*count - most).abs() <= 1e-12 * count.abs().max(most.abs()) {
            *count = most;
        }
        most = most.max(*count);
    }
    buckets
}

/// PromQL's quantile of one histogram: linear inside a bucket, from 0 in the first; the highest finite
/// bound above it. NaN without observations, without `+Inf`, and for less than two buckets.
fn of_histogram(q: f64, buckets: Vec<(f64, f64)>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let Some((&(bound, observed), below)) = buckets.split_last() else { return f64::NAN };
    let Some((highest, _)) = below.last() else { return f64::NAN };
    if bound != f64::INFINITY || observed == 0.0 || observed.is_nan() {
        return f64::NAN;
    }
    let rank = q * observed;
    let at = below.partition_point(|(_, count)| *count < rank);
    let Some(&(end, up_to)) = below.get(at) else { return *highest };
    if at == 0 && end <= 0.0 {
        return end;
    }
    let (start, before) = if at == 0 { (0.0, 0.0) } else { below[at - 1] };
    start + (end - start) * ((rank - before) / (up_to - before))
}

/// `histogram_fraction`: the share of observations between two values.
pub(super) fn fractions(lower: f64, upper: f64, elements: Vector) -> Vector {
    let one = |(mut labels, buckets): (LabelSet, Vec<(f64, f64)>)| {
        nameless(&mut labels);
        (labels, fraction(lower, upper, &merged(buckets)))
    };
    histograms(elements).into_iter().map(one).collect()
}

fn fraction(lower: f64, upper: f64, buckets: &[(f64, f64)]) -> f64 {
    let observed = match buckets.last() {
        Some((bound, observed)) if *bound == f64::INFINITY && *observed != 0.0 => *observed,
        _ => return f64::NAN,
    };
    if lower.is_nan() || upper.is_nan() || observed.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank(upper, buckets) - rank(lower, buckets)) / observed
}

/// Observations up to `value`, linear inside a bucket; those of the open ends stand at their one bound.
fn rank(value: f64, buckets: &[(f64, f64)]) -> f64 {
    let mut before = (0.0_f64, 0.0_f64);
    for (at, &(bound, count)) in buckets.iter().enumerate() {
        let start = match at {
            0 if bound <= 0.0 => f64::NEG_INFINITY,
            0 => 0.0,
            _ => before.0,
        };
        if value >= bound {
            before = (bound, count);
            continue;
        }
        if value <= start {
            return before.1;
        }
        if start.is_infinite() || bound.is_infinite() {
            return if start.is_infinite() { count } else { before.1 };
        }
        return before.1 + (count - before.1) * (value - start) / (bound - start);
    }
    before.1
}
