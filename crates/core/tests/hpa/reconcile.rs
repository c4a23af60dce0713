//! Kind `reconcile`: one whole pass, through the machine as a driver uses it.

use serde_json::{Value, json};
use tidegate_core::scale::decision::{Conditions, Status};
use tidegate_core::scale::spec::{Absent, Behavior, Goal, Kind, Metric, ResourceGoal, Signal, Tuning};
use tidegate_core::scale::{Event, Fleet, Phase, Pod, Reading, Spec};
use tidegate_core::units::Milli;

use super::{NOW, behavior, limits, pods, samples};
use crate::common::data::{Case, count, flag, get, int, items, must, number, same, text};
use crate::common::{Rig, secs, signal, spec};

fn tuning(controller: &Value) -> Tuning {
    let defaults = Tuning::default();
    let span = |key: &str, default| int(controller, key).map_or(default, secs);
    Tuning {
        sync_period: span("syncPeriodSeconds", defaults.sync_period),
        downscale_stabilization: span("downscaleStabilizationSeconds", defaults.downscale_stabilization),
        tolerance: number(controller, "tolerance").unwrap_or(defaults.tolerance),
        cpu_initialization: span("cpuInitializationPeriodSeconds", defaults.cpu_initialization),
        initial_readiness_delay: span("initialReadinessDelaySeconds", defaults.initial_readiness_delay),
        scale_up_factor: number(controller, "scaleUpLimitFactor").unwrap_or(defaults.scale_up_factor),
        scale_up_minimum: number(controller, "scaleUpLimitMinimum").unwrap_or(defaults.scale_up_minimum),
        scale_to_zero: flag(get(controller, "featureGates"), "HPAScaleToZero"),
    }
}

fn given_behavior(hpa: &Value, controller: &Value, tuning: &Tuning) -> Result<Option<Behavior>, String> {
    let given = get(hpa, "behavior");
    if given.is_null() {
        return Ok(None);
    }
    let (up, down) = (get(given, "scaleUp"), get(given, "scaleDown"));
    let mut behavior = behavior(up, down, tuning.downscale_stabilization)?;
    if !flag(get(controller, "featureGates"), "HPAConfigurableTolerance") {
        behavior.up.tolerance = None;
        behavior.down.tolerance = None;
    }
    Ok(Some(behavior))
}

/// One metric and its reading.
fn metric(index: usize, given: &Value) -> Result<(Signal, Reading), String> {
    let average = int(given, "targetAverageValueMilli").map(Milli);
    let value = int(given, "targetValueMilli").map(Milli);
    let total = || match (average, value) {
        (Some(average), _) => Ok(Goal::AverageValue(average)),
        (None, Some(value)) => Ok(Goal::Value(value)),
        (None, None) => Err("a metric without a target".to_owned()),
    };
    let series = || {
        let values = items(given, "valuesMilli").iter().filter_map(Value::as_i64);
        Reading::Series(values.map(|value| value as f64 / 1000.0).collect())
    };
    let (metric, reading) = match must(text(given, "type"), "metric type")? {
        "Resource" | "ContainerResource" => {
            let goal = match (count(given, "targetAverageUtilization"), average) {
                (Some(percent), _) => ResourceGoal::Utilization(percent),
                (None, Some(average)) => ResourceGoal::AverageValue(average),
                // What the API fills in for a resource without a target.
                (None, None) => ResourceGoal::Utilization(80),
            };
            let container = text(given, "container").filter(|name| !name.is_empty()).map(str::to_owned);
            let resource = must(text(given, "resource"), "resource")?.to_owned();
            (Metric::Resource { resource, container, goal }, Reading::Samples(samples(given)?))
        }
        "Pods" => {
            let average = must(average, "targetAverageValueMilli")?;
            (Metric::Pods { average }, Reading::Samples(samples(given)?))
        }
        "Object" => (Metric::Object(total()?), series()),
        "External" => (Metric::External(total()?), series()),
        // The table's stand-in for a source type that does not exist.
        "CheddarCheese" => (Metric::Unsupported, Reading::Absent),
        other => return Err(format!("unknown metric type {other}")),
    };
    let reading =
        if flag(given, "fetchError") { Reading::Error("the metrics API failed".into()) } else { reading };
    let signal = Signal { absent: Absent::Error, ..signal(&format!("m{index}"), metric) };
    Ok((signal, reading))
}

