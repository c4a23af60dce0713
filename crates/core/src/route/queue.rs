//! Who waits, and who of them is next.
//!
//! *Priorities* are strict, but for one dispatch in [`STARVE_EVERY`]: while a lower one waits, every 16th
//! place goes to the oldest request of the lower ones. Low work so keeps 6 % of a fleet that high work
//! would fill, and high work waits at most one place in sixteen longer.
//!
//! *Tenants* of one priority share by tokens, not by requests. Each has a lane, first in, first out, and
//! a count of tokens served; the lane with the lowest count is next, the older head where two are equal.
//! A lane that was away starts at the count of the lane served last, so nobody saves up by being idle.
//! This gives the shares of deficit round robin without its rounds: a prompt of 100,000 tokens would make
//! a quantum of 4,096 go round 25 times before it could leave, and here it is one look-up. Two tenants
//! who both wait never drift further apart than one request of each.
//!
//! *Worked*: A sends requests of 8,000 tokens, B of 500. Of 17 dispatches one is A's and 16 are B's:
//! 8,000 tokens each.
//!
//! *Retries* stand before all lanes of their priority, oldest first: they were served once and paid.
//!
//! Memory: a waiting request costs 16 bytes in its lane, 24 in the order of waits and 24 more with a
//! deadline; [`LANES_MAX`] lanes of 150 bytes or so are 0.15 MB a priority.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use super::request::{Request, Requests};
use super::types::{Priority, RequestId};
use crate::time::Time;

/// One place in this many goes to a lower priority that waits.
const STARVE_EVERY: u32 = 16;
/// Tenants of one priority with a lane of their own; the others share the lane of nobody.
const LANES_MAX: usize = 1024;
/// Retries looked at for one free place, before the lanes have their turn: enough that a handful of
/// endpoints that failed does not stand in the way, few enough that 10,000 retries do not cost 10,000.
const RETRIES_SEEN: usize = 16;
/// Priorities.
const BANDS: usize = 3;

/// A request in a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Waiter {
    pub(super) request: RequestId,
    pub(super) slot: u32,
}

/// All that wait for one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    bands: [Band; BANDS],
    /// Everyone by when the wait began: whose time is over is found here.
    waits: BTreeSet<(Time, u32)>,
    /// Those with a deadline, by it.
    deadlines: BTreeSet<(Time, u32)>,
    /// Dispatches in a row that passed over a lower priority.
    passed: u32,
    pub(super) count: u32,
    pub(super) tokens: u64,
    pub(super) bytes: u64,
}

/// One priority.
#[derive(Clone, Debug, Default)]
struct Band {
    retries: VecDeque<Waiter>,
    lanes: BTreeMap<u64, Lane>,
    /// Lanes with someone in them: tokens served, head, name.
    order: BTreeSet<(u64, RequestId, u64)>,
    /// Tokens served of the lane served last, as it was before.
    served: u64,
    count: u32,
    tokens: u64,
}

/// One tenant.
#[derive(Clone, Debug, Default)]
struct Lane {
    waiting: VecDeque<Waiter>,
    served: u64,
}

impl Queue {
    /// Takes a new request, in order of its number.
    pub(super) fn push(&mut self, slot: u32, request: &mut Request) {
        let band = &mut self.bands[band_of(request.arrival.priority)];
        request.lane = band.lane_for(request.arrival.tenant);
        let waiter = Waiter { request: request.arrival.request, slot };
        band.edit(request.lane, |lane| insert(&mut lane.waiting, waiter));
        self.entered(slot, request);
    }

    /// Takes one back that failed, before all that were not yet tried.
    pub(super) fn push_retry(&mut self, slot: u32, request: &Request) {
        let band = &mut self.bands[band_of(request.arrival.priority)];
        insert(&mut band.retries, Waiter { request: request.arrival.request, slot });
        self.entered(slot, request);
    }

    fn entered(&mut self, slot: u32, request: &Request) {
        self.waits.insert((request.queued_at, slot));
        if let Some(deadline) = request.arrival.deadline {
            self.deadlines.insert((deadline, slot));
        }
        let band = &mut self.bands[band_of(request.arrival.priority)];
        band.count += 1;
        band.tokens += request.left_tokens;
        self.count += 1;
        self.tokens += request.left_tokens;
        self.bytes += request.arrival.bytes;
    }

    /// Takes one out that leaves or is refused: its tenant owes nothing for it.
    pub(super) fn remove(&mut self, slot: u32, request: &Request) {
        self.take(slot, request, 0);
    }

    /// Takes one out that is dispatched: its tenant's count grows by its tokens, unless it paid before.
    pub(super) fn dispatched(&mut self, slot: u32, request: &Request) {
        let here = band_of(request.arrival.priority);
        let lower_waits = self.bands[..here].iter().any(|band| band.count > 0);
        let higher_waits = self.bands[here + 1..].iter().any(|band| band.count > 0);
        self.passed = if lower_waits && !higher_waits { self.passed + 1 } else { 0 };
        self.take(slot, request, request.left_tokens);
    }

