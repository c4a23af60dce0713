//! Bounded memories: what was recommended, and what was done.
//!
//! Both hold 8-byte entries (milliseconds since an epoch of their own, and a count), because ten
//! thousand targets must fit one operator: 125 recommendations and 2 × 32 events are 1.5 KB.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::time::{Span, Time};

/// Room above what compaction could not remove, before compacting again. Larger means fewer
/// compactions and more memory: 24 entries are 192 bytes and a compaction every 24 ticks.
const SLACK: usize = 24;

/// Recommendations kept at the most, whatever the input: one a tick for the longest window the API
/// allows (3600 s at 1 s ticks) and 10 % more. Past it the oldest is forgotten.
const RECOMMENDATIONS_MAX: usize = 3960;

/// Scale events kept a direction. The default policies look 15 s back, so 1 s ticks need 15; past the
/// limit the two oldest are joined at the newer one's time. What is joined may be over sooner than it
/// seems, so its changes count where that slows the next change and not where that would hurry it.
const EVENTS_MAX: usize = 32;

/// A moment in milliseconds since the owner's epoch; 32 bits reach 49 days, then the owner moves its epoch.
type Stamp = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry(Stamp, u32);

/// Milliseconds from `epoch` to `now`, moving the epoch forward when 32 bits run out.
fn stamp(epoch: &mut Time, entries: &mut Vec<Entry>, now: Time) -> Stamp {
    let millis = now.since(*epoch).as_micros().div_euclid(1000).max(0);
    if let Ok(stamp) = Stamp::try_from(millis) {
        return stamp;
    }
    // Everything older than an hour is outside every window the API allows; keep two.
    let keep_from = now - Span::from_secs(7200);
    let shift = u64::try_from(keep_from.since(*epoch).as_micros().div_euclid(1000)).unwrap_or(0);
    entries.retain_mut(|entry| match u64::from(entry.0).checked_sub(shift) {
        Some(moved) => {
            entry.0 = moved as Stamp;
            true
        }
        None => false,
    });
    *epoch = *epoch + Span::from_micros((shift as i64).saturating_mul(1000));
    Stamp::try_from(now.since(*epoch).as_micros().div_euclid(1000).max(0)).unwrap_or(Stamp::MAX)
}

fn age(now: Stamp, then: Stamp) -> Span {
    Span::from_micros((i64::from(now) - i64::from(then)) * 1000)
}

/// How far back the two directions look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Scale-up: the least recommendation inside it holds.
    pub up: Span,
    /// Scale-down: the greatest recommendation inside it holds.
    pub down: Span,
    /// Whether an entry exactly as old as the down window still counts (it does without `behavior`).
    pub down_inclusive: bool,
}

/// Recommendations by time, newest not necessarily last: an expired slot is used again, as upstream does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recommendations {
    epoch: Time,
    entries: Vec<Entry>,
    /// Length at which to compact next.
    compact_at: u32,
}

/// What the windows say of a new recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extremes {
    /// The least recommendation in the up window, the new one included.
    pub least: u32,
    /// The greatest recommendation in the down window, the new one included.
    pub greatest: u32,
}

impl Recommendations {
    /// Whether anything was ever recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The recommendations held, in slot order.
    pub fn values(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().map(|entry| entry.1)
    }

    /// Records `value` and returns the extremes of the windows with it.
    ///
    /// The last expired slot is used again, else the list grows; when it is full, entries that can no
    /// longer decide anything are dropped (see `compact`).
    pub fn record(&mut self, now: Time, value: u32, windows: Windows) -> Extremes {
        if self.entries.is_empty() {
            self.epoch = now;
        }
        let now = stamp(&mut self.epoch, &mut self.entries, now);
        let mut extremes = Extremes { least: value, greatest: value };
        let mut expired = None;
        for (slot, entry) in self.entries.iter().enumerate() {
            let age = age(now, entry.0);
            if age < windows.up {
                extremes.least = extremes.least.min(entry.1);
            }
            if age < windows.down || (windows.down_inclusive && age == windows.down) {
                extremes.greatest = extremes.greatest.max(entry.1);
            }
            if age > windows.up && age > windows.down {
                expired = Some(slot);
            }
        }
        match expired {
            Some(slot) => self.entries[slot] = Entry(now, value),
            None => self.append(now, value, windows),
        }
        extremes
    }

