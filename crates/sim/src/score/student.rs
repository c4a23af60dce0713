//! A mean and how far it can be trusted, from a handful of seeds.

use serde::Serialize;

/// A mean with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of the interval; 0 for one value, of which nothing can be said.
    pub half_width: f64,
}

/// Student's t at 97.5 % for 1, 2, … degrees of freedom; past the table the normal's 1.96 is near enough.
const T: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// The mean of independent values, and `t · s / √n`.
#[must_use]
pub fn estimate(values: &[f64]) -> Estimate {
    let n = values.len() as f64;
    if values.is_empty() {
        return Estimate::default();
    }
    let mean = values.iter().sum::<f64>() / n;
    if values.len() == 1 {
        return Estimate { mean, half_width: 0.0 };
    }
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0);
    let t = T.get(values.len() - 2).copied().unwrap_or(1.96);
    Estimate { mean, half_width: t * libm::sqrt(variance / n) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_values_have_the_interval_of_two_degrees_of_freedom() {
        let found = estimate(&[1.0, 2.0, 3.0]);
        // s = 1, √3 = 1.732: 4.303 / 1.732 = 2.484.
        assert!((found.mean - 2.0).abs() < 1e-12 && (found.half_width - 2.4843).abs() < 1e-3);
        assert_eq!(estimate(&[5.0]), Estimate { mean: 5.0, half_width: 0.0 });
    }
}
