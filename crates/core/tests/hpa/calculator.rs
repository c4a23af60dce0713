//! Kinds `replica_calculator` and `group_pods`: one metric, and the pods it is measured on.

use std::sync::Arc;

use serde_json::Value;
use tidegate_core::scale::hpa::calculator::{self, Against};
use tidegate_core::scale::hpa::pods::{self, Measured};
use tidegate_core::scale::hpa::{Proposal, Tolerance};
use tidegate_core::scale::spec::{Goal, ResourceGoal, Tuning};
use tidegate_core::scale::{Phase, Pod, decision::Unusable};
use tidegate_core::units::Milli;

use super::NOW;
use crate::common::data::{Case, count, get, int, items, must, number, same, text};
use crate::common::secs;

fn tuning(input: &Value) -> Tuning {
    let mut tuning = Tuning::default();
    if let Some(period) = int(input, "cpuInitializationPeriodSeconds") {
        tuning.cpu_initialization = secs(period);
    }
    if let Some(delay) = int(input, "initialReadinessDelaySeconds") {
        tuning.initial_readiness_delay = secs(delay);
    }
    tuning
}

fn tolerance(input: &Value) -> Tolerance {
    let given = get(input, "tolerance");
    Tolerance { down: number(given, "down").unwrap_or(0.1), up: number(given, "up").unwrap_or(0.1) }
}

fn ready(pods: &[Pod]) -> Option<u32> {
    let serving = |pod: &&Pod| pod.phase == Phase::Running && pod.ready == Some(true);
    (!pods.is_empty()).then(|| pods.iter().filter(serving).count() as u32)
}

fn propose(case: &Case) -> Result<Result<Proposal, Unusable>, String> {
    let input = case.input();
    let function = must(text(&case.whole, "function"), "function")?;
    let (found, samples, tuning) = (super::pods(input)?, super::samples(input)?, tuning(input));
    let current = must(count(input, "currentReplicas").or(count(input, "specReplicas")), "currentReplicas")?;
    let average = int(input, "targetAverageValueMilli").map(Milli);
    let value = int(input, "targetValueMilli").map(Milli);
    let tolerance = tolerance(input);
    let measured =
        Measured { pods: &found, samples: &samples, now: NOW, current, tuning: &tuning, tolerance };
    let signal: Arc<str> = "metric".into();
    Ok(match function {
        "GetResourceReplicas" | "GetRawResourceReplicas" => {
            let goal = match (count(input, "targetAverageUtilization"), average) {
                (Some(percent), _) => ResourceGoal::Utilization(percent),
                (None, Some(average)) => ResourceGoal::AverageValue(average),
                (None, None) => return Err("a resource case without a target".into()),
            };
            let container = text(input, "container").filter(|name| !name.is_empty());
            let resource = must(text(input, "resource"), "resource")?;
            pods::resource(&signal, resource, container, goal, &measured)
        }
        "GetMetricReplicas" => pods::average(&signal, must(average, "targetAverageValueMilli")?, &measured),
        "GetObjectMetricReplicas"
        | "GetExternalMetricReplicas"
        | "GetObjectPerPodMetricReplicas"
        | "GetExternalPerPodMetricReplicas" => {
            let per_pod = function.contains("PerPod");
            let goal = if per_pod {
                Goal::AverageValue(must(average, "targetAverageValueMilli")?)
            } else {
                Goal::Value(must(value, "targetValueMilli")?)
            };
            let values = items(input, "valuesMilli").iter().filter_map(Value::as_i64).map(Milli);
            let status = count(input, "statusReplicas").unwrap_or(current);
            let against = Against { spec: current, status, ready: ready(&found) };
            calculator::external(&signal, goal, calculator::sum(values), against, tolerance)
        }
        other => return Err(format!("unknown function {other}")),
    })
}

pub(crate) fn replicas(case: &Case) -> Result<(), String> {
    let expected = case.expected();
    let result = propose(case)?;
    if let Some(wanted) = text(expected, "errorContains") {
        return match result {
            Err(why) if why.to_string().contains(wanted) => Ok(()),
            Err(why) => Err(format!("the error is {why:?}, expected one with {wanted:?}")),
            Ok(proposal) => Err(format!("proposes {}, expected an error with {wanted:?}", proposal.replicas)),
        };
    }
    let proposal = result.map_err(|why| format!("error: {why}"))?;
    same("replicas", proposal.replicas, must(count(expected, "replicas"), "expected.replicas")?)?;
    if let Some(usage) = int(expected, "usageMilli").or(int(expected, "rawAverageMilli")) {
        same("usage", proposal.usage.amount, Milli(usage))?;
    }
    if let Some(percent) = int(expected, "utilizationPercent") {
        same("utilization", proposal.usage.percent, Some(percent))?;
    }
    Ok(())
}

pub(crate) fn groups(case: &Case) -> Result<(), String> {
    let (input, expected) = (case.input(), case.expected());
    let (found, samples, tuning) = (super::pods(input)?, super::samples(input)?, tuning(input));
    let tolerance = Tolerance { down: 0.1, up: 0.1 };
    let current = found.len() as u32;
    let measured =
        Measured { pods: &found, samples: &samples, now: NOW, current, tuning: &tuning, tolerance };
    let groups = pods::group(&measured, must(text(input, "resource"), "resource")?);
    same("ready", groups.ready, must(count(expected, "readyPodCount"), "readyPodCount")?)?;
    for (what, found) in
        [("unready", groups.unready), ("missing", groups.missing), ("ignored", groups.ignored)]
    {
        let mut found = found;
        let mut wanted: Vec<&str> = items(expected, what).iter().filter_map(Value::as_str).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        same(what, found, wanted)?;
    }
    Ok(())
}
