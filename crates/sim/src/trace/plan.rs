//! Rate plans: `"0s:1rps 30s:20rps 60s:0rps"`.
//!
//! A plan is a list of points, *time*:*rate*, parted by blanks or commas. Between two points the rate goes
//! in a straight line; before the first it is zero; the plan ends at the last. Two points at one time are a
//! jump: `0s:2rps 30s:2rps 30s:20rps 60s:20rps`. Times as Go writes them (`90s`, `1m30s`, `500ms`), rates in
//! requests a second (`20rps`, `0.5rps`, or just `20`).

use std::fmt;

/// Points of a plan. A day at a point a minute has 1,440.
pub const POINTS_MAX: usize = 2_000;
/// Requests a second. A small request costs this generator some 100 µs, so 10,000 fill a core; 100,000 is
/// past most machines it may run on.
pub const RATE_MAX_RPS: f64 = 100_000.0;
/// A plan's length: a week.
pub const LENGTH_MAX_S: f64 = 7.0 * 86_400.0;

/// Why a text is not a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no point in it.
    #[error("the plan is empty; write points such as \"0s:1rps 30s:20rps 60s:0rps\"")]
    Empty,
    /// More than [`POINTS_MAX`].
    #[error("the plan has more than {POINTS_MAX} points; draw it more coarsely")]
    TooMany,
    /// A point without a colon.
    #[error("\"{0}\" is no point of a plan; write time:rate, such as 30s:20rps")]
    NoPoint(String),
    /// The part before the colon.
    #[error("\"{0}\" is no time; write it with its unit, such as 30s, 1m30s or 500ms, up to a week")]
    NoTime(String),
    /// The part after the colon.
    #[error("\"{0}\" is no rate; write requests a second, such as 20rps or 0.5rps, up to {RATE_MAX_RPS}")]
    NoRate(String),
    /// A point before the one that stands ahead of it.
    #[error("\"{0}\" lies before the point ahead of it; write the points in the order of their times")]
    Backwards(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    at_s: f64,
    rps: f64,
    /// Requests expected from the start to here: the area below the line.
    count: f64,
}

/// A rate over time: straight lines between points.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    points: Vec<Point>,
}

impl Plan {
    /// A plan without a point.
    pub(super) fn empty() -> Plan {
        Plan { points: Vec::new() }
    }

    /// Reads a plan; the module says how it is written.
    ///
    /// # Errors
    /// When the text is not a plan, naming the point that is wrong.
    pub fn parse(text: &str) -> Result<Plan, Error> {
        let mut plan = Plan { points: Vec::new() };
        for word in text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()) {
            if plan.points.len() == POINTS_MAX {
                return Err(Error::TooMany);
            }
            let (time, rate) = word.split_once(':').ok_or_else(|| Error::NoPoint(shown(word)))?;
            let at_s = time_s(time).ok_or_else(|| Error::NoTime(shown(time)))?;
            let rps = rate_rps(rate).ok_or_else(|| Error::NoRate(shown(rate)))?;
            if plan.points.last().is_some_and(|last| at_s < last.at_s) {
                return Err(Error::Backwards(shown(word)));
            }
            plan.push(at_s, rps);
        }
        if plan.points.is_empty() { Err(Error::Empty) } else { Ok(plan) }
    }

    /// The plan going on at its last rate until `until_s`; the same plan when it is as long already.
    #[must_use]
    pub fn extended(mut self, until_s: f64) -> Plan {
        if let Some(last) = self.points.last().copied()
            && until_s > last.at_s
        {
            self.push(until_s.min(LENGTH_MAX_S), last.rps);
        }
        self
    }

    /// Where the plan ends, in seconds from its start.
    #[must_use]
    pub fn length_s(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.at_s)
    }

    /// Requests expected in all: the area below the line.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.count)
    }

    /// When `count` requests are expected to have been sent; `None` when the whole plan has fewer.
    ///
    /// Within a line from (t0, r0) with slope k, x seconds hold r0·x + k·x²/2 requests. Solved for x as
    /// 2a / (r0 + √(r0² + 2·k·a)), which divides by no slope and so also serves the flat line.
    #[must_use]
    pub fn when_s(&self, count: f64) -> Option<f64> {
        let end = self.points.partition_point(|point| point.count < count);
        let to = self.points.get(end)?;
        let Some(from) = end.checked_sub(1).and_then(|index| self.points.get(index)) else {
            return Some(to.at_s);
        };
        let area = count - from.count;
        let slope = (to.rps - from.rps) / (to.at_s - from.at_s);
        let root = libm::sqrt((from.rps * from.rps + 2.0 * slope * area).max(0.0));
        let into = 2.0 * area / (from.rps + root);
        Some(if into.is_finite() { (from.at_s + into).min(to.at_s) } else { to.at_s })
    }

    pub(super) fn push(&mut self, at_s: f64, rps: f64) {
        let before = self.points.last().copied().unwrap_or(Point { at_s, rps, count: 0.0 });
        let count = before.count + (at_s - before.at_s) * (before.rps + rps) / 2.0;
        self.points.push(Point { at_s, rps, count });
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, point) in self.points.iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            write!(f, "{blank}{}s:{}rps", point.at_s, point.rps)?;
        }
        Ok(())
    }
}

