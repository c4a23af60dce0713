//! One metric → one proposal, for metrics that describe the whole target (External, Object).
//!
//! Follows kubernetes v1.36.2 `pkg/controller/podautoscaler/replica_calculator.go`: all quantities are
//! integers of thousandths, ratios are quotients of two of them, and the tolerance is inclusive on both sides.

use alloc::sync::Arc;

use crate::scale::decision::{Because, Unusable};
use crate::scale::spec::{Behavior, Goal, Tuning};
use crate::units::{Milli, ceil_replicas};

/// How far a ratio may be from 1 and change nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Below 1.
    pub down: f64,
    /// Above 1.
    pub up: f64,
}

impl Tolerance {
    /// The controller's, where `behavior` does not say otherwise for a direction.
    #[must_use]
    pub fn of(behavior: Option<&Behavior>, tuning: &Tuning) -> Self {
        let down = behavior.and_then(|b| b.down.tolerance).unwrap_or(tuning.tolerance);
        let up = behavior.and_then(|b| b.up.tolerance).unwrap_or(tuning.tolerance);
        Tolerance { down, up }
    }

    /// Whether `ratio` lies in `1-down ..= 1+up`. NaN does not.
    #[must_use]
    pub fn holds(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// What a metric is now, as `status.currentMetrics` of an HPA shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The value; where the target is an average, the mean a replica.
    pub amount: Milli,
    /// Percent of what is requested, where the target is a utilization.
    pub percent: Option<i64>,
}

impl Usage {
    pub(crate) const fn amount(amount: Milli) -> Self {
        Usage { amount, percent: None }
    }
}

/// What one metric asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Replicas.
    pub replicas: u32,
    /// Whether the ratio was within tolerance, so that `replicas` is simply what there is.
    pub within_tolerance: bool,
    /// What the metric is now.
    pub usage: Usage,
    /// Why.
    pub because: Because,
}

/// The replicas an external or object metric is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Against {
    /// `spec.replicas`.
    pub spec: u32,
    /// `status.replicas`, which the tolerance of an AverageValue metric is measured on.
    pub status: u32,
    /// Running and Ready pods; `None` when no pod exists at all.
    pub ready: Option<u32>,
}

/// The proposal of an External or Object metric whose series sum to `usage`.
///
/// - AverageValue: `ceil(usage / target)`, whatever is ready. 40 in all at 10 a replica is 4.
/// - Value: `ceil(usage / target × ready)`. 40 / 10 with two ready is 8 and with eight ready 32: on a
///   total this multiplies with the fleet, and with none ready it asks for 0.
///
/// # Errors
/// [`Unusable::NoPods`] for a Value metric when no pod exists.
pub fn external(
    signal: &Arc<str>,
    goal: Goal,
    usage: Milli,
    against: Against,
    tolerance: Tolerance,
) -> Result<Proposal, Unusable> {
    let signal = Arc::clone(signal);
    let within = |ratio, replicas, usage| Proposal {
        replicas,
        within_tolerance: true,
        usage,
        because: Because::Within {
            signal: Arc::clone(&signal),
            ratio,
            down: tolerance.down,
            up: tolerance.up,
        },
    };
    match goal {
        Goal::AverageValue(target) => {
            // status 0: +Inf when there is usage, NaN when there is none; neither is within.
            let ratio = usage.0 as f64 / (target.0 as f64 * f64::from(against.status));
            let mean = Usage::amount(mean_up(usage, against.status));
            if tolerance.holds(ratio) {
                return Ok(within(ratio, against.status, mean));
            }
            let replicas = ceil_replicas(usage.0 as f64 / target.0 as f64);
            let because = Because::AverageValue { signal, total: usage, target };
            Ok(Proposal { replicas, within_tolerance: false, usage: mean, because })
        }
        Goal::Value(target) => {
            let ratio = usage.0 as f64 / target.0 as f64;
            if against.spec != 0 && tolerance.holds(ratio) {
                return Ok(within(ratio, against.spec, Usage::amount(usage)));
            }
            // From zero there are no ready pods to multiply with: the ratio itself is the count.
            let ready = if against.spec == 0 { 1 } else { against.ready.ok_or(Unusable::NoPods)? };
            let replicas = ceil_replicas(ratio * f64::from(ready));
            let because = Because::Value { signal, value: usage, target, ready };
            Ok(Proposal { replicas, within_tolerance: false, usage: Usage::amount(usage), because })
        }
    }
}

/// `total / replicas` rounded up; the total itself where there are no replicas to share it.
fn mean_up(total: Milli, replicas: u32) -> Milli {
    let replicas = i64::from(replicas.max(1));
    Milli(total.0 / replicas + i64::from(total.0 % replicas > 0))
}

/// The sum of several series, no further than 64 bits.
#[must_use]
pub fn sum(values: impl IntoIterator<Item = Milli>) -> Milli {
    values.into_iter().fold(Milli(0), |sum, value| Milli(sum.0.saturating_add(value.0)))
}
