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

/// The ScaledObject that an autoscaler was handed over to, whatever somebody has written into it since.
#[must_use]
pub fn handed_to(hpa: &Object) -> Option<String> {
    match Stands::of(hpa) {
        Stands::Adopted(record) if hpa.id.kind == Kind::HorizontalPodAutoscaler => record.handed_to,
        _ => None,
    }
}

/// Whether an autoscaler that was handed over corrects nothing: it is stopped, and its bounds are ours. A tool that
/// puts its bounds back, and leaves its behaviour alone, lets it correct a count outside them.
#[must_use]
pub fn rests(hpa: &Object) -> bool {
    let at = |name: &str| hpa.json.pointer(&format!("/spec/{name}")).cloned().unwrap_or_default();
    stopped(hpa) && (at("minReplicas"), at("maxReplicas")) == ours()
}

fn ours() -> (Value, Value) {
    (json!(BOUNDS.0), json!(BOUNDS.1))
}

/// The bounds an autoscaler has without us. One that is not ours was written since, and counts; where both do not fit
/// together, such as 3 of before and 2 of now, ours gives way.
pub(super) fn bounds(hpa: &Object, before: &(Value, Value)) -> (Value, Value) {
    let now = |name: &str| hpa.json.pointer(&format!("/spec/{name}")).cloned().unwrap_or_default();
    let (our_min, our_max) = ours();
    let (min, max) = (now("minReplicas"), now("maxReplicas"));
    let kept = min == our_min;
    let min = if kept { before.0.clone() } else { min };
    let max = if max == our_max { before.1.clone() } else { max };
    match min.as_i64() > max.as_i64() {
        false => (min, max),
        true if kept => (max.clone(), max),
        true => (min.clone(), min),
    }
}

/// The rules an autoscaler has without us: of each direction what was put away, unless somebody has written others.
fn behavior(hpa: &Object, before: Option<Value>) -> Option<Value> {
    if stopped(hpa) {
        return before;
    }
    let mut now = hpa.json.pointer("/spec/behavior").filter(|now| now.is_object()).cloned()?;
    for direction in ["scaleUp", "scaleDown"] {
        if now[direction]["selectPolicy"] == "Disabled" {
            now[direction] = before.as_ref().map(|before| before[direction].clone()).unwrap_or_default();
        }
    }
    Some(now)
}

/// The patch that hands an autoscaler over to a ScaledObject, which is run by whom `claim` says. One that was handed
/// over before, and that somebody has written into since, keeps what was put away of it.
#[must_use]
pub fn hand_over(hpa: &Object, to: &str, claim: &str) -> Value {
    let field = |name: &str| hpa.json.pointer(&format!("/spec/{name}")).cloned();
    let now = || (field("minReplicas").unwrap_or_default(), field("maxReplicas").unwrap_or_default());
    let record = match Stands::of(hpa) {
        Stands::Adopted(record) if record.handed_to.is_some() => Record {
            behavior: behavior(hpa, record.behavior),
            bounds: Some(record.bounds.as_ref().map_or_else(now, |before| bounds(hpa, before))),
            ..Record::default()
        },
        // Taken over by itself before: its rules are put away, and its bounds are still its own.
        Stands::Adopted(record) if stopped(hpa) => Record { bounds: Some(now()), ..record },
        _ => Record { behavior: field("behavior"), bounds: Some(now()), ..Record::default() },
    };
    let record = Record { handed_to: Some(to.to_owned()), ..record };
    let disabled = json!({"selectPolicy": "Disabled"});
    let (min, max) = ours();
    json!({
        "metadata": {"resourceVersion": version(hpa), "annotations": {STANDS: written(&record), CLAIM: claim}},
        "spec": {
            "behavior": {"scaleUp": disabled, "scaleDown": disabled}, "minReplicas": min, "maxReplicas": max,
        },
    })
}

/// The least count from which an autoscaler that was handed over goes on by itself once it is given back: at zero it
/// rests, and nothing would end that.
#[must_use]
pub fn first_count(hpa: &Object) -> Option<u32> {
    handed_to(hpa)?;
    let Stands::Adopted(record) = Stands::of(hpa) else { return None };
    let (min, _) = bounds(hpa, record.bounds.as_ref()?);
    let min = min.as_u64().and_then(|min| u32::try_from(min).ok());
    Some(min.unwrap_or(1).max(1))
}
