//! Functions.

use std::collections::BTreeMap;

use promql_parser::parser::{Call, Expr, MatrixSelector};
use tidegate_core::time::Time;

use super::check::{WINDOWED, bare};
use super::select::{span, value};
use super::{Error, Evaluation, Value};
use crate::counter::{Over, extrapolated};
use crate::histogram::quantile;
use crate::store::LabelSet;

impl Evaluation<'_> {
    pub(super) fn call(&self, call: &Call) -> Result<Value, Error> {
        let args = &call.args.args;
        let name = call.func.name;
        if WINDOWED.contains(&name) {
            return Ok(match args.first().map(|arg| bare(arg)) {
                Some(Expr::MatrixSelector(matrix)) => Value::Vector(self.over_window(name, matrix)),
                _ => Value::Vector(Vec::new()),
            });
        }
        let arg = |at: usize| args.get(at).map_or(Ok(Value::Vector(Vec::new())), |arg| self.value(arg));
        let number = |at: usize, default: f64| match args.get(at) {
            None => Ok(default),
            Some(arg) => self.value(arg).map(scalar),
        };
        Ok(match name {
            "time" => Value::Scalar(self.now.as_secs_f64()),
            "vector" => Value::Vector(vec![(LabelSet::new(), scalar(arg(0)?))]),
            "scalar" => Value::Scalar(scalar(arg(0)?)),
            "absent" => absent(arg(0)?.vector()),
            "histogram_quantile" => Value::Vector(quantiles(number(0, f64::NAN)?, arg(1)?.vector())),
            "abs" => arg(0)?.map(f64::abs),
            "ceil" => arg(0)?.map(f64::ceil),
            "floor" => arg(0)?.map(f64::floor),
            "round" => {
                // To the nearest multiple, halves up.
                let nearest = number(1, 1.0)?;
                arg(0)?.map(|value| (value / nearest + 0.5).floor() * nearest)
            }
            "clamp" => clamped(arg(0)?, number(1, f64::NEG_INFINITY)?, number(2, f64::INFINITY)?),
            "clamp_min" => clamped(arg(0)?, number(1, f64::NEG_INFINITY)?, f64::INFINITY),
            "clamp_max" => clamped(arg(0)?, f64::NEG_INFINITY, number(1, f64::INFINITY)?),
            _ => arg(0)?,
        })
    }

    fn over_window(&self, name: &str, matrix: &MatrixSelector) -> Vec<(LabelSet, f64)> {
        let window = span(matrix);
        let one = |points: &[(Time, f64)]| -> Option<f64> {
            let values = || points.iter().map(|(_, value)| *value);
            let count = points.len() as f64;
            match name {
                "rate" => extrapolated(points, self.now, window, Over::Rate),
                "increase" => extrapolated(points, self.now, window, Over::Increase),
                "delta" => extrapolated(points, self.now, window, Over::Delta),
                "irate" | "idelta" => last_two(points, name == "irate"),
                "avg_over_time" => Some(values().sum::<f64>() / count),
                "max_over_time" => values().reduce(f64::max),
                "min_over_time" => values().reduce(f64::min),
                "sum_over_time" => Some(values().sum()),
                "count_over_time" => Some(count),
                _ => values().next_back(),
            }
        };
        let series = self.window(matrix).into_iter();
        series.filter_map(|(labels, points)| Some((labels, one(&points)?))).collect()
    }
}

fn last_two(points: &[(Time, f64)], rate: bool) -> Option<f64> {
    let [.., (before, from), (at, to)] = points else { return None };
    if !rate {
        return Some(to - from);
    }
    // After a restart the counter began at zero.
    let grown = if to < from { *to } else { to - from };
    let seconds = at.since(*before).as_secs_f64();
    (seconds > 0.0).then(|| grown / seconds)
}

/// The value of a single series, NaN for none and for several.
fn scalar(value: Value) -> f64 {
    match value {
        Value::Scalar(value) => value,
        Value::Vector(elements) => match elements.as_slice() {
            [(_, value)] => *value,
            _ => f64::NAN,
        },
    }
}

fn absent(elements: Vec<(LabelSet, f64)>) -> Value {
    Value::Vector(if elements.is_empty() { vec![(LabelSet::new(), 1.0)] } else { Vec::new() })
}

fn clamped(value: Value, low: f64, high: f64) -> Value {
    // PromQL returns nothing at all where the limits cross.
    if low > high {
        return Value::Vector(Vec::new());
    }
    value.map(|value| value.max(low).min(high))
}

fn quantiles(q: f64, elements: Vec<(LabelSet, f64)>) -> Vec<(LabelSet, f64)> {
    let mut histograms: BTreeMap<LabelSet, Vec<(f64, f64)>> = BTreeMap::new();
    for (mut labels, count) in elements {
        let bound =
            value(&labels, "le").and_then(|le| le.parse::<f64>().ok()).filter(|bound| !bound.is_nan());
        let Some(bound) = bound else { continue };
        labels.retain(|(name, _)| &**name != "le");
        histograms.entry(labels).or_default().push((bound, count));
    }
    let one = |mut buckets: Vec<(f64, f64)>| {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Two spellings of one bound (`1` and `1.0`) are one bucket.
        buckets.dedup_by(|later, first| {
            let same = later.0.total_cmp(&first.0).is_eq();
            if same {
                first.1 += later.1;
            }
            same
        });
        quantile(q, buckets)
    };
    histograms.into_iter().filter_map(|(labels, buckets)| Some((labels, one(buckets)?))).collect()
}
