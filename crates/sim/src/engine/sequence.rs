//! One request inside the engine.

use tidegate_core::time::Time;

use super::types::{Finish, Finished, Request};

/// Lengths, progress and blocks of one request. Kept small: a batch of 256 fits the first-level cache.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: u64,
    pub(super) prompt_tokens: u32,
    pub(super) max_tokens: u32,
    /// Tokens it will write unless cancelled.
    pub(super) length: u32,
    pub(super) written: u32,
    /// Tokens whose keys and values are in the cache.
    pub(super) computed: u32,
    /// Tokens the iteration under way computes for it.
    pub(super) planned: u32,
    pub(super) private_blocks: u32,
    /// Of its hashes, how many it uses in the shared cache.
    pub(super) shared: u32,
    pub(super) blocks_per_hash: u32,
    pub(super) hashes: Box<[u64]>,
    pub(super) preemptions: u32,
    pub(super) cached_tokens: u32,
    arrived: Time,
    pub(super) scheduled: Option<Time>,
    pub(super) first_token: Option<Time>,
}

impl Sequence {
    /// `block_tokens` is `None` when nothing is shared.
    pub(super) fn new(now: Time, request: Request, block_tokens: Option<u32>) -> Sequence {
        let prompt_tokens = request.prompt_tokens.max(1);
        let max_tokens = request.max_tokens.max(1);
        let (hashes, blocks_per_hash) = match (request.prefix, block_tokens) {
            (Some(prefix), Some(block))
                if prefix.tokens_per_hash > 0 && prefix.tokens_per_hash % block == 0 =>
            {
                // Only stretches that lie wholly inside the prompt can be shared.
                let full = (prompt_tokens / prefix.tokens_per_hash) as usize;
                let mut hashes = prefix.hashes.into_vec();
                hashes.truncate(full);
                (hashes.into_boxed_slice(), prefix.tokens_per_hash / block)
            }
            _ => (Box::default(), 0),
        };
        Sequence {
            id: request.id,
            prompt_tokens,
            max_tokens,
            length: request.output_tokens.clamp(1, max_tokens),
            written: 0,
            computed: 0,
            planned: 0,
            private_blocks: 0,
            shared: 0,
            blocks_per_hash,
            hashes,
            preemptions: 0,
            cached_tokens: 0,
            arrived: now,
            scheduled: None,
            first_token: None,
        }
    }

    /// Tokens known so far: the prompt and what was written.
    pub(super) fn known(&self) -> u32 {
        self.prompt_tokens + self.written
    }

    pub(super) fn shared_hashes(&self) -> &[u64] {
        &self.hashes[..self.shared as usize]
    }

    pub(super) fn blocks(&self) -> u32 {
        self.private_blocks + self.shared * self.blocks_per_hash
    }

    pub(super) fn finish(&self) -> Finish {
        if self.written >= self.max_tokens { Finish::Length } else { Finish::Stop }
    }

    pub(super) fn finished(&self, finish: Finish, at: Time) -> Finished {
        Finished {
            id: self.id,
            finish,
            arrived: self.arrived,
            scheduled: self.scheduled,
            first_token: self.first_token,
            at,
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            output_tokens: self.written,
            max_tokens: self.max_tokens,
            preemptions: self.preemptions,
        }
    }
}
