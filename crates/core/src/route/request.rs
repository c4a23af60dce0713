//! The requests that are alive, found by number in constant time.
//!
//! A slab holds them and an open-addressing index finds them. Numbers come in order, but a stream of an
//! hour lives beside requests of a second, so a ring over the numbers would span an hour of traffic:
//! 3.6 million cells at 1,000 requests a second for 1,000 that live. The index grows with those that
//! live, and only with them.

use alloc::vec::Vec;

use super::types::{Arrival, EndpointId, RequestId, TargetId};
use crate::time::Time;

/// Endpoints a request remembers that it failed on: the first try and [`RETRIES_MAX`] more.
const FAILED_KEPT: usize = RETRIES_MAX as usize + 1;
/// Times a request is placed again while there is another endpoint to try.
pub(super) const RETRIES_MAX: u8 = 3;

/// A request's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// In the queue.
    Waiting,
    /// At an endpoint.
    InFlight {
        /// Which.
        endpoint: EndpointId,
        /// The target's count of dispatches when it went.
        dispatch: u64,
        /// Whether the engine has begun to answer.
        answering: bool,
    },
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) arrival: Arrival,
    pub(super) place: Place,
    /// Tokens of its prompt as corrected when it arrived.
    pub(super) prompt_tokens: u64,
    /// Tokens it is expected to write.
    pub(super) output_tokens: u64,
    /// Tokens nobody has worked on yet.
    pub(super) left_tokens: u64,
    /// When it arrived.
    pub(super) since: Time,
    /// When it came into the queue the last time: its wait is counted from here.
    pub(super) queued_at: Time,
    /// The lane it waits in: its tenant's, or the shared one.
    pub(super) lane: u64,
    /// Tries that failed.
    pub(super) fails: u8,
    failed: [EndpointId; FAILED_KEPT],
}

impl Request {
    pub(super) fn new(arrival: Arrival, now: Time, prompt_tokens: u64, output_tokens: u64) -> Self {
        Request {
            arrival,
            place: Place::Waiting,
            prompt_tokens,
            output_tokens,
            left_tokens: prompt_tokens + output_tokens,
            since: now,
            queued_at: now,
            lane: arrival.tenant,
            fails: 0,
            failed: [EndpointId(0); FAILED_KEPT],
        }
    }

    /// Remembers a failure; beyond [`FAILED_KEPT`] the oldest is forgotten.
    pub(super) fn fail(&mut self, endpoint: EndpointId) {
        self.failed[usize::from(self.fails) % FAILED_KEPT] = endpoint;
        self.fails = self.fails.saturating_add(1);
    }

    /// Endpoints it failed on.
    pub(super) fn failed(&self) -> &[EndpointId] {
        &self.failed[..usize::from(self.fails).min(FAILED_KEPT)]
    }
}

/// All requests that are alive.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    slab: Vec<Request>,
    free: Vec<u32>,
    index: Index,
}

impl Requests {
    /// Takes a request in and says where it is. `None` if its number is alive already.
    pub(super) fn insert(&mut self, request: Request) -> Option<u32> {
        let number = request.arrival.request.0;
        if self.index.get(number).is_some() {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slab[slot as usize] = request;
                slot
            }
            None => {
                self.slab.push(request);
                (self.slab.len() - 1) as u32
            }
        };
        self.index.insert(number, slot);
        Some(slot)
    }

    pub(super) fn find(&self, request: RequestId) -> Option<u32> {
        self.index.get(request.0)
    }

    pub(super) fn get(&self, slot: u32) -> &Request {
        &self.slab[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Request {
        &mut self.slab[slot as usize]
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.index.remove(self.slab[slot as usize].arrival.request.0);
        self.free.push(slot);
    }

    /// A target's requests in flight at an endpoint and their tokens, by looking at all: for one that was
    /// gone and is back while they still run.
    pub(super) fn in_flight_at(&self, target: TargetId, id: EndpointId) -> (u32, u64) {
        let cells = self.slab.iter().enumerate();
        let here = cells.filter(|(slot, request)| {
            matches!(request.place, Place::InFlight { endpoint, .. } if endpoint == id)
                && request.arrival.target == target
                // A freed cell keeps its old request, so the index is asked whose it is.
                && self.find(request.arrival.request) == Some(*slot as u32)
        });
        here.fold((0, 0), |(count, tokens), (_, request)| (count + 1, tokens + request.left_tokens))
    }

    /// How many live.
    pub(super) fn count(&self) -> usize {
        self.slab.len() - self.free.len()
    }
}

/// Number → slot: linear probing in a power of two of cells, at most half of them full. Deleting moves
/// the followers back, so there are no tombstones and age does not slow it.
#[derive(Clone, Debug, Default)]
struct Index {
    cells: Vec<Option<(u64, u32)>>,
    used: usize,
}

/// Cells to begin with.
const CELLS_MIN: usize = 64;

impl Index {
    /// The cell a number would like: the high bits of a product with 2^64 / golden ratio, so that runs of
    /// numbers spread over the table instead of forming one long run.
    fn home(&self, number: u64) -> usize {
        let bits = self.cells.len().trailing_zeros();
        (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - bits)) as usize
    }

    fn get(&self, number: u64) -> Option<u32> {
        self.cell(number).and_then(|cell| self.cells[cell]).map(|(_, slot)| slot)
    }

    fn cell(&self, number: u64) -> Option<usize> {
        if self.cells.is_empty() {
            return None;
        }
        let mask = self.cells.len() - 1;
        let mut cell = self.home(number);
        while let Some((here, _)) = self.cells[cell] {
            if here == number {
                return Some(cell);
            }
            cell = (cell + 1) & mask;
        }
        None
    }

    fn insert(&mut self, number: u64, slot: u32) {
        if (self.used + 1) * 2 > self.cells.len() {
            self.grow();
        }
        self.put(number, slot);
        self.used += 1;
    }

    fn put(&mut self, number: u64, slot: u32) {
        let mask = self.cells.len() - 1;
        let mut cell = self.home(number);
        while self.cells[cell].is_some() {
            cell = (cell + 1) & mask;
        }
        self.cells[cell] = Some((number, slot));
    }

    fn grow(&mut self) {
        let cells = (self.cells.len() * 2).max(CELLS_MIN);
        let old = core::mem::replace(&mut self.cells, alloc::vec![None; cells]);
        for (number, slot) in old.into_iter().flatten() {
            self.put(number, slot);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(mut hole) = self.cell(number) else { return };
        let mask = self.cells.len() - 1;
        let mut next = (hole + 1) & mask;
        while let Some((follower, _)) = self.cells[next] {
            // It may fill the hole unless its home lies behind the hole.
            if (next.wrapping_sub(self.home(follower)) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.cells[hole] = self.cells[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.cells[hole] = None;
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_costs_no_more_memory_than_the_docs_say() {
        assert!(size_of::<Request>() <= 208, "{}", size_of::<Request>());
    }

    #[test]
    fn an_index_finds_what_lives_and_nothing_else_after_many_turns() {
        let mut index = Index::default();
        for number in 0..10_000_u64 {
            index.insert(number, number as u32);
            // Every seventh lives on, as a long stream does; the others leave after 50.
            if let Some(old) = number.checked_sub(50).filter(|old| old % 7 != 0) {
                index.remove(old);
            }
        }
        for number in 0..10_000_u64 {
            let lives = number % 7 == 0 || number >= 9_950;
            assert_eq!(index.get(number), lives.then_some(number as u32), "{number}");
        }
        assert_eq!(index.cells.len(), 4_096, "1,472 live, at most half of the cells full");
    }
}
