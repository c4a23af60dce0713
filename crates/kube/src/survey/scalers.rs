//! What asks for replicas, and what has them.

use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_doctor::cluster::{CUSTOM, EXTERNAL, Scaler, USAGE, Workload};

use super::Listed;
use crate::adopt;
use crate::index::pending;
use crate::index::target::scaled;
use crate::object::{Gvk, Kind, Object};
use crate::watch::common;

/// `Deployment prod/llama`.
pub(super) fn title(kind: &str, object: &Value) -> String {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    format!("{kind} {}/{}", text("/metadata/namespace"), text("/metadata/name"))
}

/// The ScaledObject that owns an autoscaler.
pub(super) fn owner(hpa: &Value) -> Option<String> {
    let owners = hpa.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let text = |owner: &Value, at: &str| owner.get(at).and_then(Value::as_str).map(str::to_owned);
    let mut owners = owners.into_iter().flatten();
    owners
        .find(|owner| text(owner, "kind").as_deref() == Some("ScaledObject"))
        .and_then(|owner| text(owner, "name"))
}

pub(super) fn all(listed: &Listed) -> Vec<Scaler> {
    let kinds = [
        (Kind::ScaledObject, &listed.scaled_objects),
        (Kind::ScaledJob, &listed.scaled_jobs),
        (Kind::HorizontalPodAutoscaler, &listed.autoscalers),
    ];
    let each = kinds.into_iter().flat_map(|(kind, all)| all.iter().map(move |json| (kind.clone(), json)));
    each.filter_map(|(kind, json)| Some(scaler(&Object::new(kind, json.clone())?))).collect()
}

/// The kinds of workloads that are scaled and are not listed anyhow.
pub(super) fn others(scalers: &[&Vec<Value>]) -> BTreeSet<Gvk> {
    let all = scalers.iter().flat_map(|all| all.iter());
    let target = |json: &Value| {
        let text = |at: &str| json.pointer(at).and_then(Value::as_str);
        Gvk::of(text("/spec/scaleTargetRef/apiVersion"), text("/spec/scaleTargetRef/kind"))
    };
    let kinds = all.filter(|json| json.pointer("/spec/scaleTargetRef").is_some()).map(target);
    kinds.filter(|gvk| !common().contains(gvk)).collect()
}

fn scaler(object: &Object) -> Scaler {
    let owner = owner(&object.json);
    let stopped = object.id.kind == Kind::HorizontalPodAutoscaler && adopt::stopped(object);
    let away = object.id.kind != Kind::HorizontalPodAutoscaler && !adopt::ours(object);
    let workload = scaled(object).map(|id| format!("{} {}/{}", id.kind.gvk().kind, id.namespace, id.name));
    let conditions = object.json.pointer("/status/conditions").and_then(Value::as_array);
    let condition = |condition: &Value| {
        let text = |at: &str| condition.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        [text("type"), text("status"), text("reason"), text("message")]
    };
    let health = object.json.pointer("/status/health").and_then(Value::as_object);
    let failing = health.into_iter().flatten().filter_map(|(signal, health)| {
        let failed = health.get("status").and_then(Value::as_str) == Some("Failing");
        let times = health.get("numberOfFailures").and_then(Value::as_u64).unwrap_or(0);
        failed.then(|| (signal.clone(), times))
    });
    Scaler {
        kind: object.id.kind.gvk().kind.to_string(),
        namespace: object.id.namespace.to_string(),
        name: object.id.name.to_string(),
        workload,
        idle: stopped || away,
        reads: reads(object, owner.is_some()),
        owner,
        conditions: conditions.into_iter().flatten().map(condition).collect(),
        failing: failing.collect(),
    }
}

/// What it reads of the API server. An autoscaler that KEDA made reads what KEDA itself serves.
fn reads(object: &Object, kedas: bool) -> BTreeSet<&'static str> {
    let types = |at: &str| -> Vec<String> {
        let list = object.json.pointer(at).and_then(Value::as_array);
        let types = list.into_iter().flatten().filter_map(|one| one.get("type")?.as_str());
        types.map(str::to_owned).collect()
    };
    let mut groups = BTreeSet::new();
    if types("/spec/triggers").iter().any(|one| matches!(&**one, "cpu" | "memory")) {
        groups.insert(USAGE);
    }
    for metric in types("/spec/metrics") {
        match &*metric {
            "Resource" | "ContainerResource" => groups.insert(USAGE),
            "External" if !kedas => groups.insert(EXTERNAL),
            "Object" | "Pods" if !kedas => groups.insert(CUSTOM),
            _ => false,
        };
    }
    groups
}

pub(super) fn workloads(listed: &Listed) -> Vec<Workload> {
    let kinds = [("Deployment", &listed.deployments), ("StatefulSet", &listed.stateful_sets)];
    let others = listed.others.iter().map(|(gvk, all)| (&*gvk.kind, all));
    let kinds = kinds.into_iter().chain(others);
    let each = kinds.into_iter().flat_map(|(kind, all)| all.iter().map(move |json| (kind, json)));
    each.map(|(kind, json)| {
        let count = |at: &str| json.pointer(at).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let namespace = json.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        Workload {
            title: title(kind, json),
            namespace: namespace.to_owned(),
            wanted: count("/spec/replicas").unwrap_or(1),
            ready: count("/status/readyReplicas").unwrap_or(0),
            refused: pending::refused(json).map(|cause| cause.said),
        }
    })
    .collect()
}
