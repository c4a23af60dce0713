//! Functions over a window.

use super::select::Bounds;
use super::summary::{self, Kahan};
use super::{quantile, regress};
use crate::counter::{Over, extrapolated_ms};

/// Functions over a window; each takes it as its argument, two of them beside a number.
pub(super) const WINDOWED: [&str; 21] = [
    "absent_over_time",
    "avg_over_time",
    "changes",
    "count_over_time",
    "delta",
    "deriv",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "predict_linear",
    "present_over_time",
    "quantile_over_time",
    "rate",
    "resets",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
    "first_over_time",
];

/// Those that leave the value as it was, and so the name.
pub(super) const KEEPS_NAME: [&str; 2] = ["last_over_time", "first_over_time"];

/// What `name` makes of one series' samples, which are not none. `number` is the second argument.
pub(super) fn of(name: &str, points: &[(i64, f64)], bounds: Bounds, now_ms: i64, number: f64) -> Option<f64> {
    let values = || points.iter().map(|(_, value)| *value);
    let pairs = || points.windows(2).map(|pair| (pair[0].1, pair[1].1));
    let window = (bounds.start_ms, bounds.end_ms);
    match name {
        "rate" => extrapolated_ms(points, window, Over::Rate),
        "increase" => extrapolated_ms(points, window, Over::Increase),
        "delta" => extrapolated_ms(points, window, Over::Delta),
        "irate" | "idelta" => last_two(points, name == "irate"),
        "deriv" => regress::line(points, points.first()?.0).map(|(slope, _)| slope),
        "predict_linear" => regress::line(points, now_ms).map(|(slope, there)| slope * number + there),
        "resets" => Some(pairs().filter(|(a, b)| b < a).count() as f64),
        "changes" => {
            #[expect(clippy::float_cmp, reason = "a change is any difference")]
            let changed = |(a, b): &(f64, f64)| a != b && !(a.is_nan() && b.is_nan());
            Some(pairs().filter(changed).count() as f64)
        }
        "avg_over_time" => Some(summary::mean(values())),
        "max_over_time" => {
            values().reduce(|most, value| if value > most || most.is_nan() { value } else { most })
        }
        "min_over_time" => {
            values().reduce(|least, value| if value < least || least.is_nan() { value } else { least })
        }
        "sum_over_time" => Some(values().collect::<Kahan>().total()),
        "count_over_time" => Some(points.len() as f64),
        "stdvar_over_time" => Some(summary::variance(values())),
        "stddev_over_time" => Some(summary::variance(values()).sqrt()),
        "quantile_over_time" => Some(quantile::of_values(number, values().collect())),
        "present_over_time" => Some(1.0),
        "first_over_time" => values().next(),
        _ => values().next_back(),
    }
}

fn last_two(points: &[(i64, f64)], rate: bool) -> Option<f64> {
    let [.., (before_ms, from), (at_ms, to)] = points else { return None };
    if !rate {
        return Some(to - from);
    }
    // After a restart the counter began at zero.
    let grown = if to < from { *to } else { to - from };
    let seconds = (at_ms - before_ms) as f64 / 1000.0;
    (seconds > 0.0).then(|| grown / seconds)
}
