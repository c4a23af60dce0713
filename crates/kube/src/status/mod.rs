//! What a ScaledObject's status says, as KEDA's does, so that what reads one reads the other.
//!
//! A status is made whole, as server-side apply wants it, and held against the one that stands; where that would
//! change nothing, nothing is written. Conditions are one list, in KEDA's definition as in ours, so those of others
//! are said with ours, and only of the version they were read from.

pub mod activity;
mod conditions;
pub mod notes;

use serde_json::{Map, Value, json};
use tidegate_core::scale::spec::{Kind, Metric};
use tidegate_core::scale::{Decision, Spec};
use tidegate_core::time::Time;
use tidegate_manifest::Called;

use self::activity::Readings;
use crate::index::target::Asks;
use crate::object::{Gvk, Object};
use crate::write::stamp;

/// Fields that are ours by what they mean, whoever wrote them: those that stand and are not said go.
const OURS: &[&str] = &[
    "authenticationsTypes",
    "compositeScalerName",
    "health",
    "pausedReplicaCount",
    "resourceMetricNames",
    "triggersActivity",
];

/// Maps of ours by trigger: what stands of a trigger that is gone goes.
const MAPS: &[&str] = &["health", "triggersActivity"];

/// The metric of a formula, as KEDA names it.
pub const COMPOSITE: &str = "composite-metric";

/// What a target's status is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The object, with the status that stands.
    pub object: &'a Object,
    /// What kind it is.
    pub asks: Asks,
    /// What it asks for; `None` where that cannot be read.
    pub spec: Option<&'a Spec>,
    /// What KEDA calls its triggers: the names by which a status speaks of them.
    pub called: &'a [Called],
    /// What was read last of its signals.
    pub readings: &'a Readings,
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
    /// Triggers that have answered with nothing for long, in a sentence.
    pub silent: Option<&'a str>,
}

/// A status that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// All of it that is ours.
    pub json: Value,
    /// What of it must not remain.
    pub gone: Value,
    /// Whether it is only what single triggers say, which need not be told each second.
    pub small: bool,
}

/// The status, where it is another than the one that stands.
#[must_use]
pub fn status(of: &Facts<'_>) -> Option<Told> {
    let stands = of.object.json.get("status").unwrap_or(&Value::Null);
    let mut status = Map::new();
    status.insert("conditions".to_owned(), Value::Array(conditions::all(of)));
    let triggers = of.object.json.pointer("/spec/triggers").and_then(Value::as_array);
    let triggers = triggers.map(Vec::as_slice).unwrap_or_default();
    status.insert("triggersTypes".to_owned(), json!(types(triggers, "/type")));
    let authentications = triggers.iter().filter(|trigger| trigger.get("authenticationRef").is_some());
    let kinds: Vec<Value> = authentications
        .map(|trigger| {
            let kind = trigger.pointer("/authenticationRef/kind").and_then(Value::as_str);
            json!({"type": kind.unwrap_or("TriggerAuthentication")})
        })
        .collect();
    if !kinds.is_empty() {
        status.insert("authenticationsTypes".to_owned(), json!(types(&kinds, "/type")));
    }
    match of.spec {
        Some(spec) => {
            of_spec(of, spec, &mut status);
            if of.decision.is_none() {
                // Who has just begun has read nothing yet: that is no reason to take back what was read before.
                keep(stands, &["triggersActivity", "health"], &mut status);
            }
        }
        None => {
            keep(stands, &["externalMetricNames", "resourceMetricNames", "triggersActivity"], &mut status)
        }
    }
    match of.asks {
        Asks::ScaledObject => scaled_object(of, stands, &mut status),
        _ => {
            if let Some((paused, _)) = of.decision.and_then(|decision| decision.conditions.paused) {
                let paused = paused == tidegate_core::scale::decision::Status::True;
                status.insert("Paused".to_owned(), json!(paused.to_string()));
            } else {
                keep(stands, &["Paused"], &mut status);
            }
        }
    }
    match of.was_active {
        Some(at) => drop(status.insert("lastActiveTime".to_owned(), json!(stamp(at)))),
        None => keep(stands, &["lastActiveTime"], &mut status),
    }
    told(stands, status)
}

/// What is to be written, given what stands.
fn told(stands: &Value, status: Map<String, Value>) -> Option<Told> {
    let gone = gone(stands, &status);
    let small = |name: &str| MAPS.contains(&name);
    let differs = |(name, value): &(&String, &Value)| match stands.get(*name) {
        None => !empty(value),
        Some(stands) => stands != *value,
    };
    let changed: Vec<&str> = status.iter().filter(differs).map(|(name, _)| &**name).collect();
    if changed.is_empty() && gone.is_empty() {
        return None;
    }
    let small = changed.iter().copied().chain(gone.keys().map(|name| &**name)).all(small);
    Some(Told { json: json!({"status": status}), gone: json!({"status": gone}), small })
}

