//! `metrics-api`: one number from an HTTP response.

use tidegate_core::time::Span;

use super::auth::HttpAuth;
use super::params::{Address, Reader, boolean, choice, float, text, words};
use super::prometheus::timeout;
use super::sql::needs_target;
use super::{FaultKind, Parsed, Source};

words! {
    /// What the response is written in.
    Format {
        /// JSON; the location is a GJSON path.
        Json = "json",
        /// XML.
        Xml = "xml",
        /// YAML.
        Yaml = "yaml",
        /// Prometheus' text format; the location is a metric selector.
        Prometheus = "prometheus",
    }
}

words! {
    /// How the numbers of several endpoints become one.
    Aggregation {
        /// Their mean.
        Average = "average",
        /// Their sum.
        Sum = "sum",
        /// The largest.
        Max = "max",
        /// The smallest.
        Min = "min",
    }
}

/// The parameters of a `metrics-api` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsApi {
    /// `url`.
    pub url: Address,
    /// `valueLocation`.
    pub value_location: String,
    /// `targetValue`; 0 where there is none.
    pub target_value: f64,
    /// `activationTargetValue`.
    pub activation_target_value: f64,
    /// `format`.
    pub format: Format,
    /// `unsafeSsl`.
    pub unsafe_ssl: bool,
    /// `timeout`; the program's own if `None`.
    pub timeout: Option<Span>,
    /// `aggregateFromKubeServiceEndpoints`: ask each ready endpoint of the service the URL names.
    pub aggregate_from_kube_service_endpoints: bool,
    /// `aggregationType`.
    pub aggregation_type: Aggregation,
    /// How it authenticates.
    pub auth: HttpAuth,
}

pub(super) fn parse(reader: &mut Reader<'_>) -> Option<Parsed> {
    let source = MetricsApi {
        url: Address(reader.needed("url", text)),
        value_location: reader.needed("valueLocation", text),
        target_value: reader.or("targetValue", 0.0, float),
        activation_target_value: reader.or("activationTargetValue", 0.0, float),
        format: reader.or("format", Format::Json, choice),
        unsafe_ssl: reader.or("unsafeSsl", false, boolean),
        timeout: timeout(reader),
        aggregate_from_kube_service_endpoints: reader.or("aggregateFromKubeServiceEndpoints", false, boolean),
        aggregation_type: reader.or("aggregationType", Aggregation::Average, choice),
        auth: HttpAuth::read(reader),
    };
    if !reader.has_modifiers() {
        needs_target(reader, "targetValue");
    }
    if source.aggregate_from_kube_service_endpoints
        && !source.url.0.is_empty()
        && !names_service(&source.url.0)
    {
        reader.fault(
            "url",
            FaultKind::BadValue,
            "the url's host does not name a service and its namespace, which \
             aggregateFromKubeServiceEndpoints needs"
                .to_owned(),
            "Write url as http://service.namespace:port/path.",
        );
    }
    let goal = reader.goal("targetValue", source.target_value);
    let name = format!("metric-api-{}", source.value_location);
    let activation = source.activation_target_value;
    Some(Parsed::new(name, goal, activation, Source::MetricsApi(source)))
}

/// Whether a URL's host begins with a service's name and its namespace.
fn names_service(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let mut labels = host.split(':').next().unwrap_or_default().split('.');
    labels.next().is_some_and(|label| !label.is_empty())
        && labels.next().is_some_and(|label| !label.is_empty())
}

#[cfg(test)]
#[path = "tests/http.rs"]
mod tests;
