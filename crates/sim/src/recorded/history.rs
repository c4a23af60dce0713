//! A journal read: how many requests and replicas of a target there were when.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead};
use std::sync::Arc;

use tidegate_core::journal::{Entry, FORMAT, Header, JOINS, Joined};
use tidegate_core::scale::spec::Signal;
use tidegate_core::scale::{Event, Fleet, Reading};
use tidegate_core::time::{Span, Time};
use tidegate_journal::{LINE_BYTES_MAX, TARGETS_MAX};

use super::Error;

/// Samples that are kept: ten a second for five days are 4.3 million, of 16 bytes.
pub const SAMPLES_MAX: usize = 5_000_000;
/// Changes of the fleet that are kept: one a second for eleven days.
const FLEETS_MAX: usize = 1_000_000;
/// Replicas under way that are told apart: sixteen times as many as a simulation has.
const STARTING_MAX: u32 = 65_536;
/// Starts measured that are kept: their median does not move any more.
const STARTS_MAX: usize = 10_000;

/// One target's past.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// Its name.
    pub target: String,
    /// Requests at the gateway, waiting or in flight, at each change; times of the journal.
    pub(super) demand: Vec<(Time, u32)>,
    /// What came, where it was told (policy `slo`): when a stretch ended, its length, requests, tokens of prompts.
    pub(super) arrived: Vec<(Time, Span, u32, u64)>,
    /// Requests that ended, and the tokens written for them.
    pub(super) ended: (u64, u64),
    /// Replicas at each change.
    pub(super) fleets: Vec<(Time, Fleet)>,
    /// How long starts took, in seconds, in the order they ended; the first 10,000.
    pub starts_s: Vec<f64>,
    /// The first line's time and the last's.
    pub(super) first: Option<Time>,
    pub(super) last: Time,
    /// Replicas asked for and not ready yet: since when, where that was seen.
    pending: VecDeque<Option<Time>>,
}

/// What the recorded policy did, from the journal's first line to its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Totals {
    /// How long it was, in seconds.
    pub span_s: f64,
    /// Hours of replicas that were ready or starting.
    pub replica_hours: f64,
    /// The most of them at once.
    pub replicas_max: u32,
    /// Changes of the count asked for.
    pub scale_actions: u64,
    /// Starts measured.
    pub starts: usize,
    /// Their median in seconds.
    pub start_p50_s: Option<f64>,
}

impl Recorded {
    /// Reads segments, one after another, for the target asked for, or the only one there is. A last line that
    /// was cut short is left out.
    ///
    /// # Errors
    /// Whatever is no journal, with its line; a target that is not there; a journal without demand.
    pub fn read(mut journal: impl BufRead, asked: Option<&str>) -> Result<Recorded, Error> {
        let mut recorded = Recorded::default();
        let (mut line, mut text, mut target) = (0, Vec::new(), None);
        let mut known: BTreeSet<String> = BTreeSet::new();
        while let Some(length) = next(&mut journal, &mut text, line + 1)? {
            line += 1;
            let text = &text[..length];
            let bad = |error: serde_json::Error| Error::Line { line, what: error.to_string() };
            if text.starts_with(b"{\"tidegate_journal\":") {
                let version: Version = serde_json::from_slice(text).map_err(bad)?;
                if version.tidegate_journal != FORMAT {
                    return Err(Error::Format { line, found: version.tidegate_journal });
                }
                let header: Header = serde_json::from_slice(text).map_err(bad)?;
                known = header.targets.keys().map(|name| name.to_string()).collect();
                let found = find(&known, asked)?;
                target = found.map(Arc::<str>::from).or(target);
                continue;
            }
            if text.starts_with(JOINS.as_bytes()) {
                let joined: Joined = serde_json::from_slice(text).map_err(bad)?;
                if known.insert(joined.target.to_string()) {
                    if known.len() > TARGETS_MAX {
                        return Err(Error::TooMuch { line, what: "targets in a segment", most: TARGETS_MAX });
                    }
                    target = find(&known, asked)?.map(Arc::<str>::from).or(target);
                }
                continue;
            }
            let entry: Entry = serde_json::from_slice(text).map_err(bad)?;
            recorded.first.get_or_insert(entry.t);
            recorded.last = recorded.last.max(entry.t);
            if target.as_deref() == Some(&*entry.target) {
                recorded.take(line, &entry)?;
            }
        }
        let Some(target) = target else {
            let what = asked.map_or("no target".to_owned(), |name| format!("no target {name}"));
            return Err(Error::Target { what, known: list(&known) });
        };
        recorded.target = target.to_string();
        if recorded.demand.is_empty() && recorded.arrived.is_empty() {
            return Err(Error::NoDemand { target: recorded.target });
        }
        Ok(recorded)
    }

