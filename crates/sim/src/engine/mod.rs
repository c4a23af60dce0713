//! One inference engine as a deterministic machine: continuous batching over a KV cache in blocks.
//!
//! It schedules as vLLM's V1 does. Each iteration has a budget of tokens. Running sequences come first, in
//! the order they were admitted: one token for those that decode, the next chunk for those still in prefill.
//! A sequence that finds no block pushes out the youngest, which returns to the head of the queue and
//! computes everything again. Then waiting ones are admitted in order, as long as there is budget, a seat
//! and room for all their known tokens; nobody overtakes.
//!
//! Simplifications: blocks of output are not kept for others, only those of prompts; no priorities, no
//! speculative decoding, no LoRA.
//!
//! A driver asks [`Engine::next_iteration`] when something will happen, and calls [`Engine::step`] then:
//!
//! ```
//! use tidegate_core::time::Time;
//! use tidegate_sim::engine::{Detail, Engine, Outputs, Request};
//! use tidegate_sim::Profile;
//!
//! let mut engine = Engine::new(&Profile::demo(), Detail::EveryToken)?;
//! let mut out = Outputs::default();
//! let request = Request { id: 1, prompt_tokens: 100, output_tokens: 3, max_tokens: 10, prefix: None };
//! engine.submit(Time::ORIGIN, request)?;
//! let mut now = Time::ORIGIN;
//! while let Some(end) = engine.next_iteration(now) {
//!     now = end;
//!     engine.step(now, &mut out);
//! }
//! assert_eq!(out.tokens.len(), 3);
//! # Ok::<(), tidegate_sim::engine::Error>(())
//! ```

mod glide;
mod kv;
mod pace;
mod schedule;
mod sequence;
mod types;

pub use types::{Detail, Finish, Finished, Iteration, Outputs, Prefix, Request, Stats, Token};

use std::collections::VecDeque;

use tidegate_core::time::Time;

use crate::profile::{self, Profile};
use kv::Cache;
use pace::Pace;
use schedule::Batch;
use sequence::Sequence;

/// Requests that wait at most: 2^20 of some 150 bytes are 150 MB. More are refused.
pub const WAITING_MAX: usize = 1 << 20;

/// A request or profile the engine cannot take.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The profile has numbers out of range.
    #[error(transparent)]
    Profile(#[from] profile::Error),
    /// More tokens than the model or the KV cache has room for. Retrying cannot help.
    #[error(
        "this model's maximum context length is {max_tokens} tokens, but {prompt_tokens} in the prompt and \
         {output_tokens} to be written were asked for; shorten one of them"
    )]
    TooLong {
        /// In the prompt.
        prompt_tokens: u32,
        /// Asked for.
        output_tokens: u32,
        /// What fits.
        max_tokens: u64,
    },
    /// The queue is full. Retrying later can help.
    #[error("{WAITING_MAX} requests wait already; try again later")]
    Full,
}

/// The machine. See the module for how to drive it.
#[derive(Debug)]
pub struct Engine {
    pace: Pace,
    detail: Detail,
    block_tokens: u32,
    max_num_seqs: usize,
    max_batched_tokens: u32,
    max_model_len: u32,
    prefix_caching: bool,
    cache: Cache,
    running: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    batch: Option<Batch>,
    /// Waiting requests that the last admission left, and that only the end of another can let in.
    blocked: bool,
    /// How many waited when the last iteration had begun.
    left: u32,
    /// The end of the last iteration: the next one cannot begin before it.
    clock: Time,
    totals: Stats,
}

impl Engine {
    /// An idle engine with an empty cache.
    ///
    /// # Errors
    /// Profiles with numbers out of range.
    pub fn new(profile: &Profile, detail: Detail) -> Result<Engine, Error> {
        profile.check()?;
        Ok(Engine {
            pace: Pace::of(profile),
            detail,
            block_tokens: profile.block_tokens,
            max_num_seqs: profile.max_num_seqs as usize,
            max_batched_tokens: profile.max_batched_tokens,
            max_model_len: profile.max_model_len,
            prefix_caching: profile.prefix_caching,
            cache: Cache::new(profile.kv_blocks()),
            running: Vec::new(),
            waiting: VecDeque::new(),
            batch: None,
            blocked: false,
            left: 0,
            clock: Time::from_micros(i64::MIN),
            totals: Stats::default(),
        })
    }

