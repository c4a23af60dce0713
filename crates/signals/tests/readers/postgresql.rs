//! Numbers, read from a real PostgreSQL.

use tidegate_manifest::trigger::Source;
use tidegate_signals::Remote as _;
use tidegate_signals::postgresql::{Error, PostgreSqlQuery};
use tidegate_testkit::servers::{Certificates, PostgreSql};
use tokio_postgres::NoTls;

use crate::trigger::{secrets, source};

/// A reader with a connection string.
fn by_string(connection: &str, query: &str) -> PostgreSqlQuery {
    let metadata = [("query", query), ("targetQueryValue", "1")];
    let Source::PostgreSql(trigger) = source("postgresql", &metadata, &["connection"]) else {
        panic!("another trigger")
    };
    PostgreSqlQuery::new(&trigger, secrets(&[("connection", connection)])).expect("the trigger is supported")
}

/// A reader with the parts of one.
fn by_parts(server: &PostgreSql, sslmode: &str, password: &str, query: &str) -> PostgreSqlQuery {
    let port = server.address().port().to_string();
    let metadata = [
        ("query", query),
        ("targetQueryValue", "1"),
        ("host", "127.0.0.1"),
        ("port", &port),
        ("userName", "postgres"),
        ("dbName", "postgres"),
        ("sslmode", sslmode),
    ];
    let Source::PostgreSql(trigger) = source("postgresql", &metadata, &["password"]) else {
        panic!("another trigger")
    };
    PostgreSqlQuery::new(&trigger, secrets(&[("password", password)])).expect("the trigger is supported")
}

fn url(server: &PostgreSql) -> String {
    format!("postgres://postgres:{}@{}/postgres?sslmode=disable", PostgreSql::PASSWORD, server.address())
}

fn reader(server: &PostgreSql, query: &str) -> PostgreSqlQuery {
    by_string(&url(server), query)
}

async fn run(server: &PostgreSql, statements: &str) {
    let (client, connection) = tokio_postgres::connect(&url(server), NoTls).await.expect("the server runs");
    let task = tokio::spawn(connection);
    client.batch_execute(statements).await.expect("the statements are fine");
    drop(client);
    let _ = task.await;
}

const COUNT: &str = "SELECT count(*) FROM jobs WHERE state = 'waiting'";

#[tokio::test]
async fn a_number_of_any_type_is_read_and_anything_else_is_an_error() {
    let server = PostgreSql::shared();
    run(&server, "CREATE TABLE IF NOT EXISTS jobs (state text); INSERT INTO jobs VALUES ('waiting'), ('waiting'), ('done')")
        .await;
    for (query, value) in [
        (COUNT, 2.0),
        ("SELECT 12.5::numeric", 12.5),
        ("SELECT -7::int2", -7.0),
        ("SELECT 0.25::float4, 'more columns'", 0.25),
        ("SELECT generate_series(3, 9)", 3.0),
        ("SELECT '4'", 4.0),
    ] {
        assert_eq!(reader(&server, query).read().await, Ok(value), "{query}");
    }
    for (query, what) in [
        ("SELECT 1 WHERE false", "no row"),
        ("SELECT sum(1) WHERE false", "NULL"),
        ("SELECT 'many'", "a text"),
        ("SELECT 'NaN'::float8", "a text"),
        ("SELECT 'infinity'::float8", "a text"),
    ] {
        let told = reader(&server, query).read().await;
        assert!(matches!(&told, Err(Error::Number { what: told, .. }) if *told == what), "{query}: {told:?}");
    }
    let missing = reader(&server, "SELECT count(*) FROM nothing").read().await.expect_err("no such table");
    assert!(missing.to_string().contains("relation \"nothing\" does not exist (42P01)"), "{missing}");
}

#[tokio::test]
async fn an_endless_answer_ends_the_connection_and_not_the_memory() {
    let server = PostgreSql::shared();
    for query in ["SELECT repeat('x', 100000000)", "SELECT generate_series(1, 10000000)"] {
        let told = reader(&server, query).read().await;
        let long =
            matches!(told, Err(Error::Number { what: "more than a megabyte", .. } | Error::Late { .. }));
        assert!(long, "{query}: {told:?}");
    }
}

