//! Time as the core counts it: whole microseconds since an origin the driver chooses.
//!
//! 64 bits of microseconds reach 292,000 years, so arithmetic saturates only on nonsense input.

use core::fmt;
use core::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// An instant: microseconds since the driver's origin. `decide` and Kubernetes use the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

/// A length of time in microseconds. Negative when an instant lies in the future.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(i64);

impl Time {
    /// The driver's origin.
    pub const ORIGIN: Time = Time(0);

    /// An instant from microseconds since the origin.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Time(micros)
    }

    /// An instant from whole seconds since the origin; saturates.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Time(seconds.saturating_mul(1_000_000))
    }

    /// An instant from seconds with a fraction, rounded to the nearest microsecond.
    /// `None` for NaN, infinities and what 64 bits of microseconds cannot hold.
    #[must_use]
    pub fn try_from_secs_f64(seconds: f64) -> Option<Self> {
        micros_from_secs_f64(seconds).map(Time)
    }

    /// Microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Seconds since the origin, with a fraction. Exact to the microsecond below 2^53 µs (285 years).
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// How long ago `earlier` was; negative if it is in the future.
    #[must_use]
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// From microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Span(micros)
    }

    /// From whole seconds; saturates.
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Span(seconds.saturating_mul(1_000_000))
    }

    /// From seconds with a fraction. `None` for NaN, infinities and what does not fit.
    #[must_use]
    pub fn try_from_secs_f64(seconds: f64) -> Option<Self> {
        micros_from_secs_f64(seconds).map(Span)
    }

    /// Microseconds.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Seconds with a fraction.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

fn micros_from_secs_f64(seconds: f64) -> Option<i64> {
    let micros = libm::round(seconds * 1e6);
    // 9.2e18 is just below i64::MAX; anything above is not a time anybody meant.
    (micros.is_finite() && libm::fabs(micros) < 9.2e18).then_some(micros as i64)
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl fmt::Display for Span {
    /// Seconds with as many decimals as there are, and their unit: `90 s`, `1.5 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % 1_000_000 == 0 {
            write!(f, "{} s", self.0 / 1_000_000)
        } else {
            write!(f, "{} s", self.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn seconds_with_a_fraction_round_to_the_nearest_microsecond() {
        assert_eq!(Time::try_from_secs_f64(1.000_000_4), Some(Time::from_micros(1_000_000)));
        assert_eq!(Time::try_from_secs_f64(0.1), Some(Time::from_micros(100_000)));
    }

    #[test]
    fn nan_infinity_and_absurd_times_are_refused() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert_eq!(Time::try_from_secs_f64(bad), None);
        }
    }

    #[test]
    fn spans_print_with_their_unit() {
        assert_eq!(Span::from_secs(90).to_string(), "90 s");
        assert_eq!(Span::from_micros(1_500_000).to_string(), "1.5 s");
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Time::from_micros(i64::MAX) + Span::from_secs(1), Time::from_micros(i64::MAX));
    }
}
