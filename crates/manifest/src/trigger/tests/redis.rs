use tidegate_core::scale::spec::{Activation, Series};

use super::*;
use crate::trigger::tests::{Case, average, case, in_auth, in_env, in_metadata};
use crate::trigger::{Origin, Trigger};

fn minimal() -> Case {
    case("redis", &[("address", "redis:6379"), ("listName", "jobs")])
}

fn stream() -> Case {
    case("redis-streams", &[("address", "redis:6379"), ("stream", "events")])
}

fn list_of(trigger: Trigger) -> RedisList {
    match trigger.source {
        Source::RedisList(list) => list,
        other => panic!("{other:?}"),
    }
}

fn stream_of(trigger: Trigger) -> RedisStream {
    match trigger.source {
        Source::RedisStream(stream) => stream,
        other => panic!("{other:?}"),
    }
}

fn plain(addresses: &[&str]) -> RedisConnection {
    RedisConnection {
        topology: Topology::Single,
        addresses: Some(Given::Value(addresses.iter().map(|address| (*address).to_owned()).collect())),
        hosts: None,
        ports: None,
        database: 0,
        tls: Given::Value(false),
        unsafe_ssl: false,
        username: None,
        password: None,
        sentinel_username: None,
        sentinel_password: None,
        sentinel_master: None,
        cert: None,
        key: None,
        key_password: None,
        ca: None,
    }
}

#[test]
fn a_minimal_list_has_every_default() {
    let trigger = minimal().trigger();
    assert_eq!(trigger.metric_name, "s0-redis-jobs");
    assert_eq!(trigger.metric, average(5000));
    assert_eq!(trigger.activation, Activation::Above(0.0));
    assert_eq!((trigger.absent, trigger.series), (Absent::Zero, Series::One));
    let expected = RedisList {
        connection: plain(&["redis:6379"]),
        list_name: "jobs".to_owned(),
        list_length: 5,
        activation_list_length: 0,
    };
    assert_eq!(list_of(trigger), expected);
}

#[test]
fn a_list_with_everything_keeps_everything() {
    let trigger = case(
        "redis-sentinel",
        &[
            ("listName", "jobs:new"),
            ("listLength", "20"),
            ("activationListLength", "3"),
            ("databaseIndex", "2"),
            ("enableTLS", "true"),
            ("unsafeSsl", "true"),
            ("hosts", "a, ::1"),
            ("ports", "1, 2"),
            ("username", "me"),
            ("passwordFromEnv", "PASSWORD"),
            ("sentinelUsername", "you"),
            ("sentinelMaster", "main"),
        ],
    )
    .auth(&["sentinelPassword", "cert", "key", "keyPassword", "ca"])
    .variable("PASSWORD", None)
    .trigger();
    assert_eq!(trigger.metric_name, "s0-redis-jobs-new");
    assert_eq!(trigger.metric, average(20_000));
    assert_eq!(trigger.activation, Activation::Above(3.0));
    assert!(trigger.unknown.is_empty());
    let list = list_of(trigger);
    assert_eq!(list.connection.known_addresses().unwrap(), ["a:1", "[::1]:2"]);
    let words = |words: &[&str]| Some(Given::Value(words.iter().map(|word| (*word).to_owned()).collect()));
    let connection = RedisConnection {
        topology: Topology::Sentinel,
        addresses: None,
        hosts: words(&["a", "::1"]),
        ports: words(&["1", "2"]),
        database: 2,
        tls: Given::Value(true),
        unsafe_ssl: true,
        username: in_metadata("username"),
        password: in_env("PASSWORD"),
        sentinel_username: in_metadata("sentinelUsername"),
        sentinel_password: in_auth("sentinelPassword"),
        sentinel_master: Some(Given::Value("main".to_owned())),
        cert: in_auth("cert"),
        key: in_auth("key"),
        key_password: in_auth("keyPassword"),
        ca: in_auth("ca"),
    };
    let expected = RedisList {
        connection,
        list_name: "jobs:new".to_owned(),
        list_length: 20,
        activation_list_length: 3,
    };
    assert_eq!(list, expected);
}

#[test]
fn each_type_has_its_topology() {
    for (name, topology) in [
        ("redis", Topology::Single),
        ("redis-cluster", Topology::Cluster),
        ("redis-sentinel", Topology::Sentinel),
    ] {
        let meta = [("address", "r:1"), ("listName", "l"), ("stream", "s")];
        assert_eq!(list_of(case(name, &meta).trigger()).connection.topology, topology);
        let streams = format!("{name}-streams");
        assert_eq!(stream_of(case(&streams, &meta).trigger()).connection.topology, topology);
    }
}

