use tidegate_core::scale::spec::{Absent, Activation, Series};

use super::*;
use crate::trigger::tests::{Case, average, case, in_auth};
use crate::trigger::{FaultKind, Origin, Trigger};

const AMQP: &str = "amqp://guest:hunter2@rabbit:5672/vhost";
const HTTP: &str = "http://guest:hunter2@rabbit:15672/vhost";

fn minimal() -> Case {
    case("rabbitmq", &[("host", AMQP), ("queueName", "jobs")])
}

fn http() -> Case {
    minimal().with(&[("host", HTTP)])
}

fn source(trigger: Trigger) -> RabbitMq {
    match trigger.source {
        Source::RabbitMq(source) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_minimal_trigger_has_every_default() {
    let trigger = minimal().trigger();
    assert_eq!(trigger.metric_name, "s0-rabbitmq-jobs");
    assert_eq!(trigger.metric, average(20_000));
    assert_eq!(trigger.activation, Activation::Above(0.0));
    assert_eq!((trigger.absent, trigger.series), (Absent::Error, Series::One));
    assert_eq!(
        source(trigger),
        RabbitMq {
            queue_name: "jobs".to_owned(),
            host: Given::Value(Address(AMQP.to_owned())),
            protocol: Some(Protocol::Amqp),
            mode: Mode::QueueLength,
            value: 20.0,
            activation_value: 0.0,
            vhost_name: None,
            use_regex: false,
            exclude_unacknowledged: false,
            operation: Operation::Sum,
            page_size: 100,
            timeout: None,
            username: None,
            password: None,
            tls: None,
            unsafe_ssl: false,
            ca: None,
            cert: None,
            key: None,
            key_password: None,
            workload_identity_resource: None,
            oauth: OAuth::default(),
        }
    );
}

#[test]
fn a_trigger_with_everything_keeps_everything() {
    let trigger = http()
        .with(&[
            ("queueName", "^jobs .*/%"),
            ("mode", "MessageRate"),
            ("value", "12.5"),
            ("activationValue", "2"),
            ("protocol", "http"),
            ("vhostName", "other"),
            ("useRegex", "true"),
            ("excludeUnacknowledged", "true"),
            ("pageSize", "50"),
            ("operation", "max"),
            ("timeout", "2s"),
            ("unsafeSsl", "true"),
        ])
        .auth(&["username", "password", "tls", "ca", "cert", "key", "keyPassword"])
        .trigger();
    // Escaped as in a query, and then made fit: `%5Ejobs+.%2A%2F%25`.
    assert_eq!(trigger.metric_name, "s0-rabbitmq--5Ejobs+--2A-2F-25");
    assert_eq!(trigger.metric, average(12_500));
    assert_eq!(trigger.activation, Activation::Above(2.0));
    assert!(trigger.unknown.is_empty());
    assert_eq!(
        source(trigger),
        RabbitMq {
            queue_name: "^jobs .*/%".to_owned(),
            host: Given::Value(Address(HTTP.to_owned())),
            protocol: Some(Protocol::Http),
            mode: Mode::MessageRate,
            value: 12.5,
            activation_value: 2.0,
            vhost_name: Some(Given::Value("other".to_owned())),
            use_regex: true,
            exclude_unacknowledged: true,
            operation: Operation::Max,
            page_size: 50,
            timeout: Some(Span::from_secs(2)),
            username: in_auth("username"),
            password: in_auth("password"),
            tls: in_auth("tls"),
            unsafe_ssl: true,
            ca: in_auth("ca"),
            cert: in_auth("cert"),
            key: in_auth("key"),
            key_password: in_auth("keyPassword"),
            workload_identity_resource: None,
            oauth: OAuth::default(),
        }
    );
}

#[test]
fn a_password_in_the_host_is_never_shown() {
    assert!(!format!("{:?}", minimal().trigger()).contains("hunter2"));
    let faults = minimal().with(&[("host", "guest:hunter2@rabbit")]).parse().unwrap_err();
    assert!(!format!("{faults:?}").contains("hunter2"));
}

#[test]
fn the_protocol_is_the_hosts_unless_it_is_named() {
    let protocol = |case: Case| source(case.trigger()).protocol;
    for (host, expected) in [
        ("amqps://rabbit", Protocol::Amqp),
        ("AMQP://rabbit", Protocol::Amqp),
        ("https://rabbit", Protocol::Http),
    ] {
        assert_eq!(protocol(minimal().with(&[("host", host)])), Some(expected), "{host}");
    }
    assert_eq!(
        protocol(minimal().with(&[("host", "rabbit:5672"), ("protocol", "amqp")])),
        Some(Protocol::Amqp)
    );
    assert_eq!(protocol(minimal().without("host").auth(&["host"])), None);
    assert_eq!(protocol(http().auth(&["protocol"])), None);
    for host in ["rabbit:5672", "kafka://rabbit", "rabbit"] {
        minimal().with(&[("host", host)]).refused("host", "none of the URL schemes");
    }
    minimal().with(&[("protocol", "mqtt")]).refused("protocol", "must be one of auto, amqp, http");
}

#[test]
fn a_host_may_come_from_the_environment() {
    let env = minimal().without("host").with(&[("hostFromEnv", "RABBIT")]);
    let known = source(env.clone().variable("RABBIT", Some(HTTP)).trigger());
    assert_eq!((known.host, known.protocol), (Given::Value(Address(HTTP.to_owned())), Some(Protocol::Http)));
    let secret = source(env.clone().variable("RABBIT", None).trigger());
    assert_eq!(secret.host, Given::Elsewhere(Origin::Environment("RABBIT".to_owned())));
    env.refused("host", "missing required parameter \"host\" in [triggerMetadata authParams resolvedEnv]");
}

#[test]
fn mode_and_value_go_together() {
    minimal().with(&[("mode", "QueueLength")]).refused("value", "value must be specified");
    minimal().with(&[("mode", "QueueLength"), ("value", "0")]).refused("value", "value must be specified");
    minimal().with(&[("value", "5")]).refused("mode", "mode must be specified");
    minimal().with(&[("mode", "Unknown"), ("value", "5")]).refused("mode", "mode must be specified");
    minimal()
        .with(&[("mode", "QueueDepth"), ("value", "5")])
        .refused("mode", "must be one of QueueLength, MessageRate");
    minimal().with(&[("mode", "QueueLength"), ("value", "-1")]).refused("value", "must be above 0");
    minimal().with(&[("mode", "QueueLength"), ("value", "x")]).refused("value", "is not a number");
    let both = minimal().with(&[("mode", "QueueLength"), ("value", "5")]).trigger();
    assert_eq!(both.metric, average(5000));
}

#[test]
fn the_older_queue_length_still_counts_but_alone() {
    let old = minimal().with(&[("queueLength", "7")]);
    assert_eq!(old.clone().trigger().metric, average(7000));
    assert_eq!(source(old.clone().trigger()).mode, Mode::QueueLength);
    old.clone().with(&[("mode", "QueueLength")]).refused("queueLength", "queueLength is deprecated");
    old.clone().with(&[("value", "7")]).refused("queueLength", "queueLength is deprecated");
    old.with(&[("queueLength", "-7")]).refused("queueLength", "must be above 0");
}

#[test]
fn amqp_does_only_queue_lengths_of_one_queue() {
    for mode in ["MessageRate", "DeliverGetRate", "PublishedToDeliveredRatio", "ExpectedQueueConsumptionTime"]
    {
        let rated = [("mode", mode), ("value", "5")];
        minimal().with(&rated).refused("mode", "must be HTTP to use trigger mode");
        http().with(&rated).trigger();
    }
    minimal().with(&[("useRegex", "true")]).refused("useRegex", "only with HTTP protocol");
    minimal().with(&[("excludeUnacknowledged", "true")]).refused("excludeUnacknowledged", "only with HTTP");
    let moded = minimal().with(&[("mode", "QueueLength"), ("value", "5"), ("timeout", "1s")]);
    moded.refused("timeout", "doesn't support custom timeouts");
    minimal().with(&[("timeout", "1s")]).trigger();
    minimal()
        .auth(&["workloadIdentityResource"])
        .refused("workloadIdentityResource", "not supported for the AMQP");
}

#[test]
fn the_rest_is_checked_too() {
    minimal().without("queueName").refused("queueName", "missing required parameter \"queueName\"");
    http().with(&[("pageSize", "0")]).refused("pageSize", "should be 1 or greater");
    http().with(&[("operation", "median")]).refused("operation", "must be one of sum, avg, max");
    http().with(&[("timeout", "-1")]).refused("timeout", "is negative");
    http().auth(&["username"]).refused("password", "given together");
    http().auth(&["password"]).refused("username", "given together");
    http().auth(&["cert"]).refused("key", "both key and certificate");
    http().with(&[("usernameFromEnv", "U")]).variable("U", None).unknown_auth().trigger();
}

#[test]
fn oauth_comes_whole_over_http_and_alone() {
    let whole = ["oauthTokenURI", "clientID", "clientSecret"];
    let oauth = source(http().auth(&[&whole[..], &["scope"]].concat()).trigger()).oauth;
    assert_eq!(oauth.scopes, in_auth("scope"));
    assert_eq!(oauth.client_secret, in_auth("clientSecret"));
    http().auth(&whole[..2]).refused("oauthTokenURI", "together");
    minimal().auth(&whole).refused("oauthTokenURI", "only supported with HTTP");
    let faults = http().auth(&[&whole[..], &["username", "password"]].concat()).parse().unwrap_err();
    assert_eq!(faults[0].kind, FaultKind::Conflict);
}
