//! A kind of custom resource whose count is in `spec.size`, and whose status counts no ready replicas.

use serde_json::{Value, json};

/// The path of its group.
pub(super) const GROUP: &str = "/apis/tests.tidegate.dev/v1";

/// Its name in paths.
pub(super) const PLURAL: &str = "engines";

/// What the group's path answers.
pub(super) fn resources() -> Value {
    let resource = |name: &str, kind: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get", "list", "watch", "patch"]});
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "tests.tidegate.dev/v1",
        "resources": [resource(PLURAL, "Engine"), resource("engines/scale", "Scale")],
    })
}

/// Its `/scale`: no field for a count of zero, as Kubernetes answers it.
pub(super) fn scale(object: &Value) -> Value {
    let spec = match object["spec"]["size"].as_i64() {
        Some(0) | None => json!({}),
        Some(size) => json!({"replicas": size}),
    };
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": object["metadata"], "spec": spec,
        "status": {"replicas": object["status"]["size"].as_i64().unwrap_or(0), "selector": object["status"]["selector"]},
    })
}
