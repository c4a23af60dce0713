//! Queries, asked of a real Prometheus and of servers that misbehave.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_manifest::trigger::{Declared, Origin, Owner, Source, parse};
use tidegate_signals::Remote;
use tidegate_signals::prometheus::{Error, Prometheus as Reader};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::server::{Page, Server, free_address};

const PATIENCE: Duration = Duration::from_secs(60);

/// A Prometheus of its own that scrapes nothing.
struct Prometheus {
    _process: Child,
    _directory: TempDir,
}

impl Prometheus {
    async fn start(address: SocketAddr) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the server");
        let config = directory.path().join("prometheus.yml");
        std::fs::write(&config, "global: {scrape_interval: 1h}\n").expect("a file");
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; apt-get install -y prometheus"));
        let mut lines = BufReader::new(process.stderr.take().expect("it was piped")).lines();
        loop {
            let line = lines.next_line().await.expect("text").expect("prometheus ended before it was ready");
            if line.contains("Server is ready") {
                break;
            }
        }
        // Read on, or the server would block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Prometheus { _process: process, _directory: directory }
    }
}

fn reader(
    address: &str,
    query: &str,
    more: &[(&str, &str)],
    auth: &'static [(&'static str, &'static str)],
) -> Result<Reader, Error> {
    let given = [("serverAddress", address), ("query", query), ("threshold", "5")];
    let all = given.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let metadata: BTreeMap<String, String> = all.collect();
    let trigger = parse(&Declared {
        index: 0,
        type_: "prometheus",
        name: None,
        metadata: &metadata,
        metric_type: None,
        use_cached_metrics: false,
        auth_parameters: Some(&auth.iter().map(|(name, _)| (*name).to_owned()).collect()),
        environment: None,
        owner: Owner::ScaledObject { modifiers: false },
    });
    let value = |origin: &Origin| match origin {
        Origin::Authentication(name) => {
            auth.iter().find(|(known, _)| known == name).map(|(_, value)| (*value).to_owned())
        }
        _ => None,
    };
    match trigger.map(|trigger| trigger.source) {
        Ok(Source::Prometheus(prometheus)) => Reader::new(&prometheus, value),
        other => panic!("{other:?}"),
    }
}

fn at(server: &Server) -> String {
    server.url("").to_string().trim_end_matches('/').to_owned()
}

const TWO: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}]}}"#;

#[tokio::test]
async fn a_real_prometheus_is_asked_and_asked_again_when_it_comes_back() {
    let address = free_address();
    let server = Prometheus::start(address).await;
    let url = format!("http://{address}/");
    let read = async |query: &str, ignore: &str| {
        let more = [("ignoreNullValues", ignore), ("queryParameters", "timeout=2s"), ("namespace", "a&b")];
        reader(&url, query, &more, &[]).expect("a reader").read().await
    };
    assert_eq!(read("vector(12.5) + 0 # a + & = comment", "true").await, Ok(Some(12.5)));
    for ignore in ["true", "false"] {
        assert_eq!(read("vector(1) > 2", ignore).await, Ok(None), "nothing is nothing");
        let several = read("vector(1) or label_replace(vector(2), \"a\", \"b\", \"\", \"\")", ignore).await;
        assert!(several.is_err_and(|error| error.to_string().contains("returned multiple elements")));
        let scalar = read("1 + 1", ignore).await;
        assert!(scalar.is_err_and(|error| error.to_string().contains("wrap it in vector()")));
    }
    assert_eq!(read("vector(0) / 0", "true").await, Ok(None));
    let nan = read("vector(0) / 0", "false").await.expect_err("no number").to_string();
    assert_eq!(nan, "prometheus query returns NaN");
    let broken = read("sum(", "true").await.expect_err("no query").to_string();
    assert!(broken.contains("status: 400"), "{broken}");

    let reader = reader(&url, "vector(3)", &[], &[]).expect("a reader");
    assert_eq!(reader.read().await, Ok(Some(3.0)));
    drop(server);
    let begin = Instant::now();
    // Until the process is gone it may still answer, or break off.
    let gone = |read: &Result<Option<f64>, Error>| {
        let told = read.as_ref().map_or_else(ToString::to_string, |_| String::new());
        told.contains(&address.to_string()) && told.contains("cannot be reached")
    };
    while !gone(&reader.read().await) {
        assert!(begin.elapsed() < PATIENCE, "it is still there");
    }
    let _server = Prometheus::start(address).await;
    assert_eq!(reader.read().await, Ok(Some(3.0)), "the first question after it came back");
}

