//! Lengths, read from a real Redis.

use std::net::SocketAddr;
use std::process::Stdio;

use tempfile::TempDir;
use tidegate_manifest::trigger::{Origin, RedisList, Source};
use tidegate_signals::redis::{Error, Redis as Reader};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::server::free_address;
use crate::topologies::PATIENCE;
use crate::trigger::source;

/// A Redis of its own, with everything it writes in a directory that goes with it.
pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    _process: Child,
    _directory: TempDir,
}

impl Redis {
    pub(crate) async fn start(address: SocketAddr, settings: &[&str]) -> Self {
        let first = ["--save", "", "--appendonly", "no"];
        Redis::start_as(address, &first, settings, "Ready to accept connections").await
    }

    /// A server with these first arguments, ready when it logs `ready`.
    pub(crate) async fn start_as(
        address: SocketAddr,
        first: &[&str],
        settings: &[&str],
        ready: &str,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the server");
        let mut process = Command::new("redis-server")
            .args(first)
            .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string(), "--dir"])
            .arg(directory.path())
            .args(settings)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server: {error}; apt-get install -y redis-server"));
        let output = process.stdout.take().expect("it was piped");
        let mut lines = BufReader::new(output).lines();
        loop {
            let line =
                lines.next_line().await.expect("text").expect("redis-server ended before it was ready");
            if line.contains(ready) {
                break;
            }
        }
        // Read on, or the server would block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Redis { address, _process: process, _directory: directory }
    }

    pub(crate) async fn run(&self, command: &[&str]) {
        self.run_as(None, command).await;
    }

    /// What it answers, as text.
    pub(crate) async fn says(&self, command: &[&str]) -> String {
        format!("{:?}", self.answer(None, command).await)
    }

    async fn run_as(&self, password: Option<&str>, command: &[&str]) {
        self.answer(password, command).await;
    }

    async fn answer(&self, password: Option<&str>, command: &[&str]) -> redis::Value {
        let login = password.map(|password| format!(":{password}@")).unwrap_or_default();
        let client = redis::Client::open(format!("redis://{login}{}", self.address)).expect("an address");
        // By itself the client gives up after half a second, which a busy server needs now and then.
        let patient = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection = client.get_multiplexed_async_connection_with_config(&patient).await;
        let mut connection = connection.expect("the server runs");
        let mut told = redis::cmd(command[0]);
        for argument in &command[1..] {
            told.arg(*argument);
        }
        told.query_async(&mut connection).await.expect("the command is fine")
    }

    async fn length(&self, key: &str) -> Result<Option<f64>, Error> {
        reader(&self.address.to_string(), &[("listName", key)]).read().await
    }
}

fn list(address: &str, more: &[(&str, &str)]) -> RedisList {
    let given = [("address", address), ("listName", "jobs")];
    match source("redis", &[&given[..], more].concat(), &["username", "password"]) {
        Source::RedisList(list) => list,
        other => panic!("{other:?}"),
    }
}

fn reader(address: &str, more: &[(&str, &str)]) -> Reader {
    let none = |_: &Origin| Some(String::new());
    Reader::list(&list(address, more), none).expect("the trigger is supported")
}

#[tokio::test]
async fn each_kind_of_key_has_its_length_and_a_missing_one_has_none() {
    let redis = Redis::start(free_address(), &[]).await;
    assert_eq!(redis.length("jobs").await, Ok(Some(0.0)));
    redis.run(&["RPUSH", "jobs", "a", "b", "c"]).await;
    redis.run(&["SADD", "set", "a", "b"]).await;
    redis.run(&["ZADD", "sorted", "1", "a"]).await;
    redis.run(&["HSET", "hash", "a", "1", "b", "2", "c", "3", "d", "4"]).await;
    for (key, length) in [("jobs", 3.0), ("set", 2.0), ("sorted", 1.0), ("hash", 4.0)] {
        assert_eq!(redis.length(key).await, Ok(Some(length)), "{key}");
    }
}

#[tokio::test]
async fn a_key_of_another_kind_is_an_error_that_names_it() {
    let redis = Redis::start(free_address(), &[]).await;
    redis.run(&["SET", "jobs", "text"]).await;
    let error = redis.length("jobs").await.expect_err("a string has no length here").to_string();
    assert!(error.contains("WRONGTYPE") && error.contains("string"), "{error}");
}

#[tokio::test]
async fn a_database_of_its_own_is_asked() {
    let redis = Redis::start(free_address(), &[]).await;
    redis.run(&["RPUSH", "jobs", "a"]).await;
    let address = redis.address.to_string();
    assert_eq!(reader(&address, &[("databaseIndex", "3")]).read().await, Ok(Some(0.0)));
    assert_eq!(reader(&address, &[("databaseIndex", "0")]).read().await, Ok(Some(1.0)));
}

#[tokio::test]
async fn a_password_is_used_and_never_shown() {
    let redis = Redis::start(free_address(), &["--requirepass", "hunter2"]).await;
    redis.run_as(Some("hunter2"), &["RPUSH", "jobs", "a"]).await;
    let list = list(&redis.address.to_string(), &[]);
    let with = |password: &'static str| {
        let value = move |origin: &Origin| match origin {
            Origin::Authentication(name) if name == "password" => Some(password.to_owned()),
            _ => Some(String::new()),
        };
        Reader::list(&list, value).expect("the trigger is supported")
    };
    assert_eq!(with("hunter2").read().await, Ok(Some(1.0)));
    assert!(!format!("{:?}", with("hunter2")).contains("hunter2"));
    let wrong = with("hunter3").read().await.expect_err("a wrong password").to_string();
    assert!(wrong.contains("password is wrong") && !wrong.contains("hunter"), "{wrong}");
    let none = with("").read().await.expect_err("no password").to_string();
    assert!(none.contains("NOAUTH"), "{none}");
}

#[tokio::test]
async fn a_password_that_is_not_at_hand_is_told_at_once() {
    let list = list("127.0.0.1:1", &[]);
    let error = Reader::list(&list, |_| None).expect_err("nobody has it");
    assert!(matches!(&error, Error::Unknown(_)) && error.to_string().contains("username"), "{error}");
}

#[tokio::test]
async fn a_server_that_comes_back_is_read_again_at_once() {
    let address = free_address();
    let first = Redis::start(address, &[]).await;
    first.run(&["RPUSH", "jobs", "a"]).await;
    let reader = reader(&address.to_string(), &[]);
    assert_eq!(reader.read().await, Ok(Some(1.0)));
    drop(first);
    // Until the process is gone it may still answer.
    while reader.read().await.is_ok() {}
    let gone = reader.read().await.expect_err("nobody listens");
    assert!(matches!(gone, Error::Server { .. }), "{gone}");
    let second = Redis::start(address, &[]).await;
    second.run(&["RPUSH", "jobs", "a", "b"]).await;
    assert_eq!(reader.read().await, Ok(Some(2.0)));
}
