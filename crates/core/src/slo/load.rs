//! What a target's work is like over one stretch of time.

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// Work that came and work that was done since the last such event, and how things stand now. Counted by the
/// gateway where requests pass through one, by the engines' counters elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// The stretch; one of no length is ignored.
    pub over: Span,
    /// Requests that came.
    pub arrived: u32,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Requests that ended.
    pub ended: u32,
    /// Tokens written for those.
    pub output_tokens: u64,
    /// Requests whose first token came over the stretch, or that were refused.
    pub first_tokens: u32,
    /// Of these, those that were refused or whose first token came later than the objective.
    pub late: u32,
    /// Requests that wait now, in the gateway and in the engines.
    pub waiting: u32,
    /// What the engines say.
    pub engines: Engines,
}

/// What the engines of the ready replicas say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Engines {
    /// Replicas that said something. 0: nothing below was measured.
    pub reporting: u32,
    /// Requests in their batches now.
    pub running: u32,
    /// Prompt tokens they computed over the stretch.
    pub prefill_tokens: u64,
    /// Tokens they wrote over the stretch.
    pub decode_tokens: u64,
    /// Mean time between two tokens of a request over the stretch, in microseconds; 0 where nothing was written.
    pub itl_us: u32,
    /// Tokens all their KV caches hold; 0 where they do not say.
    pub kv_tokens: u64,
}

impl Load {
    /// Whether anything came, waits or is served.
    pub(crate) fn is_busy(&self) -> bool {
        self.arrived > 0 || self.waiting > 0 || self.engines.running > 0
    }

    /// A mean rate over the stretch, a second.
    pub(crate) fn per_s(&self, count: f64) -> f64 {
        let seconds = self.over.as_secs_f64();
        if seconds > 0.0 { count / seconds } else { 0.0 }
    }
}