    fn take(&mut self, line: u64, entry: &Entry) -> Result<(), Error> {
        match &entry.event {
            Event::Reading { signal, reading: Reading::Value { value, .. } }
                if **signal == *Signal::DEMAND =>
            {
                let count = value.clamp(0.0, f64::from(u32::MAX)) as u32;
                if self.demand.last().is_none_or(|(_, last)| *last != count) {
                    if self.demand.len() == SAMPLES_MAX {
                        return Err(Error::TooMuch { line, what: "samples of demand", most: SAMPLES_MAX });
                    }
                    self.demand.push((entry.t, count));
                }
            }
            Event::Load(load) if load.over > Span::ZERO => {
                self.ended.0 = self.ended.0.saturating_add(u64::from(load.ended));
                self.ended.1 = self.ended.1.saturating_add(load.output_tokens);
                if load.arrived > 0 {
                    if self.arrived.len() == SAMPLES_MAX {
                        return Err(Error::TooMuch { line, what: "stretches of load", most: SAMPLES_MAX });
                    }
                    self.arrived.push((entry.t, load.over, load.arrived, load.prompt_tokens));
                }
            }
            Event::Fleet(fleet) => {
                if self.fleets.len() == FLEETS_MAX {
                    return Err(Error::TooMuch { line, what: "changes of replicas", most: FLEETS_MAX });
                }
                self.starts(entry.t, *fleet);
                self.fleets.push((entry.t, *fleet));
            }
            _ => {}
        }
        Ok(())
    }

    /// Pairs replicas that become ready with those that were asked for, the oldest first.
    fn starts(&mut self, now: Time, fleet: Fleet) {
        let before = self.fleets.last().map(|(_, fleet)| *fleet);
        let risen = fleet.ready.saturating_sub(before.map_or(fleet.ready, |before| before.ready));
        for _ in 0..risen.min(STARTING_MAX) {
            if let Some(Some(asked)) = self.pending.pop_front()
                && self.starts_s.len() < STARTS_MAX
            {
                self.starts_s.push(now.since(asked).as_secs_f64());
            }
        }
        // What was asked for before the journal began took nobody knows how long.
        let since = before.map(|_| now);
        self.pending.resize(fleet.spec.saturating_sub(fleet.ready).min(STARTING_MAX) as usize, since);
    }

    /// What the recorded policy did.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let held = |fleet: &Fleet| fleet.ready.saturating_add(fleet.starting);
        let mut totals =
            Totals { starts: self.starts_s.len(), start_p50_s: self.start_s(), ..Totals::default() };
        let ends = self.fleets.iter().skip(1).map(|(at, _)| *at).chain([self.last]);
        for ((from, fleet), to) in self.fleets.iter().zip(ends) {
            totals.replica_hours += to.since(*from).as_secs_f64() * f64::from(held(fleet)) / 3_600.0;
            totals.replicas_max = totals.replicas_max.max(held(fleet));
        }
        let changes = self.fleets.windows(2).filter(|pair| pair[0].1.spec != pair[1].1.spec);
        totals.scale_actions = changes.count() as u64;
        totals.span_s = self.first.map_or(0.0, |first| self.last.since(first).as_secs_f64());
        totals
    }

    /// Replicas that were ready when the journal began.
    #[must_use]
    pub fn initial(&self) -> u32 {
        self.fleets.first().map_or(0, |(_, fleet)| fleet.ready)
    }

    /// The median of the starts measured, in seconds; `None` where none was.
    #[must_use]
    pub fn start_s(&self) -> Option<f64> {
        let mut sorted = self.starts_s.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }

    /// How much starts differ: the deviation of their logarithms, at most 2; `None` of fewer than two.
    #[must_use]
    pub fn start_spread(&self) -> Option<f64> {
        let logs: Vec<f64> = self.starts_s.iter().map(|start_s| libm::log(start_s.max(1e-3))).collect();
        let count = logs.len() as f64;
        let mean = logs.iter().sum::<f64>() / count;
        let squares: f64 = logs.iter().map(|log| (log - mean) * (log - mean)).sum();
        (logs.len() > 1).then(|| libm::sqrt(squares / (count - 1.0)).min(2.0))
    }
}

/// What every version's header has.
#[derive(serde::Deserialize)]
struct Version {
    tidegate_journal: u32,
}

/// The target meant among these; `None` where none of them is.
fn find<'k>(known: &'k BTreeSet<String>, asked: Option<&str>) -> Result<Option<&'k str>, Error> {
    let Some(asked) = asked else {
        if known.len() > 1 {
            return Err(Error::Target { what: "several targets: say which".to_owned(), known: list(known) });
        }
        return Ok(known.first().map(String::as_str));
    };
    let is =
        |name: &&String| **name == asked || (!asked.contains('/') && name.rsplit('/').next() == Some(asked));
    Ok(known.iter().find(is).map(String::as_str))
}

fn list(known: &BTreeSet<String>) -> String {
    if known.is_empty() {
        "none".to_owned()
    } else {
        Vec::from_iter(known.iter().map(String::as_str)).join(", ")
    }
}

/// Reads a line; its length without the end, `None` after the last whole one.
fn next(journal: &mut impl BufRead, text: &mut Vec<u8>, line: u64) -> Result<Option<usize>, Error> {
    text.clear();
    let mut limited = io::Read::take(journal, LINE_BYTES_MAX as u64 + 1);
    let read = limited.read_until(b'\n', text).map_err(|source| Error::Read { line, source })?;
    if read > LINE_BYTES_MAX {
        return Err(Error::Line { line, what: format!("longer than {LINE_BYTES_MAX} bytes") });
    }
    Ok(text.ends_with(b"\n").then(|| read - 1))
}
