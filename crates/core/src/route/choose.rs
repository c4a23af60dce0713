//! Where a request goes: the endpoint that would be done with it first.
//!
//! *Drain time*, in seconds, is compared (see [`Endpoint::drain_s`]), with the request itself added, so
//! that a fast endpoint gets a long prompt. What was dispatched counts from that moment: a herd between
//! two scrapes cannot happen. Equal ones go by number, so a quiet fleet fills from one end and empties
//! from the other.
//!
//! *Prefix.* The endpoint that had the same prompt head last has its KV cache. It is taken if it is not
//! much behind: `drain ≤ 1.25 × best + 0.25 s`. The factor is that of consistent hashing with bounded
//! loads; the quarter second is what a hit is worth, 2,000 tokens of prefill at 8,000 a second.
//! *Worked*: best 4.0 s, the one with the cache 5.2 s: taken, for 5.25 is allowed; at 5.3 s the best is
//! taken, and becomes the one with the cache. A hot prompt so spreads over as many as it needs.
//! The table has [`CELLS`] cells of 8 bytes, 32 KiB a target, from the first prefix on; a newer prefix
//! takes the cell of an older.
//!
//! *Large fleets.* Of more than [`SCAN_MAX`] endpoints with room, two are drawn and the better one is taken.
//! The draws come from splitmix64 with the target's number as seed: the same events, the same choice.

use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::endpoint::Endpoint;
use super::fleet::Fleet;
use super::types::EndpointId;
use crate::time::Time;

/// Endpoints with room that are all compared.
const SCAN_MAX: usize = 16;
/// Prefixes remembered a target.
const CELLS: usize = 4096;
/// How far behind the best the one with the cache may be.
const AFFINITY_FACTOR: f64 = 1.25;
const AFFINITY_S: f64 = 0.25;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    /// Tokens of the request.
    pub(super) tokens: u64,
    /// Hash of the head of its prompt.
    pub(super) prefix: Option<u64>,
    /// Endpoints it failed on.
    pub(super) failed: &'a [EndpointId],
}

/// Who had which prefix last.
#[derive(Clone, Debug, Default)]
pub(super) struct Affinity {
    /// The other half of the hash, and the endpoint.
    cells: Vec<Option<(NonZeroU32, EndpointId)>>,
}

impl Affinity {
    fn home(&self, prefix: u64) -> Option<EndpointId> {
        let (tag, endpoint) = (*self.cells.get(cell(prefix))?)?;
        (tag == tag_of(prefix)).then_some(endpoint)
    }

    pub(super) fn remember(&mut self, prefix: u64, endpoint: EndpointId) {
        if self.cells.is_empty() {
            self.cells = alloc::vec![None; CELLS];
        }
        self.cells[cell(prefix)] = Some((tag_of(prefix), endpoint));
    }
}

fn cell(prefix: u64) -> usize {
    (prefix % CELLS as u64) as usize
}

/// Never zero, so that an empty cell needs no byte of its own: a cell is 8 bytes.
fn tag_of(prefix: u64) -> NonZeroU32 {
    NonZeroU32::MIN | (prefix >> 32) as u32
}

impl Fleet {
    /// The endpoint for a request, of those with room; `None` if there is none it may go to now.
    pub(super) fn choose(&mut self, now: Time, ask: Ask<'_>, affinity: &Affinity) -> Option<usize> {
        let best = if ask.failed.is_empty() { self.best(now, ask)? } else { self.best_other(now, ask)? };
        let home = ask.prefix.and_then(|prefix| affinity.home(prefix));
        let Some(home) = home.filter(|home| *home != self.list[best].id && !ask.failed.contains(home)) else {
            return Some(best);
        };
        let Some(home) = self.find(home).filter(|home| self.list[*home].open_at.is_some()) else {
            return Some(best);
        };
        let drain = |at: usize| self.list[at].drain_s(now, ask.tokens);
        Some(if drain(home) <= AFFINITY_FACTOR * drain(best) + AFFINITY_S { home } else { best })
    }

    fn best(&mut self, now: Time, ask: Ask<'_>) -> Option<usize> {
        let open = self.open.len() as u64;
        if self.open.len() <= SCAN_MAX {
            return least(&self.list, self.open.iter().copied(), now, ask.tokens);
        }
        let first = splitmix(&mut self.random) % open;
        // Another one: 1 to open − 1 further on.
        let second = (first + 1 + splitmix(&mut self.random) % (open - 1)) % open;
        let two = [self.open[first as usize], self.open[second as usize]];
        least(&self.list, two.into_iter(), now, ask.tokens)
    }

    /// For a request that failed: an endpoint that it did not fail on. Where there is one but without
    /// room, it waits for it; where there is none, it may try again what it tried.
    fn best_other(&mut self, now: Time, ask: Ask<'_>) -> Option<usize> {
        let list = &self.list;
        let fresh = |at: &u32| !ask.failed.contains(&list[*at as usize].id);
        let other = least(list, self.open.iter().copied().filter(fresh), now, ask.tokens);
        if other.is_some() || self.elsewhere(ask.failed) {
            return other;
        }
        self.best(now, ask)
    }
}

fn least(list: &[Endpoint], among: impl Iterator<Item = u32>, now: Time, tokens: u64) -> Option<usize> {
    let drain = |at: u32| (list[at as usize].drain_s(now, tokens), at);
    let least = among.map(drain).min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    least.map(|(_, at)| at as usize)
}

/// Sebastiano Vigna's splitmix64.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