#[test]
fn a_connection_without_an_address_is_refused() {
    let bare = minimal().without("address");
    bare.refused("address", "no addresses or hosts given");
    bare.clone().with(&[("host", "a")]).refused("address", "no addresses or hosts given");
    bare.clone().with(&[("port", "1")]).refused("address", "no addresses or hosts given");
    bare.clone().with(&[("address", ",b:1")]).refused("address", "no addresses or hosts given");
    bare.clone()
        .with(&[("hosts", "a,b"), ("ports", "1"), ("address", "c:1")])
        .refused("host", "not enough hosts or ports");
    bare.clone().with(&[("addressFromEnv", "NOWHERE")]).refused("address", "no addresses or hosts given");
    assert!(bare.clone().auth(&["host", "port"]).parse().is_ok());
    assert!(bare.auth(&["addresses"]).parse().is_ok());
}

#[test]
fn tls_stands_in_one_place() {
    let tls = |case: &Case| list_of(case.trigger()).connection.tls;
    let from_auth = Given::Elsewhere(Origin::Authentication("tls".to_owned()));
    assert_eq!(tls(&minimal().auth(&["tls"])), from_auth);
    minimal()
        .auth(&["tls"])
        .with(&[("enableTLS", "false")])
        .refused("enableTLS", "unable to set `tls` in both");
    minimal().with(&[("enableTLS", "enable")]).refused("enableTLS", "neither true nor false");
}

#[test]
fn numbers_of_a_list_are_whole_and_its_name_is_needed() {
    minimal().without("listName").refused("listName", "missing required parameter \"listName\"");
    for (key, value, part) in [
        ("listLength", "5.5", "not a whole number"),
        ("listLength", "0", "must be above 0"),
        ("listLength", "-3", "must be above 0"),
        ("activationListLength", "x", "not a whole number"),
        ("databaseIndex", "x", "not a whole number"),
        ("unsafeSsl", "x", "neither true nor false"),
    ] {
        minimal().with(&[(key, value)]).refused(key, part);
    }
}

#[test]
fn a_minimal_stream_counts_its_length() {
    let trigger = stream().trigger();
    assert_eq!(trigger.metric_name, "s0-redis-streams-events");
    assert_eq!(trigger.metric, average(5000));
    assert_eq!(trigger.absent, Absent::Zero);
    let expected = RedisStream {
        connection: plain(&["redis:6379"]),
        stream: "events".to_owned(),
        mode: StreamMode::Length { target: 5 },
        activation_lag_count: 0,
    };
    assert_eq!(stream_of(trigger), expected);
}

#[test]
fn a_group_and_a_lag_choose_what_is_counted() {
    let group = || "g".to_owned();
    for (metadata, mode, milli) in [
        (vec![("streamLength", "7")], StreamMode::Length { target: 7 }, 7000),
        (vec![("lagCount", "9")], StreamMode::Length { target: 5 }, 5000),
        (vec![("consumerGroup", "g")], StreamMode::Pending { group: group(), target: 5 }, 5000),
        (
            vec![("consumerGroup", "g"), ("pendingEntriesCount", "8")],
            StreamMode::Pending { group: group(), target: 8 },
            8000,
        ),
        (
            vec![("consumerGroup", "g"), ("lagCount", "9"), ("activationLagCount", "4")],
            StreamMode::Lag { group: group(), target: 9 },
            9000,
        ),
        (
            vec![("consumerGroup", "g"), ("lagCount", "0")],
            StreamMode::Pending { group: group(), target: 5 },
            5000,
        ),
    ] {
        let trigger = stream().with(&metadata).trigger();
        assert_eq!(trigger.metric, average(milli), "{metadata:?}");
        assert_eq!(stream_of(trigger).mode, mode);
    }
    let lag =
        stream().with(&[("consumerGroup", "g"), ("lagCount", "9"), ("activationLagCount", "4")]).trigger();
    assert_eq!(lag.activation, Activation::Above(4.0));
}

#[test]
fn faults_of_a_stream_name_the_number_that_counts() {
    stream().without("stream").refused("stream", "missing required parameter \"stream\"");
    stream().with(&[("streamLength", "0")]).refused("streamLength", "must be above 0");
    let group = stream().with(&[("consumerGroup", "g")]);
    group.clone().with(&[("pendingEntriesCount", "-1")]).refused("pendingEntriesCount", "must be above 0");
    group.clone().with(&[("lagCount", "-1")]).refused("lagCount", "must be above 0");
    group.with(&[("lagCount", "many")]).refused("lagCount", "not a whole number");
    stream().without("address").refused("address", "no addresses or hosts given");
}
