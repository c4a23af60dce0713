//! The conditions of a status: KEDA's, HPA's as KEDA tells it, and two of ours.

use serde_json::{Value, json};
use tidegate_core::scale::decision::{Conditions, Status};

use super::Facts;
use crate::index::target::Asks;

/// Conditions of a decision that are KEDA's, in KEDA's order.
fn decided(of: &Conditions) -> [(&'static str, Option<(Status, &'static str)>); 4] {
    [("Ready", of.ready), ("Active", of.active), ("Fallback", of.fallback), ("Paused", of.paused)]
}

/// Those that are there from the first moment, as `Unknown`.
const fn first(asks: Asks) -> &'static [&'static str] {
    match asks {
        Asks::ScaledJob => &["Ready", "Active", "Paused"],
        _ => &["Ready", "Active", "Fallback", "Paused", "HPAActive"],
    }
}

/// Whether the autoscaler's part can be reckoned, in the words that KEDA has for what HPA says of it.
const fn hpa(of: &Conditions) -> Option<(Status, &'static str)> {
    match of.scaling_active {
        // At zero HPA rests, which is as it should be.
        Some((Status::False, reason)) if matches!(reason.as_bytes(), b"ScalingDisabled") => {
            Some((Status::True, reason))
        }
        Some((Status::True, _)) => Some((Status::True, "HPAActive")),
        other => other,
    }
}

struct List(Vec<Value>);

impl List {
    fn find(&mut self, type_: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|one| one.get("type").and_then(Value::as_str) == Some(type_))
    }

    fn set(&mut self, type_: &str, status: Status, reason: &str, message: &str) {
        let status = match status {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        };
        let new = json!({"type": type_, "status": status, "reason": reason, "message": message});
        match self.find(type_) {
            Some(old) => *old = new,
            None => self.0.push(new),
        }
    }

    /// One of ours: an object that was never short of anything has KEDA's alone.
    fn at_times(&mut self, type_: &str, why: Option<&str>, yes: &str, no: &str) {
        match why {
            Some(why) => self.set(type_, Status::True, yes, why),
            None if self.find(type_).is_some() => self.set(type_, Status::False, no, ""),
            None => {}
        }
    }
}

/// The conditions that stand, with those the decision speaks of in their new form. Others (a cluster's
/// own tools may add some) stay as they are.
pub(super) fn all(of: &Facts<'_>) -> Vec<Value> {
    let standing = of.object.json.pointer("/status/conditions").and_then(Value::as_array);
    let mut all = List(standing.cloned().unwrap_or_default());
    for type_ in first(of.asks) {
        if all.find(type_).is_none() {
            all.0.push(json!({"type": type_, "status": "Unknown"}));
        }
    }
    if let Some(decision) = of.decision {
        for (type_, condition) in decided(&decision.conditions) {
            if let Some((status, reason)) = condition {
                all.set(type_, status, reason, message(of.asks, reason));
            }
        }
        if let (Asks::ScaledObject, Some((status, reason))) = (of.asks, hpa(&decision.conditions)) {
            all.set("HPAActive", status, reason, message(of.asks, reason));
        }
    }
    // Who has just begun does not know yet that it is over.
    if of.limited.is_some() || of.decision.is_some() {
        all.at_times("Limited", of.limited, "NoRoom", "RoomEnough");
    }
    if of.silent.is_some() || of.decision.is_some() {
        all.at_times("NoData", of.silent, "EmptyResult", "DataRead");
    }
    match (of.trouble, of.decision) {
        (Some(trouble), _) => {
            all.set("Ready", Status::False, failed(of.asks), trouble);
            all.set("Active", Status::Unknown, "UnknownState", message(of.asks, "UnknownState"));
        }
        (None, Some(decision)) if decision.conditions.ready.is_none() => {
            all.set("Ready", Status::True, ready(of.asks), message(of.asks, ready(of.asks)));
        }
        _ => {}
    }
    all.0
}

const fn ready(asks: Asks) -> &'static str {
    match asks {
        Asks::ScaledJob => "ScaledJobReady",
        _ => "ScaledObjectReady",
    }
}

const fn failed(asks: Asks) -> &'static str {
    match asks {
        Asks::ScaledJob => "ScaledJobCheckFailed",
        _ => "ScaledObjectCheckFailed",
    }
}

/// A sentence for each reason. It says nothing that changes from second to second: a message that did
/// would be a write a second.
fn message(asks: Asks, reason: &str) -> &'static str {
    match reason {
        "TriggerError" if asks == Asks::ScaledJob => {
            "Triggers defined in ScaledJob are not working correctly"
        }
        "PartialTriggerError" if asks == Asks::ScaledJob => {
            "Some triggers defined in ScaledJob are not working correctly"
        }
        "ScaledObjectReady" => "ScaledObject is defined correctly and is ready for scaling",
        "ScaledJobReady" => "ScaledJob is defined correctly and is ready for scaling",
        "ScalerActive" => "Scaling is performed because triggers are active",
        "ScalerNotActive" => "Scaling is not performed because triggers are not active",
        "ScalerCooldown" => "Scaler cooling down because triggers are not active",
        "FallbackExists" => "At least one trigger is falling back on this scaled object",
        "NoFallbackFound" => "No fallbacks are active on this scaled object",
        "TriggerError" => "Triggers defined in ScaledObject are not working correctly",
        "PartialTriggerError" => "Some triggers defined in ScaledObject are not working correctly",
        "UnknownState" => "Nothing is decided, so nobody knows whether triggers are active",
        "HPAActive" => "The metrics of the autoscaler can be read",
        "ScalingDisabled" => "Nothing runs, so the autoscaler has nothing to scale",
        "ScaledJobPaused" => "ScaledJob is paused",
        "ScaledJobUnpaused" => "ScaledJob is unpaused",
        "ScaledObjectPaused" => "ScaledObject is paused",
        "ScaledObjectUnpaused" => "pause annotation removed for ScaledObject",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_kedas_say() {
        for (asks, reason, wanted) in [
            (
                Asks::ScaledObject,
                "ScaledObjectReady",
                "ScaledObject is defined correctly and is ready for scaling",
            ),
            (Asks::ScaledJob, "ScaledJobReady", "ScaledJob is defined correctly and is ready for scaling"),
            (
                Asks::ScaledObject,
                "TriggerError",
                "Triggers defined in ScaledObject are not working correctly",
            ),
            (Asks::ScaledJob, "TriggerError", "Triggers defined in ScaledJob are not working correctly"),
            (
                Asks::ScaledObject,
                "PartialTriggerError",
                "Some triggers defined in ScaledObject are not working correctly",
            ),
            (
                Asks::ScaledJob,
                "PartialTriggerError",
                "Some triggers defined in ScaledJob are not working correctly",
            ),
            (Asks::ScaledObject, "ScalerCooldown", "Scaler cooling down because triggers are not active"),
            (Asks::ScaledObject, "ScaledObjectPaused", "ScaledObject is paused"),
            (Asks::ScaledObject, "ScaledObjectUnpaused", "pause annotation removed for ScaledObject"),
            (Asks::ScaledJob, "ScaledJobUnpaused", "ScaledJob is unpaused"),
            (
                Asks::ScaledObject,
                "FallbackExists",
                "At least one trigger is falling back on this scaled object",
            ),
            (Asks::ScaledObject, "NoFallbackFound", "No fallbacks are active on this scaled object"),
        ] {
            assert_eq!(message(asks, reason), wanted, "{asks:?} {reason}");
        }
    }
}
