use super::*;
use crate::trigger::tests::{case, in_auth, in_env, in_metadata};
use crate::trigger::{RedisList, Source, Trigger};

fn redis(metadata: &[(&str, &str)]) -> crate::trigger::tests::Case {
    case("redis", &[("listName", "jobs")]).with(metadata)
}

fn list_of(trigger: Trigger) -> RedisList {
    match trigger.source {
        Source::RedisList(list) => list,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_place_that_holds_more_than_blanks_wins() {
    // An address: metadata, then the TriggerAuthentication, then the environment.
    let address = |case: &crate::trigger::tests::Case| list_of(case.trigger()).connection.addresses;
    let everywhere = redis(&[("address", " meta:1 "), ("addressFromEnv", "ADDRESS")])
        .auth(&["address"])
        .variable("ADDRESS", Some("env:1"));
    assert_eq!(address(&everywhere), Some(Given::Value(vec!["meta:1".to_owned()])));
    let blank = everywhere.clone().with(&[("address", "   ")]);
    assert_eq!(address(&blank), Some(Given::Elsewhere(Origin::Authentication("address".to_owned()))));
    let env = blank.clone().auth(&[]);
    assert_eq!(address(&env), Some(Given::Value(vec!["env:1".to_owned()])));
    let secret = env.clone().variable("ADDRESS", None);
    assert_eq!(address(&secret), Some(Given::Elsewhere(Origin::Environment("ADDRESS".to_owned()))));
    let no_target = env.clone().unknown_environment();
    assert_eq!(address(&no_target), Some(Given::Elsewhere(Origin::Environment("ADDRESS".to_owned()))));
    env.variable("ADDRESS", Some("  ")).refused("address", "no addresses or hosts given");
}

#[test]
fn an_alias_counts_like_the_first_name() {
    let list = list_of(redis(&[("addresses", "a:1, b:2")]).trigger());
    assert_eq!(list.connection.addresses, Some(Given::Value(vec!["a:1".to_owned(), "b:2".to_owned()])));
}

#[test]
fn what_an_unknown_authentication_may_hold_is_not_missing() {
    assert!(redis(&[]).unknown_auth().parse().is_ok());
    let sqs = case("aws-sqs-queue", &[("queueURL", "jobs")]).unknown_auth().trigger();
    let Source::AwsSqs(sqs) = sqs.source else { panic!() };
    assert_eq!(sqs.aws_region, Given::Elsewhere(Origin::Authentication("awsRegion".to_owned())));
}

#[test]
fn a_missing_parameter_names_the_places_it_may_stand_in() {
    let faults = case("aws-sqs-queue", &[]).parse().unwrap_err();
    let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
    assert!(messages.contains(&"missing required parameter \"queueURL\" in [triggerMetadata resolvedEnv]"));
    assert!(messages.contains(&"missing required parameter \"awsRegion\" in [triggerMetadata authParams]"));
    assert!(faults.iter().all(|fault| fault.kind == FaultKind::MissingRequired));
}

#[test]
fn a_secret_keeps_its_place_and_never_its_value() {
    let password = |case: crate::trigger::tests::Case| list_of(case.trigger()).connection.password;
    let at = redis(&[("address", "a:1")]);
    assert_eq!(password(at.clone()), None);
    assert_eq!(password(at.clone().auth(&["password"])), in_auth("password"));
    let plain = at.clone().with(&[("password", "hunter2")]);
    assert_eq!(password(plain.clone()), in_metadata("password"));
    assert!(!format!("{:?}", plain.trigger()).contains("hunter2"));
    let env = at.with(&[("passwordFromEnv", "P")]).variable("P", Some("hunter2"));
    assert_eq!(password(env.clone()), in_env("P"));
    assert!(!format!("{:?}", env.trigger()).contains("hunter2"));
}

#[test]
fn a_fault_never_shows_a_value_from_the_environment() {
    let faults =
        case("kafka", &[("bootstrapServers", "k:9092"), ("consumerGroup", "g"), ("topicFromEnv", "T")])
            .with(&[("partitionLimitation", "x")])
            .variable("T", Some("hunter2"))
            .parse()
            .unwrap_err();
    assert!(!format!("{faults:?}").contains("hunter2"));
    let metadata = BTreeMap::from([("sizeFromEnv".to_owned(), "SIZE".to_owned())]);
    let environment = BTreeMap::from([("SIZE".to_owned(), Some("hunter2".to_owned()))]);
    let declared = Declared {
        index: 0,
        type_: "x",
        name: None,
        metadata: &metadata,
        metric_type: None,
        use_cached_metrics: false,
        auth_parameters: None,
        environment: Some(&environment),
        owner: crate::trigger::Owner::ScaledJob,
    };
    let mut reader = Reader::new(&declared);
    assert_eq!(reader.required(param(&["size"], ME), int), None);
    assert_eq!(reader.faults[0].message, "the environment variable SIZE is not a whole number");
    assert_eq!(reader.faults[0].key.as_deref(), Some("sizeFromEnv"));
}

#[test]
fn debug_hides_passwords_in_urls_and_values_of_pairs() {
    for (url, shown) in [
        ("amqp://user:pass@rabbit:5672/vhost", "\"amqp://…@rabbit:5672/vhost\""),
        ("amqp://user:p@ss@rabbit/", "\"amqp://…@rabbit/\""),
        ("user:pass@rabbit", "\"…@rabbit\""),
        ("http://host/path?token=1", "\"http://host/path\""),
        ("http://host:80", "\"http://host:80\""),
    ] {
        assert_eq!(format!("{:?}", Address(url.to_owned())), shown);
    }
    let pairs = pairs("Authorization=Bearer x,Plain=y").unwrap();
    assert_eq!(format!("{pairs:?}"), "{\"Authorization\", \"Plain\"}");
}

#[test]
fn whole_numbers_read_as_json_reads_them() {
    for (text, value) in [("0", 0), ("-5", -5), ("100", 100), ("9223372036854775807", i64::MAX)] {
        assert_eq!(int(text), Ok(value));
    }
    for text in ["", "-", "+5", "05", "5.0", "1e2", "5 m", "0x10", "9223372036854775808", "null", "١"] {
        assert!(int(text).is_err(), "{text}");
    }
}

#[test]
fn numbers_read_as_json_reads_them() {
    for (text, value) in [("0", 0.0), ("0.8", 0.8), ("-2.5", -2.5), ("1e3", 1000.0), ("1.5E-1", 0.15)] {
        let read = float(text).unwrap();
        assert!((read - value).abs() < 1e-12, "{text}");
    }
    for text in
        ["", ".5", "5.", "+1", "01", "1e", "1e+", "NaN", "Inf", "inf", "-Infinity", "1e999", "1_000", "5%"]
    {
        assert!(float(text).is_err(), "{text}");
    }
}

#[test]
fn booleans_read_as_go_reads_them() {
    for text in ["1", "t", "T", "TRUE", "true", "True"] {
        assert_eq!(boolean(text), Ok(true));
    }
    for text in ["0", "f", "F", "FALSE", "false", "False"] {
        assert_eq!(boolean(text), Ok(false));
    }
    for text in ["yes", "no", "on", "tRUE", "", "2"] {
        assert!(boolean(text).is_err(), "{text}");
    }
}

#[test]
fn a_plain_number_of_a_duration_is_milliseconds() {
    for (text, micros) in
        [("3s", 3_000_000), ("1500", 1_500_000), ("0", 0), ("+5", 5_000), ("1m30s", 90_000_000)]
    {
        assert_eq!(span(text), Ok(Span::from_micros(micros)), "{text}");
    }
    for text in ["-1s", "-1", "soon", "1.5", "", "9223372036854775807"] {
        assert!(span(text).is_err(), "{text}");
    }
}

#[test]
fn lists_and_pairs_are_split_at_commas() {
    assert_eq!(list("a, b,,c").unwrap(), ["a", "b", "", "c"]);
    let read = pairs("a=1, b = 2 ,a=3").unwrap();
    assert_eq!(read.0.into_iter().collect::<Vec<_>>(), [("a".into(), "3".into()), ("b".into(), "2".into())]);
    for text in ["a", "a=1,b", "a=b=c", "a=1,", ""] {
        assert!(pairs(text).is_err(), "{text}");
    }
}

#[test]
fn ranges_hold_both_ends_and_are_never_written_out() {
    assert_eq!(ranges("1-4,7").unwrap(), [(1, 4), (7, 7)]);
    assert_eq!(ranges(" 0 , 2 - 3 ").unwrap(), [(0, 0), (2, 3)]);
    assert_eq!(ranges("0-2147483647").unwrap(), [(0, i32::MAX)]);
    for text in ["", "a", "1-", "-1", "1-2-3", "4-1", "1,", "2147483648"] {
        assert!(ranges(text).is_err(), "{text}");
    }
}
