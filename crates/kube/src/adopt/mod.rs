//! Taking objects over, and giving them back: which annotation says what.
//!
//! What is wished stands in [`WISH`], written by people or by `tidegate adopt` and `release`; what is, stands in
//! [`STANDS`], written by the operator alone. So a tool that keeps writing the wish never undoes the state.
//!
//! - From KEDA: its HorizontalPodAutoscaler goes, after our own decision agrees with the count that is there. A KEDA
//!   that stays for other objects is told to leave this one alone by its own `autoscaling.keda.sh/paused`, which ends
//!   its loop and its autoscaler and freezes the count.
//! - From the controller manager: a plain HorizontalPodAutoscaler stays as an object, since people and tools look at
//!   it, and its `behavior` is put away with both directions `Disabled`. The other ways cost more: a
//!   `scaleTargetRef` that points elsewhere hides from everybody who scales the workload, and a workload at zero,
//!   where that controller rests, is an outage. What `Disabled` leaves it is the bounds: below `minReplicas` and
//!   above `maxReplicas` it still corrects, as we do, also while no operator runs.

mod handover;
mod plan;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::object::{Kind, Object};
pub use handover::{first_count, hand_over, handed_to, hands_over, rests};
pub use plan::{Plan, Step, plan};

/// What is wished: `true`, `confirmed`, `false`.
pub const WISH: &str = "tidegate.dev/adopt";

/// What is: a [`Record`] as JSON where the object was taken over, `false` where it was given back.
pub const STANDS: &str = "tidegate.dev/adopted";

/// Which operator runs an object, as `namespace/shard`.
pub const CLAIM: &str = "tidegate.dev/claimed-by";

/// Whether a KEDA that stays is to be told to leave the object alone.
pub const PAUSE_KEDA: &str = "tidegate.dev/pause-keda";

/// KEDA's own annotation for that.
pub const PAUSED: &str = "autoscaling.keda.sh/paused";

/// Written while an object was given back.
const GIVEN_BACK: &str = "false";

/// What is wished for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing is said: a ScaledObject is ours unless somebody else has it, an autoscaler is not.
    Unsaid,
    /// Take it over once our own decision agrees with the count that is there.
    WhenAgreed,
    /// Take it over at once.
    Now,
    /// Give it back, and stay away.
    Away,
}

impl Wish {
    /// What an object's annotation wishes.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        match object.annotation(WISH) {
            Some("true") => Wish::WhenAgreed,
            Some("confirmed") => Wish::Now,
            Some("false") => Wish::Away,
            _ => Wish::Unsaid,
        }
    }
}

/// What was there before an object was taken over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The uid of the autoscaler that KEDA had made. One made anew has another: then a KEDA is at work again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hpa: Option<String>,
    /// Whether [`PAUSED`] was set by us.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused_keda: bool,
    /// What [`PAUSED`] was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// A plain autoscaler's `behavior`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Value>,
    /// The ScaledObject that an autoscaler was handed over to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_to: Option<String>,
    /// The bounds of an autoscaler that was handed over, `minReplicas` and `maxReplicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<(Value, Value)>,
}

/// Whether an object was taken over.
#[derive(Clone, Debug, PartialEq)]
pub enum Stands {
    /// Neither taken over nor given back.
    Never,
    /// Taken over.
    Adopted(Record),
    /// Given back.
    GivenBack,
}

impl Stands {
    /// How an object stands. A record that cannot be read is none: then it is made anew.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        match object.annotation(STANDS) {
            None => Stands::Never,
            Some(GIVEN_BACK) => Stands::GivenBack,
            Some(text) => serde_json::from_str(text).map_or(Stands::Never, Stands::Adopted),
        }
    }
}

/// Whether the controller manager neither raises nor lowers an autoscaler's count.
#[must_use]
pub fn stopped(hpa: &Object) -> bool {
    let disabled =
        |direction: &str| hpa.text(&format!("/spec/behavior/{direction}/selectPolicy")) == Some("Disabled");
    disabled("scaleUp") && disabled("scaleDown")
}

/// Whether somebody else made an autoscaler: KEDA copies an object's annotations to it, also [`WISH`].
#[must_use]
pub fn made_by_keda(hpa: &Object) -> bool {
    let owners = hpa.json.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners
        .into_iter()
        .flatten()
        .any(|owner| owner.get("kind").and_then(Value::as_str) == Some("ScaledObject"))
}

/// Whether the object asks us for replicas at all.
#[must_use]
pub fn ours(object: &Object) -> bool {
    match (&object.id.kind, Wish::of(object)) {
        (_, Wish::Away) => false,
        (Kind::HorizontalPodAutoscaler, Wish::Unsaid) => false,
        (Kind::HorizontalPodAutoscaler, _) => !made_by_keda(object),
        _ => true,
    }
}

