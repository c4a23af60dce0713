//! From work to a count of replicas: two thresholds, and what stands between a lesser need and a descent.
//!
//! ```text
//! up   = ⌈ (max(now, then) · margin + backlog) / (share_up · yield) ⌉
//! down = ⌈ (max(now, then) · margin + backlog) / (share_down · yield) ⌉
//! ```
//!
//! Up at once to `up` when that is more than was asked for: what is starting is in what was asked for, so nothing is asked
//! for twice. Down to the greatest `down` of a whole start's time, if as many can also hold what runs now. Between
//! the two nothing moves. A replica that is given up and wanted back costs a start, so it is kept as long as that:
//! who rents until the rent is the price pays at most twice the best.

use serde::{Deserialize, Serialize};

use super::cost::Cost;
use super::forecast::Expected;
use super::idle::Stay;
use crate::time::{Span, Time};

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Asked for.
    pub wanted: u32,
    /// Serving.
    pub ready: u32,
    /// On their way.
    pub starting: u32,
}

/// What the work needs, term by term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Replicas.
    pub replicas: u32,
    /// Why that and not another.
    pub by: By,
    /// Requests a second, over the last stretch that was observed.
    pub arrivals_per_s: f64,
    /// Mean tokens of a prompt and of an answer.
    pub lengths: (f64, f64),
    /// What tokens take; `None` before anything was measured, and then nothing else here means anything.
    pub cost: Option<Cost>,
    /// What a request takes, in seconds of a replica.
    pub request_s: f64,
    /// The batch a replica is planned with.
    pub batch: f64,
    /// Reckoned work that a replica does in a second.
    pub yields: f64,
    /// What is expected; in replicas kept busy.
    pub expected: Expected,
    /// How far ahead: the p90 of measured starts, and a second to decide.
    pub horizon: Span,
    /// Starts that were measured.
    pub starts: u32,
    /// Share of forecasts that the margin is to cover.
    pub within: f64,
    /// Share of requests that came late of late.
    pub late: f64,
    /// Requests that wait.
    pub waiting: u32,
    /// Replicas that working off what waits would keep busy over the horizon.
    pub backlog: f64,
    /// What going up would ask for, and what going down would.
    pub need: (u32, u32),
    /// How long to stay at the last replica for nobody.
    pub stay: Stay,
}

/// Which threshold spoke.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    /// The work needs more.
    More,
    /// It has needed less for as long as a start takes.
    Less {
        /// So long.
        after: Span,
    },
    /// It needs less, for so long now, of so long.
    Waits {
        /// Since it needs less.
        since: Span,
        /// How long it must have.
        hold: Span,
    },
    /// It needs less, and fewer could not hold what runs now.
    TooFull {
        /// Requests that each of those left would have in its batch.
        batch: f64,
    },
    /// Between the thresholds.
    Between,
    /// Nothing was measured yet.
    Blind,
    /// What is measured has not been heard for so long.
    Deaf(Span),
}

impl Plan {
    /// Whether anything is known of the work; if not, nothing but [`Plan::by`] means anything.
    #[must_use]
    pub fn is_sighted(&self) -> bool {
        !matches!(self.by, By::Blind | By::Deaf(_))
    }
}

/// Share of a replica's time to plan with when going up, and when going down.
pub const SHARES: (f64, f64) = (0.92, 0.85);

/// A descent waits no shorter and no longer than this for the work to have been less.
const HOLD: (Span, Span) = (Span::from_secs(30), Span::from_secs(300));

/// How long less must have been needed.
#[must_use]
pub fn hold(horizon: Span) -> Span {
    horizon.clamp(HOLD.0, HOLD.1)
}

/// A need that has been less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Less {
    since: Time,
    /// The most it has been since.
    most: u32,
}

/// What going up and going down would ask for.
pub(crate) fn need(expected: &Expected, backlog: f64, yields: f64) -> (u32, u32) {
    let work = expected.then.max(expected.now) * expected.margin + backlog;
    (whole(work / (SHARES.0 * yields)), whole(work / (SHARES.1 * yields)))
}

/// Decides between the thresholds. `running` is how many requests are in batches now, `batch` how many one holds.
pub(crate) fn decide(
    now: Time,
    (up, down): (u32, u32),
    wanted: u32,
    horizon: Span,
    (running, batch): (f64, f64),
    less: &mut Option<Less>,
) -> (u32, By) {
    if up > wanted {
        *less = None;
        return (up, By::More);
    }
    if down >= wanted {
        *less = None;
        return (wanted, By::Between);
    }
    let known =
        less.map_or(Less { since: now, most: down }, |less| Less { most: less.most.max(down), ..less });
    *less = Some(known);
    let (since, hold) = (now.since(known.since), hold(horizon));
    if since < hold {
        return (wanted, By::Waits { since, hold });
    }
    let most = known.most.min(wanted);
    if most > 0 && running > batch * f64::from(most) {
        return (wanted, By::TooFull { batch: running / f64::from(most) });
    }
    *less = None;
    (most, By::Less { after: since })
}

fn whole(replicas: f64) -> u32 {
    // A hair over a whole number is the number: sums of floats are not exact.
    crate::units::ceil_replicas(replicas - 1e-6)
}

#[cfg(test)]
mod tests {
    use super::super::forecast::Method;
    use super::*;

    fn expected(work: f64) -> Expected {
        Expected { method: Method::Level, now: work, then: work, margin: 1.0 }
    }

    #[test]
    fn the_thresholds_are_the_work_over_the_shares() {
        // 4.6 / 0.92 = 5 and 4.6 / 0.85 = 5.41.
        assert_eq!(need(&expected(4.6), 0.0, 1.0), (5, 6));
        // Half of the yield takes twice as many.
        assert_eq!(need(&expected(4.6), 0.0, 0.5), (10, 11));
    }

    #[test]
    fn up_is_one_step_and_starts_no_hold() {
        let mut less = None;
        let (replicas, by) = decide(Time::ORIGIN, (9, 10), 2, Span::from_secs(60), (0.0, 1.0), &mut less);
        assert_eq!((replicas, by, less), (9, By::More, None));
    }

    #[test]
    fn down_waits_for_a_start_and_goes_to_the_most_that_was_needed() {
        let mut less = None;
        let horizon = Span::from_secs(60);
        let mut at = |second: i64, down: u32| {
            decide(Time::from_secs(second), (down, down), 9, horizon, (10.0, 100.0), &mut less).0
        };
        assert_eq!((at(0, 3), at(30, 5), at(59, 2)), (9, 9, 9));
        assert_eq!(at(60, 2), 5);
    }

    #[test]
    fn those_left_must_hold_what_runs() {
        let mut less = Some(Less { since: Time::ORIGIN, most: 2 });
        let at = Time::from_secs(100);
        let (replicas, by) = decide(at, (2, 2), 4, Span::from_secs(60), (300.0, 100.0), &mut less);
        assert_eq!((replicas, by), (4, By::TooFull { batch: 150.0 }));
        let (replicas, _) = decide(at, (2, 2), 4, Span::from_secs(60), (200.0, 100.0), &mut less);
        assert_eq!(replicas, 2);
    }

    #[test]
    fn a_need_inside_the_dead_band_moves_nothing_and_forgets_the_hold() {
        let mut less = Some(Less { since: Time::ORIGIN, most: 2 });
        let (replicas, by) =
            decide(Time::from_secs(1), (4, 5), 5, Span::from_secs(60), (0.0, 1.0), &mut less);
        assert_eq!((replicas, by, less), (5, By::Between, None));
    }
}