/// A time of a plan: numbers with their units, in falling order or not, as Go reads them; `0` needs none.
pub(crate) fn time_s(text: &str) -> Option<f64> {
    if text == "0" {
        return Some(0.0);
    }
    let mut rest = text;
    let mut sum_s = 0.0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let next_at = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(next_at);
        let unit_s = match unit {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        sum_s += number.parse::<f64>().ok()? * unit_s;
        rest = next;
    }
    (!text.is_empty() && sum_s <= LENGTH_MAX_S).then_some(sum_s)
}

pub(super) fn rate_rps(text: &str) -> Option<f64> {
    let number = text.strip_suffix("rps").unwrap_or(text);
    // What f64 also reads ("inf", "1e3", "-1") is no rate anybody meant.
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let rps: f64 = digits.then(|| number.parse().ok())??;
    (rps <= RATE_MAX_RPS).then_some(rps)
}

/// As much of what was written as a message needs.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::{Error, Plan};
    use proptest::prelude::*;

    fn plan(text: &str) -> Plan {
        Plan::parse(text).unwrap()
    }

    #[test]
    fn the_rate_goes_in_straight_lines_between_points() {
        let plan = plan("0s:1rps 30s:20rps 60s:0rps");
        assert!((plan.requests() - (30.0 * 10.5 + 30.0 * 10.0)).abs() < 1e-9);
        assert!((plan.length_s() - 60.0).abs() < 1e-9);
        // Half of the falling line's 300 requests are sent at 60 − 30/√2 s.
        let half = plan.when_s(315.0 + 150.0).unwrap();
        assert!((half - (60.0 - 30.0 / 2.0_f64.sqrt())).abs() < 1e-9, "{half}");
    }

    #[test]
    fn two_points_at_one_time_are_a_jump() {
        let plan = plan("0:2 10s:2, 10s:20 20s:20");
        assert!((plan.when_s(20.0).unwrap() - 10.0).abs() < 1e-9);
        assert!((plan.when_s(40.0).unwrap() - 11.0).abs() < 1e-9);
    }

    #[test]
    fn before_the_first_point_nothing_is_sent() {
        let first = plan("5s:10rps 10s:10rps").when_s(1.0).unwrap();
        assert!((first - 5.1).abs() < 1e-9, "{first}");
    }

    #[test]
    fn a_plan_goes_on_at_its_last_rate_when_it_is_told_to() {
        assert!((plan("0s:5rps").extended(60.0).requests() - 300.0).abs() < 1e-9);
        assert_eq!(plan("0s:5rps 10s:5rps").extended(3.0), plan("0s:5rps 10s:5rps"));
    }

    #[test]
    fn a_pause_in_the_middle_is_kept() {
        let plan = plan("0s:1rps 10s:1rps 10s:0rps 1m10s:0rps 1m10s:1rps 80s:1rps");
        assert!((plan.when_s(10.5).unwrap() - 70.5).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_a_plan_is_refused_by_the_point_that_is_wrong() {
        let no = |text: &str| Plan::parse(text).unwrap_err();
        assert_eq!(no(" , "), Error::Empty);
        assert_eq!(no("0s:1rps 30s"), Error::NoPoint("30s".to_owned()));
        assert_eq!(no("30:1rps"), Error::NoTime("30".to_owned()));
        assert_eq!(no("1d:1rps"), Error::NoTime("1d".to_owned()));
        assert_eq!(no(":1rps"), Error::NoTime(String::new()));
        assert_eq!(no("0s:-1rps"), Error::NoRate("-1rps".to_owned()));
        assert_eq!(no("0s:infrps"), Error::NoRate("infrps".to_owned()));
        assert_eq!(no("5s:1rps 4s:1rps"), Error::Backwards("4s:1rps".to_owned()));
        assert_eq!(no(&"0s:1rps ".repeat(super::POINTS_MAX + 1)), Error::TooMany);
    }

    #[test]
    fn a_plan_prints_as_it_is_read() {
        let text = "0s:1rps 30.5s:20rps 60s:0.25rps";
        assert_eq!(plan(text).to_string(), text);
    }

    proptest! {
        #[test]
        fn no_text_is_read_into_nonsense(text in any::<String>()) {
            if let Ok(plan) = Plan::parse(&text) {
                prop_assert!(plan.requests().is_finite() && plan.requests() >= 0.0);
            }
        }

        #[test]
        fn later_requests_never_come_earlier(rates in proptest::collection::vec(0..50_u32, 2..8)) {
            let points: Vec<_> = rates.iter().enumerate().map(|(t, rate)| format!("{t}s:{rate}rps")).collect();
            let plan = Plan::parse(&points.join(" ")).unwrap();
            let mut before = 0.0;
            for step in 0..200 {
                let Some(at) = plan.when_s(f64::from(step) * plan.requests() / 200.0) else { break };
                prop_assert!(at >= before - 1e-9, "{at} after {before}");
                before = at;
            }
        }
    }
}
