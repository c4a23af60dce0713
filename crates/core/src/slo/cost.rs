//! What a token costs, learned from engines that are at work, so that nobody has to guess a number.
//!
//! An engine that always has something to do spends each second on three things: prefill, a fixed share of each
//! iteration (weights are read whatever the batch), and a share for each token written:
//!
//! `1 = β·p + a·n + b·d`
//!
//! with `p` prompt tokens, `n` iterations and `d` tokens written a second. All three are measured: `n` is one
//! over the time between two tokens. So `(β, a, b)` are a linear regression, at any load and without ever seeing
//! the engine at its limit. With a batch of `k` the same second holds `d = k·n`, so a request of `P` prompt and `D`
//! output tokens takes
//!
//! `w = β·P + (a/k + b)·D` seconds of a replica, and a replica answers `1/w` of them a second.
//!
//! *Worked*: Llama-3.1-8B on an H100 has a = 6.4 ms, b = 54 µs at a context of 1,000, β = 16 µs. A request of 1,155
//! and 211 tokens at k = 128 takes 18 + (50 + 54)·0.211 = 40 ms: 25 requests a second.
//!
//! Before anything is measured there is a prior. Only `a` differs much between engines (3 to 28 ms), and it is the
//! first time between two tokens ever measured; over ten published profiles `a/b` is 84 to 258 and `a/β` 225 to 440, so
//! the prior takes `b = a/80` and `β = a/220`: each cost too high rather than too low, which starts a replica
//! too many for some minutes. The load of a real service hardly tells the three apart (more requests are more of each), so
//! the regression is held near the prior, but near its ratio only: its height is one number, and known after minutes.

use serde::{Deserialize, Serialize};

use super::load::Load;

/// Seconds of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// β: a prompt token.
    pub prefill_s: f64,
    /// a: an iteration, whatever is in it.
    pub iteration_s: f64,
    /// b: a token written, beside its share of the iteration.
    pub decode_s: f64,
}

const A_TO_B: f64 = 80.0;
const A_TO_BETA: f64 = 220.0;

impl Cost {
    fn prior(iteration_s: f64) -> Cost {
        Cost { prefill_s: iteration_s / A_TO_BETA, iteration_s, decode_s: iteration_s / A_TO_B }
    }

    /// A token written in a batch of `k`.
    #[must_use]
    pub fn output_s(&self, k: f64) -> f64 {
        self.iteration_s / k.max(1.0) + self.decode_s
    }

    /// A request of so many tokens in a batch of `k`: `w`.
    #[must_use]
    pub fn request_s(&self, prompt: f64, output: f64, k: f64) -> f64 {
        self.prefill_s * prompt + self.output_s(k) * output
    }
}

/// How fast old measurements fade: to a half in ten minutes of one sample a second. A model's costs follow its mix
/// of prompts, which drifts over hours.
const FADE: f64 = 1.0 - core::f64::consts::LN_2 / 600.0;

/// The prior's weight, in samples: after a minute the measurements outweigh it.
const PRIOR_WEIGHT: f64 = 30.0;

/// How far from the prior a cost may be learned to be. Of the ten profiles the cheapest is at 0.31.
const FACTORS: (f64, f64) = (0.25, 6.0);

/// Requests a replica must have in its batch for its second to be full of work.
const BUSY: f64 = 1.5;

/// The regression: sums of products, faded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learner {
    /// The least time between tokens that was seen: the prior's `a`.
    least_itl_s: f64,
    /// Σ x·xᵀ of x = (p, n, d), the upper half by rows, each scaled by the prior's costs.
    xx: [f64; 6],
    /// Σ x.
    x: [f64; 3],
}

impl Learner {
    /// Takes a sample; one of an idle or a silent engine says nothing.
    pub(crate) fn learn(&mut self, load: &Load) {
        let engines = &load.engines;
        let replicas = f64::from(engines.reporting);
        if engines.reporting == 0 || engines.itl_us == 0 || load.over.as_micros() <= 0 {
            return;
        }
        let itl_s = f64::from(engines.itl_us) / 1e6;
        if self.least_itl_s <= 0.0 {
            self.least_itl_s = itl_s;
        } else if itl_s < self.least_itl_s {
            self.rescale(itl_s / self.least_itl_s);
        }
        if f64::from(engines.running) / replicas < BUSY {
            return;
        }
        let prior = Cost::prior(self.least_itl_s);
        // In shares of the second by the prior: numbers near one, so that the sums are well conditioned.
        let x = [
            load.per_s(engines.prefill_tokens as f64) / replicas * prior.prefill_s,
            prior.iteration_s / itl_s,
            load.per_s(engines.decode_tokens as f64) / replicas * prior.decode_s,
        ];
        let products = [x[0] * x[0], x[0] * x[1], x[0] * x[2], x[1] * x[1], x[1] * x[2], x[2] * x[2]];
        self.xx.iter_mut().zip(products).for_each(|(sum, product)| *sum = *sum * FADE + product);
        self.x.iter_mut().zip(x).for_each(|(sum, x)| *sum = *sum * FADE + x);
    }

    /// The prior's scale changed by `factor`: what is summed is in its units.
    fn rescale(&mut self, factor: f64) {
        self.least_itl_s *= factor;
        self.xx.iter_mut().for_each(|sum| *sum *= factor * factor);
        self.x.iter_mut().for_each(|sum| *sum *= factor);
    }