#[tokio::test]
async fn a_query_that_is_late_is_cancelled_and_its_connection_is_gone() {
    let server = PostgreSql::shared();
    let late = reader(&server, "SELECT pg_sleep(1000), 1");
    assert!(matches!(late.read().await, Err(Error::Late { .. })));
    let others = "SELECT count(*) FROM pg_stat_activity \
                  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let watcher = reader(&server, others);
    let deadline = tokio::time::Instant::now() + tokio::time::Duration::from_secs(20);
    while watcher.read().await != Ok(0.0) {
        assert!(tokio::time::Instant::now() < deadline, "the query still runs");
    }
}

#[tokio::test]
async fn a_server_that_crashes_is_an_error_and_one_that_comes_back_is_read_at_once() {
    let mut server = PostgreSql::start();
    run(&server, "CREATE TABLE IF NOT EXISTS jobs (state text); INSERT INTO jobs VALUES ('waiting')").await;
    let reader = reader(&server, COUNT);
    for round in 0..3 {
        assert_eq!(reader.read().await, Ok(1.0), "round {round}");
        server.kill();
        // What serves one connection may outlive it for a moment.
        while reader.read().await.is_ok() {}
        let gone = reader.read().await.expect_err("nobody listens");
        assert!(matches!(gone, Error::Server { .. }), "{gone}");
        server.restart();
    }
    // One connection, however often it was made and asked.
    for _ in 0..50 {
        assert_eq!(reader.read().await, Ok(1.0));
    }
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tidegate' \
                AND pid <> pg_backend_pid()";
    assert_eq!(by_string(&url(&server), ours).read().await, Ok(1.0));
}

#[tokio::test]
async fn parts_log_in_and_a_wrong_password_is_told_and_never_shown() {
    let server = PostgreSql::shared();
    let right = by_parts(&server, "prefer", PostgreSql::PASSWORD, "SELECT 1");
    assert_eq!(right.read().await, Ok(1.0));
    assert!(!format!("{right:?} {:?}", right.question()).contains("hunter2"));
    let wrong = by_parts(&server, "prefer", "hunter3", "SELECT 1");
    let told = wrong.read().await.expect_err("a wrong password").to_string();
    assert!(told.contains("password authentication failed") && !told.contains("hunter"), "{told}");
    assert_ne!(right.question(), wrong.question());
    let again = by_parts(&server, "prefer", PostgreSql::PASSWORD, "SELECT 1");
    assert_eq!(right.question(), again.question());
    let required = by_parts(&server, "require", PostgreSql::PASSWORD, "SELECT 1");
    let told = required.read().await.expect_err("it has no TLS").to_string();
    assert!(told.contains("TLS"), "{told}");
}

#[tokio::test]
async fn tls_is_used_where_it_is_asked_for_and_an_unknown_authority_is_refused() {
    let server = PostgreSql::start_tls(&Certificates::new());
    let secured = "SELECT ssl::int FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for (sslmode, value) in [("disable", 0.0), ("prefer", 1.0), ("require", 1.0)] {
        let reader = by_parts(&server, sslmode, PostgreSql::PASSWORD, secured);
        assert_eq!(reader.read().await, Ok(value), "{sslmode}");
    }
    let strict = by_parts(&server, "verify-full", PostgreSql::PASSWORD, secured);
    let told = strict.read().await.expect_err("nobody knows its authority").to_string();
    assert!(told.contains("certificate"), "{told}");
}

#[tokio::test]
async fn the_second_host_is_asked_when_the_first_is_gone() {
    let server = PostgreSql::shared();
    let gone = tidegate_testkit::servers::free_address();
    let both = format!(
        "host=127.0.0.1,127.0.0.1 port={},{} user=postgres password={} dbname=postgres",
        gone.port(),
        server.address().port(),
        PostgreSql::PASSWORD
    );
    assert_eq!(by_string(&both, "SELECT 5").read().await, Ok(5.0));
}
