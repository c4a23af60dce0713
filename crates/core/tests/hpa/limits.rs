//! The kinds about windows, rates and their memories.

use serde_json::{Value, json};
use tidegate_core::scale::hpa::behavior::{Done, down_limit, ladder, up_limit};
use tidegate_core::scale::hpa::{self};
use tidegate_core::scale::spec::{Rules, Tuning};
use tidegate_core::time::{Span, Time};
use tidegate_core::window::{Recommendations, ScaleEvents, Windows};

use super::{NOW, behavior, rules};
use crate::common::data::{Case, count, flag, get, int, items, must, number, same, text};
use crate::common::secs;

/// Far enough back for every age in a table.
const EPOCH_AGE: Span = Span::from_secs(1_000_000);

/// A memory with one slot an item, in the table's order.
fn memory(listed: &[Value], amount: &str) -> Result<Value, String> {
    let slots: Result<Vec<Value>, String> = listed
        .iter()
        .map(|slot| {
            let age = must(number(slot, "ageSeconds"), "ageSeconds")?;
            let stamp = (EPOCH_AGE.as_secs_f64() - age) * 1000.0;
            Ok(json!([stamp.round() as u64, must(count(slot, amount), amount)?]))
        })
        .collect();
    let epoch: Time = NOW - EPOCH_AGE;
    Ok(json!({ "epoch": epoch, "entries": slots?, "compact_at": 0, "joined": false }))
}

pub(crate) fn recommendations(listed: &[Value]) -> Result<Recommendations, String> {
    serde_json::from_value(memory(listed, "recommendation")?).map_err(|error| error.to_string())
}

fn events(listed: &[Value]) -> Result<ScaleEvents, String> {
    serde_json::from_value(memory(listed, "change")?).map_err(|error| error.to_string())
}

pub(crate) fn convert_legacy(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let current = must(count(input, "currentReplicas"), "currentReplicas")?;
    let tuning = Tuning {
        scale_up_factor: number(input, "scaleUpLimitFactor").unwrap_or(2.0),
        scale_up_minimum: number(input, "scaleUpLimitMinimum").unwrap_or(4.0),
        ..Tuning::default()
    };
    let rung = ladder(NOW, current, &ScaleEvents::default(), &tuning);
    let wanted = must(count(input, "desiredReplicas"), "desiredReplicas")?;
    let min = must(count(input, "minReplicas"), "minReplicas")?;
    let max = must(count(input, "maxReplicas"), "maxReplicas")?;
    let (replicas, reason) = hpa::convert_legacy(wanted, min, max, rung.replicas);
    same("replicas", replicas, must(count(expected, "replicas"), "expected.replicas")?)?;
    same("reason", reason, must(text(expected, "reason"), "expected.reason")?)
}

pub(crate) fn convert_with_rates(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let behavior = behavior(get(input, "scaleUpRules"), get(input, "scaleDownRules"), secs(300))?;
    let (ups, downs) = (events(items(input, "scaleUpEvents"))?, events(items(input, "scaleDownEvents"))?);
    let rated = hpa::convert_with_rates(
        NOW,
        must(count(input, "currentReplicas"), "currentReplicas")?,
        must(count(input, "desiredReplicas"), "desiredReplicas")?,
        (
            must(count(input, "minReplicas"), "minReplicas")?,
            must(count(input, "maxReplicas"), "maxReplicas")?,
        ),
        &behavior,
        Done { up: &ups, down: &downs },
    );
    same("replicas", rated.replicas, must(count(expected, "replicas"), "expected.replicas")?)?;
    same("reason", rated.reason, must(text(expected, "reason"), "expected.reason")?)
}

pub(crate) fn limit(case: &Case, up: bool) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let defaults = if up { Rules::up_defaults() } else { Rules::down_defaults(secs(300)) };
    let rules = rules(get(input, "rules"), defaults)?;
    let (ups, downs) = (events(items(input, "scaleUpEvents"))?, events(items(input, "scaleDownEvents"))?);
    let done = Done { up: &ups, down: &downs };
    let current = must(count(input, "currentReplicas"), "currentReplicas")?;
    let limit =
        if up { up_limit(NOW, current, done, &rules) } else { down_limit(NOW, current, done, &rules) };
    same("limit", limit.replicas, must(count(expected, "limit"), "expected.limit")?)
}

pub(crate) fn stabilise_legacy(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let mut memory = recommendations(items(input, "recommendations"))?;
    let window = secs(must(int(input, "downscaleStabilizationSeconds"), "downscaleStabilizationSeconds")?);
    let wanted = must(count(input, "desiredReplicas"), "desiredReplicas")?;
    let replicas = hpa::stabilise_legacy(&mut memory, NOW, wanted, window);
    same("replicas", replicas, must(count(expected, "replicas"), "expected.replicas")?)?;
    let length = must(count(expected, "logLength"), "expected.logLength")?;
    same("length of the log", memory.values().count() as u32, length)
}

pub(crate) fn stabilise(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let mut memory = recommendations(items(input, "recommendations"))?;
    let window = |key: &str| must(int(input, key), key).map(secs);
    let windows = Windows {
        up: window("scaleUpStabilizationWindowSeconds")?,
        down: window("scaleDownStabilizationWindowSeconds")?,
        down_inclusive: false,
    };
    let current = must(count(input, "currentReplicas"), "currentReplicas")?;
    let wanted = must(count(input, "desiredReplicas"), "desiredReplicas")?;
    let replicas = hpa::stabilise(&mut memory, NOW, current, wanted, windows);
    same("replicas", replicas, must(count(expected, "replicas"), "expected.replicas")?)?;
    if get(expected, "recommendationsAfter").is_array() {
        let after = items(expected, "recommendationsAfter").iter().filter_map(Value::as_u64);
        same("the log", memory.values().map(u64::from).collect::<Vec<_>>(), after.collect())?;
    }
    Ok(())
}

pub(crate) fn store_event(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let mut memory = events(items(input, "events"))?;
    let lookback = secs(must(int(input, "lookbackPeriodSeconds"), "lookbackPeriodSeconds")?);
    let seen = memory.changed_within(NOW, lookback);
    same("change in the lookback", seen, must(count(expected, "changeInLookback"), "changeInLookback")?)?;

    let change = must(count(input, "replicaChange"), "replicaChange")?;
    let listed = items(expected, "events").iter();
    let upstream: Result<Vec<(u32, bool)>, String> =
        listed.map(|event| Ok((must(count(event, "change"), "change")?, flag(event, "outdated")))).collect();
    if get(input, "rules").is_null() {
        // A difference, on purpose: without `behavior` upstream keeps no events, because its ladder is
        // counted in passes. Ours is counted in time and keeps them, for one sync period.
        let before: Vec<u32> = memory.slots(NOW).map(|(_, change)| change).collect();
        same("events upstream", upstream?.into_iter().map(|event| event.0).collect(), before)?;
        let period = Tuning::default().sync_period;
        let recent = memory.changed_within(NOW, period);
        memory.record(NOW, change, period);
        return same("change on the ladder", memory.changed_within(NOW, period), recent + change);
    }
    let longest = rules(get(input, "rules"), Rules::up_defaults())?.longest_period();
    memory.record(NOW, change, longest);
    let after: Vec<(u32, bool)> = memory.slots(NOW).map(|(age, change)| (change, age > longest)).collect();
    same("events after", after, upstream?)
}
