//! `prometheus`: one number from a PromQL query.

use tidegate_core::scale::spec::Absent;
use tidegate_core::time::Span;

use super::auth::{AwsIdentity, HttpAuth};
use super::params::{Address, Given, MA, Pairs, Reader, boolean, float, param, span, text};
use super::{Parsed, Source};

/// The parameters of a `prometheus` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Prometheus {
    /// `serverAddress`: the base URL, to which `/api/v1/query` is appended as it is.
    pub server_address: Address,
    /// `query`.
    pub query: String,
    /// `queryParameters`.
    pub query_parameters: Pairs,
    /// `threshold`.
    pub threshold: f64,
    /// `activationThreshold`.
    pub activation_threshold: f64,
    /// `namespace`: appended to the URL.
    pub namespace: Option<String>,
    /// `customHeaders`.
    pub custom_headers: Pairs,
    /// `cortexOrgID`: sent as the header `X-Scope-OrgID`.
    pub cortex_org_id: Option<String>,
    /// `ignoreNullValues`: whether an empty result is 0 rather than a failure.
    pub ignore_null_values: bool,
    /// `unsafeSsl`.
    pub unsafe_ssl: bool,
    /// `timeout`; the program's own if `None`.
    pub timeout: Option<Span>,
    /// `awsRegion`.
    pub aws_region: Option<Given<String>>,
    /// How it signs in to Amazon's Prometheus.
    pub aws: AwsIdentity,
    /// How it authenticates.
    pub auth: HttpAuth,
}

pub(super) fn parse(reader: &mut Reader<'_>) -> Option<Parsed> {
    // Azure's and Google's sign-ins read these past the parameters.
    reader.also_reads(&[
        "azureManagedPrometheusResourceURL",
        "cloud",
        "credentialsFromEnv",
        "credentialsFromEnvFile",
    ]);
    let source = Prometheus {
        server_address: Address(reader.needed("serverAddress", text)),
        query: reader.needed("query", text),
        query_parameters: reader.pairs("queryParameters"),
        threshold: reader.needed("threshold", float),
        activation_threshold: reader.or("activationThreshold", 0.0, float),
        namespace: reader.maybe("namespace", text),
        custom_headers: reader.pairs("customHeaders"),
        cortex_org_id: reader.maybe("cortexOrgID", text),
        ignore_null_values: reader.or("ignoreNullValues", true, boolean),
        unsafe_ssl: reader.or("unsafeSsl", false, boolean),
        timeout: timeout(reader),
        aws_region: reader.optional(param(&["awsRegion"], MA), text),
        aws: AwsIdentity::read(reader),
        auth: HttpAuth::read(reader),
    };
    let goal = reader.goal("threshold", source.threshold);
    let absent = if source.ignore_null_values { Absent::Zero } else { Absent::Error };
    let activation = source.activation_threshold;
    let parsed = Parsed::new("prometheus".to_owned(), goal, activation, Source::Prometheus(source));
    Some(Parsed { absent, ..parsed })
}

/// `timeout`; 0 is the program's own, as upstream.
pub(super) fn timeout(reader: &mut Reader<'_>) -> Option<Span> {
    reader.maybe("timeout", span).filter(|timeout| *timeout > Span::ZERO)
}

#[cfg(test)]
#[path = "tests/prometheus.rs"]
mod tests;
