use tidegate_core::scale::spec::{Absent, Activation};

use super::*;
use crate::trigger::tests::{Case, average, case};

fn pods() -> Case {
    case("kubernetes-workload", &[("podSelector", "app=web, tier in (a, b)"), ("value", "0.5")])
}

fn object() -> Case {
    case(
        "kubernetes-resource",
        &[
            ("resourceKind", "ConfigMap"),
            ("resourceName", "settings"),
            ("key", "size.txt"),
            ("targetValue", "5"),
        ],
    )
}

#[test]
fn a_minimal_workload_has_every_default() {
    let trigger = pods().trigger();
    assert_eq!(trigger.metric_name, "s0-workload-*");
    assert_eq!(trigger.metric, average(500));
    assert_eq!(trigger.activation, Activation::Above(0.0));
    assert_eq!(trigger.absent, Absent::Error);
    let expected = KubernetesWorkload {
        pod_selector: Selector::parse("app=web, tier in (a, b)").unwrap(),
        value: 0.5,
        activation_value: 0.0,
        group_by_node: false,
    };
    assert_eq!(trigger.source, Source::KubernetesWorkload(expected));
}

#[test]
fn a_workload_with_everything_keeps_everything() {
    let trigger = pods().with(&[("activationValue", "3.5"), ("groupByNode", "true")]).trigger();
    assert_eq!(trigger.activation, Activation::Above(3.5));
    let Source::KubernetesWorkload(source) = trigger.source else { panic!() };
    assert!(source.group_by_node);
}

#[test]
fn what_is_wrong_with_a_workload_is_refused() {
    pods().without("podSelector").refused("podSelector", "missing required parameter");
    pods().without("value").refused("value", "no value given");
    assert_eq!(pods().without("value").modifiers().trigger().metric, average(1000));
    for (key, value, part) in [
        ("podSelector", "app in web", "where ( is due"),
        ("value", "0", "must be above 0"),
        ("value", "x", "is not a number"),
        ("activationValue", "x", "is not a number"),
        ("groupByNode", "x", "neither true nor false"),
    ] {
        pods().with(&[(key, value)]).refused(key, part);
    }
}

#[test]
fn a_minimal_resource_has_every_default() {
    let trigger = object().trigger();
    assert_eq!(trigger.metric_name, "s0-configmap-settings-size-txt");
    assert_eq!(trigger.metric, average(5000));
    let expected = KubernetesResource {
        kind: ResourceKind::ConfigMap,
        name: "settings".to_owned(),
        key: "size.txt".to_owned(),
        format: ResourceFormat::Number,
        value_location: None,
        value_type: ValueType::Float64,
        target_value: 5.0,
        activation_target_value: 0.0,
    };
    assert_eq!(trigger.source, Source::KubernetesResource(expected));
}

#[test]
fn a_resource_with_everything_keeps_everything() {
    let trigger = object()
        .with(&[
            ("resourceKind", "Secret"),
            ("format", "yaml"),
            ("valueLocation", "a.b"),
            ("valueType", "quantity"),
        ])
        .with(&[("activationTargetValue", "2")])
        .trigger();
    assert_eq!(trigger.metric_name, "s0-secret-settings-size-txt");
    assert_eq!(trigger.activation, Activation::Above(2.0));
    let Source::KubernetesResource(source) = trigger.source else { panic!() };
    assert_eq!((source.kind, source.format), (ResourceKind::Secret, ResourceFormat::Yaml));
    assert_eq!((source.value_type, source.value_location.as_deref()), (ValueType::Quantity, Some("a.b")));
}

#[test]
fn what_is_wrong_with_a_resource_is_refused() {
    for key in ["resourceKind", "resourceName", "key", "targetValue"] {
        object().without(key).refused(key, "missing required parameter");
    }
    for (key, value, part) in [
        ("resourceKind", "Pod", "must be one of ConfigMap, Secret"),
        ("format", "xml", "must be one of number, json, yaml"),
        ("valueType", "int32", "must be one of float64, int64, quantity"),
        ("targetValue", "0", "must be above 0"),
        ("valueLocation", "a", "only supported with json or yaml"),
    ] {
        object().with(&[(key, value)]).refused(key, part);
    }
    object().with(&[("format", "json")]).refused("valueLocation", "required for json format");
}
