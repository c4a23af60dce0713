use tidegate_core::scale::spec::{Absent, Activation};

use super::*;
use crate::trigger::tests::{Case, average, case, in_auth, in_env, no_identity};
use crate::trigger::{IdentityOwner, Origin};

fn nats() -> Case {
    case(
        "nats-jetstream",
        &[
            ("natsServerMonitoringEndpoint", "nats:8222"),
            ("account", "$G"),
            ("stream", "jobs"),
            ("consumer", "worker"),
        ],
    )
}

fn sqs() -> Case {
    case(
        "aws-sqs-queue",
        &[("queueURL", "https://sqs.eu-west-1.amazonaws.com/123/jobs"), ("awsRegion", "eu-west-1")],
    )
}

fn value(text: &str) -> Given<String> {
    Given::Value(text.to_owned())
}

#[test]
fn a_minimal_stream_has_every_default() {
    let trigger = nats().trigger();
    assert_eq!(trigger.metric_name, "s0-nats-jetstream-jobs");
    assert_eq!(trigger.metric, average(10_000));
    assert_eq!(trigger.activation, Activation::Above(0.0));
    assert_eq!(trigger.absent, Absent::Error);
    let expected = NatsJetStream {
        endpoint: value("nats:8222"),
        account: Some(value("$G")),
        stream: "jobs".to_owned(),
        consumer: "worker".to_owned(),
        lag_threshold: 10,
        activation_lag_threshold: 0,
        use_https: false,
    };
    assert_eq!(trigger.source, Source::NatsJetStream(expected));
}

#[test]
fn a_stream_with_everything_keeps_everything() {
    let trigger = nats()
        .with(&[
            ("lagThreshold", "50"),
            ("activationLagThreshold", "5"),
            ("useHttps", "true"),
            ("accountID", "A"),
        ])
        .auth(&["natsServerMonitoringEndpoint"])
        .trigger();
    assert_eq!(trigger.metric, average(50_000));
    assert_eq!(trigger.activation, Activation::Above(5.0));
    let Source::NatsJetStream(source) = trigger.source else { panic!() };
    // The TriggerAuthentication comes first here, and the account's id before its name.
    let endpoint = Origin::Authentication("natsServerMonitoringEndpoint".to_owned());
    assert_eq!(source.endpoint, Given::Elsewhere(endpoint));
    assert_eq!(source.account, Some(value("A")));
    assert!(source.use_https);
}

#[test]
fn what_is_wrong_with_a_stream_is_refused() {
    for key in ["natsServerMonitoringEndpoint", "stream", "consumer"] {
        nats().without(key).refused(key, "missing required parameter");
    }
    nats().without("account").refused("account", "no account name or id given");
    nats().without("account").auth(&["accountID"]).trigger();
    nats().without("account").unknown_auth().trigger();
    for (key, text, part) in [
        ("lagThreshold", "0", "must be above 0"),
        ("lagThreshold", "1.5", "not a whole number"),
        ("activationLagThreshold", "x", "not a whole number"),
        ("useHttps", "x", "neither true nor false"),
    ] {
        nats().with(&[(key, text)]).refused(key, part);
    }
}

#[test]
fn a_minimal_queue_has_every_default() {
    let trigger = sqs().trigger();
    assert_eq!(trigger.metric_name, "s0-aws-sqs-jobs");
    assert_eq!(trigger.metric, average(5000));
    assert_eq!(trigger.absent, Absent::Error);
    let expected = AwsSqs {
        queue_url: value("https://sqs.eu-west-1.amazonaws.com/123/jobs"),
        aws_region: value("eu-west-1"),
        queue_length: 5,
        activation_queue_length: 0,
        scale_on_in_flight: true,
        scale_on_delayed: false,
        aws_endpoint: None,
        identity: no_identity(),
    };
    assert_eq!(trigger.source, Source::AwsSqs(expected));
}

#[test]
fn a_queue_with_everything_keeps_everything() {
    let trigger = sqs()
        .without("queueURL")
        .with(&[
            ("queueURLFromEnv", "QUEUE"),
            ("queueLength", "30"),
            ("activationQueueLength", "4"),
            ("scaleOnInFlight", "false"),
            ("scaleOnDelayed", "true"),
            ("awsEndpoint", "http://localstack:4566"),
            ("identityOwner", "operator"),
            ("awsAccessKeyIDFromEnv", "ID"),
            ("awsSecretAccessKeyFromEnv", "KEY"),
        ])
        .variable("QUEUE", None)
        .variable("ID", Some("AKIA"))
        .variable("KEY", None)
        .auth(&["awsSessionToken"])
        .trigger();
    assert_eq!(trigger.metric_name, "s0-aws-sqs-*");
    assert_eq!(trigger.metric, average(30_000));
    assert_eq!(trigger.activation, Activation::Above(4.0));
    assert!(trigger.unknown.is_empty());
    let expected = AwsSqs {
        queue_url: Given::Elsewhere(Origin::Environment("QUEUE".to_owned())),
        aws_region: value("eu-west-1"),
        queue_length: 30,
        activation_queue_length: 4,
        scale_on_in_flight: false,
        scale_on_delayed: true,
        aws_endpoint: Some("http://localstack:4566".to_owned()),
        identity: AwsIdentity {
            owner: IdentityOwner::Operator,
            access_key_id: in_env("ID"),
            secret_access_key: in_env("KEY"),
            session_token: in_auth("awsSessionToken"),
            ..no_identity()
        },
    };
    assert_eq!(trigger.source, Source::AwsSqs(expected));
}

#[test]
fn a_queue_is_named_by_its_url_or_by_itself() {
    for (url, name) in [
        ("jobs", Some("jobs")),
        ("https://sqs/123/jobs", Some("jobs")),
        ("https://sqs/123/jobs?x=/y/z", Some("jobs")),
        ("/123/jobs", Some("jobs")),
        ("sqs.amazonaws.com/123/jobs", Some("sqs.amazonaws.com/123/jobs")),
        ("https://sqs/jobs", None),
        ("https://sqs", None),
        ("https://sqs/123/", None),
        ("https://sqs/1/2/3", None),
    ] {
        assert_eq!(queue_name(url), name, "{url}");
    }
    sqs().with(&[("queueURL", "https://sqs/jobs")]).refused("queueURL", "cannot get queueName");
}

#[test]
fn what_is_wrong_with_a_queue_is_refused() {
    for key in ["queueURL", "awsRegion"] {
        sqs().without(key).refused(key, "missing required parameter");
    }
    sqs().without("awsRegion").auth(&["awsRegion"]).trigger();
    for (key, text, part) in [
        ("queueLength", "0", "must be above 0"),
        ("queueLength", "x", "not a whole number"),
        ("activationQueueLength", "x", "not a whole number"),
        ("scaleOnInFlight", "x", "neither true nor false"),
        ("identityOwner", "me", "must be one of pod, operator"),
    ] {
        sqs().with(&[(key, text)]).refused(key, part);
    }
}
