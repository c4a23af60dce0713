//! How fast: the ladder without `behavior`, the rate policies with it.
//!
//! Upstream caps a change "per sync", which is every 15 s. We may decide each second, so both caps are
//! held against time instead: the ladder allows one rung in 15 s, counted from where the period began.

use crate::scale::spec::{Amount, RatePolicy, Rules, Select, Tuning};
use crate::time::{Span, Time};
use crate::units::REPLICAS_MAX;
use crate::window::ScaleEvents;

/// A limit in one direction and the policy that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// No further than this.
    pub replicas: u32,
    /// Replicas added within the binding policy's period.
    pub added: u32,
    /// Replicas removed within the binding policy's period.
    pub removed: u32,
    /// The binding policy's period; zero when the direction is disabled.
    pub period: Span,
}

/// What was done lately in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// Scale-ups.
    pub up: &'a ScaleEvents,
    /// Scale-downs.
    pub down: &'a ScaleEvents,
}

/// The highest count the scale-up rules permit now; never below `current`.
#[must_use]
pub fn up_limit(now: Time, current: u32, done: Done<'_>, rules: &Rules) -> Limit {
    let lately = |period| (done.up.changed_within(now, period), done.down.surely_changed_within(now, period));
    let limit = bound(current, lately, &rules.policies, rules.select, |start, amount| match amount {
        Amount::Pods(pods) => start + i64::from(pods),
        // Rounded up: 10 % of 5 must still move. In floating point, as upstream: 10 × 1.1 is 12.
        Amount::Percent(percent) => libm::ceil(start as f64 * (1.0 + f64::from(percent) / 100.0)) as i64,
    });
    Limit { replicas: limit.replicas.max(current), ..limit }
}

/// The lowest count the scale-down rules permit now; never above `current`.
#[must_use]
pub fn down_limit(now: Time, current: u32, done: Done<'_>, rules: &Rules) -> Limit {
    // The largest change is the smallest count, so Max and Min change places.
    let mirrored = match rules.select {
        Select::Max => Select::Min,
        Select::Min => Select::Max,
        Select::Disabled => Select::Disabled,
    };
    let lately = |period| (done.up.surely_changed_within(now, period), done.down.changed_within(now, period));
    let limit = bound(current, lately, &rules.policies, mirrored, |start, amount| match amount {
        Amount::Pods(pods) => start - i64::from(pods),
        // Truncated: 10 % off 5 is 4.5, so 4, and one always goes.
        Amount::Percent(percent) => libm::trunc(start as f64 * (1.0 - f64::from(percent) / 100.0)) as i64,
    });
    Limit { replicas: limit.replicas.min(current), ..limit }
}

/// `lately` gives what was added and removed within a period.
fn bound(
    current: u32,
    lately: impl Fn(Span) -> (u32, u32),
    policies: &[RatePolicy],
    select: Select,
    permitted: impl Fn(i64, Amount) -> i64,
) -> Limit {
    let unmoved = Limit { replicas: current, added: 0, removed: 0, period: Span::ZERO };
    if select == Select::Disabled {
        return unmoved;
    }
    let limits = policies.iter().map(|policy| {
        let (added, removed) = lately(policy.period);
        let start = i64::from(current) - i64::from(added) + i64::from(removed);
        let replicas = permitted(start, policy.amount).clamp(0, i64::from(REPLICAS_MAX)) as u32;
        Limit { replicas, added, removed, period: policy.period }
    });
    let binding = if select == Select::Max {
        limits.max_by_key(|limit| limit.replicas)
    } else {
        limits.min_by_key(|limit| limit.replicas)
    };
    binding.unwrap_or(unmoved)
}

/// The ladder without `behavior`: `max(2 × start, 4)`, where `start` is the count one sync period ago.
/// At 1 s ticks 1 → 100 takes 1, 4 (0 s), 8 (15 s), 16 (30 s) …, exactly as at 15 s ticks.
#[must_use]
pub fn ladder(now: Time, current: u32, up: &ScaleEvents, tuning: &Tuning) -> Limit {
    let added = up.changed_within(now, tuning.sync_period);
    let start = current.saturating_sub(added);
    let rung = (tuning.scale_up_factor * f64::from(start)).max(tuning.scale_up_minimum);
    let replicas = (rung as u32).min(REPLICAS_MAX).max(current);
    Limit { replicas, added, removed: 0, period: tuning.sync_period }
}
