//! Numbers, read from a real MariaDB.

use mysql_async::prelude::Queryable as _;
use tidegate_manifest::trigger::Source;
use tidegate_signals::Remote as _;
use tidegate_signals::mysql::{Error, MySqlQuery};
use tidegate_testkit::servers::{Certificates, MariaDb};

use crate::trigger::{secrets, source};

fn by_string(connection: &str, query: &str) -> MySqlQuery {
    let metadata = [("query", query), ("queryValue", "1")];
    let Source::MySql(trigger) = source("mysql", &metadata, &["connectionString"]) else {
        panic!("another trigger")
    };
    MySqlQuery::new(&trigger, secrets(&[("connectionString", connection)])).expect("the trigger is supported")
}

fn by_parts(server: &MariaDb, password: &str, query: &str) -> MySqlQuery {
    let port = server.address().port().to_string();
    let metadata =
        [("query", query), ("queryValue", "1"), ("host", "127.0.0.1"), ("port", &port), ("dbName", "jobs")];
    let Source::MySql(trigger) = source("mysql", &metadata, &["username", "password"]) else {
        panic!("another trigger")
    };
    let known = [("username", "tester"), ("password", password)];
    MySqlQuery::new(&trigger, secrets(&known)).expect("the trigger is supported")
}

fn text(server: &MariaDb, parameters: &str) -> String {
    format!("tester:{}@tcp({})/jobs?{parameters}", MariaDb::PASSWORD, server.address())
}

fn reader(server: &MariaDb, query: &str) -> MySqlQuery {
    by_string(&text(server, ""), query)
}

async fn run(server: &MariaDb, statements: &[&str]) {
    let url = format!("mysql://tester:{}@{}/jobs", MariaDb::PASSWORD, server.address());
    let mut connection = mysql_async::Conn::from_url(url).await.expect("the server runs");
    for statement in statements {
        connection.query_drop(*statement).await.expect("the statement is fine");
    }
    connection.disconnect().await.expect("it takes leave");
}

const COUNT: &str = "SELECT count(*) FROM tasks WHERE state = 'waiting'";
const TASKS: [&str; 2] =
    ["CREATE TABLE tasks (state text)", "INSERT INTO tasks VALUES ('waiting'), ('waiting'), ('done')"];

#[tokio::test]
async fn a_number_of_any_type_is_read_and_anything_else_is_an_error() {
    let server = MariaDb::shared();
    run(&server, &TASKS).await;
    for (query, value) in [
        (COUNT, 2.0),
        ("SELECT CAST(12.5 AS DECIMAL(5, 2))", 12.5),
        ("SELECT -7, 'more columns'", -7.0),
        ("SELECT 0.25e0", 0.25),
        ("SELECT seq FROM seq_3_to_9", 3.0),
        ("SELECT '4'", 4.0),
    ] {
        assert_eq!(reader(&server, query).read().await, Ok(value), "{query}");
    }
    for (query, what) in [
        ("SELECT 1 FROM tasks WHERE false", "no row"),
        ("SELECT sum(1) FROM tasks WHERE false", "NULL"),
        ("SELECT 'many'", "a text"),
        ("SELECT 'NaN'", "no finite number"),
    ] {
        let told = reader(&server, query).read().await;
        assert!(matches!(&told, Err(Error::Number { what: told, .. }) if *told == what), "{query}: {told:?}");
    }
    let missing = reader(&server, "SELECT count(*) FROM nothing").read().await.expect_err("no such table");
    assert!(missing.to_string().contains("doesn't exist (1146)"), "{missing}");
    let parts = by_parts(&server, MariaDb::PASSWORD, COUNT);
    assert_eq!(parts.read().await, Ok(2.0));
    assert!(!format!("{parts:?} {:?}", parts.question()).contains("hunter2"));
    let wrong = by_parts(&server, "hunter3", COUNT).read().await.expect_err("a wrong password").to_string();
    assert!(wrong.contains("Access denied") && !wrong.contains("hunter"), "{wrong}");
}

#[tokio::test]
async fn an_endless_answer_ends_the_connection_and_not_the_memory() {
    let server = MariaDb::shared();
    let long = reader(&server, "SELECT repeat('x', 10000000)").read().await;
    assert!(matches!(long, Err(Error::Server { .. })), "{long:?}");
    let many = reader(&server, "SELECT seq FROM seq_1_to_100000000");
    assert_eq!(many.read().await, Ok(1.0));
    assert_eq!(many.read().await, Ok(1.0));
}

#[tokio::test]
async fn a_query_that_is_late_is_given_up_by_the_server_too() {
    let server = MariaDb::shared();
    // Told by the server or by our own clock, whichever comes first.
    let late =
        reader(&server, "SELECT count(*) FROM seq_1_to_100000000 a, seq_1_to_100000000 b").read().await;
    assert!(matches!(late, Err(Error::Late { .. } | Error::Server { .. })), "{late:?}");
    let others = "SELECT count(*) FROM information_schema.processlist \
                  WHERE command = 'Query' AND id <> connection_id()";
    let watcher = reader(&server, others);
    let deadline = tokio::time::Instant::now() + tokio::time::Duration::from_secs(20);
    while watcher.read().await != Ok(0.0) {
        assert!(tokio::time::Instant::now() < deadline, "the query still runs");
    }
}

#[tokio::test]
async fn a_server_that_crashes_is_an_error_and_one_that_comes_back_is_read_at_once() {
    let mut server = MariaDb::start();
    run(&server, &TASKS).await;
    let reader = reader(&server, COUNT);
    for round in 0..3 {
        assert_eq!(reader.read().await, Ok(2.0), "round {round}");
        server.kill();
        // What serves one connection may outlive it for a moment.
        while reader.read().await.is_ok() {}
        let gone = reader.read().await.expect_err("nobody listens");
        assert!(matches!(gone, Error::Server { .. }), "{gone}");
        server.restart();
    }
    for _ in 0..50 {
        assert_eq!(reader.read().await, Ok(2.0));
    }
    // One connection, however often it was made and asked, and the one that counts.
    let ours = "SELECT count(*) FROM information_schema.processlist WHERE user = 'tester'";
    assert_eq!(by_string(&text(&server, ""), ours).read().await, Ok(2.0));
}

#[tokio::test]
async fn tls_is_used_where_it_is_asked_for_and_an_unknown_authority_is_refused() {
    let server = MariaDb::start_tls(&Certificates::new());
    let secured = "SELECT variable_value <> '' FROM information_schema.session_status \
                   WHERE variable_name = 'ssl_cipher'";
    for (tls, value) in [("tls=false", 0.0), ("tls=skip-verify", 1.0)] {
        assert_eq!(by_string(&text(&server, tls), secured).read().await, Ok(value), "{tls}");
    }
    let told = by_string(&text(&server, "tls=true"), secured).read().await;
    let told = told.expect_err("nobody knows its authority").to_string();
    assert!(told.contains("certificate"), "{told}");
}