/// Of what stands and is ours, what is not said any more.
fn gone(stands: &Value, status: &Map<String, Value>) -> Map<String, Value> {
    let mut gone = Map::new();
    for name in OURS.iter().filter(|name| stands.get(**name).is_some_and(|stands| !empty(stands))) {
        match status.get(*name) {
            None => drop(gone.insert((*name).to_owned(), Value::Null)),
            Some(said) if MAPS.contains(name) => {
                let keys = stands.get(*name).and_then(Value::as_object).into_iter().flatten();
                let strays = keys.filter(|(key, _)| said.get(*key).is_none());
                let strays: Map<String, Value> = strays.map(|(key, _)| (key.clone(), Value::Null)).collect();
                if !strays.is_empty() {
                    gone.insert((*name).to_owned(), Value::Object(strays));
                }
            }
            Some(_) => {}
        }
    }
    gone
}

/// Says again what stands: apply takes away what it is not told.
fn keep(stands: &Value, names: &[&str], status: &mut Map<String, Value>) {
    for name in names {
        if let Some(value) = stands.get(*name).filter(|value| !empty(value)) {
            status.insert((*name).to_owned(), value.clone());
        }
    }
}

/// The name of the HorizontalPodAutoscaler that KEDA would make of a ScaledObject; there is none of it here.
#[must_use]
pub fn hpa_name(object: &Object) -> String {
    let name =
        object.text("/spec/advanced/horizontalPodAutoscalerConfig/name").filter(|name| !name.is_empty());
    name.map_or_else(|| format!("keda-hpa-{}", object.id.name), str::to_owned)
}

fn scaled_object(of: &Facts<'_>, stands: &Value, status: &mut Map<String, Value>) {
    status.insert("hpaName".to_owned(), json!(hpa_name(of.object)));
    if let Some((gvk, resource)) = of.workload {
        status.insert("scaleTargetKind".to_owned(), json!(gvk.keda()));
        let gvkr = json!({
            "group": &*gvk.group, "version": &*gvk.version, "kind": &*gvk.kind, "resource": resource,
        });
        status.insert("scaleTargetGVKR".to_owned(), gvkr);
    } else {
        keep(stands, &["scaleTargetKind", "scaleTargetGVKR"], status);
    }
    match (stands.get("originalReplicaCount"), of.found) {
        (None, Some(found)) => drop(status.insert("originalReplicaCount".to_owned(), json!(found))),
        _ => keep(stands, &["originalReplicaCount"], status),
    }
    let paused = of.object.annotation("autoscaling.keda.sh/paused-replicas");
    if let Some(paused) = paused.and_then(|text| text.trim().parse::<i32>().ok()) {
        status.insert("pausedReplicaCount".to_owned(), json!(paused));
    }
}

fn of_spec(of: &Facts<'_>, spec: &Spec, status: &mut Map<String, Value>) {
    let external = |metric: &Metric| matches!(metric, Metric::External(_));
    let names = |external_ones: bool| -> Vec<Value> {
        let signals = spec.signals.iter().filter(|signal| external(&signal.metric) == external_ones);
        let signals = signals.filter(|signal| !matches!(signal.metric, Metric::Demand));
        signals.map(|signal| json!(Called::metric(of.called, &signal.name))).collect()
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
    if let Kind::ScaledObject(keda) = &spec.kind
        && keda.modifiers.is_some()
    {
        status.insert("compositeScalerName".to_owned(), json!(COMPOSITE));
    }
    let activity = activity::told_of(spec, of.called, of.readings, of.decision);
    if !empty(&activity) {
        status.insert("triggersActivity".to_owned(), activity);
    }
    if let Some(health) = of.decision.and_then(|decision| activity::health(spec, of.called, decision)) {
        status.insert("health".to_owned(), health);
    }
}

/// Distinct types in order of name, as KEDA's columns show them.
fn types(of: &[Value], at: &str) -> String {
    let mut types: Vec<&str> = of.iter().filter_map(|one| one.pointer(at)?.as_str()).collect();
    types.sort_unstable();
    types.dedup();
    types.join(",")
}

/// Whether writing this where nothing stands leaves nothing: the API server drops what is empty.
fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.values().all(empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
