//! How long an iteration takes, by its work and the profile.

use std::sync::Arc;

use tidegate_core::time::Span;

use super::sequence::Sequence;
use crate::profile::{Profile, Table};

/// The profile in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    decode_base: f64,
    decode_per_seq: f64,
    decode_per_context_token: f64,
    prefill_base: f64,
    prefill_per_token: f64,
    prefill_quadratic: f64,
    table: Option<Arc<Table>>,
}

/// The work of one iteration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    pub(super) decoded: u32,
    pub(super) context_tokens: u64,
    pub(super) prefill_tokens: u32,
    /// Sum of q² − p² over the chunks from p to q: a prompt in chunks costs what it costs in one piece.
    prefill_squares: u64,
}

/// Iterations that decode the same sequences: their time is a straight line over the tokens of context, up to the
/// next point of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    sequences: u32,
    until: f64,
    base: f64,
    per_token: f64,
}

impl Pace {
    pub(super) fn of(profile: &Profile) -> Pace {
        let prefill_quadratic = profile.prefill_quadratic_ns / 1e3;
        let mut pace = Pace {
            decode_base: profile.decode_base_ms * 1e3,
            decode_per_seq: profile.decode_per_seq_ms * 1e3,
            decode_per_context_token: profile.decode_per_context_token_us,
            prefill_base: profile.prefill_base_ms * 1e3,
            prefill_per_token: profile.prefill_per_token_us,
            prefill_quadratic,
            table: profile.table.clone(),
        };
        if let Some(table) = &pace.table {
            // The least iterations the table has: reading the weights.
            pace.decode_base = table.decode_ms(1.0, 0.0) * 1e3;
            pace.prefill_base = table.prefill_least_ms() * 1e3;
        }
        pace
    }

    /// The line of iterations that decode `sequences` and prefill nothing, from so much context on.
    pub(super) fn line(&self, sequences: u32, context_tokens: u64) -> Line {
        let (until, base, per_token) = match &self.table {
            Some(table) => {
                let (until, base_ms, per_token_ms) = table.stretch(sequences, context_tokens);
                (until, base_ms * 1e3, per_token_ms * 1e3)
            }
            None => {
                let base = self.decode_base + self.decode_per_seq * f64::from(sequences);
                (f64::INFINITY, base, self.decode_per_context_token)
            }
        };
        Line { sequences, until, base, per_token }
    }

    /// How long an iteration takes.
    pub(super) fn duration(&self, work: &Work) -> Span {
        let decode = match work.decoded {
            0 => None,
            sequences => {
                let line = self.line(sequences, work.context_tokens);
                Some(line.base + line.per_token * work.context_tokens as f64)
            }
        };
        let prefill = (work.prefill_tokens > 0).then(|| self.prefill(work));
        match (decode, prefill) {
            (Some(decode), Some(prefill)) => {
                // Weights are read once for both.
                rounded(decode + prefill - self.decode_base.min(self.prefill_base))
            }
            (one, other) => rounded(one.or(other).unwrap_or(0.0)),
        }
    }

    fn prefill(&self, work: &Work) -> f64 {
        let tokens = f64::from(work.prefill_tokens);
        let attention = self.prefill_quadratic * work.prefill_squares as f64;
        match &self.table {
            Some(table) => {
                let alone = table.prefill_ms(tokens) * 1e3 - self.prefill_quadratic * tokens * tokens;
                (alone + attention).max(self.prefill_base)
            }
            None => self.prefill_base + self.prefill_per_token * tokens + attention,
        }
    }
}

impl Line {
    /// How long the iteration takes that attends to so much context: no less than in the one before.
    pub(super) fn at(&mut self, pace: &Pace, context_tokens: u64) -> Span {
        let context = context_tokens as f64;
        if context > self.until {
            *self = pace.line(self.sequences, context_tokens);
        }
        rounded(self.base + self.per_token * context)
    }
}

/// At least a microsecond, or a profile of zeros would stop the clock.
fn rounded(micros: f64) -> Span {
    Span::from_micros((libm::rint(micros) as i64).max(1))
}

impl Work {
    pub(super) fn add(&mut self, sequence: &Sequence) {
        let (from, to) = (sequence.computed, sequence.computed + sequence.planned);
        if sequence.planned == 1 && sequence.written > 0 {
            self.decoded += 1;
            self.context_tokens += u64::from(to);
        } else {
            self.prefill_tokens += sequence.planned;
            self.prefill_squares += u64::from(to) * u64::from(to) - u64::from(from) * u64::from(from);
        }
    }
}
