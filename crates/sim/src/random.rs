//! Chance from a seed: the same numbers on every machine.
//!
//! SplitMix64 (Steele, Lea and Flood 2014): one addition and three mixing steps a number. Streams are told
//! apart by a label, so that drawing more of one kind does not move the draws of another: two policies see
//! the same arrivals and the same luck with their tenth start.

/// A stream of chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    state: u64,
}

/// Odd, and near 2^64 divided by the golden ratio: SplitMix64's step.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Random {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// A stream of its own for the `index`-th thing of one `kind`.
    #[must_use]
    pub fn of(seed: u64, kind: u64, index: u64) -> Random {
        let state = mixed(seed.wrapping_add(STEP)) ^ mixed(kind.wrapping_mul(STEP)).rotate_left(17);
        Random { state: mixed(state) ^ mixed(index.wrapping_add(1).wrapping_mul(STEP)) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mixed(self.state)
    }

    /// Above 0 and below 1.
    pub fn unit(&mut self) -> f64 {
        // 53 bits, and half a step up: never 0, whose logarithm would be no number.
        ((self.bits() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Exponential with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * libm::log(self.unit())
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(self.unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// A factor with mean 1 whose logarithm is normal with deviation `spread`. At 0.15 one in ten is above 1.2.
    pub fn factor(&mut self, spread: f64) -> f64 {
        if spread <= 0.0 {
            return 1.0;
        }
        libm::exp(spread * self.normal() - spread * spread / 2.0)
    }

    /// Gamma, by Marsaglia and Tsang (2000); both parameters above 0.
    pub fn gamma(&mut self, shape: f64, scale: f64) -> f64 {
        if shape < 1.0 {
            // Their remark for small shapes: one shape higher, times a power of a uniform number.
            let more = self.gamma(shape + 1.0, scale);
            return more * libm::pow(self.unit(), 1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let x = self.normal();
            let v = 1.0 + c * x;
            if v <= 0.0 {
                continue;
            }
            let v = v * v * v;
            if libm::log(self.unit()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return d * v * scale;
            }
        }
    }

    /// Weibull, by inversion; both parameters above 0.
    pub fn weibull(&mut self, shape: f64, scale: f64) -> f64 {
        scale * libm::pow(-libm::log(self.unit()), 1.0 / shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(mut draw: impl FnMut() -> f64) -> f64 {
        (0..200_000).map(|_| draw()).sum::<f64>() / 200_000.0
    }

    #[test]
    fn each_law_has_its_mean() {
        let mut random = Random::new(7);
        assert!((mean(|| random.unit()) - 0.5).abs() < 0.005);
        assert!((mean(|| random.exponential(3.0)) - 3.0).abs() < 0.05);
        assert!(mean(|| random.normal()).abs() < 0.01);
        assert!((mean(|| random.factor(0.3)) - 1.0).abs() < 0.01);
        assert!((mean(|| random.gamma(0.4, 2.0)) - 0.8).abs() < 0.02);
        assert!((mean(|| random.gamma(5.0, 2.0)) - 10.0).abs() < 0.1);
        // Γ(1 + 1/0.5) = 2.
        assert!((mean(|| random.weibull(0.5, 1.0)) - 2.0).abs() < 0.06);
    }

    #[test]
    fn streams_of_one_seed_differ_and_each_comes_again() {
        let first = |kind, index| Random::of(1, kind, index).bits();
        assert_eq!(first(2, 3), first(2, 3));
        assert_ne!(first(2, 3), first(3, 2));
        assert_ne!(first(2, 3), Random::of(2, 2, 3).bits());
    }
}
