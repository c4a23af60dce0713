//! Which labels a series of an engine can carry: the engine's own, and those that scraping adds.
//!
//! A matcher on a label that nobody writes matches nothing, the query is empty, and the target
//! stays where it is without an error anywhere. `deployment` is the usual one: neither an engine nor
//! Kubernetes service discovery writes it, because discovery sees pods, services and endpoints.

use super::nearest::edits;
use super::{Kind, Metric};

/// Labels that Prometheus' common Kubernetes set-ups add to every series they scrape.
///
/// `job` and `instance` are Prometheus' own. `namespace`, `pod`, `container`, `service`, `endpoint`
/// and `node` come from the Prometheus operator's ServiceMonitor and PodMonitor, and most of them from
/// the stock Helm chart's annotation jobs too. `prometheus`, `replica`, `cluster` and the places are
/// usual external labels; `project_id`, `location` and `top_level_controller_*` are Google's managed
/// collection. `app` and its like are pod labels that the stock chart's label map copies.
pub const SCRAPE_LABELS: &[&str] = &[
    "__name__",
    "app",
    "cluster",
    "cluster_name",
    "component",
    "container",
    "endpoint",
    "env",
    "environment",
    "instance",
    "job",
    "location",
    "namespace",
    "node",
    "node_name",
    "pod",
    "pod_ip",
    "pod_name",
    "pod_template_hash",
    "project_id",
    "prometheus",
    "prometheus_replica",
    "region",
    "release",
    "replica",
    "service",
    "service_name",
    "tenant",
    "top_level_controller_name",
    "top_level_controller_type",
    "zone",
];

/// Prefixes of labels that scraping adds: copied pod labels, labels moved aside because the target
/// wrote one of the same name, and OpenTelemetry's resource attributes.
pub const SCRAPE_PREFIXES: &[&str] =
    &["app_kubernetes_io_", "exported_", "helm_sh_", "k8s_", "kubernetes_", "otel_"];

/// Names people expect, and what carries that fact instead.
const INSTEAD: &[(&str, &str)] = &[
    ("deployment", "pod"),
    ("deployment_name", "pod"),
    ("statefulset", "pod"),
    ("replicaset", "pod"),
    ("workload", "pod"),
    ("inferenceservice", "pod"),
    ("hostname", "node"),
    ("host", "node"),
    ("ns", "namespace"),
    ("container_name", "container"),
    ("svc", "service"),
    ("service_id", "service"),
];

/// Spellings of "which model"; an engine writes at most one of them.
const MODEL_LABELS: &[&str] =
    &["model", "model_name", "model_id", "modelname", "served_model_name", "served_model"];

/// Whether neither the engine nor common scraping writes `label` on `metric`.
///
/// Private relabelling can still add it, and the stock Prometheus Helm chart copies every pod label
/// of annotated pods: a caller who knows the pod template should accept a label found there, spelled
/// as [`pod_label_as_scraped`] does.
#[must_use]
pub fn unknown_label(metric: &Metric, label: &str) -> bool {
    let by_kind = match metric.kind {
        Kind::Histogram => label == "le",
        Kind::Summary => label == "quantile",
        Kind::Counter | Kind::Gauge => false,
    };
    !(by_kind
        || metric.labels.contains(&label)
        || SCRAPE_LABELS.contains(&label)
        || SCRAPE_PREFIXES.iter().any(|prefix| label.starts_with(prefix)))
}

/// The label most likely meant by an unknown one.
///
/// `deployment="x"` means `pod=~"x-.*"`: a suggestion may need another value.
#[must_use]
pub fn suggest_label(metric: &Metric, label: &str) -> Option<&'static str> {
    if !unknown_label(metric, label) {
        return None;
    }
    let lower = label.to_ascii_lowercase();
    let own = |wanted: &dyn Fn(&str) -> bool| {
        metric.labels.iter().copied().find(|name| wanted(&name.to_ascii_lowercase()))
    };
    if let Some(name) = own(&|name| name == lower) {
        return Some(name);
    }
    if MODEL_LABELS.contains(&lower.as_str()) {
        return own(&|name| MODEL_LABELS.contains(&name));
    }
    if let Some(&(_, instead)) = INSTEAD.iter().find(|(wrong, _)| *wrong == lower) {
        return Some(instead);
    }
    let known = metric.labels.iter().chain(SCRAPE_LABELS).copied();
    known
        .filter(|name| lower.len() > 3 && name.len() > 3)
        .map(|name| (edits(&name.to_ascii_lowercase(), &lower), name))
        .filter(|(distance, _)| *distance <= 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// A Kubernetes label name as Prometheus spells it: anything but letters, digits and `_` becomes `_`.
#[must_use]
pub fn pod_label_as_scraped(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
