//! A HorizontalPodAutoscaler as a core spec.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec, MetricTarget};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tidegate_core::scale::spec::{
    Absent, Activation, Goal, Kind, Metric, ResourceGoal, Series, Signal, Spec, Tuning,
};
use tidegate_core::time::Span;
use tidegate_core::units::Milli;

use super::{Faults, Target, annotations, behavior, stale_after};
use crate::node::Segment;
use crate::{path, quantity};

/// What the API fills in when no metrics are given.
const DEFAULT_CPU_PERCENT: u32 = 80;

pub(super) fn lower(
    document: usize,
    object: &HorizontalPodAutoscaler,
    faults: &mut Faults<'_>,
) -> Option<Target> {
    let Some(spec) = object.spec.as_ref() else {
        faults.invalid(
            path!["spec"],
            "spec is missing",
            "an autoscaler needs a scaleTargetRef and maxReplicas",
        );
        return None;
    };
    let min = faults.count(path!["spec", "minReplicas"], spec.min_replicas, 1);
    let max = faults.count(path!["spec", "maxReplicas"], Some(spec.max_replicas), 1);
    if max == 0 {
        faults.invalid(path!["spec", "maxReplicas"], "maxReplicas is 0", "write at least 1");
    }
    if min > max {
        let message = format!("minReplicas {min} is above maxReplicas {max}");
        faults.invalid(path!["spec", "minReplicas"], message, "lower one or raise the other");
    }
    let mut signals = Vec::new();
    for (index, metric) in spec.metrics.iter().flatten().enumerate() {
        if let Some((name, metric)) = lower_metric(metric, path!["spec", "metrics", index], faults) {
            signals.push(signal(unique(name, &signals), metric));
        }
    }
    if spec.metrics.as_ref().is_none_or(Vec::is_empty) {
        let goal = ResourceGoal::Utilization(DEFAULT_CPU_PERCENT);
        let metric = Metric::Resource { resource: "cpu".into(), container: None, goal };
        signals.push(signal("resource-cpu".into(), metric));
    }
    let readable_at_zero =
        signals.iter().any(|signal| matches!(signal.metric, Metric::External(_) | Metric::Object(_)));
    if min == 0 && !readable_at_zero {
        let message = "minReplicas 0 needs an Object or External metric";
        faults.invalid(
            path!["spec", "minReplicas"],
            message,
            "a resource metric cannot be read at zero replicas",
        );
    }
    // minReplicas: 0 is legal only with the gate, so a manifest that says it is meant for a cluster that has it.
    let tuning = Tuning { scale_to_zero: min == 0, ..Tuning::default() };
    let behavior = behavior::lower(
        spec.behavior.as_ref(),
        path!["spec", "behavior"],
        &behavior::defaults(false, &tuning),
        faults,
    );
    annotations::check(faults.document, faults);
    let document_ref = faults.document;
    Some(Target {
        spec: Spec {
            target: Arc::from(format!("{}/{}", document_ref.namespace, document_ref.name)),
            kind: Kind::Autoscaler,
            min,
            max,
            signals,
            on_absent: annotations::on_absent(document_ref, faults),
            polling_interval: Span::from_secs(15),
            behavior,
            tuning,
        },
        document,
        crons: Vec::new(),
        aliases: BTreeMap::new(),
        triggers: Box::default(),
    })
}

fn signal(name: String, metric: Metric) -> Signal {
    Signal {
        name: Arc::from(name),
        metric,
        // Activity is KEDA's; an autoscaler alone has none.
        activation: Activation::Never,
        absent: Absent::Error,
        series: Series::Sum,
        stale_after: stale_after(Span::from_secs(15)),
        in_formula: false,
        scheduled: false,
    }
}

/// `resource-cpu`, and `resource-cpu-2` for a second one.
fn unique(name: String, signals: &[Signal]) -> String {
    let taken = |name: &str| signals.iter().any(|signal| &*signal.name == name);
    if !taken(&name) {
        return name;
    }
    (2..).map(|n| format!("{name}-{n}")).find(|name| !taken(name)).unwrap_or(name)
}

