//! `kubernetes-workload` and `kubernetes-resource`: what the cluster itself holds.

use super::params::{M, Param, Reader, boolean, choice, float, text, words};
use super::selector::Selector;
use super::sql::needs_target;
use super::{FaultKind, Parsed, Source};

/// The parameters of a `kubernetes-workload` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesWorkload {
    /// `podSelector`, in the object's namespace.
    pub pod_selector: Selector,
    /// `value`; 0 where there is none.
    pub value: f64,
    /// `activationValue`.
    pub activation_value: f64,
    /// `groupByNode`: counts nodes instead of pods.
    pub group_by_node: bool,
}

words! {
    /// The kind of object a number stands in.
    ResourceKind {
        /// A ConfigMap.
        ConfigMap = "ConfigMap",
        /// A Secret.
        Secret = "Secret",
    }
}

words! {
    /// What the value is written in.
    ResourceFormat {
        /// The number alone.
        Number = "number",
        /// JSON; the location is a GJSON path.
        Json = "json",
        /// YAML.
        Yaml = "yaml",
    }
}

words! {
    /// What sort of number it is.
    ValueType {
        /// Any number.
        Float64 = "float64",
        /// A whole number.
        Int64 = "int64",
        /// A Kubernetes quantity.
        Quantity = "quantity",
    }
}

/// The parameters of a `kubernetes-resource` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesResource {
    /// `resourceKind`.
    pub kind: ResourceKind,
    /// `resourceName`.
    pub name: String,
    /// `key`.
    pub key: String,
    /// `format`.
    pub format: ResourceFormat,
    /// `valueLocation`: for JSON and YAML.
    pub value_location: Option<String>,
    /// `valueType`.
    pub value_type: ValueType,
    /// `targetValue`.
    pub target_value: f64,
    /// `activationTargetValue`.
    pub activation_target_value: f64,
}

pub(super) fn parse_workload(reader: &mut Reader<'_>) -> Option<Parsed> {
    let source = KubernetesWorkload {
        pod_selector: reader.needed("podSelector", Selector::parse),
        value: reader.or("value", 0.0, float),
        activation_value: reader.or("activationValue", 0.0, float),
        group_by_node: reader.or("groupByNode", false, boolean),
    };
    if !reader.has_modifiers() {
        needs_target(reader, "value");
    }
    let goal = reader.goal("value", source.value);
    let activation = source.activation_value;
    // The namespace belongs to the object, which only its driver knows for certain.
    Some(Parsed::new("workload-*".to_owned(), goal, activation, Source::KubernetesWorkload(source)))
}

pub(super) fn parse_resource(reader: &mut Reader<'_>) -> Option<Parsed> {
    let kind = reader.required(Param { names: &["resourceKind"], places: M }, choice);
    let source = KubernetesResource {
        kind: kind.and_then(|kind| kind.value().copied()).unwrap_or(ResourceKind::ConfigMap),
        name: reader.needed("resourceName", text),
        key: reader.needed("key", text),
        format: reader.or("format", ResourceFormat::Number, choice),
        value_location: reader.maybe("valueLocation", text),
        value_type: reader.or("valueType", ValueType::Float64, choice),
        target_value: reader.needed("targetValue", float),
        activation_target_value: reader.or("activationTargetValue", 0.0, float),
    };
    match (source.format, &source.value_location) {
        (ResourceFormat::Number, Some(_)) => reader.fault(
            "valueLocation",
            FaultKind::Conflict,
            "valueLocation is only supported with json or yaml format".to_owned(),
            "Remove it, or set format.",
        ),
        (format @ (ResourceFormat::Json | ResourceFormat::Yaml), None) => reader.fault(
            "valueLocation",
            FaultKind::MissingRequired,
            format!("valueLocation is required for {} format", format.as_str()),
            "Set it to the path of the number.",
        ),
        _ => {}
    }
    let goal = reader.goal("targetValue", source.target_value);
    let name = format!("{}-{}-{}", source.kind.as_str().to_ascii_lowercase(), source.name, source.key);
    let activation = source.activation_target_value;
    Some(Parsed::new(name, goal, activation, Source::KubernetesResource(source)))
}

#[cfg(test)]
#[path = "tests/workload.rs"]
mod tests;
