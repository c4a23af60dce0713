//! What an engine does between the start of its process and its first token.
//!
//! Weights are only a part: a vLLM of one megabyte of weights still takes half a minute of imports.

use serde::{Deserialize, Serialize};
use tidegate_core::time::Span;

/// Seconds in each phase of a start, from process start to ready. Finite and not negative
/// ([`crate::Profile::check`] refuses the rest).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColdStart {
    /// Imports, processes, CUDA context, distributed init.
    pub init_s: f64,
    /// Weights from disk to GPU memory.
    pub load_s: f64,
    /// Tracing and compiling the model's graph.
    pub compile_s: f64,
    /// Memory profiling and graph capture.
    pub warm_s: f64,
}

/// A phase of a cold start inside the engine's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Imports, processes, CUDA context.
    Init,
    /// Weights.
    Load,
    /// Compilation.
    Compile,
    /// Graph capture.
    Warm,
}

impl Phase {
    /// The phase's name in metrics and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Init => "init",
            Phase::Load => "load",
            Phase::Compile => "compile",
            Phase::Warm => "warm",
        }
    }
}

/// vLLM with an 8B model on an L40S, tuned: init 34, compile 10 + 13, graph capture 7 s. Untuned and with
/// empty caches it is 94, 52 and 54 s.
const INIT_S: f64 = 34.0;
const COMPILE_S: f64 = 23.0;
const WARM_S: f64 = 7.0;
/// A cloud disk (gp3) gives 1 GB/s: 16.06 GB of an 8B model in 16 s, beside 18 s measured.
const LOAD_GB_PER_S: f64 = 1.0;

impl ColdStart {
    /// A start without any delay.
    pub const NONE: ColdStart = ColdStart { init_s: 0.0, load_s: 0.0, compile_s: 0.0, warm_s: 0.0 };

    /// The usual start of an engine with compile caches filled and `weights_gb` (10^9 bytes) on a cloud
    /// disk of 1 GB/s: 8B in bf16 takes 34 + 16.1 + 23 + 7 = 80 s.
    #[must_use]
    pub fn of_weights(weights_gb: f64) -> ColdStart {
        ColdStart { init_s: INIT_S, load_s: weights_gb / LOAD_GB_PER_S, compile_s: COMPILE_S, warm_s: WARM_S }
    }

    /// All phases together, in seconds.
    #[must_use]
    pub fn total_s(&self) -> f64 {
        self.init_s + self.load_s + self.compile_s + self.warm_s
    }

    /// The same start, made `total_s` long: each phase keeps its share. A start of no length takes the
    /// shares of an 8B model.
    #[must_use]
    pub fn scaled_to(&self, total_s: f64) -> ColdStart {
        let shape = if self.total_s() > 0.0 { *self } else { ColdStart::of_weights(16.06) };
        let factor = total_s / shape.total_s();
        ColdStart {
            init_s: shape.init_s * factor,
            load_s: shape.load_s * factor,
            compile_s: shape.compile_s * factor,
            warm_s: shape.warm_s * factor,
        }
    }

    /// The phases in the order they happen. A length no `Span` can hold counts as none.
    #[must_use]
    pub fn phases(&self) -> [(Phase, Span); 4] {
        [
            (Phase::Init, self.init_s),
            (Phase::Load, self.load_s),
            (Phase::Compile, self.compile_s),
            (Phase::Warm, self.warm_s),
        ]
        .map(|(phase, seconds)| (phase, Span::try_from_secs_f64(seconds).unwrap_or(Span::ZERO)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_start_keeps_the_shares_of_its_phases() {
        let start = ColdStart::of_weights(16.0).scaled_to(8.0);
        assert!((start.total_s() - 8.0).abs() < 1e-9);
        assert!((start.load_s - 8.0 * 16.0 / 80.0).abs() < 1e-9);
    }

    #[test]
    fn a_start_of_no_length_can_be_given_one() {
        let start = ColdStart::NONE.scaled_to(2.0);
        assert!((start.total_s() - 2.0).abs() < 1e-9);
        assert!(start.phases().iter().all(|(_, span)| *span > Span::ZERO));
    }
}
