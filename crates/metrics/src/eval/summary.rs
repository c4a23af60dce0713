//! Sums, means and variances that lose little to rounding.

/// A sum that carries what each addition lost (Neumaier's form of Kahan's).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kahan {
    sum: f64,
    lost: f64,
}

impl Kahan {
    pub(super) fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - sum) + value;
        } else {
            self.lost += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    pub(super) fn total(&self) -> f64 {
        self.sum + self.lost
    }
}

impl FromIterator<f64> for Kahan {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sum = Kahan::default();
        values.into_iter().for_each(|value| sum.add(value));
        sum
    }
}

/// The mean; where the sum is beyond all floats, the sum of each value's share.
pub(super) fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count() as f64;
    let sum = values.clone().collect::<Kahan>().total();
    if sum.is_finite() { sum / count } else { values.map(|value| value / count).collect::<Kahan>().total() }
}

/// The population variance, by Welford's recurrence.
pub(super) fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0_f64, Kahan::default(), Kahan::default());
    for value in values {
        count += 1.0;
        let off = value - mean.total();
        mean.add(off / count);
        squares.add(off * (value - mean.total()));
    }
    squares.total() / count
}
