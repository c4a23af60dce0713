//! An autoscaler that a ScaledObject takes over by its name, as KEDA's annotation [`TRANSFER`] has it.
//!
//! KEDA makes that autoscaler its own: it writes other rules into it, and removes it with the ScaledObject. Here it is
//! stopped as a plain one is, and its bounds are put away besides: the ScaledObject has its own, and two pairs of
//! bounds would be corrected in turn. With the ScaledObject's end, or without the annotation, it is what it was.

use serde_json::{Value, json};

use super::{CLAIM, Record, STANDS, Stands, Wish, stopped, version, written};
use crate::object::{Kind, Object};

/// By this a user says that the autoscaler named in `horizontalPodAutoscalerConfig.name` may be taken over.
const TRANSFER: &str = "scaledobject.keda.sh/transfer-hpa-ownership";

/// Bounds within which nothing is corrected: at zero an autoscaler rests by itself.
const BOUNDS: (u32, i32) = (1, i32::MAX);

/// Whether a ScaledObject takes over the autoscaler `hpa`; one that somebody has a wish for goes by that.
#[must_use]
pub fn hands_over(object: &Object, hpa: &Object) -> bool {
    let named = object.text("/spec/advanced/horizontalPodAutoscalerConfig/name");
    object.id.kind == Kind::ScaledObject
        && object.annotation(TRANSFER) == Some("true")
        && named == Some(&*hpa.id.name)
        && Wish::of(hpa) == Wish::Unsaid
        && !super::made_by_keda(hpa)
}

/// The ScaledObject that an autoscaler was handed over to, if it is stopped for it.
#[must_use]
pub fn handed_to(hpa: &Object) -> Option<String> {
    match Stands::of(hpa) {
        Stands::Adopted(record) if hpa.id.kind == Kind::HorizontalPodAutoscaler && stopped(hpa) => {
            record.handed_to
        }
        _ => None,
    }
}

/// The patch that hands an autoscaler over to a ScaledObject, which is run by whom `claim` says.
#[must_use]
pub fn hand_over(hpa: &Object, to: &str, claim: &str) -> Value {
    let field = |name: &str| hpa.json.pointer(&format!("/spec/{name}")).cloned();
    let record = match Stands::of(hpa) {
        // What stands there now is ours.
        Stands::Adopted(record) if stopped(hpa) => record,
        _ => Record {
            behavior: field("behavior"),
            bounds: Some((
                field("minReplicas").unwrap_or_default(),
                field("maxReplicas").unwrap_or_default(),
            )),
            ..Record::default()
        },
    };
    let record = Record { handed_to: Some(to.to_owned()), ..record };
    let disabled = json!({"selectPolicy": "Disabled"});
    let (min, max) = BOUNDS;
    json!({
        "metadata": {"resourceVersion": version(hpa), "annotations": {STANDS: written(&record), CLAIM: claim}},
        "spec": {
            "behavior": {"scaleUp": disabled, "scaleDown": disabled}, "minReplicas": min, "maxReplicas": max,
        },
    })
}
