//! `cpu` and `memory`: what Kubernetes itself measures of pods.

use tidegate_core::scale::spec::{Goal, Metric, ResourceGoal};
use tidegate_core::units::Milli;

use super::params::{Reader, text};
use super::{FaultKind, Parsed, Source};
use crate::quantity;

/// The parameters of a `cpu` or `memory` trigger; the goal is in the trigger's metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `cpu` or `memory`.
    pub resource: &'static str,
    /// `containerName`: only this container's use counts.
    pub container: Option<String>,
}

pub(super) fn parse(reader: &mut Reader<'_>, resource: &'static str) -> Option<Parsed> {
    if reader.maybe("type", text).is_some() {
        reader.fault(
            "type",
            FaultKind::Removed,
            "the parameter \"type\" was removed in KEDA 2.18".to_owned(),
            "Move its value to metricType, beside metadata.",
        );
    }
    let value: String = reader.needed("value", text);
    let container = reader.maybe("containerName", text);
    let goal = match reader.declared.metric_type {
        _ if value.is_empty() => None,
        Some("Utilization") => utilization(reader, &value),
        Some("AverageValue") => average_value(reader, &value),
        _ => None,
    }?;
    let source = Source::Resource(Resource { resource, container: container.clone() });
    let parsed = Parsed::new(resource.to_owned(), Goal::AverageValue(Milli(0)), 0.0, source);
    Some(Parsed { goal: Metric::Resource { resource: resource.to_owned(), container, goal }, ..parsed })
}

fn utilization(reader: &mut Reader<'_>, value: &str) -> Option<ResourceGoal> {
    let percent = value
        .parse::<i32>()
        .ok()
        .and_then(|percent| u32::try_from(percent).ok())
        .filter(|percent| *percent > 0);
    if percent.is_none() {
        reader.fault(
            "value",
            FaultKind::BadValue,
            format!("value: \"{value}\" is not a whole percentage above 0"),
            "Write the percentage alone, such as \"80\"; for an amount a pod set metricType to AverageValue.",
        );
    }
    percent.map(ResourceGoal::Utilization)
}

fn average_value(reader: &mut Reader<'_>, value: &str) -> Option<ResourceGoal> {
    let reason = match quantity::parse(value) {
        Ok(amount) if amount.0 > 0 => return Some(ResourceGoal::AverageValue(amount)),
        Ok(_) => "must be above 0".to_owned(),
        Err(error) => error.to_string(),
    };
    reader.fault(
        "value",
        FaultKind::BadValue,
        format!("value: \"{value}\" {reason}"),
        "Write an amount a pod, such as 500m of cpu or 1Gi of memory.",
    );
    None
}

#[cfg(test)]
#[path = "tests/resource.rs"]
mod tests;