    fn take(&mut self, slot: u32, request: &Request, served: u64) {
        let number = request.arrival.request;
        let band = &mut self.bands[band_of(request.arrival.priority)];
        if request.fails > 0 {
            remove(&mut band.retries, number);
        } else {
            if served > 0 {
                band.served = band.lanes.get(&request.lane).map_or(band.served, |lane| lane.served);
            }
            band.edit(request.lane, |lane| {
                remove(&mut lane.waiting, number);
                lane.served += served;
            });
        }
        band.count -= 1;
        band.tokens -= request.left_tokens;
        if band.count == 0 {
            // A new contest: with nobody waiting, nobody is owed.
            band.lanes.clear();
            band.served = 0;
        }
        self.waits.remove(&(request.queued_at, slot));
        if let Some(deadline) = request.arrival.deadline {
            self.deadlines.remove(&(deadline, slot));
        }
        self.count -= 1;
        self.tokens -= request.left_tokens;
        self.bytes -= request.arrival.bytes;
    }

    /// The next request for which `place` finds an endpoint, and that endpoint.
    pub(super) fn next<E>(&self, mut place: impl FnMut(u32) -> Option<E>) -> Option<(u32, E)> {
        let starved = if self.passed >= STARVE_EVERY - 1 { self.starved() } else { None };
        let bands = starved.into_iter().chain((0..BANDS).rev());
        for band in bands.map(|band| &self.bands[band]) {
            for waiter in band.next() {
                if let Some(endpoint) = place(waiter.slot) {
                    return Some((waiter.slot, endpoint));
                }
            }
        }
        None
    }

    /// Of the priorities below the highest that waits, the one with the oldest request.
    fn starved(&self) -> Option<usize> {
        let highest = self.bands.iter().rposition(|band| band.count > 0)?;
        let oldest = |band: usize| self.bands[band].oldest().map(|request| (request, band));
        (0..highest).filter_map(oldest).min().map(|(_, band)| band)
    }

    /// Requests and tokens that a new request of this priority would find ahead.
    pub(super) fn ahead(&self, priority: Priority) -> (u32, u64) {
        let ahead = &self.bands[band_of(priority)..];
        ahead.iter().fold((0, 0), |(count, tokens), band| (count + band.count, tokens + band.tokens))
    }

    /// The one that waits longest, and since when.
    pub(super) fn longest(&self) -> Option<(Time, u32)> {
        self.waits.first().copied()
    }

    /// The next deadline, and whose.
    pub(super) fn next_deadline(&self) -> Option<(Time, u32)> {
        self.deadlines.first().copied()
    }

    /// Everyone, highest priority first, and by number within it.
    pub(super) fn everyone(&self, requests: &Requests) -> Vec<Waiter> {
        let waiter = |&(_, slot): &(Time, u32)| Waiter { request: requests.get(slot).arrival.request, slot };
        let mut all: Vec<Waiter> = self.waits.iter().map(waiter).collect();
        let priority = |waiter: &Waiter| requests.get(waiter.slot).arrival.priority;
        all.sort_by_key(|waiter| (core::cmp::Reverse(priority(waiter)), waiter.request));
        all
    }
}

impl Band {
    /// The lane of a tenant: its own, unless there are too many.
    fn lane_for(&mut self, tenant: u64) -> u64 {
        if self.lanes.contains_key(&tenant) {
            return tenant;
        }
        if self.lanes.len() >= LANES_MAX {
            let served = self.served;
            self.lanes.retain(|_, lane| !lane.waiting.is_empty() || lane.served > served);
        }
        if self.lanes.len() < LANES_MAX { tenant } else { 0 }
    }

    /// Changes a lane and keeps its place in the order.
    fn edit(&mut self, name: u64, change: impl FnOnce(&mut Lane)) {
        let served = self.served;
        let lane = self.lanes.entry(name).or_default();
        match lane.waiting.front() {
            Some(head) => {
                self.order.remove(&(lane.served, head.request, name));
            }
            None => lane.served = lane.served.max(served),
        }
        change(lane);
        if let Some(head) = lane.waiting.front() {
            self.order.insert((lane.served, head.request, name));
        }
    }

    /// Who may be next: the first retries, then the head of the lane whose turn it is.
    fn next(&self) -> impl Iterator<Item = Waiter> {
        let lane = self.order.first().and_then(|(_, _, name)| self.lanes.get(name));
        let head = lane.and_then(|lane| lane.waiting.front());
        self.retries.iter().take(RETRIES_SEEN).chain(head).copied()
    }

    fn oldest(&self) -> Option<RequestId> {
        let retry = self.retries.front().map(|waiter| waiter.request);
        self.order.iter().map(|(_, head, _)| *head).chain(retry).min()
    }
}

fn band_of(priority: Priority) -> usize {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
    }
}

fn insert(lane: &mut VecDeque<Waiter>, waiter: Waiter) {
    // Nearly always the newest; two that came in the same instant may be told in the other order.
    if lane.back().is_none_or(|last| last.request < waiter.request) {
        lane.push_back(waiter);
    } else if let Err(place) = lane.binary_search_by_key(&waiter.request, |other| other.request) {
        lane.insert(place, waiter);
    }
}

fn remove(lane: &mut VecDeque<Waiter>, request: RequestId) {
    if let Ok(place) = lane.binary_search_by_key(&request, |other| other.request) {
        lane.remove(place);
    }
}
