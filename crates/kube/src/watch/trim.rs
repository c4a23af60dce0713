//! What is thrown away of an object at the door: a Deployment of 10 KB becomes 2.

use k8s_openapi::api::autoscaling::v1::Scale;
use serde_json::{Map, Value, json};

use crate::object::Kind;

/// Removes what nobody reads.
pub(super) fn trim(kind: &Kind, json: &mut Value) {
    let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let managers = metadata.remove("managedFields");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    match kind {
        Kind::Workload(_) => {
            metadata.insert("managedFields".to_owned(), managers.as_ref().map_or(Value::Null, replicas));
            lead(json);
            keep(json, "spec", &["replicas", "selector", "template", "ordinals"]);
        }
        Kind::ScaledObject | Kind::ScaledJob => {
            metadata.insert("managedFields".to_owned(), managers.as_ref().map_or(Value::Null, names));
        }
        Kind::Pod => {
            keep(json, "spec", &["nodeName", "containers", "initContainers", "resources"]);
            keep(
                json,
                "status",
                &["phase", "conditions", "containerStatuses", "initContainerStatuses", "startTime", "podIP"],
            );
        }
        Kind::EndpointSlice => {
            let endpoints = json.get_mut("endpoints").and_then(Value::as_array_mut);
            for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
                endpoint.retain(|name, _| matches!(name.as_str(), "addresses" | "conditions" | "targetRef"));
            }
        }
        Kind::Job => keep(json, "spec", &["completions", "suspend", "parallelism"]),
        _ => {}
    }
}

/// Puts the template of a LeaderWorkerSet's leaders, who take the requests, where the common kinds have theirs. Without
/// one of their own they are made as the workers are.
fn lead(json: &mut Value) {
    let Some(templates) = json.pointer("/spec/leaderWorkerTemplate") else { return };
    let own = templates.get("leaderTemplate").filter(|template| template.is_object());
    if let Some(template) = own.or_else(|| templates.get("workerTemplate")).cloned() {
        json["spec"]["template"] = template;
    }
}

fn keep(json: &mut Value, field: &str, kept: &[&str]) {
    if let Some(object) = json.get_mut(field).and_then(Value::as_object_mut) {
        object.retain(|name, _| kept.contains(&name.as_str()));
    }
}

/// Of the record of who wrote what, only whose `spec.replicas` is.
fn replicas(managers: &Value) -> Value {
    let entries = managers.as_array().into_iter().flatten();
    let holds = entries.filter(|entry| entry.pointer("/fieldsV1/f:spec/f:replicas").is_some());
    holds
        .map(|entry| {
            let mut kept = slim(entry);
            kept.insert("fieldsV1".to_owned(), json!({"f:spec": {"f:replicas": {}}}));
            Value::Object(kept)
        })
        .collect()
}

/// Only who wrote, and when.
fn names(managers: &Value) -> Value {
    managers.as_array().into_iter().flatten().map(|entry| Value::Object(slim(entry))).collect()
}

fn slim(entry: &Value) -> Map<String, Value> {
    let kept = ["manager", "time", "subresource"];
    let fields = entry.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| kept.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Puts the numbers of `/scale` where the common kinds have them.
pub(super) fn rescale(json: &mut Value, scale: &Scale) {
    let spec = scale.spec.as_ref().and_then(|spec| spec.replicas);
    let status = scale.status.as_ref();
    for field in ["spec", "status"] {
        if !json.get(field).is_some_and(Value::is_object) {
            json[field] = json!({});
        }
    }
    json["spec"]["replicas"] = json!(spec.unwrap_or(0));
    json["status"]["replicas"] = json!(status.map_or(0, |status| status.replicas));
    if let Some(selector) = status.and_then(|status| status.selector.as_ref()) {
        json["status"]["hpaPodSelector"] = json!(selector);
        // The object's own may mean something else; the text is what Kubernetes itself goes by.
        if let Some(spec) = json["spec"].as_object_mut() {
            spec.remove("selector");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::workload::Workload;
    use crate::object::{Gvk, Object};

    fn deployment() -> Value {
        let entry = |manager: &str, time: &str, fields: Value| json!({"manager": manager, "time": time, "operation": "Update", "fieldsV1": fields});
        let replicas = || json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
        json!({
            "metadata": {
                "name": "a", "namespace": "prod",
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"},
                "managedFields": [
                    entry("kubectl", "2026-01-01T00:00:00Z", replicas()),
                    entry("kube-controller-manager", "2026-01-03T00:00:00Z", json!({"f:status": {}})),
                    entry("argocd", "2026-01-02T00:00:00Z", replicas()),
                ],
            },
            "spec": {"replicas": 2, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "a"}}},
        })
    }

    #[test]
    fn of_a_workload_only_what_scaling_reads_is_kept() {
        let kind = Kind::Workload(Gvk::of(None, None));
        let mut json = deployment();
        trim(&kind, &mut json);
        assert_eq!(json["spec"], json!({"replicas": 2, "selector": {"matchLabels": {"app": "a"}}}));
        assert_eq!(json["metadata"]["annotations"], json!({"mine": "1"}));
        assert_eq!(json["metadata"]["managedFields"].as_array().map(Vec::len), Some(2));
        let workload = Workload::of(&Object::new(kind, json).unwrap()).unwrap();
        assert_eq!(workload.writer.as_deref(), Some("argocd"), "the last who wrote the count");
    }

    #[test]
    fn of_a_leader_worker_set_the_leaders_template_is_kept_or_else_the_workers() {
        let kind = Kind::Workload(Gvk::of(Some("leaderworkerset.x-k8s.io/v1"), Some("LeaderWorkerSet")));
        let template = |grace: u32| json!({"spec": {"terminationGracePeriodSeconds": grace}});
        for (leader, grace) in [(template(300), 300), (Value::Null, 60)] {
            let templates = json!({"leaderTemplate": leader, "workerTemplate": template(60), "size": 2});
            let mut json = json!({
                "metadata": {"name": "a", "namespace": "prod"},
                "spec": {"replicas": 2, "leaderWorkerTemplate": templates, "networkConfig": {}},
            });
            trim(&kind, &mut json);
            assert_eq!(json["spec"], json!({"replicas": 2, "template": template(grace)}));
            let workload = Workload::of(&Object::new(kind.clone(), json).unwrap()).unwrap();
            assert_eq!(workload.template.unwrap().open(), template(grace));
        }
    }

    #[test]
    fn numbers_of_scale_are_put_where_the_common_kinds_have_them() {
        let mut json = json!({"metadata": {"name": "a"}, "spec": {"size": 4, "selector": {"odd": true}}});
        let scale = json!({
            "metadata": {"name": "a"}, "spec": {"replicas": 4}, "status": {"replicas": 3, "selector": "app=a"},
        });
        rescale(&mut json, &serde_json::from_value(scale).unwrap());
        let kind = Kind::Workload(Gvk::of(Some("x.io/v1"), Some("Odd")));
        let workload = Workload::of(&Object::new(kind, json).unwrap()).unwrap();
        assert_eq!((workload.fleet.spec, workload.fleet.status), (4, 3));
        assert!(workload.selector.unwrap().chooses(&[("app".to_owned(), "a".to_owned())].into()));
    }
}
