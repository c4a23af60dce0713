//! What goes into the engine model and what comes out.

use tidegate_core::time::Time;

/// A request as the model sees it: lengths, not text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The caller's name for it; it should be unique, for `cancel` takes the first
    /// that has it.
    pub id: u64,
    /// Tokens in the prompt; 0 counts as 1.
    pub prompt_tokens: u32,
    /// Tokens the model would write before it stops by itself; 0 counts as 1.
    pub output_tokens: u32,
    /// Tokens it may write; 0 counts as 1.
    pub max_tokens: u32,
    /// What others may share of the prompt.
    pub prefix: Option<Prefix>,
}

/// A prompt as a chain of hashes, each standing for all of the prompt up to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// One for each full stretch of the prompt.
    pub hashes: Box<[u64]>,
    /// Tokens in a stretch: a multiple of the profile's `block_tokens`, or nothing is shared.
    pub tokens_per_hash: u32,
}

/// Why a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finish {
    /// The model had said all it wanted to.
    Stop,
    /// `max_tokens` was reached.
    Length,
    /// It was cancelled.
    Abort,
}

/// One token of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose.
    pub id: u64,
    /// Its place in the output, from 0.
    pub index: u32,
    /// When it was ready.
    pub at: Time,
}

/// The life of a request that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub id: u64,
    /// Why.
    pub finish: Finish,
    /// When it came.
    pub arrived: Time,
    /// When it first was in a batch.
    pub scheduled: Option<Time>,
    /// When its first token was ready.
    pub first_token: Option<Time>,
    /// When it ended.
    pub at: Time,
    /// Tokens in the prompt.
    pub prompt_tokens: u32,
    /// Of these, found in the prefix cache at the first attempt.
    pub cached_tokens: u32,
    /// Tokens written.
    pub output_tokens: u32,
    /// Tokens it was allowed to write.
    pub max_tokens: u32,
    /// How often it was pushed out for lack of KV cache.
    pub preemptions: u32,
}

/// One iteration of the engine: one forward pass over its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iteration {
    /// When it began.
    pub began: Time,
    /// When it ended.
    pub ended: Time,
    /// Sequences in it.
    pub sequences: u32,
    /// Tokens computed: chunks of prompts, and one for each decoded sequence.
    pub tokens: u32,
    /// Of these, tokens of prompts.
    pub prefill_tokens: u32,
}

/// What came out of [`super::Engine::step`], each kind in the order it happened. A request's tokens come
/// before its end. Reuse one and [`Outputs::clear`] it, so that nothing is allocated in the long run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Tokens; of [`Detail::Milestones`] only each request's first.
    pub tokens: Vec<Token>,
    /// Requests that ended.
    pub finished: Vec<Finished>,
    /// Requests pushed back to the queue, with the time.
    pub preempted: Vec<(u64, Time)>,
    /// Iterations; none with [`Detail::Milestones`].
    pub iterations: Vec<Iteration>,
}

impl Outputs {
    /// Empties all four lists and keeps their memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.finished.clear();
        self.preempted.clear();
        self.iterations.clear();
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
            && self.finished.is_empty()
            && self.preempted.is_empty()
            && self.iterations.is_empty()
    }
}

/// How much [`super::Engine::step`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Every token and every iteration: for a server that has to send them.
    EveryToken,
    /// First tokens and ends: for a simulation of millions.
    Milestones,
}

/// Levels now and totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests in the batch.
    pub running: u32,
    /// Requests waiting.
    pub waiting: u32,
    /// Blocks of the KV cache that sequences hold.
    pub kv_blocks_used: u64,
    /// Blocks that hold prompts nobody uses now; they count as free.
    pub kv_blocks_remembered: u64,
    /// Blocks there are.
    pub kv_blocks_total: u64,
    /// Requests accepted.
    pub requests: u64,
    /// Prompt tokens of requests whose prefill ended, cached ones included.
    pub prompt_tokens: u64,
    /// Tokens computed in prefill, recomputation included, cached ones not.
    pub prefill_tokens: u64,
    /// Tokens written.
    pub generation_tokens: u64,
    /// Requests pushed out for lack of KV cache.
    pub preemptions: u64,
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_queries_tokens: u64,
    /// Prompt tokens found there.
    pub prefix_hits_tokens: u64,
    /// Iterations done.
    pub iterations: u64,
    /// Time spent in iterations that prefilled, in microseconds.
    pub prefill_us: u64,
    /// Time spent in iterations that only decoded, in microseconds.
    pub decode_us: u64,
}
