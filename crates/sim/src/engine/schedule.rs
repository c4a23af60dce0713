//! What goes into an iteration, how long it takes, and what it leaves behind.

use tidegate_core::time::Time;

use super::Engine;
use super::pace::Work;
use super::sequence::Sequence;
use super::types::{Detail, Iteration, Outputs, Token};

/// The iteration under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) iteration: Iteration,
    /// Tokens its decoded sequences attend to.
    pub(super) context_tokens: u64,
}

impl Engine {
    /// Begins an iteration at `at` if there is anything to do.
    pub(super) fn begin(&mut self, at: Time, preempted: &mut Vec<(u64, Time)>) {
        if self.running.is_empty() && self.waiting.is_empty() {
            return;
        }
        let mut budget = self.max_batched_tokens;
        let mut work = Work::default();
        let before = preempted.len();
        self.blocked = false;
        self.plan_running(at, &mut budget, &mut work, preempted);
        if preempted.len() == before {
            self.admit(at, &mut budget, &mut work);
            self.blocked = !self.waiting.is_empty();
        }
        self.left = self.waiting.len() as u32;
        let sequences = self.running.iter().filter(|sequence| sequence.planned > 0).count() as u32;
        let ended = at + self.pace.duration(&work);
        self.batch = Some(Batch {
            iteration: Iteration {
                began: at,
                ended,
                sequences,
                tokens: work.decoded + work.prefill_tokens,
                prefill_tokens: work.prefill_tokens,
            },
            context_tokens: work.context_tokens,
        });
    }

    fn plan_running(
        &mut self,
        at: Time,
        budget: &mut u32,
        work: &mut Work,
        preempted: &mut Vec<(u64, Time)>,
    ) {
        let mut index = 0;
        while index < self.running.len() && *budget > 0 {
            let sequence = &mut self.running[index];
            let planned = (sequence.known() - sequence.computed).min(*budget);
            let needed = (sequence.computed + planned).div_ceil(self.block_tokens);
            let more = needed.saturating_sub(sequence.blocks());
            if more > 0 {
                while !self.cache.take(u64::from(more)) {
                    self.preempt_youngest(at, preempted);
                    if self.running.len() <= index {
                        return;
                    }
                }
            }
            let sequence = &mut self.running[index];
            sequence.private_blocks += more;
            sequence.planned = planned;
            *budget -= planned;
            work.add(sequence);
            index += 1;
        }
    }

    fn preempt_youngest(&mut self, at: Time, preempted: &mut Vec<(u64, Time)>) {
        let Some(mut sequence) = self.running.pop() else { return };
        self.release(&sequence);
        sequence.private_blocks = 0;
        sequence.shared = 0;
        sequence.computed = 0;
        sequence.planned = 0;
        sequence.preemptions += 1;
        self.totals.preemptions += 1;
        preempted.push((sequence.id, at));
        self.waiting.push_front(sequence);
    }

    /// Gives back all a sequence holds of the cache.
    pub(super) fn release(&mut self, sequence: &Sequence) {
        self.cache.let_go(sequence.shared_hashes());
        self.cache.give_back(u64::from(sequence.private_blocks));
    }

    fn admit(&mut self, at: Time, budget: &mut u32, work: &mut Work) {
        while *budget > 0 && self.running.len() < self.max_num_seqs {
            let Some(sequence) = self.waiting.front_mut() else { return };
            // The last token must be computed, or there is nothing to predict the next one from.
            let stretch = sequence.blocks_per_hash * self.block_tokens;
            let shareable = (sequence.known() - 1).checked_div(stretch).unwrap_or(0) as usize;
            let candidates = &sequence.hashes[..shareable.min(sequence.hashes.len())];
            let shared = self.cache.known(candidates);
            let idle = self.cache.idle_blocks_of(&candidates[..shared]);
            let cached = shared as u32 * stretch;
            // Room for all it has now, though only a chunk is taken: a half-admitted prompt would push
            // out others for nothing.
            let all = sequence.known().div_ceil(self.block_tokens) - shared as u32 * sequence.blocks_per_hash;
            if u64::from(all) + idle > self.cache.free() {
                return;
            }
            let planned = (sequence.known() - cached).min(*budget);
            self.cache.share(&candidates[..shared]);
            sequence.shared = shared as u32;
            let more = (cached + planned).div_ceil(self.block_tokens) - sequence.blocks();
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            let taken = self.cache.take(u64::from(more));
            debug_assert!(taken, "room for more was checked above");
            sequence.private_blocks = more;
            sequence.computed = cached;
            sequence.planned = planned;
            if sequence.scheduled.is_none() {
                sequence.scheduled = Some(at);
                sequence.cached_tokens = cached;
                if self.prefix_caching {
                    self.totals.prefix_queries_tokens += u64::from(sequence.prompt_tokens);
                    self.totals.prefix_hits_tokens += u64::from(cached);
                }
            }
            *budget -= planned;
            work.add(&sequence);
            self.running.push(sequence);
        }
    }

    /// Ends the iteration under way: every sequence whose known tokens are all computed gets one more.
    pub(super) fn end(&mut self, out: &mut Outputs) {
        let Some(Batch { iteration, .. }) = self.batch.take() else { return };
        let at = iteration.ended;
        self.clock = at;
        self.totals.iterations += 1;
        self.totals.prefill_tokens += u64::from(iteration.prefill_tokens);
        let lasted = at.since(iteration.began).as_micros().unsigned_abs();
        let spent = if iteration.prefill_tokens > 0 {
            &mut self.totals.prefill_us
        } else {
            &mut self.totals.decode_us
        };
        *spent += lasted;
        if self.detail == Detail::EveryToken {
            out.iterations.push(iteration);
        }
        let every = self.detail == Detail::EveryToken;
        let mut ended = false;
        for sequence in &mut self.running {
            if sequence.planned == 0 {
                continue;
            }
            sequence.computed += sequence.planned;
            sequence.planned = 0;
            if sequence.computed < sequence.known() {
                continue;
            }
            if sequence.first_token.is_none() {
                sequence.first_token = Some(at);
                self.totals.prompt_tokens += u64::from(sequence.prompt_tokens);
            }
            if sequence.shared < sequence.hashes.len() as u32 {
                let fresh = &sequence.hashes[sequence.shared as usize..];
                self.cache.publish(fresh, sequence.blocks_per_hash);
                sequence.private_blocks -= fresh.len() as u32 * sequence.blocks_per_hash;
                sequence.shared = sequence.hashes.len() as u32;
            }
            if every || sequence.written == 0 {
                out.tokens.push(Token { id: sequence.id, index: sequence.written, at });
            }
            sequence.written += 1;
            self.totals.generation_tokens += 1;
            ended |= sequence.written >= sequence.length;
        }
        if ended {
            self.remove_ended(at, out);
        }
    }

    fn remove_ended(&mut self, at: Time, out: &mut Outputs) {
        let cache = &mut self.cache;
        self.running.retain(|sequence| {
            if sequence.written < sequence.length {
                return true;
            }
            cache.let_go(sequence.shared_hashes());
            cache.give_back(u64::from(sequence.private_blocks));
            out.finished.push(sequence.finished(sequence.finish(), at));
            false
        });
    }
}
