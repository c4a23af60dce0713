use tidegate_core::scale::spec::{Absent, Activation};

use super::*;
use crate::trigger::params::Given;
use crate::trigger::tests::{Case, average, case, in_auth, in_metadata};
use crate::trigger::{AuthMode, KeyPlace, Trigger};

fn minimal() -> Case {
    case("metrics-api", &[("url", "http://api:8080/stats"), ("valueLocation", "a.b"), ("targetValue", "8")])
}

fn source(trigger: Trigger) -> MetricsApi {
    match trigger.source {
        Source::MetricsApi(source) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_minimal_trigger_has_every_default() {
    let trigger = minimal().trigger();
    assert_eq!(trigger.metric_name, "s0-metric-api-a-b");
    assert_eq!(trigger.metric, average(8000));
    assert_eq!(trigger.activation, Activation::Above(0.0));
    assert_eq!(trigger.absent, Absent::Error);
    let source = source(trigger);
    let auth = source.auth.clone();
    assert_eq!(auth.modes, Given::Value(Vec::new()));
    let expected = MetricsApi {
        url: Address("http://api:8080/stats".to_owned()),
        value_location: "a.b".to_owned(),
        target_value: 8.0,
        activation_target_value: 0.0,
        format: Format::Json,
        unsafe_ssl: false,
        timeout: None,
        aggregate_from_kube_service_endpoints: false,
        aggregation_type: Aggregation::Average,
        auth,
    };
    assert_eq!(source, expected);
}

#[test]
fn a_trigger_with_everything_keeps_everything() {
    let trigger = minimal()
        .with(&[
            ("url", "http://vllm.models.svc:8000/metrics"),
            ("format", "prometheus"),
            ("valueLocation", "vllm:num_requests_waiting{model=\"m\"}"),
            ("activationTargetValue", "1.5"),
            ("unsafeSsl", "true"),
            ("timeout", "250ms"),
            ("aggregateFromKubeServiceEndpoints", "true"),
            ("aggregationType", "sum"),
            ("authMode", "apiKey"),
            ("apiKey", "hunter2"),
            ("method", "query"),
            ("keyParamName", "k"),
        ])
        .auth(&["ca"])
        .trigger();
    assert_eq!(trigger.metric_name, "s0-metric-api-vllm-num_requests_waiting{model=\"m\"}");
    assert_eq!(trigger.activation, Activation::Above(1.5));
    assert!(trigger.unknown.is_empty());
    assert!(!format!("{trigger:?}").contains("hunter2"));
    let source = source(trigger);
    assert_eq!(source.format, Format::Prometheus);
    assert_eq!(source.aggregation_type, Aggregation::Sum);
    assert_eq!(source.timeout, Some(Span::from_micros(250_000)));
    assert!(source.aggregate_from_kube_service_endpoints && source.unsafe_ssl);
    assert_eq!(source.auth.modes, Given::Value(vec![AuthMode::ApiKey]));
    assert_eq!(source.auth.api_key, in_metadata("apiKey"));
    assert_eq!(source.auth.key_place, Given::Value(KeyPlace::Query));
    assert_eq!(source.auth.key_name, Some(Given::Value("k".to_owned())));
    assert_eq!(source.auth.ca, in_auth("ca"));
}

#[test]
fn what_is_missing_or_unreadable_is_refused() {
    for key in ["url", "valueLocation"] {
        minimal().without(key).refused(key, "missing required parameter");
    }
    minimal().without("targetValue").refused("targetValue", "no targetValue given");
    assert_eq!(minimal().without("targetValue").modifiers().trigger().metric, average(1000));
    for (key, value, part) in [
        ("targetValue", "0", "must be above 0"),
        ("targetValue", "x", "is not a number"),
        ("activationTargetValue", "x", "is not a number"),
        ("format", "csv", "must be one of json, xml, yaml, prometheus"),
        ("aggregationType", "median", "must be one of average, sum, max, min"),
        ("aggregateFromKubeServiceEndpoints", "x", "neither true nor false"),
        ("unsafeSsl", "x", "neither true nor false"),
        ("timeout", "x", "not a duration"),
        ("authMode", "apiKey", "apiKey is required when apiKey auth is enabled"),
    ] {
        let about = if key == "authMode" { "apiKey" } else { key };
        minimal().with(&[(key, value)]).refused(about, part);
    }
}

#[test]
fn endpoints_need_a_service_and_its_namespace_in_the_url() {
    let endpoints = minimal().with(&[("aggregateFromKubeServiceEndpoints", "true")]);
    endpoints.refused("url", "does not name a service and its namespace");
    for url in ["vllm.models", "http://vllm/metrics.json", "http://.models/"] {
        endpoints.clone().with(&[("url", url)]).refused("url", "does not name a service");
    }
    for url in ["http://vllm.models", "https://me:x@vllm.models.svc.cluster.local:8000/metrics"] {
        endpoints.clone().with(&[("url", url)]).trigger();
    }
}
