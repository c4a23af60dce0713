use tidegate_core::scale::spec::{Absent, Activation, Series};

use super::*;
use crate::trigger::tests::{Case, average, case, in_auth};
use crate::trigger::{Trigger, TriggerType};

fn minimal() -> Case {
    case("external", &[("scalerAddress", "scaler.team:9090")])
}

fn source(trigger: Trigger) -> External {
    match trigger.source {
        Source::External(source) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_minimal_trigger_has_every_default() {
    let trigger = minimal().trigger();
    assert_eq!(trigger.type_, TriggerType::External);
    assert_eq!(trigger.metric_name, "s0-*");
    assert_eq!(trigger.metric, average(1000));
    assert_eq!(trigger.activation, Activation::Above(0.0));
    assert_eq!((trigger.absent, trigger.series), (Absent::Error, Series::Sum));
    let metadata = [("scalerAddress".to_owned(), Given::Value("scaler.team:9090".to_owned()))].into();
    let expected = External {
        scaler_address: "scaler.team:9090".to_owned(),
        push: false,
        enable_tls: false,
        unsafe_ssl: false,
        ca_cert: None,
        tls_client_cert: None,
        tls_client_key: None,
        metadata,
    };
    assert_eq!(source(trigger), expected);
}

#[test]
fn all_metadata_goes_to_the_server_and_none_is_unknown() {
    let trigger =
        case("external-push", &[("scalerAddress", "s:1"), ("enableTLS", "true"), ("unsafeSsl", "1")])
            .with(&[("anything", " kept as it is "), ("metricName", "m"), ("password", "hunter2")])
            .with(&[("aFromEnv", "A"), ("bFromEnv", "B"), ("cFromEnv", "C"), ("dFromEnv", "D")])
            .variable("A", Some("hunter2"))
            .variable("B", None)
            .variable("C", Some(""))
            .auth(&["caCert", "tlsClientCert", "tlsClientKey"])
            .trigger();
    assert!(trigger.unknown.is_empty() && trigger.deprecated.is_empty());
    assert!(!format!("{trigger:?}").contains("hunter2"));
    let source = source(trigger);
    assert!(source.push && source.enable_tls && source.unsafe_ssl);
    assert_eq!(source.ca_cert, in_auth("caCert"));
    assert_eq!(source.tls_client_cert, in_auth("tlsClientCert"));
    assert_eq!(source.tls_client_key, in_auth("tlsClientKey"));
    assert_eq!(source.metadata["anything"], Given::Value(" kept as it is ".to_owned()));
    assert_eq!(source.metadata["aFromEnv"], Given::Elsewhere(Origin::Environment("A".to_owned())));
    assert_eq!(source.metadata["bFromEnv"], Given::Elsewhere(Origin::Environment("B".to_owned())));
    assert!(!source.metadata.contains_key("cFromEnv") && !source.metadata.contains_key("dFromEnv"));
}

#[test]
fn variables_of_an_unknown_target_are_all_kept() {
    let trigger = minimal().with(&[("aFromEnv", "A")]).unknown_environment().trigger();
    assert!(source(trigger).metadata.contains_key("aFromEnv"));
}

#[test]
fn what_is_missing_or_unreadable_is_refused() {
    minimal()
        .without("scalerAddress")
        .refused("scalerAddress", "missing required parameter \"scalerAddress\"");
    minimal().with(&[("enableTLS", "yes")]).refused("enableTLS", "neither true nor false");
    minimal().with(&[("unsafeSsl", "yes")]).refused("unsafeSsl", "neither true nor false");
}

fn gateway(metadata: &[(&str, &str)]) -> Case {
    case("external-push", &[("scalerAddress", "tidegate-gateway.tidegate:9090")]).with(metadata)
}

#[test]
fn a_gateway_has_its_target_in_the_metadata() {
    let trigger = gateway(&[("targetValue", "16")]).trigger();
    assert_eq!(trigger.metric, average(16_000));
    assert_eq!(source(trigger).gateway(), Some(GatewayMetric::Demand));
    let trigger = gateway(&[("target", "0.5"), ("metric", "waiting")]).trigger();
    assert_eq!(trigger.metric, average(500));
    assert_eq!(source(trigger).gateway(), Some(GatewayMetric::Waiting));
}

#[test]
fn a_gateway_without_a_target_or_with_an_unknown_metric_is_refused() {
    assert_eq!(gateway(&[]).parse().map_err(|faults| faults.len()), Err(1));
    assert_eq!(gateway(&[("targetValue", "many")]).parse().map_err(|faults| faults.len()), Err(1));
    assert_eq!(gateway(&[("targetValue", "0")]).parse().map_err(|faults| faults.len()), Err(1));
    assert_eq!(
        gateway(&[("targetValue", "5"), ("metric", "queue")]).parse().map_err(|faults| faults.len()),
        Err(1)
    );
}

#[test]
fn only_a_service_of_our_name_is_a_gateway() {
    for (address, ours) in [
        ("tidegate:9090", true),
        ("tidegate-gateway.tidegate.svc.cluster.local:9090", true),
        ("tidegater:9090", false),
        ("scaler.tidegate:9090", false),
    ] {
        let trigger = case("external", &[("scalerAddress", address), ("targetValue", "5")]).trigger();
        assert_eq!(source(trigger).gateway().is_some(), ours, "{address}");
    }
}
