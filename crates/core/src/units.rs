//! Metric quantities as Kubernetes counts them: whole thousandths in 64 bits.
//!
//! The horizontal pod autoscaler does all its arithmetic on `Quantity.MilliValue()`, so results are
//! bit-exact only if ours does too: 0.8 is 800, and a ratio is a quotient of two such integers.

use serde::{Deserialize, Serialize};

/// A quantity in thousandths: `Milli(1500)` is 1.5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Milli(pub i64);

/// The largest replica count any proposal can name: Kubernetes keeps counts in 32 signed bits.
pub const REPLICAS_MAX: u32 = i32::MAX as u32;

impl Milli {
    /// The quantity that KEDA publishes for a value: three decimals, and nothing below zero
    /// (`GenerateMetricInMili` turns NaN, infinities and negatives into 0).
    #[must_use]
    pub fn published(value: f64) -> Self {
        if value.is_finite() && value > 0.0 {
            let thousandths = value * 1000.0;
            // Upstream prints "%.3f", which rounds the number itself and not this product. They differ
            // only near a tie: 0.0025 is a little more than that in binary and prints as 0.003.
            if libm::fabs(thousandths - libm::trunc(thousandths) - 0.5) < 1e-3 {
                return Milli::printed(value);
            }
            // Saturating cast: 1e300 becomes i64::MAX, as an overflowing sum does upstream.
            Milli(libm::rint(thousandths) as i64)
        } else {
            Milli(0)
        }
    }

    fn printed(value: f64) -> Self {
        let mut text = alloc::format!("{value:.3}");
        text.retain(|character| character != '.');
        Milli(text.parse().unwrap_or(i64::MAX))
    }

    /// The value as a number.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

impl core::fmt::Display for Milli {
    /// The shortest decimal: `25`, `0.8`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

/// `ceil(x)` as a replica count: 0 for NaN and below, [`REPLICAS_MAX`] at most.
#[must_use]
pub fn ceil_replicas(x: f64) -> u32 {
    let up = libm::ceil(x);
    if up.is_nan() || up <= 0.0 {
        0
    } else if up >= f64::from(REPLICAS_MAX) {
        REPLICAS_MAX
    } else {
        up as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_value_keeps_three_decimals_and_is_never_negative() {
        assert_eq!(Milli::published(0.8), Milli(800));
        assert_eq!(Milli::published(1.0006), Milli(1001));
        assert_eq!(Milli::published(0.0025), Milli(3));
        assert_eq!(Milli::published(0.0005), Milli(1));
        assert_eq!(Milli::published(1.5), Milli(1500));
        assert_eq!(Milli::published(-3.0), Milli(0));
        assert_eq!(Milli::published(f64::NAN), Milli(0));
        assert_eq!(Milli::published(f64::INFINITY), Milli(0));
        assert_eq!(Milli::published(1e300), Milli(i64::MAX));
    }

    #[test]
    fn replica_counts_stay_within_32_signed_bits() {
        assert_eq!(ceil_replicas(f64::NAN), 0);
        assert_eq!(ceil_replicas(-0.5), 0);
        assert_eq!(ceil_replicas(2.1), 3);
        assert_eq!(ceil_replicas(1e20), REPLICAS_MAX);
    }
}