#[tokio::test]
async fn each_way_to_authenticate_shows_what_the_server_wants() {
    for (key, more, auth) in [
        ("Bearer t0ken", "bearer", &[("bearerToken", "t0ken")] as &'static [_]),
        ("Basic bWU6aHVudGVyMg==", "basic", &[("username", "me"), ("password", "hunter2")]),
        ("Own scheme", "custom", &[("customAuthHeader", "Authorization"), ("customAuthValue", "Own scheme")]),
    ] {
        let server = Server::start(Page::text(TWO).guarded(key)).await;
        let reader = reader(&at(&server), "up", &[("authModes", more)], auth).expect("a reader");
        assert_eq!(reader.read().await, Ok(Some(2.0)), "{more}");
        let shown = format!("{reader:?} {:?}", reader.question());
        assert!(!shown.contains("t0ken") && !shown.contains("hunter2"), "{shown}");
    }
    let server = Server::start(Page::text(TWO).guarded("Basic bWU6aHVudGVyMg==")).await;
    let with_login = at(&server).replace("http://", "http://me:hunter2@");
    assert_eq!(reader(&with_login, "up", &[], &[]).expect("a reader").read().await, Ok(Some(2.0)));
    let without = reader(&at(&server), "up", &[], &[]).expect("a reader").read().await;
    assert!(without.is_err_and(|error| error.to_string().contains("status: 401")));
}

#[tokio::test]
async fn a_redirect_takes_no_credential_anywhere() {
    let elsewhere = Server::start(Page::text(TWO)).await;
    let there: &'static str = elsewhere.url("/api/v1/query").to_string().leak();
    let server = Server::start(Page::text("").status(307).header("location", there)).await;
    let auth: &[_] = &[("bearerToken", "t0ken")];
    let reader = reader(&at(&server), "up", &[("authModes", "bearer")], auth).expect("a reader");
    let error = reader.read().await.expect_err("a redirect").to_string();
    assert!(error.contains("redirects are not followed"), "{error}");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_server_that_hangs_or_floods_or_talks_nonsense_is_an_error() {
    for (page, says) in [
        (Page::silent(), "has not answered within 200 ms"),
        (Page::endless(), "longer than any one number"),
        (Page::raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "is broken"),
        (Page::text("<html>"), "none of Prometheus' query API"),
        (Page::text("{}").status(503), "status: 503"),
    ] {
        let server = Server::start(page).await;
        let more: &[_] = if says.contains("200 ms") { &[("timeout", "200ms")] } else { &[] };
        let error = reader(&at(&server), "up", more, &[]).expect("a reader").read().await;
        let error = error.expect_err("no number").to_string();
        assert!(error.contains(says), "{error} should say: {says}");
    }
}

#[tokio::test]
async fn questions_are_one_only_where_query_server_and_credentials_are() {
    let ask = |address: &str, query: &str, more: &[(&str, &str)]| {
        reader(address, query, more, &[]).expect("a reader").question().clone()
    };
    let one = ask("http://p:9090", "up", &[]);
    assert_eq!(one, ask("http://p:9090/", "up", &[]));
    assert_ne!(one, ask("http://p:9090", "down", &[]));
    assert_ne!(one, ask("http://q:9090", "up", &[]));
    assert_ne!(one, ask("http://me:a@p:9090", "up", &[]));
    assert_ne!(ask("http://me:a@p:9090", "up", &[]), ask("http://me:b@p:9090", "up", &[]));
    assert_ne!(one, ask("http://p:9090", "up", &[("customHeaders", "X-Scope-OrgID=a")]));
    assert_eq!(
        ask("http://p:9090", "up", &[("customHeaders", "X-Scope-OrgID=a")]),
        ask("http://p:9090", "up", &[("cortexOrgID", "a")])
    );
}
