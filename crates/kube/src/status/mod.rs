//! What a ScaledObject's status says, as KEDA's does, so that what reads one reads the other.
//!
//! A status is made as a JSON merge patch of the one that stands; where that would change nothing, nothing
//! is written.

pub mod notes;

use serde_json::{Map, Value, json};
use tidegate_core::scale::decision::{Conditions, Status};
use tidegate_core::scale::spec::Metric;
use tidegate_core::scale::{Decision, Rule, Spec};
use tidegate_core::time::Time;

use crate::index::target::Asks;
use crate::object::{Gvk, Object};
use crate::write::stamp;

/// What a target's status is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The object, with the status that stands.
    pub object: &'a Object,
    /// What kind it is.
    pub asks: Asks,
    /// What it asks for; `None` where that cannot be read.
    pub spec: Option<&'a Spec>,
    /// What was decided last.
    pub decision: Option<&'a Decision>,
    /// Why nothing is decided, or nothing of it is done.
    pub trouble: Option<&'a str>,
    /// What is scaled, and its plural name.
    pub workload: Option<(&'a Gvk, &'a str)>,
    /// How many replicas it had when it was first seen.
    pub found: Option<u32>,
    /// When it was last active, if it no longer is.
    pub was_active: Option<Time>,
    /// What there is no more room for.
    pub limited: Option<&'a str>,
}

/// Conditions of a decision that are KEDA's, in KEDA's order.
fn conditions(of: &Conditions) -> [(&'static str, Option<(Status, &'static str)>); 4] {
    [("Ready", of.ready), ("Active", of.active), ("Fallback", of.fallback), ("Paused", of.paused)]
}

/// The status as a merge patch, and whether it would change anything.
#[must_use]
pub fn status(of: &Facts<'_>) -> Option<Value> {
    let mut status = Map::new();
    status.insert("conditions".to_owned(), Value::Array(all_conditions(of)));
    let triggers = of.object.json.pointer("/spec/triggers").and_then(Value::as_array);
    let triggers = triggers.map(Vec::as_slice).unwrap_or_default();
    status.insert("triggersTypes".to_owned(), json!(types(triggers, "/type")));
    let authentications = triggers.iter().filter(|trigger| trigger.get("authenticationRef").is_some());
    let authentications: Vec<Value> = authentications.cloned().collect();
    if !authentications.is_empty() {
        let kinds = authentications.iter().map(|trigger| {
            let kind = trigger.pointer("/authenticationRef/kind").and_then(Value::as_str);
            json!({"type": kind.unwrap_or("TriggerAuthentication")})
        });
        let kinds: Vec<Value> = kinds.collect();
        status.insert("authenticationsTypes".to_owned(), json!(types(&kinds, "/type")));
    }
    if let Some(spec) = of.spec {
        metrics(spec, &mut status);
    }
    if of.asks == Asks::ScaledObject {
        scaled_object(of, &mut status);
    }
    if let Some(at) = of.was_active {
        status.insert("lastActiveTime".to_owned(), json!(stamp(at)));
    }
    let status = Value::Object(status);
    let stands = of.object.json.get("status").unwrap_or(&Value::Null);
    changes(stands, &status).then(|| json!({"status": status}))
}

fn scaled_object(of: &Facts<'_>, status: &mut Map<String, Value>) {
    let name = of.object.text("/spec/advanced/horizontalPodAutoscalerConfig/name");
    let name = name.map_or_else(|| format!("keda-hpa-{}", of.object.id.name), str::to_owned);
    status.insert("hpaName".to_owned(), json!(name));
    if let Some((gvk, resource)) = of.workload {
        status.insert("scaleTargetKind".to_owned(), json!(gvk.keda()));
        let gvkr = json!({
            "group": &*gvk.group, "version": &*gvk.version, "kind": &*gvk.kind, "resource": resource,
        });
        status.insert("scaleTargetGVKR".to_owned(), gvkr);
    }
    let known = of.object.json.pointer("/status/originalReplicaCount").is_some();
    if let Some(found) = of.found.filter(|_| !known) {
        status.insert("originalReplicaCount".to_owned(), json!(found));
    }
    let paused = of.object.annotation("autoscaling.keda.sh/paused-replicas");
    let paused = paused.and_then(|text| text.trim().parse::<i32>().ok());
    status.insert("pausedReplicaCount".to_owned(), json!(paused));
}

