//! The work of a trace as a fluid: how many seconds of one replica it takes at the best batch.
//!
//! Of the engine's iteration time (see [`crate::profile`]) the base is shared by the batch, the rest is the
//! request's own. With the greatest batch `B` that fits into the KV cache, a request of `p` prompt tokens and
//! `o` output tokens takes
//!
//! ```text
//! prefill_per_token·p + prefill_quadratic·p² + o · (decode_base / B + decode_per_seq + decode_per_context·(p + o/2))
//! ```
//!
//! No prefill's base is counted and the batch is always full, so no schedule takes less.

use tidegate_core::time::{Span, Time};

use super::Open;
use crate::profile::Profile;
use crate::trace::{self, TraceRequest};

/// Windows at the most: two weeks of seconds are 1.2 million of 8 bytes.
const WINDOWS_MAX: usize = 2_000_000;

/// The work of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Fluid {
    /// All of it, in seconds of one replica.
    pub replica_s: f64,
    /// In each window, by when the requests came.
    pub per_window_s: Vec<f64>,
    /// The length of a window.
    pub window: Span,
    /// From the first request to the last.
    pub span: Span,
}

/// The greatest batch: seats, or as many sequences of mean length as the KV cache holds.
#[must_use]
pub fn best_batch(profile: &Profile, mean_context_tokens: f64) -> f64 {
    let by_cache = profile.kv_tokens as f64 / mean_context_tokens.max(1.0);
    by_cache.clamp(1.0, f64::from(profile.max_num_seqs))
}

fn seconds(profile: &Profile, request: &TraceRequest, batch: f64) -> f64 {
    let (prompt, output) = (f64::from(request.prompt_tokens), f64::from(request.output_tokens));
    let prefill_us =
        profile.prefill_per_token_us * prompt + profile.prefill_quadratic_ns / 1e3 * prompt * prompt;
    let step_us = profile.decode_base_ms * 1e3 / batch
        + profile.decode_per_seq_ms * 1e3
        + profile.decode_per_context_token_us * (prompt + output / 2.0);
    (prefill_us + output * step_us) / 1e6
}

impl Fluid {
    /// Reads a trace twice: for the mean length, which says how many fit, and for the work.
    ///
    /// # Errors
    /// When the trace is damaged.
    pub fn of(profile: &Profile, open: &Open<'_>, window: Span) -> Result<Fluid, trace::Error> {
        // The mean over sequence-steps: a long answer is in the batch for longer.
        let (mut steps, mut held) = (0.0, 0.0);
        for request in open()? {
            let request = request?;
            let (prompt, output) = (f64::from(request.prompt_tokens), f64::from(request.output_tokens));
            steps += output;
            held += output * (prompt + output / 2.0);
        }
        let batch = best_batch(profile, if steps > 0.0 { held / steps } else { 1.0 });
        let window_us = window.as_micros().max(1);
        let mut fluid = Fluid { replica_s: 0.0, per_window_s: Vec::new(), window, span: Span::ZERO };
        for request in open()? {
            let request = request?;
            let work_s = seconds(profile, &request, batch);
            let place = usize::try_from(request.at.as_micros() / window_us).unwrap_or(0).min(WINDOWS_MAX - 1);
            if fluid.per_window_s.len() <= place {
                fluid.per_window_s.resize(place + 1, 0.0);
            }
            fluid.per_window_s[place] += work_s;
            fluid.replica_s += work_s;
            fluid.span = request.at;
        }
        Ok(fluid)
    }

    /// When a window begins.
    pub(super) fn begins(&self, place: usize) -> Time {
        let micros = self.window.as_micros().saturating_mul(i64::try_from(place).unwrap_or(i64::MAX));
        Time::from_micros(micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_takes_its_prefill_and_its_share_of_each_step() {
        let profile = Profile {
            prefill_per_token_us: 10.0,
            prefill_quadratic_ns: 0.0,
            decode_base_ms: 10.0,
            decode_per_seq_ms: 0.1,
            decode_per_context_token_us: 0.0,
            kv_tokens: 100_000,
            max_num_seqs: 1_000,
            ..Profile::demo()
        };
        let request = TraceRequest { prompt_tokens: 1_000, output_tokens: 100, ..TraceRequest::default() };
        let open = || -> Result<super::super::Requests<'static>, trace::Error> {
            let request =
                TraceRequest { prompt_tokens: 1_000, output_tokens: 100, ..TraceRequest::default() };
            Ok(Box::new(std::iter::once(Ok(request))))
        };
        // 100,000 tokens of cache hold 95.2 sequences of 1,050; 10 ms and 100 · (10 / 95.2 + 0.1) ms.
        let fluid = Fluid::of(&profile, &open, Span::from_secs(10)).unwrap();
        assert!((fluid.replica_s - 0.0305).abs() < 1e-6, "{}", fluid.replica_s);
        assert!((seconds(&profile, &request, 100_000.0 / 1_050.0) - fluid.replica_s).abs() < 1e-12);
    }
}