    fn append(&mut self, now: Stamp, value: u32, windows: Windows) {
        if self.entries.len() >= (self.compact_at as usize).max(SLACK) {
            self.compact(now, value, windows);
            // Oldest first after compaction; room for what comes before the next one.
            let excess = (self.entries.len() + SLACK).saturating_sub(RECOMMENDATIONS_MAX);
            self.entries.drain(..excess);
            self.compact_at = (self.entries.len() + SLACK) as u32;
        }
        if self.entries.len() == self.entries.capacity() {
            // Exactly to the next compaction: doubling would break the bound on a target's state.
            let room = (self.compact_at as usize).max(SLACK) - self.entries.len();
            self.entries.reserve_exact(room.max(1));
        }
        self.entries.push(Entry(now, value));
    }

    /// Drops entries that no future maximum or minimum can name.
    ///
    /// For the greatest, an entry matters only while nothing newer is as great; for the least, while
    /// nothing newer is as small. With counts of 0..=100 what remains has at most 101 entries: those
    /// above the newest value fall strictly towards it, those below rise strictly, and no value is kept twice.
    fn compact(&mut self, now: Stamp, newest: u32, windows: Windows) {
        self.entries.sort_by_key(|entry| entry.0);
        let (mut greatest, mut least) = (newest, newest);
        let mut kept = Vec::with_capacity(self.entries.len());
        for entry in self.entries.iter().rev() {
            let age = age(now, entry.0);
            let tops = age <= windows.down && entry.1 > greatest;
            let bottoms = age <= windows.up && entry.1 < least;
            greatest = greatest.max(entry.1);
            least = least.min(entry.1);
            if tops || bottoms {
                kept.push(*entry);
            }
        }
        kept.reverse();
        kept.shrink_to_fit();
        self.entries = kept;
    }

    /// Bytes on the heap, for the bound on a target's state.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

/// Scale changes of one direction by time, for the rate policies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScaleEvents {
    epoch: Time,
    entries: Vec<Entry>,
    /// Whether the oldest entry stands for several.
    joined: bool,
}

impl ScaleEvents {
    /// Replicas changed within the last `period`, at the most; an event exactly that old no longer counts.
    #[must_use]
    pub fn changed_within(&self, now: Time, period: Span) -> u32 {
        self.slots(now)
            .filter(|(age, _)| *age < period)
            .fold(0, |sum, (_, change)| sum.saturating_add(change))
    }

    /// Replicas changed within the last `period`, at the least: without what was joined for lack of room.
    #[must_use]
    pub fn surely_changed_within(&self, now: Time, period: Span) -> u32 {
        let joined = self.oldest().filter(|_| self.joined).map(|slot| self.entries[slot]);
        let doubtful = joined.filter(|entry| self.age_of(entry, now) < period).map_or(0, |entry| entry.1);
        self.changed_within(now, period).saturating_sub(doubtful)
    }

    fn oldest(&self) -> Option<usize> {
        (0..self.entries.len()).min_by_key(|&slot| self.entries[slot].0)
    }

    fn age_of(&self, entry: &Entry, now: Time) -> Span {
        let now = now.since(self.epoch).as_micros().div_euclid(1000);
        Span::from_micros((now - i64::from(entry.0)) * 1000)
    }

    /// Records a change; the last slot older than `longest_period` is used again.
    pub fn record(&mut self, now: Time, change: u32, longest_period: Span) {
        if self.entries.is_empty() {
            self.epoch = now;
            self.joined = false;
        }
        let now = stamp(&mut self.epoch, &mut self.entries, now);
        match self.entries.iter().rposition(|entry| age(now, entry.0) > longest_period) {
            Some(slot) => {
                self.joined &= self.oldest() != Some(slot);
                self.entries[slot] = Entry(now, change);
            }
            None => {
                if self.entries.len() >= EVENTS_MAX {
                    self.join_oldest();
                }
                self.entries.push(Entry(now, change));
            }
        }
    }

    fn join_oldest(&mut self) {
        self.entries.sort_by_key(|entry| entry.0);
        let oldest = self.entries.remove(0);
        if let Some(next) = self.entries.first_mut() {
            next.1 = next.1.saturating_add(oldest.1);
            self.joined = true;
        }
    }

    /// Takes back the newest change, when the driver could not carry it out.
    pub fn retract_newest(&mut self) {
        if let Some(slot) = (0..self.entries.len()).max_by_key(|&slot| self.entries[slot].0) {
            self.entries.remove(slot);
        }
    }

    /// `(age, change)` of every slot, in slot order.
    pub fn slots(&self, now: Time) -> impl Iterator<Item = (Span, u32)> + '_ {
        self.entries.iter().map(move |entry| (self.age_of(entry, now), entry.1))
    }

    /// Bytes on the heap, for the bound on a target's state.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests;