fn metrics(spec: &Spec, status: &mut Map<String, Value>) {
    let external = |metric: &Metric| matches!(metric, Metric::External(_));
    let names = |external_ones: bool| -> Vec<Value> {
        let signals = spec.signals.iter().filter(|signal| external(&signal.metric) == external_ones);
        let signals = signals.filter(|signal| !matches!(signal.metric, Metric::Demand));
        signals.map(|signal| json!(&*signal.name)).collect()
    };
    status.insert("externalMetricNames".to_owned(), Value::Array(names(true)));
    let resources: Vec<Value> = spec
        .signals
        .iter()
        .filter_map(|signal| match &signal.metric {
            Metric::Resource { resource, .. } => Some(json!(resource)),
            _ => None,
        })
        .collect();
    if !resources.is_empty() {
        status.insert("resourceMetricNames".to_owned(), Value::Array(resources));
    }
}

/// Distinct types in order of name, as KEDA's columns show them.
fn types(of: &[Value], at: &str) -> String {
    let mut types: Vec<&str> = of.iter().filter_map(|one| one.pointer(at)?.as_str()).collect();
    types.sort_unstable();
    types.dedup();
    types.join(",")
}

/// The conditions that stand, with those the decision speaks of in their new form. Others (a cluster's
/// own tools may add some) stay as they are.
fn all_conditions(of: &Facts<'_>) -> Vec<Value> {
    let standing = of.object.json.pointer("/status/conditions").and_then(Value::as_array);
    let mut all: Vec<Value> = standing.cloned().unwrap_or_default();
    let mut set = |type_: &str, status: Status, reason: &str, message: &str| {
        let status = match status {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        };
        let new = json!({"type": type_, "status": status, "reason": reason, "message": message});
        let of_type = |one: &&mut Value| one.get("type").and_then(Value::as_str) == Some(type_);
        match all.iter_mut().find(of_type) {
            Some(old) => *old = new,
            None => all.push(new),
        }
    };
    if let Some(decision) = of.decision {
        for (type_, condition) in conditions(&decision.conditions) {
            if let Some((status, reason)) = condition {
                set(type_, status, reason, message(reason));
            }
        }
    }
    if let (Asks::ScaledJob, Some(decision)) = (of.asks, of.decision) {
        // A backlog is what makes it active; it has no cooldown and no idle count to speak of.
        let work = decision.steps.iter().any(|step| matches!(step.rule, Rule::Strategy | Rule::Min));
        let (status, reason) =
            if work { (Status::True, "ScalerActive") } else { (Status::False, "ScalerNotActive") };
        set("Active", status, reason, message(reason));
        let paused = decision.steps.iter().any(|step| step.rule == Rule::Paused);
        let (status, reason) =
            if paused { (Status::True, "ScaledJobPaused") } else { (Status::False, "ScaledJobUnpaused") };
        set("Paused", status, reason, "");
    }
    // One that was never short of anything has KEDA's conditions alone.
    let was = standing.is_some_and(|all| all.iter().any(|one| one.get("type") == Some(&json!("Limited"))));
    match of.limited {
        Some(lacks) => set("Limited", Status::True, "NoRoom", lacks),
        None if was => set("Limited", Status::False, "RoomEnough", ""),
        None => {}
    }
    match (of.trouble, of.decision) {
        (Some(trouble), _) => set("Ready", Status::False, failed(of.asks), trouble),
        (None, Some(decision)) if decision.conditions.ready.is_none() => {
            set("Ready", Status::True, ready(of.asks), message(ready(of.asks)));
        }
        _ => {}
    }
    all
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
fn message(reason: &str) -> &'static str {
    match reason {
        "ScaledObjectReady" => "ScaledObject is defined correctly and is ready for scaling",
        "ScaledJobReady" => "ScaledJob is defined correctly and is ready to scaling",
        "ScalerActive" => "Scaling is performed because triggers are active",
        "ScalerNotActive" => "Scaling is not performed because triggers are not active",
        "ScalerCooldown" => "Scaler cooling down because triggers are not active",
        "FallbackExists" => "At least one trigger is falling back on this scaled object",
        "NoFallbackFound" => "No fallbacks are active on this scaled object",
        "TriggerError" => "Triggers defined in ScaledObject are not working correctly",
        "PartialTriggerError" => "Some of the triggers defined in ScaledObject are not working correctly",
        "ScaledObjectPaused" => "ScaledObject is paused",
        "ScaledObjectUnpaused" => "pause annotation removed for ScaledObject",
        _ => "",
    }
}

/// Whether a merge patch would change a value.
#[must_use]
pub fn changes(stands: &Value, patch: &Value) -> bool {
    match patch {
        Value::Object(fields) => fields.iter().any(|(name, patch)| match stands.get(name) {
            None => !empty(patch),
            Some(stands) => changes(stands, patch),
        }),
        other => stands != other,
    }
}

/// Whether writing this where nothing stands leaves nothing: the API server drops what is empty.
fn empty(patch: &Value) -> bool {
    match patch {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.values().all(empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
