//! `ServiceMonitor` and `PodMonitor` (`monitoring.coreos.com/v1`): what a Prometheus scrapes, how often.
//!
//! A trigger that asks Prometheus sees nothing newer than these intervals, and nothing at all where no
//! monitor selects the pods.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

/// The API group of both kinds.
pub const GROUP: &str = "monitoring.coreos.com";

/// Scrapes the pods behind Services.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceMonitor {
    /// Name, namespace, labels, annotations.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is scraped.
    pub spec: ServiceMonitorSpec,
}

/// Which Services, and where on them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMonitorSpec {
    /// Which Services, by label.
    #[serde(default)]
    pub selector: LabelSelector,
    /// Which namespaces. Default: the monitor's own.
    #[serde(default)]
    pub namespace_selector: NamespaceSelector,
    /// Where to scrape.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// Scrapes pods, whether or not a Service has them.
#[derive(Clone, Debug, Deserialize)]
pub struct PodMonitor {
    /// Name, namespace, labels, annotations.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is scraped.
    pub spec: PodMonitorSpec,
}

/// Which pods, and where on them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodMonitorSpec {
    /// Which pods, by label.
    #[serde(default)]
    pub selector: LabelSelector,
    /// Which namespaces. Default: the monitor's own.
    #[serde(default)]
    pub namespace_selector: NamespaceSelector,
    /// Where to scrape.
    #[serde(default)]
    pub pod_metrics_endpoints: Vec<Endpoint>,
}

/// Which namespaces a monitor looks into.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// All of them. Default false.
    #[serde(default)]
    pub any: bool,
    /// These, by name.
    #[serde(default)]
    pub match_names: Vec<String>,
}

/// One place to scrape.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The port's name: on the Service in a `ServiceMonitor`, on the pod in a `PodMonitor`.
    pub port: Option<String>,
    /// The pod's port, by number or name, where `port` does not say.
    pub target_port: Option<IntOrString>,
    /// The HTTP path. Default `/metrics`.
    pub path: Option<String>,
    /// How often, as Prometheus writes durations. Default: what the Prometheus is set to.
    pub interval: Option<String>,
    /// How long a scrape may take, as Prometheus writes durations. Default: what the Prometheus is set
    /// to.
    pub scrape_timeout: Option<String>,
}

impl Endpoint {
    /// The HTTP path, with the default applied.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or("/metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_monitors_are_read() {
        let service: ServiceMonitor = serde_saphyr::from_str(
            "{metadata: {name: m}, spec: {selector: {matchLabels: {app: vllm}}, namespaceSelector: {any: true}, \
             endpoints: [{port: http, interval: 5s}, {targetPort: 8000, path: /m, scrapeTimeout: 2s}]}}",
        )
        .unwrap();
        let endpoints = &service.spec.endpoints;
        assert!(service.spec.namespace_selector.any);
        assert_eq!((endpoints[0].path(), endpoints[1].path()), ("/metrics", "/m"));
        assert_eq!(endpoints[1].target_port, Some(IntOrString::Int(8000)));

        let pods: PodMonitor = serde_saphyr::from_str(
            "{spec: {selector: {}, podMetricsEndpoints: [{port: http, targetPort: metrics, interval: 30s}]}}",
        )
        .unwrap();
        let endpoint = &pods.spec.pod_metrics_endpoints[0];
        assert_eq!(endpoint.target_port, Some(IntOrString::String("metrics".to_owned())));
        assert_eq!(endpoint.interval.as_deref(), Some("30s"));
    }
}
