use tidegate_core::scale::spec::{Absent, Activation};

use super::*;
use crate::trigger::tests::{Case, average, case, in_auth, no_identity};
use crate::trigger::{Origin, Trigger};

fn minimal() -> Case {
    case(
        "kafka",
        &[("bootstrapServers", "k1:9092, k2:9092"), ("consumerGroup", "workers"), ("topic", "jobs")],
    )
}

fn go() -> Case {
    case("apache-kafka", &[("bootstrapServers", "k1:9092"), ("consumerGroup", "workers"), ("topic", "jobs")])
}

fn source(trigger: Trigger) -> Kafka {
    match trigger.source {
        Source::Kafka(source) => source,
        other => panic!("{other:?}"),
    }
}

fn defaults() -> Kafka {
    let text = |text: &str| Given::Value(text.to_owned());
    Kafka {
        client: Client::Sarama,
        bootstrap_servers: Given::Value(vec!["k1:9092".to_owned(), "k2:9092".to_owned()]),
        consumer_group: text("workers"),
        topics: Some(Given::Value(vec!["jobs".to_owned()])),
        partitions: Vec::new(),
        lag_threshold: 10,
        activation_lag_threshold: 0,
        offset_reset_policy: OffsetResetPolicy::Latest,
        allow_idle_consumers: false,
        exclude_persistent_lag: false,
        scale_to_zero_on_invalid_offset: false,
        limit_to_partitions_with_lag: false,
        ensure_even_distribution_of_partitions: false,
        full_metadata: true,
        version: None,
        tls: Given::Value(false),
        unsafe_ssl: false,
        ca: None,
        cert: None,
        key: None,
        key_password: None,
        sasl: Given::Value(Sasl::None),
        username: None,
        password: None,
        aws_region: None,
        aws: no_identity(),
        token_provider: Given::Value(TokenProvider::Bearer),
        scopes: None,
        oauth_token_endpoint_uri: None,
        oauth_extensions: None,
        keytab: None,
        realm: None,
        kerberos_config: None,
        kerberos_service_name: None,
        kerberos_disable_fast: None,
    }
}

#[test]
fn a_minimal_trigger_has_every_default() {
    let trigger = minimal().trigger();
    assert_eq!(trigger.metric_name, "s0-kafka-jobs");
    assert_eq!(trigger.metric, average(10_000));
    assert_eq!(trigger.activation, Activation::Above(0.0));
    assert_eq!(trigger.absent, Absent::Error);
    assert_eq!(source(trigger), defaults());
}

#[test]
fn a_trigger_with_everything_keeps_everything() {
    let trigger = minimal()
        .with(&[
            ("partitionLimitation", "1-4, 7"),
            ("lagThreshold", "50"),
            ("activationLagThreshold", "5"),
            ("offsetResetPolicy", "earliest"),
            ("excludePersistentLag", "true"),
            ("scaleToZeroOnInvalidOffset", "true"),
            ("ensureEvenDistributionOfPartitions", "true"),
            ("allowIdleConsumers", "true"),
            ("fullMetadata", "false"),
            ("version", "2.8.0"),
            ("tls", "enable"),
            ("unsafeSsl", "true"),
            ("sasl", "gssapi"),
            ("awsRegion", "eu-west-1"),
        ])
        .auth(&[
            "ca",
            "cert",
            "key",
            "keyPassword",
            "username",
            "keytab",
            "realm",
            "kerberosConfig",
            "kerberosServiceName",
            "kerberosDisableFAST",
            "scopes",
            "oauthTokenEndpointUri",
            "oauthExtensions",
        ])
        .trigger();
    assert_eq!(trigger.metric, average(50_000));
    assert_eq!(trigger.activation, Activation::Above(5.0));
    assert!(trigger.unknown.is_empty());
    assert_eq!(
        source(trigger),
        Kafka {
            partitions: vec![(1, 4), (7, 7)],
            lag_threshold: 50,
            activation_lag_threshold: 5,
            offset_reset_policy: OffsetResetPolicy::Earliest,
            allow_idle_consumers: true,
            exclude_persistent_lag: true,
            scale_to_zero_on_invalid_offset: true,
            ensure_even_distribution_of_partitions: true,
            full_metadata: false,
            version: Some("2.8.0".to_owned()),
            tls: Given::Value(true),
            unsafe_ssl: true,
            ca: in_auth("ca"),
            cert: in_auth("cert"),
            key: in_auth("key"),
            key_password: in_auth("keyPassword"),
            sasl: Given::Value(Sasl::Gssapi),
            username: in_auth("username"),
            aws_region: Some("eu-west-1".to_owned()),
            scopes: in_auth("scopes"),
            oauth_token_endpoint_uri: in_auth("oauthTokenEndpointUri"),
            oauth_extensions: in_auth("oauthExtensions"),
            keytab: in_auth("keytab"),
            realm: in_auth("realm"),
            kerberos_config: in_auth("kerberosConfig"),
            kerberos_service_name: in_auth("kerberosServiceName"),
            kerberos_disable_fast: in_auth("kerberosDisableFAST"),
            ..defaults()
        }
    );
}