    /// What is known of the costs; `None` before a first token was written.
    pub(crate) fn cost(&self) -> Option<Cost> {
        if self.least_itl_s <= 0.0 {
            return None;
        }
        let prior = Cost::prior(self.least_itl_s);
        let [pp, pn, pd, nn, nd, dd] = self.xx;
        let [x, y, z] = self.x;
        let w = PRIOR_WEIGHT;
        // Two unknowns first, the iteration and one height for both costs of a token: load that varies tells these apart
        // within minutes. Where it never varies, both give in a little, and tokens do not seem free.
        let (tt, tn) = (pp + 2.0 * pd + dd + w, pn + nd);
        let (det, t, n) = (tt * (nn + w) - tn * tn, x + z + w, y + w);
        let (height, base) = ((t * (nn + w) - n * tn) / det, (n * tt - t * tn) / det);
        let (height, base) = (height.clamp(FACTORS.0, FACTORS.1), base.clamp(FACTORS.0, FACTORS.1));
        // Then all three, held near these.
        let matrix = [[pp + w, pn, pd], [pn, nn + w, nd], [pd, nd, dd + w]];
        let wanted = [x + w * height, y + w * base, z + w * height];
        let [f, g, h] = solve(matrix, wanted).unwrap_or([height, base, height]);
        let within = |factor: f64| factor.clamp(FACTORS.0, FACTORS.1);
        Some(Cost {
            prefill_s: prior.prefill_s * within(f),
            iteration_s: prior.iteration_s * within(g),
            decode_s: prior.decode_s * within(h),
        })
    }
}

/// Cramer's rule; `None` where the rows are not independent, which the prior's weight on the diagonal rules out.
fn solve(m: [[f64; 3]; 3], y: [f64; 3]) -> Option<[f64; 3]> {
    let det = |m: [[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = det(m);
    if !whole.is_finite() || libm::fabs(whole) < 1e-12 {
        return None;
    }
    let mut out = [0.0; 3];
    for (column, value) in out.iter_mut().enumerate() {
        let mut with = m;
        for (row, y) in with.iter_mut().zip(y) {
            row[column] = y;
        }
        *value = det(with) / whole;
    }
    out.iter().all(|value| value.is_finite()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::super::load::Engines;
    use super::*;
    use crate::time::Span;

    /// A second of one replica of these costs that is always at work, with so much prefill and this batch.
    fn busy(cost: &Cost, prefill_tokens: f64, batch: f64) -> Load {
        // Each iteration writes a token a request: n·(a + b·k) = 1 − β·p.
        let iterations = (1.0 - cost.prefill_s * prefill_tokens) / (cost.iteration_s + cost.decode_s * batch);
        let engines = Engines {
            reporting: 1,
            running: batch as u32,
            prefill_tokens: prefill_tokens as u64,
            decode_tokens: (iterations * batch) as u64,
            itl_us: (1e6 / iterations) as u32,
            kv_tokens: 400_000,
        };
        Load { over: Span::from_secs(1), engines, ..Load::default() }
    }

    #[test]
    fn before_a_token_was_written_nothing_is_known() {
        assert_eq!(Learner::default().cost(), None);
    }

    #[test]
    fn the_first_time_between_tokens_gives_a_prior_on_the_dear_side() {
        let mut learner = Learner::default();
        learner.learn(&busy(&Cost { prefill_s: 16e-6, iteration_s: 6.4e-3, decode_s: 54e-6 }, 0.0, 1.0));
        let cost = learner.cost().expect("a token was written");
        // 6.454 ms between tokens: β = a / 220 and b = a / 80, where 16 µs and 54 µs are true.
        assert!((cost.iteration_s - 6.454e-3).abs() < 1e-5, "{cost:?}");
        assert!(
            (cost.prefill_s - 29.3e-6).abs() < 1e-6 && (cost.decode_s - 80.7e-6).abs() < 1e-6,
            "{cost:?}"
        );
    }

    #[test]
    fn what_a_request_takes_is_learned_at_any_load() {
        let truth = Cost { prefill_s: 16e-6, iteration_s: 6.4e-3, decode_s: 54e-6 };
        let mut learner = Learner::default();
        for second in 0..1_200_u32 {
            let batch = f64::from(2 + second % 60);
            let prefill = f64::from(second * 7 % 30_000);
            learner.learn(&busy(&truth, prefill, batch));
        }
        let (known, wanted) = (
            learner.cost().expect("learned").request_s(1_155.0, 211.0, 64.0),
            truth.request_s(1_155.0, 211.0, 64.0),
        );
        // 0.059 s for 0.051: what is left of the prior, which errs on the dear side.
        assert!((0.95..1.2).contains(&(known / wanted)), "{known} s, and {wanted} s is true");
    }

    #[test]
    fn nonsense_makes_no_cost_vanish() {
        let mut learner = Learner::default();
        for second in 0..10_000_u64 {
            let engines = Engines {
                reporting: 1,
                running: 50,
                prefill_tokens: second * 1_000_000,
                decode_tokens: u64::MAX / 4,
                itl_us: 1 + (second % 3) as u32,
                kv_tokens: 1,
            };
            learner.learn(&Load { over: Span::from_micros(1), engines, ..Load::default() });
        }
        let cost = learner.cost().expect("something was written");
        assert!(cost.prefill_s > 0.0 && cost.iteration_s > 0.0 && cost.decode_s > 0.0, "{cost:?}");
        assert!(cost.request_s(1e3, 1e3, 1.0).is_finite());
    }
}