/// `<type>-<metric>` in lower case of type, and the metric; `None` after telling what is wrong.
fn lower_metric(metric: &MetricSpec, at: &[Segment], faults: &mut Faults<'_>) -> Option<(String, Metric)> {
    let under = |rest: &[Segment]| at.iter().chain(rest).cloned().collect::<Vec<_>>();
    match metric.type_.as_str() {
        "Resource" => {
            let source = require(metric.resource.as_ref(), "resource", at, faults)?;
            let goal = resource_goal(&source.target, &under(path!["resource", "target"]), faults)?;
            let metric = Metric::Resource { resource: source.name.clone(), container: None, goal };
            Some((format!("resource-{}", source.name), metric))
        }
        "ContainerResource" => {
            let source = require(metric.container_resource.as_ref(), "containerResource", at, faults)?;
            let goal = resource_goal(&source.target, &under(path!["containerResource", "target"]), faults)?;
            let container = Some(source.container.clone());
            let metric = Metric::Resource { resource: source.name.clone(), container, goal };
            Some((format!("containerresource-{}", source.name), metric))
        }
        "Pods" => {
            let source = require(metric.pods.as_ref(), "pods", at, faults)?;
            let at = under(path!["pods", "target"]);
            let average = amount(source.target.average_value.as_ref(), "averageValue", &at, faults)?;
            Some((format!("pods-{}", source.metric.name), Metric::Pods { average }))
        }
        "Object" => {
            let source = require(metric.object.as_ref(), "object", at, faults)?;
            let goal = goal(&source.target, &under(path!["object", "target"]), faults)?;
            Some((format!("object-{}", source.metric.name), Metric::Object(goal)))
        }
        "External" => {
            let source = require(metric.external.as_ref(), "external", at, faults)?;
            let goal = goal(&source.target, &under(path!["external", "target"]), faults)?;
            Some((format!("external-{}", source.metric.name), Metric::External(goal)))
        }
        other => {
            let message = format!("metric type is {other}");
            faults.invalid(
                &under(path!["type"]),
                message,
                "Resource, ContainerResource, Pods, Object or External",
            );
            None
        }
    }
}

fn require<'a, T>(
    source: Option<&'a T>,
    field: &str,
    at: &[Segment],
    faults: &mut Faults<'_>,
) -> Option<&'a T> {
    if source.is_none() {
        faults.invalid(at, format!("the metric's {field} is missing"), "its type asks for it");
    }
    source
}

fn amount(value: Option<&Quantity>, field: &str, at: &[Segment], faults: &mut Faults<'_>) -> Option<Milli> {
    let text = match value {
        Some(value) => &value.0,
        None => {
            faults.invalid(at, format!("target.{field} is missing"), "the metric's type asks for it");
            return None;
        }
    };
    let at: Vec<Segment> = at.iter().cloned().chain([Segment::from(field)]).collect();
    match quantity::parse(text) {
        Ok(amount) if amount.0 > 0 => Some(amount),
        Ok(_) => {
            faults.invalid(&at, format!("{field} is {text}"), "it must be above 0");
            None
        }
        Err(error) => {
            faults.invalid(&at, format!("{field} is {text}: {error}"), "write a quantity such as 10 or 500m");
            None
        }
    }
}

fn goal(target: &MetricTarget, at: &[Segment], faults: &mut Faults<'_>) -> Option<Goal> {
    match (&target.value, &target.average_value) {
        (Some(_), Some(_)) => {
            faults.invalid(at, "both value and averageValue are given", "keep one");
            None
        }
        (Some(_), None) => amount(target.value.as_ref(), "value", at, faults).map(Goal::Value),
        _ => amount(target.average_value.as_ref(), "averageValue", at, faults).map(Goal::AverageValue),
    }
}

fn resource_goal(target: &MetricTarget, at: &[Segment], faults: &mut Faults<'_>) -> Option<ResourceGoal> {
    match target.average_utilization {
        Some(percent) if percent > 0 => u32::try_from(percent).ok().map(ResourceGoal::Utilization),
        Some(percent) => {
            faults.invalid(at, format!("averageUtilization is {percent}"), "it must be above 0");
            None
        }
        None => {
            amount(target.average_value.as_ref(), "averageValue", at, faults).map(ResourceGoal::AverageValue)
        }
    }
}