/// Whether something of ours is still on an object that is not ours any more.
#[must_use]
pub fn to_give_back(object: &Object) -> bool {
    let adopted = matches!(Stands::of(object), Stands::Adopted(_));
    match Wish::of(object) {
        Wish::Away => Stands::of(object) != Stands::GivenBack,
        Wish::Unsaid => object.id.kind == Kind::HorizontalPodAutoscaler && adopted && !made_by_keda(object),
        _ => false,
    }
}

/// The object as it was before it was taken over: what we go by.
#[must_use]
pub fn as_before(object: &Object) -> Value {
    let mut json = object.json.clone();
    let Stands::Adopted(record) = Stands::of(object) else { return json };
    if record.paused_keda
        && let Some(annotations) = json.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        match &record.paused {
            Some(before) => annotations.insert(PAUSED.to_owned(), json!(before)),
            None => annotations.remove(PAUSED),
        };
    }
    if object.id.kind == Kind::HorizontalPodAutoscaler
        && stopped(object)
        && let Some(spec) = json.get_mut("spec").and_then(Value::as_object_mut)
    {
        match record.behavior {
            Some(before) => spec.insert("behavior".to_owned(), before),
            None => spec.remove("behavior"),
        };
        // It was handed over before it was wished for itself.
        if let Some(before) = &record.bounds {
            let (min, max) = handover::bounds(object, before);
            spec.extend([("minReplicas".to_owned(), min), ("maxReplicas".to_owned(), max)]);
        }
    }
    json
}

/// The patch that takes an object of KEDA's over; `hpa` is the uid of the autoscaler KEDA made for it.
#[must_use]
pub fn take(object: &Object, hpa: Option<&str>) -> Value {
    let pause = object.annotation(PAUSE_KEDA) == Some("true");
    let before = match Stands::of(object) {
        Stands::Adopted(record) if record.paused_keda => record.paused,
        _ => object.annotation(PAUSED).map(str::to_owned).filter(|_| pause),
    };
    let record =
        Record { hpa: hpa.map(str::to_owned), paused_keda: pause, paused: before, ..Record::default() };
    let mut annotations = json!({STANDS: written(&record)});
    if pause {
        annotations[PAUSED] = json!("true");
    }
    json!({"metadata": {"resourceVersion": version(object), "annotations": annotations}})
}

/// The patch that takes a plain autoscaler over.
#[must_use]
pub fn take_autoscaler(hpa: &Object) -> Value {
    let behavior = hpa.json.pointer("/spec/behavior").cloned();
    let record = Record { behavior, ..Record::default() };
    let disabled = json!({"selectPolicy": "Disabled"});
    json!({
        "metadata": {"resourceVersion": version(hpa), "annotations": {STANDS: written(&record)}},
        "spec": {"behavior": {"scaleUp": disabled, "scaleDown": disabled}},
    })
}

/// The patch that gives an object back as it was.
#[must_use]
pub fn give(object: &Object) -> Value {
    let stands = match Wish::of(object) {
        Wish::Unsaid => Value::Null,
        _ => json!(GIVEN_BACK),
    };
    let mut patch = json!({"metadata": {
        "resourceVersion": version(object),
        "annotations": {STANDS: stands, PAUSE_KEDA: Value::Null, CLAIM: Value::Null},
    }});
    let Stands::Adopted(record) = Stands::of(object) else { return patch };
    if record.paused_keda {
        patch["metadata"]["annotations"][PAUSED] = json!(record.paused);
    }
    if object.id.kind == Kind::HorizontalPodAutoscaler {
        if stopped(object) {
            patch["spec"] = json!({"behavior": record.behavior.map(over_ours)});
        }
        // Also where somebody has written other rules: with the record they would be lost.
        if let Some(before) = record.bounds {
            let (min, max) = handover::bounds(object, &before);
            (patch["spec"]["minReplicas"], patch["spec"]["maxReplicas"]) = (min, max);
        }
    }
    patch
}

/// A `behavior` that takes the place of ours when it is merged over it: what it has not is said to be nothing. One of
/// an API server has all its fields.
fn over_ours(mut behavior: Value) -> Value {
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &mut behavior[direction];
        if rules.is_object() && rules.get("selectPolicy").is_none() {
            rules["selectPolicy"] = Value::Null;
        }
    }
    behavior
}

fn version(object: &Object) -> Value {
    json!(object.text("/metadata/resourceVersion"))
}

fn written(record: &Record) -> Value {
    json!(serde_json::to_string(record).unwrap_or_else(|_| "{}".to_owned()))
}

#[cfg(test)]
mod tests;
