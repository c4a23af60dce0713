//! Runners for the kinds of case in `conformance/hpa_cases.json`, and the forms they share.

pub(crate) mod calculator;
pub(crate) mod limits;
pub(crate) mod reconcile;

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_core::scale::spec::{Amount, Behavior, RatePolicy, Rules, Select};
use tidegate_core::scale::{Phase, Pod, Requests, Sample};
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;

use crate::common::data::{count, flag, get, int, items, must, number, text};
use crate::common::secs;

/// Now, late enough that 2,000,000,000 s ago (the tables' zero time) is an ordinary instant.
pub(crate) const NOW: Time = Time::from_secs(3_000_000_000);

pub(crate) fn ago(value: &Value, key: &str) -> Option<Time> {
    number(value, key).and_then(Span::try_from_secs_f64).map(|age| NOW - age)
}

pub(crate) fn pod(value: &Value) -> Result<Pod, String> {
    let phase = match must(text(value, "phase"), "phase")? {
        "Pending" => Phase::Pending,
        "Running" => Phase::Running,
        "Succeeded" => Phase::Succeeded,
        "Failed" => Phase::Failed,
        "Unknown" => Phase::Unknown,
        other => return Err(format!("unknown pod phase {other}")),
    };
    let amount = |request: &Value| -> BTreeMap<String, Milli> {
        request.as_i64().map(|amount| ("*".to_owned(), Milli(amount))).into_iter().collect()
    };
    let containers = get(value, "requests").as_object().into_iter().flatten();
    Ok(Pod {
        name: must(text(value, "name"), "name")?.to_owned(),
        phase,
        ready: text(value, "ready").map(|ready| ready == "True"),
        started: ago(value, "startAgeSeconds"),
        ready_changed: ago(value, "readyTransitionAgeSeconds"),
        deleting: flag(value, "deleting"),
        requests: Requests {
            pod: amount(get(value, "podRequests")),
            containers: containers.map(|(name, request)| (name.clone(), amount(request))).collect(),
        },
    })
}

pub(crate) fn pods(input: &Value) -> Result<Vec<Pod>, String> {
    items(input, "pods").iter().map(pod).collect()
}

pub(crate) fn sample(value: &Value) -> Result<Sample, String> {
    let containers = match get(value, "containers") {
        Value::Object(containers) => {
            containers.iter().map(|(name, usage)| (name.clone(), usage.as_i64().map(Milli))).collect()
        }
        _ => BTreeMap::from([(String::new(), int(value, "valueMilli").map(Milli))]),
    };
    Ok(Sample {
        pod: must(text(value, "pod"), "pod")?.to_owned(),
        containers,
        at: ago(value, "ageSeconds").unwrap_or(NOW),
        window: secs(int(value, "windowSeconds").unwrap_or(60)),
    })
}

pub(crate) fn samples(value: &Value) -> Result<Vec<Sample>, String> {
    items(value, "samples").iter().map(sample).collect()
}

/// One direction's rules; what the case leaves out takes the API's default.
pub(crate) fn rules(value: &Value, defaults: Rules) -> Result<Rules, String> {
    let select = match text(value, "selectPolicy") {
        None => defaults.select,
        Some("Max") => Select::Max,
        Some("Min") => Select::Min,
        Some("Disabled") => Select::Disabled,
        Some(other) => return Err(format!("unknown selectPolicy {other}")),
    };
    let policies = match get(value, "policies") {
        Value::Null => defaults.policies,
        _ => items(value, "policies").iter().map(policy).collect::<Result<_, _>>()?,
    };
    let window = int(value, "stabilizationWindowSeconds").map_or(defaults.window, secs);
    Ok(Rules { window, select, policies, tolerance: number(value, "tolerance") })
}

fn policy(value: &Value) -> Result<RatePolicy, String> {
    let amount = must(count(value, "value"), "value")?;
    let amount = match must(text(value, "type"), "type")? {
        "Pods" => Amount::Pods(amount),
        "Percent" => Amount::Percent(amount),
        other => return Err(format!("unknown policy type {other}")),
    };
    Ok(RatePolicy { amount, period: secs(must(int(value, "periodSeconds"), "periodSeconds")?) })
}

pub(crate) fn behavior(up: &Value, down: &Value, down_window: Span) -> Result<Behavior, String> {
    Ok(Behavior {
        up: rules(up, Rules::up_defaults())?,
        down: rules(down, Rules::down_defaults(down_window))?,
    })
}
