use tidegate_core::scale::spec::{Absent, Activation};

use super::*;
use crate::trigger::tests::{Case, average, case, in_auth, in_env};
use crate::trigger::{Origin, Trigger};

const PARTS: [(&str, &str); 5] =
    [("host", "db"), ("port", "5432"), ("userName", "me"), ("dbName", "shop"), ("sslmode", "disable")];

fn postgresql() -> Case {
    case("postgresql", &[("query", "SELECT count(*) FROM jobs"), ("targetQueryValue", "4.5")]).with(&PARTS)
}

fn mysql() -> Case {
    case("mysql", &[("query", "SELECT 1"), ("queryValue", "4.5"), ("host", "db"), ("port", "3306")])
}

fn postgresql_of(trigger: Trigger) -> PostgreSql {
    match trigger.source {
        Source::PostgreSql(source) => source,
        other => panic!("{other:?}"),
    }
}

fn mysql_of(trigger: Trigger) -> MySql {
    match trigger.source {
        Source::MySql(source) => source,
        other => panic!("{other:?}"),
    }
}

fn value(text: &str) -> Option<Given<String>> {
    Some(Given::Value(text.to_owned()))
}

#[test]
fn a_minimal_postgresql_trigger_has_every_default() {
    let trigger = postgresql().trigger();
    assert_eq!(trigger.metric_name, "s0-postgresql");
    assert_eq!(trigger.metric, average(4500));
    assert_eq!(trigger.activation, Activation::Above(0.0));
    assert_eq!(trigger.absent, Absent::Error);
    let expected = PostgreSql {
        query: "SELECT count(*) FROM jobs".to_owned(),
        target_query_value: 4.5,
        activation_target_query_value: 0.0,
        connection: None,
        host: value("db"),
        port: value("5432"),
        user_name: value("me"),
        db_name: value("shop"),
        sslmode: value("disable"),
        password: None,
    };
    assert_eq!(postgresql_of(trigger), expected);
}

#[test]
fn a_postgresql_trigger_with_everything_keeps_everything() {
    let trigger = postgresql()
        .with(&[
            ("activationTargetQueryValue", "2.5"),
            ("connectionFromEnv", "PG"),
            ("passwordFromEnv", "PW"),
        ])
        .auth(&["host"])
        .variable("PG", Some("postgresql://me:hunter2@db/shop"))
        .variable("PW", None)
        .trigger();
    assert_eq!(trigger.activation, Activation::Above(2.5));
    assert!(trigger.unknown.is_empty());
    assert!(!format!("{trigger:?}").contains("hunter2"));
    let source = postgresql_of(trigger);
    assert_eq!(source.connection, in_env("PG"));
    assert_eq!(source.password, in_env("PW"));
    // The TriggerAuthentication comes first.
    assert_eq!(source.host, Some(Given::Elsewhere(Origin::Authentication("host".to_owned()))));
}

#[test]
fn postgresql_needs_a_connection_or_all_of_its_parts() {
    for (key, _) in PARTS {
        postgresql().without(key).refused(key, &format!("no {key} given"));
        postgresql().without(key).auth(&[key]).trigger();
        postgresql().without(key).unknown_auth().trigger();
    }
    let whole = case("postgresql", &[("query", "q"), ("targetQueryValue", "1")]).auth(&["connection"]);
    assert_eq!(postgresql_of(whole.trigger()).connection, in_auth("connection"));
    // A connection string in the metadata is not read.
    let faults = postgresql().without("host").with(&[("connection", "x")]).parse().unwrap_err();
    assert_eq!(faults[0].key.as_deref(), Some("host"));
}

#[test]
fn postgresql_needs_a_query_and_a_target() {
    postgresql().without("query").refused("query", "missing required parameter \"query\"");
    postgresql().without("targetQueryValue").refused("targetQueryValue", "no targetQueryValue given");
    postgresql().with(&[("targetQueryValue", "0")]).refused("targetQueryValue", "must be above 0");
    postgresql().with(&[("targetQueryValue", "x")]).refused("targetQueryValue", "is not a number");
    postgresql()
        .with(&[("activationTargetQueryValue", "x")])
        .refused("activationTargetQueryValue", "is not a number");
    assert_eq!(postgresql().without("targetQueryValue").modifiers().trigger().metric, average(1000));
}

#[test]
fn a_minimal_mysql_trigger_has_every_default() {
    let trigger = mysql().trigger();
    assert_eq!(trigger.metric_name, "s0-mysql-");
    assert_eq!(trigger.metric, average(4500));
    let expected = MySql {
        query: "SELECT 1".to_owned(),
        query_value: 4.5,
        activation_query_value: 0.0,
        connection_string: None,
        host: value("db"),
        port: value("3306"),
        username: None,
        db_name: None,
        password: None,
    };
    assert_eq!(mysql_of(trigger), expected);
}

#[test]
fn a_mysql_trigger_with_everything_keeps_everything() {
    let trigger = mysql()
        .with(&[
            ("activationQueryValue", "3"),
            ("dbName", "shop"),
            ("usernameFromEnv", "U"),
            ("metricName", "m"),
        ])
        .variable("U", Some("me"))
        .auth(&["password"])
        .trigger();
    assert_eq!(trigger.metric_name, "s0-mysql-shop");
    assert_eq!(trigger.activation, Activation::Above(3.0));
    assert_eq!(trigger.deprecated, ["metricName"]);
    let source = mysql_of(trigger);
    assert_eq!(source.db_name, value("shop"));
    assert_eq!((source.username, source.password), (in_env("U"), in_auth("password")));
    let whole = case("mysql", &[("query", "q"), ("queryValue", "1"), ("connectionStringFromEnv", "DSN")])
        .variable("DSN", Some("me:hunter2@tcp(db:3306)/shop"))
        .trigger();
    assert_eq!(whole.metric_name, "s0-mysql-*");
    assert_eq!(mysql_of(whole).connection_string, in_env("DSN"));
}

#[test]
fn mysql_needs_a_query_a_target_and_a_server() {
    for key in ["query", "queryValue"] {
        mysql().without(key).refused(key, "missing required parameter");
    }
    for key in ["host", "port"] {
        mysql().without(key).refused(key, &format!("no {key} given"));
    }
    mysql().with(&[("queryValue", "0")]).refused("queryValue", "must be above 0");
    mysql().with(&[("activationQueryValue", "x")]).refused("activationQueryValue", "is not a number");
}
