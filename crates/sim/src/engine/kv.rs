//! The KV cache: blocks that belong to one sequence, and blocks of prompts that others may share.
//!
//! A prompt's blocks are named by a chain of hashes, each standing for everything up to its end. They
//! stay after the sequence ends and are taken back, least recently used first, when somebody needs room.

use std::collections::BTreeMap;

/// The pool of blocks of one engine.
#[derive(Debug)]
pub(super) struct Cache {
    total: u64,
    /// Blocks held by single sequences.
    private: u64,
    /// Blocks of shared prompts that some sequence uses now.
    in_use: u64,
    /// Blocks of shared prompts that nobody uses now.
    idle: u64,
    shared: BTreeMap<u64, Shared>,
    /// Idle entries by the moment they became so; the moments are distinct.
    by_age: BTreeMap<u64, u64>,
    moment: u64,
}

#[derive(Debug)]
struct Shared {
    blocks: u32,
    users: u32,
    /// When it was last let go, while nobody uses it.
    idle_since: u64,
}

impl Cache {
    pub(super) fn new(total: u64) -> Cache {
        Cache {
            total,
            private: 0,
            in_use: 0,
            idle: 0,
            shared: BTreeMap::new(),
            by_age: BTreeMap::new(),
            moment: 0,
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Blocks some sequence holds. What is only remembered counts as free, as in vLLM.
    pub(super) fn used(&self) -> u64 {
        self.private + self.in_use
    }

    pub(super) fn remembered(&self) -> u64 {
        self.idle
    }

    pub(super) fn free(&self) -> u64 {
        self.total - self.used()
    }

    /// Takes `blocks` for one sequence, forgetting old prompts where needed. False, and nothing
    /// changed, when there are not enough.
    #[must_use]
    pub(super) fn take(&mut self, blocks: u64) -> bool {
        if blocks > self.free() {
            return false;
        }
        while self.used() + self.idle + blocks > self.total {
            let Some((_, hash)) = self.by_age.pop_first() else { return false };
            if let Some(gone) = self.shared.remove(&hash) {
                self.idle -= u64::from(gone.blocks);
            }
        }
        self.private += blocks;
        true
    }

    pub(super) fn give_back(&mut self, blocks: u64) {
        self.private -= blocks;
    }

    /// How many of the first hashes are in the cache.
    pub(super) fn known(&self, hashes: &[u64]) -> usize {
        hashes.iter().take_while(|hash| self.shared.contains_key(hash)).count()
    }

    /// Of the first hashes, how many blocks are idle: using them takes that much from what is free.
    pub(super) fn idle_blocks_of(&self, hashes: &[u64]) -> u64 {
        let entries = hashes.iter().filter_map(|hash| self.shared.get(hash));
        entries.filter(|entry| entry.users == 0).map(|entry| u64::from(entry.blocks)).sum()
    }

    /// One more user for each of these, which must be in the cache.
    pub(super) fn share(&mut self, hashes: &[u64]) {
        for hash in hashes {
            let Some(entry) = self.shared.get_mut(hash) else { continue };
            if entry.users == 0 {
                self.by_age.remove(&entry.idle_since);
                self.idle -= u64::from(entry.blocks);
                self.in_use += u64::from(entry.blocks);
            }
            entry.users += 1;
        }
    }

    /// Turns a sequence's own blocks into shared ones, `blocks` for each hash. Where somebody else was
    /// faster, the copy is freed and theirs is used.
    pub(super) fn publish(&mut self, hashes: &[u64], blocks: u32) {
        for hash in hashes {
            self.private -= u64::from(blocks);
            if self.shared.contains_key(hash) {
                self.share(std::slice::from_ref(hash));
            } else {
                self.shared.insert(*hash, Shared { blocks, users: 1, idle_since: 0 });
                self.in_use += u64::from(blocks);
            }
        }
    }

    /// One user less for each. The end of a prompt is let go before its beginning, which is worth more.
    pub(super) fn let_go(&mut self, hashes: &[u64]) {
        for hash in hashes.iter().rev() {
            let Some(entry) = self.shared.get_mut(hash) else { continue };
            entry.users -= 1;
            if entry.users == 0 {
                self.moment += 1;
                entry.idle_since = self.moment;
                self.by_age.insert(self.moment, *hash);
                self.in_use -= u64::from(entry.blocks);
                self.idle += u64::from(entry.blocks);
            }
        }
    }
}
