//! A schedule of replicas made with the trace in hand.
//!
//! `N(t) = ceil(work of window t / (window × use))`: one number, the share of a replica's best speed that may
//! be used, is searched for by playing the trace, and the greatest that still meets the objective is taken.
//! A window's work is what arrives in it and the window before, whichever is more, for an answer goes on
//! after its request came.

use tidegate_core::time::{Span, Time};

use super::fluid::Fluid;
use crate::policy::{Error, Policy, Seen, Wanted};

/// Counts by time, to be followed blindly.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    steps: Vec<(Time, u32)>,
    next: usize,
}

impl Plan {
    /// A plan that uses replicas up to this share of their best.
    #[must_use]
    pub fn of(fluid: &Fluid, use_of_it: f64, max: u32) -> Plan {
        let window_s = fluid.window.as_secs_f64().max(1e-6);
        let mut steps: Vec<(Time, u32)> = Vec::new();
        let mut before = 0.0_f64;
        for (place, work_s) in fluid.per_window_s.iter().enumerate() {
            let needed = libm::ceil(work_s.max(before) / (window_s * use_of_it) - 1e-9);
            let count = needed.clamp(0.0, f64::from(max)) as u32;
            before = *work_s;
            if steps.last().is_none_or(|(_, last)| *last != count) {
                steps.push((fluid.begins(place), count));
            }
        }
        Plan { steps, next: 0 }
    }

    /// When which count begins.
    #[must_use]
    pub fn steps(&self) -> &[(Time, u32)] {
        &self.steps
    }

    /// The count at the beginning.
    #[must_use]
    pub fn first(&self) -> u32 {
        self.steps.first().map_or(0, |(_, count)| *count)
    }
}

impl Policy for Plan {
    fn name(&self) -> String {
        "o2".to_owned()
    }

    fn next_look(&self) -> Time {
        // After the last step there is nothing to do for ever; 2^62 µs are 146,000 years.
        self.steps.get(self.next).map_or(Time::from_micros(1 << 62), |(at, _)| *at)
    }

    fn look(&mut self, now: Time, seen: &Seen<'_>) -> Result<Option<Wanted>, Error> {
        let mut count = None;
        while let Some((_, wanted)) = self.steps.get(self.next).filter(|(at, _)| *at <= now) {
            count = Some(*wanted);
            self.next += 1;
        }
        let because = || "the trace is known".to_owned();
        let changed = count.filter(|count| *count != seen.wanted);
        Ok(changed.map(|replicas| Wanted { replicas, because: because() }))
    }
}

/// Seconds of replicas when each is paid from the beginning of its start, `lead` before it is needed, and one
/// that is needed again within `lead` is kept: a gap costs the lesser of the two. Levels are taken one by
/// one, the n-th replica being needed whenever the count is n or more; the first ones are there at the
/// beginning, and after its last need a replica goes.
///
/// *Worked* (lead 60 s): needed 100 s, not for 40 s, 100 s, not for 300 s, 100 s: 300 + 40 + 60 = 400 s.
#[must_use]
pub fn with_lead_time(steps: &[(Time, u32)], end: Time, lead: Span) -> f64 {
    let most = steps.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let mut total_us = 0_i128;
    for level in 1..=most {
        let mut needed_since = None;
        let mut free_since = Some(Time::ORIGIN);
        for (at, count) in steps {
            if *at >= end {
                break;
            }
            match (*count >= level, needed_since) {
                (true, None) => {
                    if let Some(free) = free_since.take() {
                        let gap = at.since(free);
                        total_us += i128::from(gap.min(lead).as_micros());
                    }
                    needed_since = Some(*at);
                }
                (false, Some(since)) => {
                    total_us += i128::from(at.since(since).as_micros());
                    needed_since = None;
                    free_since = Some(*at);
                }
                _ => {}
            }
        }
        if let Some(since) = needed_since {
            total_us += i128::from(end.since(since).as_micros());
        }
    }
    total_us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_gap_is_bridged_and_a_long_one_costs_a_start() {
        let s = Time::from_secs;
        let steps = [(s(0), 1), (s(100), 0), (s(140), 1), (s(240), 0), (s(540), 1), (s(640), 0)];
        let paid_s = with_lead_time(&steps, s(1_000), Span::from_secs(60));
        assert!((paid_s - 400.0).abs() < 1e-9, "{paid_s}");
    }

    #[test]
    fn each_level_is_paid_by_itself() {
        let s = Time::from_secs;
        // The second replica is needed from 50 to 80 only, and its start of 20 s comes before.
        let paid_s = with_lead_time(&[(s(0), 1), (s(50), 2), (s(80), 1)], s(100), Span::from_secs(20));
        assert!((paid_s - (100.0 + 30.0 + 20.0)).abs() < 1e-9, "{paid_s}");
    }
}
