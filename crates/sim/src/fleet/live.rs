//! Requests under way, by number.
//!
//! Numbers follow the order of arrival, so a ring from the oldest that lives holds them: memory follows what
//! is in flight, not what there was.

use std::collections::VecDeque;

use tidegate_core::time::Time;

use crate::trace::TraceRequest;

/// A request that has arrived and is not over.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) arrived: Time,
    pub(super) first: Option<Time>,
    pub(super) request: TraceRequest,
}

#[derive(Debug, Default)]
pub(super) struct Lives {
    ring: VecDeque<Option<Live>>,
    oldest: u64,
    count: u64,
}

impl Lives {
    /// Takes a request in; its number.
    pub(super) fn add(&mut self, live: Live) -> u64 {
        self.ring.push_back(Some(live));
        self.count += 1;
        self.oldest + self.ring.len() as u64 - 1
    }

    pub(super) fn get(&mut self, number: u64) -> Option<&mut Live> {
        let place = usize::try_from(number.checked_sub(self.oldest)?).ok()?;
        self.ring.get_mut(place)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Live> {
        let place = usize::try_from(number.checked_sub(self.oldest)?).ok()?;
        let gone = self.ring.get_mut(place)?.take()?;
        self.count -= 1;
        while self.ring.front().is_some_and(Option::is_none) {
            self.ring.pop_front();
            self.oldest += 1;
        }
        Some(gone)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Those still alive, at the end of a run.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = Live> {
        self.count = 0;
        std::mem::take(&mut self.ring).into_iter().flatten()
    }
}
