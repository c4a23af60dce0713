//! Runs of iterations in which nothing changes but lengths.
//!
//! Between two arrivals an engine decodes: the same sequences, a token each, dozens of times. Such a run is
//! known beforehand up to the first sequence that ends, so its iterations are added up without touching the
//! sequences, and these are brought up to date once. The times are those of single iterations, to the
//! microsecond: each is rounded by itself, and `tests/glide.rs` holds the two ways against one another.
//!
//! *Worked*: 30 sequences, the first of which ends after 40 tokens: 40 additions and one pass over 30
//! sequences in place of 40.

use tidegate_core::time::{Span, Time};

use super::Engine;
use super::types::Detail;

impl Engine {
    /// When [`Engine::step`] next has something to tell, if nothing is submitted or cancelled before: a
    /// first token, an end, a preemption, or an admission. `None` when idle. Never later than that, and with
    /// [`Detail::EveryToken`] each iteration has something to tell.
    pub fn next_milestone(&mut self, now: Time) -> Option<Time> {
        let first = self.next_iteration(now)?;
        let Some((iterations, sequences)) = self.run() else { return Some(first) };
        let mut context = self.batch.as_ref().map_or(0, |batch| batch.context_tokens);
        let mut ended = first;
        let mut line = self.pace.line(sequences, context);
        for _ in 1..iterations {
            context += u64::from(sequences);
            ended = ended + line.at(&self.pace, context);
        }
        Some(ended)
    }

    /// Iterations from the one under way to the one in which the first sequence ends, and how many sequences
    /// take part; `None` where something else can happen before.
    fn run(&self) -> Option<(u32, u32)> {
        let batch = self.batch.as_ref()?;
        let plain = self.detail == Detail::Milestones
            && batch.iteration.prefill_tokens == 0
            && batch.iteration.sequences as usize == self.running.len()
            && (self.waiting.is_empty() || self.blocked);
        if !plain {
            return None;
        }
        let mut iterations = u32::MAX;
        for sequence in &self.running {
            // Right after its prefill a sequence has not all of its tokens computed in one step.
            if sequence.planned != 1 || sequence.computed + 1 != sequence.known() {
                return None;
            }
            iterations = iterations.min(sequence.length - sequence.written);
        }
        // Each sequence takes a block in so many tokens, and one for the part it is in.
        let blocks = u64::from(iterations / self.block_tokens + 1) * self.running.len() as u64;
        (iterations > 1 && blocks <= self.cache.free()).then_some((iterations, self.running.len() as u32))
    }

    /// Ends at once all iterations that have ended by `now` and in which no sequence ends. False when there
    /// is none, and nothing has changed.
    pub(super) fn glide(&mut self, now: Time) -> bool {
        let Some((iterations, sequences)) = self.run() else { return false };
        let Some(batch) = self.batch.as_mut() else { return false };
        let began = batch.iteration.began;
        let mut line = self.pace.line(sequences, batch.context_tokens);
        let mut done = 0;
        while done + 1 < iterations && batch.iteration.ended <= now {
            done += 1;
            batch.context_tokens += u64::from(sequences);
            batch.iteration.began = batch.iteration.ended;
            batch.iteration.ended = batch.iteration.began + line.at(&self.pace, batch.context_tokens);
        }
        if done == 0 {
            return false;
        }
        self.clock = batch.iteration.began;
        let lasted: Span = batch.iteration.began.since(began);
        self.totals.decode_us += lasted.as_micros().unsigned_abs();
        self.totals.iterations += u64::from(done);
        self.totals.generation_tokens += u64::from(done) * u64::from(sequences);
        for sequence in &mut self.running {
            sequence.written += done;
            sequence.computed += done;
            let needed = (sequence.computed + sequence.planned).div_ceil(self.block_tokens);
            let more = needed.saturating_sub(sequence.blocks());
            if more > 0 {
                let taken = self.cache.take(u64::from(more));
                debug_assert!(taken, "room for the whole run was checked before it");
                sequence.private_blocks += more;
            }
        }
        true
    }
}
