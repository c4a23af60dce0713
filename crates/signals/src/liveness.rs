//! Whether a signal can be trusted: found, absent, stale, in error, or not moving under load.
//!
//! A pure little state machine, told once a tick what was read and how busy the gateway is. It changes
//! no decision: the core has its own rules for what is lost. It is for people, who want to know which
//! number is dead before they wonder why nothing scales.
//!
//! *Not moving* is the failure nobody sees: a gauge of a renamed metric that stays where it was, a query
//! over a replica that is gone. A value counts as such when it has been the same to the bit for
//! [`STILL`], and in that time the gateway's requests came and went [`BUSY_TICKS`] times over. A zero is
//! held to more: requests have to have waited as often, since nothing waits where replicas are idle.

use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};

use crate::sources::Demand;

/// How long a value may stay the same under load: four scrapes of a Prometheus that scrapes each 15 s.
pub const STILL: Span = Span::from_secs(60);

/// Ticks with other requests than the tick before, at least: a sixth of [`STILL`] at one a second.
pub const BUSY_TICKS: u32 = 10;

/// The least time between two remarks on one signal: who flaps each second is told of twice a minute.
pub const REMARK_PACE: Span = Span::from_secs(30);

/// What a signal is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Liveness {
    /// Nothing was read yet.
    #[default]
    Unread,
    /// A value.
    Found,
    /// The source answers, and there is nothing.
    Absent,
    /// The source has stopped answering.
    Stale,
    /// The source fails.
    Error,
    /// The value stays the same while requests come and go.
    NotMoving,
}

impl Liveness {
    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Liveness::Unread => "unread",
            Liveness::Found => "found",
            Liveness::Absent => "absent",
            Liveness::Stale => "stale",
            Liveness::Error => "error",
            Liveness::NotMoving => "not-moving",
        }
    }

    /// Whether somebody should look.
    #[must_use]
    pub const fn is_trouble(self) -> bool {
        matches!(self, Liveness::Absent | Liveness::Stale | Liveness::Error | Liveness::NotMoving)
    }
}

/// What to expect of a signal at this instant.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// Whether its value changes with the load; the clock may well stand still.
    pub moves: bool,
    /// Whether there has to be a value: not where it comes from replicas, and none has served long enough to
    /// be read. Without one, an absence is no remark, until there should be one.
    pub value: bool,
}

/// A change worth a remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: Liveness,
    /// What it is.
    pub to: Liveness,
    /// How long it was the former.
    pub lasted: Span,
}

/// Watches one signal.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    state: Liveness,
    since: Time,
    still: Still,
    /// What the last remark said, and when.
    told: Option<(Liveness, Time)>,
}

/// A value that has not changed, and what the gateway did meanwhile.
#[derive(Clone, Copy, Debug, Default)]
struct Still {
    value: Option<f64>,
    since: Time,
    demand: Demand,
    busy_ticks: u32,
    waiting_ticks: u32,
}

