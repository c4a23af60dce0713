//! What is said by server-side apply: the whole of it, and what it leaves.

use serde_json::{Map, Value, json};

use super::queue::Patch;
use crate::object::Gvk;

/// Whether `/scale` of a kind can be applied. That of a custom resource cannot: the API server (1.34) wants to convert
/// the resource to `autoscaling/v1` and answers 500, "request to convert CR to an invalid group/version".
pub(super) fn takes_scale(gvk: &Gvk) -> bool {
    &*gvk.group == "apps"
}

/// What is applied, with what every object says of itself.
pub(super) fn whole(patch: &Patch) -> Value {
    let gvk = patch.id.kind.gvk();
    let mut whole = patch.json.clone();
    whole["apiVersion"] = json!(gvk.api_version());
    whole["kind"] = json!(&*gvk.kind);
    whole["metadata"]["name"] = json!(&*patch.id.name);
    if !patch.id.namespace.is_empty() {
        whole["metadata"]["namespace"] = json!(&*patch.id.namespace);
    }
    whole
}

/// The merge patch that takes away what must not remain of `now`, if something of it does. It is of that version
/// only: what came since is not ours to judge.
pub(super) fn left(now: &Value, gone: &Value) -> Option<Value> {
    let mut rest = nulls(now, gone)?;
    rest["metadata"]["resourceVersion"] = now.pointer("/metadata/resourceVersion")?.clone();
    Some(rest)
}

fn nulls(now: &Value, gone: &Value) -> Option<Value> {
    match gone {
        Value::Object(fields) => {
            let rest: Map<String, Value> = fields
                .iter()
                .filter_map(|(name, gone)| match (now.get(name)?, gone) {
                    (_, Value::Null) => Some((name.clone(), Value::Null)),
                    (now, Value::Object(_)) => Some((name.clone(), nulls(now, gone)?)),
                    (now, value) => (now == value).then(|| (name.clone(), Value::Null)),
                })
                .collect();
            (!rest.is_empty()).then_some(Value::Object(rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Id, Kind};
    use crate::write::How;

    #[test]
    fn what_is_applied_names_its_object() {
        let id = Id::new(Kind::ConfigMap, "tidegate", "page");
        let json = json!({"metadata": {"labels": {"a": "b"}}, "data": {"c": "d"}});
        let whole = whole(&Patch { id, subresource: None, how: How::APPLY, json });
        let metadata = json!({"name": "page", "namespace": "tidegate", "labels": {"a": "b"}});
        let wanted =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"c": "d"}});
        assert_eq!(whole, wanted);
    }

    #[test]
    fn what_remains_and_must_not_is_taken_away_at_that_version() {
        let now = json!({
            "metadata": {"resourceVersion": "7", "annotations": {"cost": "-1", "mine": "1"}},
            "status": {"paused": 3, "health": {"s0": {}, "s1": {}}},
        });
        let gone = json!({
            "metadata": {"annotations": {"cost": "-1", "other": "-1"}},
            "status": {"paused": null, "absent": null, "health": {"s1": null}},
        });
        let rest = json!({
            "metadata": {"resourceVersion": "7", "annotations": {"cost": null}},
            "status": {"paused": null, "health": {"s1": null}},
        });
        assert_eq!(left(&now, &gone), Some(rest));
    }

    #[test]
    fn what_is_gone_or_anothers_by_now_is_left_alone() {
        let now = json!({"metadata": {"resourceVersion": "7", "annotations": {"cost": "5"}}});
        assert_eq!(left(&now, &json!({"metadata": {"annotations": {"cost": "-1"}}})), None);
        assert_eq!(left(&now, &json!({"status": {"paused": null}})), None);
        assert_eq!(left(&now, &Value::Null), None);
    }
}