/// What the controller remembered before this pass.
fn state(input: &Value) -> Result<Value, String> {
    let was_at_zero = items(input, "initialConditions").iter().any(|condition| {
        text(condition, "type") == Some("ScaledToZero") && text(condition, "status") == Some("True")
    });
    let remembered = get(input, "recommendations").as_array();
    let none = json!({ "epoch": 0, "entries": [], "joined": false });
    Ok(json!({
        "life": { "created": null, "last_active": null },
        "signals": [],
        "memory": {
            "recommendations": limits::recommendations(remembered.map_or(&[], Vec::as_slice))?,
            "ups": none,
            "downs": none,
            "scaled_to_zero": was_at_zero,
            "seeded": remembered.is_some(),
        },
    }))
}

type Reported = Vec<(String, String, String)>;

/// The conditions in the order a list of them would have: what was there before comes first.
fn reported(conditions: &Conditions, before: &[Value]) -> Reported {
    let all = [
        ("AbleToScale", conditions.able_to_scale),
        ("ScalingActive", conditions.scaling_active),
        ("ScalingLimited", conditions.scaling_limited),
        ("ScaledToZero", conditions.scaled_to_zero),
    ];
    let given =
        all.iter().filter_map(|(name, condition)| condition.map(|(status, reason)| (*name, status, reason)));
    let mut list: Reported = given
        .map(|(name, status, reason)| {
            let status = match status {
                Status::True => "True",
                Status::False => "False",
                Status::Unknown => "Unknown",
            };
            (name.to_owned(), status.to_owned(), reason.to_owned())
        })
        .collect();
    let was_there = |name: &str| before.iter().position(|condition| text(condition, "type") == Some(name));
    list.sort_by_key(|(name, ..)| was_there(name).unwrap_or(usize::MAX));
    list
}

pub(crate) fn reconcile(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let (controller, hpa, scale) = (get(input, "controller"), get(input, "hpa"), get(input, "scale"));
    let metrics: Vec<(Signal, Reading)> = items(hpa, "metrics")
        .iter()
        .enumerate()
        .map(|(index, given)| metric(index, given))
        .collect::<Result<_, _>>()?;
    let (signals, readings): (Vec<_>, Vec<_>) = metrics.into_iter().unzip();
    let tuning = tuning(controller);
    let spec = Spec {
        min: count(hpa, "minReplicas").unwrap_or(1),
        max: must(count(hpa, "maxReplicas"), "maxReplicas")?,
        behavior: given_behavior(hpa, controller, &tuning)?,
        tuning,
        ..spec(Kind::Autoscaler, signals)
    };
    let found = pods(input)?;
    let serving = |pod: &&Pod| pod.phase == Phase::Running && pod.ready == Some(true);
    let ready = found.iter().filter(serving).count() as u32;
    let names: Vec<_> = spec.signals.iter().map(|signal| signal.name.clone()).collect();
    let current = must(count(scale, "specReplicas"), "specReplicas")?;
    let status = count(scale, "statusReplicas").unwrap_or(current);

    let mut rig = Rig::resumed(spec, state(input)?);
    rig.now = NOW;
    rig.send(&Event::Fleet(Fleet { spec: current, status, ready, starting: 0 }));
    rig.send(&Event::Pods(found));
    for (name, reading) in names.iter().zip(readings) {
        rig.read(name, reading);
    }
    let ticked = rig.tick();

    let desired = must(count(expected, "desiredReplicas"), "desiredReplicas")?;
    same("replicas", ticked.replicas(), desired)?;
    same("the change written", ticked.scale, (desired != current).then_some((current, desired)))?;
    if get(expected, "conditions").is_array() {
        let member = |condition: &Value, key| text(condition, key).unwrap_or_default().to_owned();
        let wanted: Reported = items(expected, "conditions")
            .iter()
            .map(|condition| {
                (member(condition, "type"), member(condition, "status"), member(condition, "reason"))
            })
            .collect();
        let found = reported(&ticked.decision.conditions, items(input, "initialConditions"));
        same("conditions", found, wanted)?;
    }
    Ok(())
}
