//! Whether somebody else scales the workload already: what no object shows by itself.

use std::time::Duration;

use kube::Client;
use serde_json::Value;
use tidegate_manifest::review::Refusal;

use crate::adopt;
use crate::ask;
use crate::index::target::scaled;
use crate::object::{Id, Kind, Object};

/// For both lists. Without them nobody is known, and the object is allowed: the operator leaves a workload with two
/// owners alone, whoever was first.
const LISTS: Duration = Duration::from_secs(2);

/// By this an autoscaler says that it does not count.
const DISOWNED: &str = "validations.keda.sh/hpa-ownership";

/// Who else scales what a ScaledObject is to scale.
pub(super) async fn other(client: &Client, object: Value) -> Option<Refusal> {
    if object.get("kind").and_then(Value::as_str) != Some("ScaledObject") {
        return None;
    }
    let object = Object::new(Kind::ScaledObject, object)?;
    let lists = async {
        let namespace = &object.id.namespace;
        let objects = ask::list(client, &Kind::ScaledObject, namespace).await.ok()?;
        let autoscalers = ask::list(client, &Kind::HorizontalPodAutoscaler, namespace).await.ok()?;
        Some((objects, autoscalers))
    };
    let (objects, autoscalers) = tokio::time::timeout(LISTS, lists).await.ok()??;
    among(&object, &objects, &autoscalers)
}

fn workload(object: &Object) -> Option<(String, String, String)> {
    let Id { kind, name, .. } = scaled(object)?;
    let gvk = kind.gvk();
    Some((gvk.group.to_string(), gvk.kind.to_string(), name.to_string()))
}

fn among(object: &Object, objects: &[Object], autoscalers: &[Object]) -> Option<Refusal> {
    let mine = workload(object)?;
    let same = |other: &&Object| workload(other).as_ref() == Some(&mine);
    let (_, kind, name) = &mine;
    let twin =
        objects.iter().filter(same).find(|other| other.id.name != object.id.name && adopt::ours(other));
    if let Some(twin) = twin {
        let twin = &twin.id.name;
        let message =
            format!("the ScaledObject {twin} scales the {kind} {name} already; keep one of the two");
        return Some(Refusal { reason: "other-scaled-object", message });
    }
    let counts = |hpa: &&Object| {
        !adopt::made_by_keda(hpa)
            && hpa.annotation(DISOWNED) != Some("false")
            && !adopt::hands_over(object, hpa)
    };
    let hpa = autoscalers.iter().filter(same).find(counts)?;
    let message = format!(
        "the HorizontalPodAutoscaler {} scales the {kind} {name} already; remove it, or keep it and have its rules run \
         with `tidegate adopt hpa/{}`",
        hpa.id.name, hpa.id.name
    );
    Some(Refusal { reason: "other-hpa", message })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: Kind, name: &str, metadata: &Value) -> Object {
        let mut json = json!({
            "metadata": metadata,
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}},
        });
        json["metadata"]["name"] = json!(name);
        json["metadata"]["namespace"] = json!("prod");
        Object::new(kind, json).unwrap()
    }

    fn scaled_object(name: &str) -> Object {
        object(Kind::ScaledObject, name, &json!({}))
    }

    #[test]
    fn a_second_owner_is_named_and_the_object_itself_is_none() {
        let mine = scaled_object("a");
        assert_eq!(among(&mine, &[scaled_object("a")], &[]), None);
        let told = among(&mine, &[scaled_object("a"), scaled_object("b")], &[]).unwrap();
        assert_eq!(told.reason, "other-scaled-object");
        assert!(told.message.contains("ScaledObject b scales the Deployment llama"), "{told:?}");
        let given_back = object(Kind::ScaledObject, "b", &json!({"annotations": {adopt::WISH: "false"}}));
        assert_eq!(among(&mine, &[given_back], &[]), None);
    }

    #[test]
    fn an_autoscaler_of_somebody_elses_is_named_and_one_of_keda_or_disowned_is_not() {
        let hpa = |metadata: &Value| object(Kind::HorizontalPodAutoscaler, "web", metadata);
        let mine = scaled_object("a");
        assert!(among(&mine, &[], &[hpa(&json!({}))]).is_some());
        let of_keda = json!({"ownerReferences": [{"kind": "ScaledObject", "name": "a"}]});
        assert_eq!(among(&mine, &[], &[hpa(&of_keda)]), None);
        assert_eq!(among(&mine, &[], &[hpa(&json!({"annotations": {DISOWNED: "false"}}))]), None);
        let annotations = json!({"scaledobject.keda.sh/transfer-hpa-ownership": "true"});
        let mut takes = object(Kind::ScaledObject, "a", &json!({"annotations": annotations}));
        takes.json["spec"]["advanced"] = json!({"horizontalPodAutoscalerConfig": {"name": "web"}});
        assert_eq!(among(&takes, &[], &[hpa(&json!({}))]), None);
    }
}
