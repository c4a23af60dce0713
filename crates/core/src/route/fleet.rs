//! A target's endpoints: which of them could take a request now.
//!
//! They stand in order of their number, and beside them a list of those with room, in which one is added
//! or removed in constant time. So a full fleet of 500 with one free place costs one look, not 500.

use alloc::vec::Vec;

use super::endpoint::{Endpoint, Failure};
use super::types::{EndpointId, EndpointState};
use crate::time::Time;

/// What an endpoint learned counts for at least this share of what the best learned: it may have been
/// measured when it had less to do. One that is slower still fills its slots, and is known by that.
const RATE_SHARE_MIN: f64 = 0.25;

/// All endpoints of one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Fleet {
    pub(super) list: Vec<Endpoint>,
    /// Those with room, in no order that matters.
    pub(super) open: Vec<u32>,
    /// Those that are ready, not paused and not ejected.
    pub(super) usable: u32,
    /// When the next of the closed opens.
    pub(super) reopens: Option<Time>,
    /// The best rate ever learned here, for a replica that is not there yet.
    pub(super) rate_best: Option<f64>,
    /// The slots learned last, for the same.
    pub(super) slots_last: Option<u32>,
    /// State of the generator for power of two choices.
    pub(super) random: u64,
}

impl Fleet {
    pub(super) fn find(&self, id: EndpointId) -> Option<usize> {
        self.list.binary_search_by_key(&id, |endpoint| endpoint.id).ok()
    }

    /// An endpoint is there or changed its state.
    pub(super) fn set(&mut self, id: EndpointId, state: EndpointState, new: impl FnOnce() -> Endpoint) {
        match self.list.binary_search_by_key(&id, |endpoint| endpoint.id) {
            Ok(at) if self.list[at].state == state => return,
            Ok(at) if state == EndpointState::Draining => self.list[at].state = state,
            Ok(at) => self.list[at].ready_again(),
            Err(at) => {
                self.list.insert(at, new());
                self.rates();
            }
        }
        self.rebuild();
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.list.remove(at);
        self.rebuild();
        self.rates();
    }

    /// Everything that is derived, anew: after an endpoint came, went or changed its state.
    pub(super) fn rebuild(&mut self) {
        self.spare();
        self.open.clear();
        self.usable = 0;
        for at in 0..self.list.len() {
            self.list[at].open_at = None;
            self.list[at].usable = false;
            self.update(at);
        }
        self.next_reopening();
    }

    /// One endpoint changed: keeps the list of those with room and the count of the usable.
    pub(super) fn update(&mut self, at: usize) {
        let endpoint = &mut self.list[at];
        let usable = endpoint.is_usable();
        if usable != endpoint.usable {
            endpoint.usable = usable;
            self.usable = if usable { self.usable + 1 } else { self.usable - 1 };
        }
        match (endpoint.has_room(), endpoint.open_at) {
            (true, None) => {
                endpoint.open_at = Some(self.open.len() as u32);
                self.open.push(at as u32);
            }
            (false, Some(place)) => {
                endpoint.open_at = None;
                self.open.swap_remove(place as usize);
                if let Some(moved) = self.open.get(place as usize) {
                    self.list[*moved as usize].open_at = Some(place);
                }
            }
            _ => {}
        }
    }

    /// Opens those whose time is over.
    pub(super) fn reopen(&mut self, now: Time) {
        if self.reopens.is_none_or(|at| at > now) {
            return;
        }
        for at in 0..self.list.len() {
            if self.list[at].closed.is_some_and(|closed| closed.until <= now) {
                self.list[at].closed = None;
                self.update(at);
            }
        }
        self.next_reopening();
    }

    fn next_reopening(&mut self) {
        let closed = self.list.iter().filter(|endpoint| endpoint.state == EndpointState::Ready);
        self.reopens = closed.filter_map(|endpoint| endpoint.closed).map(|closed| closed.until).min();
    }

    /// Ready ones and, of them, the ejected.
    pub(super) fn ready(&self) -> (u32, u32) {
        let ready = self.list.iter().filter(|endpoint| endpoint.state == EndpointState::Ready);
        ready.fold((0, 0), |(all, ejected), one| (all + 1, ejected + u32::from(one.is_ejected())))
    }

    /// Lets those back in that were ejected when there were more: never more than half are out.
    fn spare(&mut self) {
        let (ready, mut ejected) = self.ready();
        while ejected * 2 > ready {
            let out =
                self.list.iter_mut().filter(|one| one.is_ejected() && one.state == EndpointState::Ready);
            let Some(first) = out.min_by_key(|one| (one.closed.map(|closed| closed.until), one.id)) else {
                return;
            };
            first.closed = None;
            ejected -= 1;
        }
    }

    /// Whether there is an endpoint, full or not, other than these.
    pub(super) fn elsewhere(&self, failed: &[EndpointId]) -> bool {
        self.list.iter().any(|endpoint| endpoint.is_usable() && !failed.contains(&endpoint.id))
    }

    /// An endpoint failed a request; until when it is ejected, if it is.
    pub(super) fn failed(&mut self, now: Time, at: usize, mut failure: Failure) -> Option<Time> {
        let (ready, ejected) = self.ready();
        failure.may_eject = (ejected + 1) * 2 <= ready && self.list[at].state == EndpointState::Ready;
        let until = self.list[at].failed(now, failure);
        self.update(at);
        self.next_reopening();
        until
    }

    /// An endpoint began to answer.
    pub(super) fn lives(&mut self, at: usize) {
        if self.list[at].lives() {
            self.update(at);
            self.next_reopening();
        }
    }

    /// Tokens were done; learns the rate when a window is full.
    pub(super) fn done(&mut self, now: Time, at: usize, tokens: u64) {
        if self.list[at].done(now, tokens) {
            self.rates();
        }
    }

    /// Who has not learned counts as the best; who learned little, as a quarter of it.
    fn rates(&mut self) {
        let learned = self.list.iter().filter_map(|endpoint| endpoint.rate);
        let Some(best) = learned.max_by(f64::total_cmp).or(self.rate_best) else { return };
        self.rate_best = Some(best);
        for endpoint in &mut self.list {
            let rate = endpoint.rate.map_or(best, |rate| rate.max(best * RATE_SHARE_MIN));
            endpoint.seconds_per_token = 1.0 / rate;
        }
    }

    /// Tokens a second of all that can be used, or of one where none can; `None` before it was measured.
    pub(super) fn rate(&self) -> Option<f64> {
        let best = self.rate_best?;
        if self.usable == 0 {
            return Some(best);
        }
        let usable = self.list.iter().filter(|endpoint| endpoint.usable);
        Some(usable.map(|endpoint| 1.0 / endpoint.seconds_per_token).sum())
    }
}