#[test]
fn kafka_go_reads_several_topics_and_fewer_parameters() {
    let trigger = go()
        .with(&[("topic", "a, b"), ("sasl", "aws_msk_iam"), ("tls", "enable"), ("awsRegion", "eu-west-1")])
        .with(&[("version", "1.0.0"), ("unsafeSsl", "true"), ("fullMetadata", "false")])
        .trigger();
    assert_eq!(trigger.metric_name, "s0-kafka-a,b");
    assert_eq!(trigger.unknown, ["fullMetadata", "unsafeSsl", "version"]);
    assert_eq!(
        source(trigger),
        Kafka {
            client: Client::KafkaGo,
            bootstrap_servers: Given::Value(vec!["k1:9092".to_owned()]),
            topics: Some(Given::Value(vec!["a".to_owned(), "b".to_owned()])),
            tls: Given::Value(true),
            sasl: Given::Value(Sasl::AwsMskIam),
            aws_region: Some("eu-west-1".to_owned()),
            ..defaults()
        }
    );
}

#[test]
fn without_a_topic_all_of_the_groups_count() {
    for case in [minimal(), go()] {
        let trigger = case.without("topic").with(&[("partitionLimitation", "1-4")]).trigger();
        assert_eq!(trigger.metric_name, "s0-kafka-workers-topics");
        let source = source(trigger);
        assert_eq!((source.topics, source.partitions), (None, Vec::new()));
    }
    let env = minimal().without("topic").with(&[("topicFromEnv", "TOPIC")]).variable("TOPIC", None).trigger();
    assert_eq!(env.metric_name, "s0-kafka-*");
    assert_eq!(source(env).topics, Some(Given::Elsewhere(Origin::Environment("TOPIC".to_owned()))));
}