    /// Tokens of prompt and output together that one request can have.
    #[must_use]
    pub fn tokens_max(&self) -> u64 {
        u64::from(self.max_model_len).min(self.cache.total() * u64::from(self.block_tokens))
    }

    /// Puts a request at the end of the queue. It can be part of the next iteration to begin.
    ///
    /// # Errors
    /// See [`Error`]; a refused request changes nothing.
    pub fn submit(&mut self, now: Time, request: Request) -> Result<(), Error> {
        let sequence = Sequence::new(now, request, self.prefix_caching.then_some(self.block_tokens));
        let most = self.tokens_max();
        if u64::from(sequence.prompt_tokens) + u64::from(sequence.max_tokens) > most {
            return Err(Error::TooLong {
                prompt_tokens: sequence.prompt_tokens,
                output_tokens: sequence.max_tokens,
                max_tokens: most,
            });
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(Error::Full);
        }
        self.totals.requests += 1;
        self.waiting.push_back(sequence);
        Ok(())
    }

    /// When the iteration under way ends; begins one first if there is work and none is. `None` when idle.
    pub fn next_iteration(&mut self, now: Time) -> Option<Time> {
        if self.batch.is_none() {
            let mut nowhere = Vec::new();
            self.begin(now.max(self.clock), &mut nowhere);
            debug_assert!(nowhere.is_empty(), "an idle engine's first batch pushes nobody out");
        }
        self.batch.as_ref().map(|batch| batch.iteration.ended)
    }

    /// Finishes every iteration that has ended by `now`, each followed at once by the next while there is
    /// work, and appends what happened to `out`.
    pub fn step(&mut self, now: Time, out: &mut Outputs) {
        if self.batch.is_none() {
            self.begin(now.max(self.clock), &mut out.preempted);
        }
        while self.batch.as_ref().is_some_and(|batch| batch.iteration.ended <= now) {
            if self.glide(now) {
                continue;
            }
            self.end(out);
            self.begin(self.clock, &mut out.preempted);
        }
    }

    /// Forgets a request wherever it is, and says how far it came. Its part in an iteration under way
    /// still takes its time.
    pub fn cancel(&mut self, now: Time, id: u64) -> Option<Finished> {
        self.blocked = false;
        if let Some(place) = self.running.iter().position(|sequence| sequence.id == id) {
            let sequence = self.running.remove(place);
            self.release(&sequence);
            return Some(sequence.finished(Finish::Abort, now));
        }
        let place = self.waiting.iter().position(|sequence| sequence.id == id)?;
        let sequence = self.waiting.remove(place)?;
        Some(sequence.finished(Finish::Abort, now))
    }

    /// Cancels everything, running before waiting, each in order.
    pub fn cancel_all(&mut self, now: Time, out: &mut Outputs) {
        for sequence in std::mem::take(&mut self.running) {
            self.release(&sequence);
            out.finished.push(sequence.finished(Finish::Abort, now));
        }
        for sequence in std::mem::take(&mut self.waiting) {
            out.finished.push(sequence.finished(Finish::Abort, now));
        }
    }

    /// Levels now and totals since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            running: self.running.len() as u32,
            waiting: self.waiting.len() as u32,
            kv_blocks_used: self.cache.used(),
            kv_blocks_remembered: self.cache.remembered(),
            kv_blocks_total: self.cache.total(),
            ..self.totals
        }
    }

    /// The same as an engine reports it: vLLM counts once an iteration, after it has admitted. A request that
    /// came since is about to be admitted, and no sign of a full batch; a gateway that learns from the count
    /// would take it for one.
    #[must_use]
    pub fn reported(&self) -> Stats {
        let stats = self.stats();
        Stats { waiting: stats.waiting.min(self.left), ..stats }
    }

    /// The tokens sequences in the batch hold, prompt and output, and may still come to hold: what an
    /// engine that reserves ahead counts.
    #[must_use]
    pub fn reserved_tokens(&self) -> u64 {
        self.running.iter().map(|seq| u64::from(seq.prompt_tokens) + u64::from(seq.max_tokens)).sum()
    }
}
