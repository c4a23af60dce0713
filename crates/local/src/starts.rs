//! How long starts took, and when the next replica should be ready.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use tidegate_core::time::{Span, Time};

/// Starts remembered of a target: what it was long ago says little about now.
pub const STARTS_MAX: usize = 20;

/// A part of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// From being wanted to being a process: a wait for GPUs is in it.
    Schedule,
    /// From being a process to an open port.
    Load,
    /// From an open port to being ready.
    Warm,
}

/// One start that led to a ready replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Start {
    /// `namespace/name` of the target.
    pub target: Arc<str>,
    /// The replica.
    pub replica: Arc<str>,
    /// When it was wanted.
    pub at: Time,
    /// What each phase took.
    pub phases: [(Phase, Span); 3],
    /// All of them.
    pub total: Span,
    /// Whether the same command had been started before since Tidegate runs: its files are likely in
    /// the page cache.
    pub warm: bool,
}

impl Start {
    /// What the program itself took: loading and warming.
    #[must_use]
    pub fn own(&self) -> Span {
        self.phases[1].1 + self.phases[2].1
    }
}

/// The last starts of a target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts(VecDeque<Start>);

impl Starts {
    pub(crate) fn push(&mut self, start: Start) {
        if self.0.len() == STARTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(start);
    }

    pub(crate) fn all(&self) -> Vec<Start> {
        self.0.iter().cloned().collect()
    }

    /// The duration that `percent` of the starts did not exceed (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> Option<Span> {
        let mut owns: Vec<Span> = self.0.iter().map(Start::own).collect();
        owns.sort_unstable();
        let rank = (owns.len() * percent).div_ceil(100).max(1);
        owns.get(rank - 1).copied()
    }

    /// When a replica should be ready that became a process at `spawned`: after the median of the
    /// starts, then after the 90th percentile, and once that is over too, a tenth of it from now, since
    /// a start that is late is not known to be lost.
    pub(crate) fn expected(&self, spawned: Time, now: Time) -> Option<Time> {
        let (median, late) = (self.percentile(50)?, self.percentile(90)?);
        let due = [median, late].into_iter().map(|span| spawned + span).find(|due| *due > now);
        Some(due.unwrap_or(now + Span::from_micros(late.as_micros() / 10)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(seconds: &[i64]) -> Starts {
        let mut starts = Starts::default();
        for &own in seconds {
            let phases = [
                (Phase::Schedule, Span::from_secs(5)),
                (Phase::Load, Span::from_secs(own)),
                (Phase::Warm, Span::ZERO),
            ];
            let total = Span::from_secs(own + 5);
            starts.push(Start {
                target: "t".into(),
                replica: "r".into(),
                at: Time::ORIGIN,
                phases,
                total,
                warm: false,
            });
        }
        starts
    }

    #[test]
    fn nothing_is_expected_where_nothing_was_measured() {
        assert_eq!(Starts::default().expected(Time::ORIGIN, Time::ORIGIN), None);
    }

    #[test]
    fn a_late_start_is_expected_later_and_never_in_the_past() {
        let starts = starts(&[10, 20, 30, 40, 50]);
        let at = |now: i64| starts.expected(Time::ORIGIN, Time::from_secs(now));
        assert_eq!(at(0), Some(Time::from_secs(30)));
        assert_eq!(at(31), Some(Time::from_secs(50)));
        assert_eq!(at(60), Some(Time::from_secs(65)));
    }

    #[test]
    fn only_the_last_twenty_count() {
        let all: Vec<i64> = (0..50).collect();
        let starts = starts(&all);
        assert_eq!(starts.all().len(), STARTS_MAX);
        assert_eq!(starts.percentile(1), Some(Span::from_secs(30)));
    }
}
