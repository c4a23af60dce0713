//! Whatever an API server sends, reading it neither panics nor takes more room than it was given.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::pods::Facts;
use super::selector::Selector;
use super::workload::Workload;
use crate::object::{Gvk, Kind, Object};

/// JSON with the field names that are looked for, and anything as their values.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,30}".prop_map(Value::from),
        prop::sample::select(vec!["True", "False", "PodScheduled", "Ready", "2026-01-01T00:00:00Z", "In"])
            .prop_map(Value::from),
        Just(Value::from("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")),
    ];
    let names = vec![
        "metadata",
        "name",
        "labels",
        "spec",
        "status",
        "replicas",
        "readyReplicas",
        "selector",
        "matchLabels",
        "matchExpressions",
        "operator",
        "key",
        "values",
        "conditions",
        "type",
        "message",
        "reason",
        "phase",
        "containerStatuses",
        "state",
        "waiting",
        "running",
        "startedAt",
        "lastTransitionTime",
        "managedFields",
        "manager",
        "fieldsV1",
        "f:spec",
        "f:replicas",
        "ownerReferences",
        "controller",
        "uid",
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        let name = prop::sample::select(names.clone());
        let fields = prop::collection::vec((name, inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| {
                Value::Object(
                    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_is_read(metadata in json(), spec in json(), status in json()) {
        let mut whole = json!({"metadata": metadata, "spec": spec, "status": status});
        if let Some(metadata) = whole["metadata"].as_object_mut() {
            metadata.insert("name".to_owned(), json!("a"));
        } else {
            whole["metadata"] = json!({"name": "a"});
        }
        let workload = Object::new(Kind::Workload(Gvk::of(None, None)), whole.clone()).unwrap();
        let fleet = Workload::of(&workload).unwrap().fleet;
        prop_assert_eq!(fleet.ready + fleet.starting, fleet.status);
        let facts = Facts::of(&Object::new(Kind::Pod, whole).unwrap());
        prop_assert!(facts.cause.is_none_or(|cause| cause.said.chars().count() <= 512));
    }

    #[test]
    fn any_selector_is_read(text in "[ -~]{0,80}", labels in prop::collection::btree_map("[a-z]{1,3}", "[a-z]{0,3}", 0..5)) {
        let selector = Selector::parse(&text);
        prop_assert!(selector != Selector::default() || !selector.chooses(&labels));
    }
}