impl Watch {
    /// What it is like now.
    #[must_use]
    pub const fn state(&self) -> Liveness {
        self.state
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Time {
        self.since
    }

    /// One tick: what was read last, and the gateway's requests. A change comes back once, and not more often
    /// than [`REMARK_PACE`]; from unread to found is none.
    pub fn tick(
        &mut self,
        now: Time,
        reading: Option<&Reading>,
        demand: Demand,
        expect: Expect,
    ) -> Option<Change> {
        let still = self.still.tick(now, number(reading), demand) && expect.moves;
        let state = match reading {
            None => Liveness::Unread,
            Some(Reading::Absent) => Liveness::Absent,
            Some(Reading::Stale { .. }) => Liveness::Stale,
            Some(Reading::Error(_)) => Liveness::Error,
            Some(_) if still => Liveness::NotMoving,
            Some(_) => Liveness::Found,
        };
        if state != self.state {
            self.state = state;
            self.since = now;
        }
        let (told, at) = self.told.unwrap_or((Liveness::Found, Time::ORIGIN));
        let due = self.told.is_none() || now.since(at) >= REMARK_PACE;
        let as_expected = state == Liveness::Absent && !expect.value;
        if state == told || state == Liveness::Unread || as_expected || !due {
            return None;
        }
        self.told = Some((state, now));
        Some(Change { from: told, to: state, lasted: now.since(at) })
    }
}

impl Still {
    /// Whether the value stands still although it should not.
    fn tick(&mut self, now: Time, value: Option<f64>, demand: Demand) -> bool {
        let same = match (self.value, value) {
            (Some(before), Some(value)) => before.total_cmp(&value).is_eq(),
            _ => false,
        };
        if !same {
            *self = Still { value, since: now, demand, ..Still::default() };
            return false;
        }
        let busy = demand.waiting + demand.in_flight > 0.0;
        self.busy_ticks += u32::from(busy && demand != self.demand);
        self.waiting_ticks += u32::from(demand.waiting > 0.0);
        self.demand = demand;
        let idle_is_right = self.value == Some(0.0) && self.waiting_ticks < BUSY_TICKS;
        now.since(self.since) >= STILL && self.busy_ticks >= BUSY_TICKS && !idle_is_right
    }
}

/// One number for what was read; the sum of several.
fn number(reading: Option<&Reading>) -> Option<f64> {
    match reading? {
        Reading::Value { value, .. } => Some(*value),
        Reading::Series(values) => Some(values.iter().sum()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(value: f64) -> Reading {
        Reading::Value { value, active: None }
    }

    const SERVED: Expect = Expect { moves: true, value: true };

    /// Ticks once a second with what a function of the second gives, and the changes told.
    fn run(
        seconds: std::ops::Range<i64>,
        of: impl Fn(i64) -> (Option<Reading>, Demand),
    ) -> (Watch, Vec<(i64, Change)>) {
        let mut watch = Watch::default();
        let mut told = Vec::new();
        for second in seconds {
            let (reading, demand) = of(second);
            let change = watch.tick(Time::from_secs(second), reading.as_ref(), demand, SERVED);
            told.extend(change.map(|change| (second, change)));
        }
        (watch, told)
    }

    /// Requests that come and go.
    fn busy(second: i64) -> Demand {
        Demand { in_flight: 1.0 + (second % 3) as f64, ..Demand::default() }
    }

    fn states(told: &[(i64, Change)]) -> Vec<(i64, Liveness)> {
        told.iter().map(|(second, change)| (*second, change.to)).collect()
    }

    #[test]
    fn a_value_that_moves_is_found_and_no_remark() {
        let (watch, told) = run(0..300, |second| (Some(value(second as f64)), busy(second)));
        assert_eq!((watch.state(), told), (Liveness::Found, Vec::new()));
    }

    #[test]
    fn a_value_that_stays_while_requests_come_and_go_is_not_moving() {
        let (watch, told) = run(0..100, |second| (Some(value(3.0)), busy(second)));
        assert_eq!(watch.state(), Liveness::NotMoving);
        assert_eq!(states(&told), [(60, Liveness::NotMoving)]);
        let (watch, _) =
            run(0..101, |second| (Some(value(if second < 100 { 3.0 } else { 4.0 })), busy(second)));
        assert_eq!(watch.state(), Liveness::Found, "it moved");
    }

    #[test]
    fn a_value_that_stays_without_load_is_as_it_should_be() {
        let idle = |_| (Some(value(3.0)), Demand::default());
        let steady = |_| (Some(value(3.0)), Demand { in_flight: 2.0, ..Demand::default() });
        assert_eq!(run(0..300, idle).0.state(), Liveness::Found);
        assert_eq!(run(0..300, steady).0.state(), Liveness::Found, "the same load, the same value");
    }

    #[test]
    fn a_zero_is_dead_only_while_requests_wait() {
        let served = |second| (Some(value(0.0)), busy(second));
        let waiting =
            |second| (Some(value(0.0)), Demand { waiting: 1.0 + (second % 2) as f64, ..Demand::default() });
        assert_eq!(run(0..300, served).0.state(), Liveness::Found);
        assert_eq!(run(0..300, waiting).0.state(), Liveness::NotMoving);
    }

    #[test]
    fn what_may_stand_still_is_never_told_for_it() {
        let mut watch = Watch::default();
        for second in 0..300 {
            let told = watch.tick(
                Time::from_secs(second),
                Some(&value(3.0)),
                busy(second),
                Expect { moves: false, ..SERVED },
            );
            assert_eq!(told, None);
        }
    }

    #[test]
    fn lost_signals_are_told_once_and_their_return_too() {
        let stale = Reading::Stale { value: 3.0, age: Span::from_secs(2) };
        let of = |second: i64| {
            let reading = match second {
                0..10 => None,
                40..100 => Some(stale.clone()),
                100..140 => Some(Reading::Error("refused".into())),
                140..180 => Some(Reading::Absent),
                _ => Some(value(second as f64)),
            };
            (reading, Demand::default())
        };
        let (watch, told) = run(0..200, of);
        assert_eq!(watch.state(), Liveness::Found);
        let expected =
            [(40, Liveness::Stale), (100, Liveness::Error), (140, Liveness::Absent), (180, Liveness::Found)];
        assert_eq!(states(&told), expected);
        assert_eq!(
            told[1].1,
            Change { from: Liveness::Stale, to: Liveness::Error, lasted: Span::from_secs(60) }
        );
    }

    #[test]
    fn who_flaps_is_told_of_twice_a_minute() {
        let of = |second: i64| {
            let reading = if second % 2 == 0 { value(second as f64) } else { Reading::Absent };
            (Some(reading), Demand::default())
        };
        let (_, told) = run(0..600, of);
        assert!((10..=20).contains(&told.len()), "{told:?}");
    }

    #[test]
    fn an_absence_is_told_only_once_there_should_be_a_value() {
        let mut watch = Watch::default();
        for second in 0..40 {
            let expect = Expect { value: second >= 30, ..SERVED };
            let told = watch.tick(Time::from_secs(second), Some(&Reading::Absent), Demand::default(), expect);
            assert_eq!(told.is_some(), second == 30, "{second}");
            assert_eq!(watch.state(), Liveness::Absent);
        }
    }
}