#[test]
fn what_is_missing_or_unreadable_is_refused() {
    for case in [minimal(), go()] {
        for key in ["bootstrapServers", "consumerGroup"] {
            case.clone().without(key).refused(key, "in [triggerMetadata resolvedEnv]");
        }
        for (key, value, part) in [
            ("lagThreshold", "0", "must be above 0"),
            ("lagThreshold", "1.5", "not a whole number"),
            ("activationLagThreshold", "-1", "non-negative"),
            ("offsetResetPolicy", "none", "must be one of latest, earliest"),
            ("partitionLimitation", "a", "not a list of whole numbers"),
            ("partitionLimitation", "4-1", "ends before it begins"),
            ("allowIdleConsumers", "maybe", "neither true nor false"),
            ("tls", "true", "must be one of enable, disable"),
            ("sasl", "magic", "must be one of none, plaintext"),
        ] {
            case.clone().with(&[(key, value)]).refused(key, part);
        }
    }
    minimal().with(&[("version", "two")]).refused("version", "is not a Kafka version");
    minimal().with(&[("version", "2.8")]).refused("version", "is not a Kafka version");
    minimal().with(&[("version", "0.10.2.1")]).trigger();
    minimal().modifiers().with(&[("lagThreshold", "0")]).refused("lagThreshold", "must be positive number");
    minimal().with(&[("sasl", "aws_msk_iam")]).refused("sasl", "oauthbearer, gssapi");
    go().with(&[("sasl", "oauthbearer")]).refused("sasl", "aws_msk_iam");
    go().with(&[("sasl", "gssapi")]).refused("sasl", "aws_msk_iam");
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let limit = ("limitToPartitionsWithLag", "true");
    for case in [minimal(), go()] {
        let both = case.clone().with(&[limit, ("allowIdleConsumers", "true")]);
        both.refused("limitToPartitionsWithLag", "cannot be set simultaneously");
        case.without("topic").with(&[limit]).refused("topic", "when using limitToPartitionsWithLag");
    }
    let even = ("ensureEvenDistributionOfPartitions", "true");
    minimal()
        .with(&[limit, even])
        .refused("ensureEvenDistributionOfPartitions", "cannot be set simultaneously");
    minimal().without("topic").with(&[even]).refused("topic", "ensureEvenDistributionOfPartitions");
    minimal().without("topic").with(&[("fullMetadata", "false")]).refused("topic", "fullMetadata is false");
    go().with(&[limit, even]).trigger();
}

#[test]
fn each_way_to_sign_in_needs_its_parameters() {
    for sasl in ["plaintext", "scram_sha256", "scram_sha512"] {
        let case = minimal().with(&[("sasl", sasl)]);
        case.clone().auth(&["username"]).refused("password", "when sasl is");
        case.clone().auth(&["password"]).refused("username", "when sasl is");
        case.clone().auth(&["username", "password"]).trigger();
        case.unknown_auth().trigger();
    }
    let bearer = minimal().with(&[("sasl", "oauthbearer")]);
    bearer.auth(&["username", "password"]).refused("oauthTokenEndpointUri", "when sasl is oauthbearer");
    let kerberos = minimal().with(&[("sasl", "gssapi")]);
    kerberos.clone().auth(&["username", "realm", "kerberosConfig"]).refused("keytab", "exactly one of");
    let both = ["username", "realm", "kerberosConfig", "password", "keytab"];
    kerberos.clone().auth(&both).refused("keytab", "exactly one of");
    kerberos.auth(&both[..4]).trigger();
}

#[test]
fn msk_needs_tls_and_a_region() {
    let sarama = minimal().with(&[("sasl", "oauthbearer"), ("saslTokenProvider", "aws_msk_iam")]);
    for case in [sarama, go().with(&[("sasl", "aws_msk_iam")])] {
        case.clone().with(&[("awsRegion", "r")]).refused("tls", "TLS must be enabled");
        case.clone().with(&[("tls", "enable")]).refused("awsRegion", "awsRegion must be set");
        case.clone().with(&[("tls", "enable"), ("awsRegion", "r")]).trigger();
        case.with(&[("awsRegion", "r")]).auth(&["tls"]).trigger();
    }
}

#[test]
fn a_certificate_needs_its_key_where_tls_is_on() {
    for case in [minimal(), go()] {
        let tls = case.clone().with(&[("tls", "enable")]);
        tls.clone().auth(&["cert"]).refused("key", "when TLS is enabled");
        tls.auth(&["key"]).refused("cert", "when TLS is enabled");
        case.auth(&["cert"]).trigger();
    }
}

#[test]
fn kafka_go_wants_tls_and_sasl_in_one_place() {
    go().with(&[("tls", "disable")]).auth(&["tls"]).refused("tls", "unable to set `tls` in both");
    go().with(&[("sasl", "none")]).auth(&["sasl"]).refused("sasl", "unable to set `sasl` in both");
    minimal().with(&[("sasl", "none"), ("tls", "disable")]).auth(&["sasl", "tls"]).trigger();
}
