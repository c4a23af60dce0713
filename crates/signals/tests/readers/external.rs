//! External scalers, one written in Python.

use std::pin::pin;
use std::time::Duration;

use serde_json::json;
use tidegate_manifest::trigger::Source;
use tidegate_signals::Remote as _;
use tidegate_signals::external::{Answer, Error, ExternalScaler as Reader, Object};
use tidegate_testkit::servers::{Certificates, ExternalScaler};

use crate::trigger::{secrets, source};

const TARGET: Object<'static> = Object { name: "chat", namespace: "models" };

fn with(scaler: &ExternalScaler, type_: &str, metadata: &[(&str, &str)], known: &[(&str, &str)]) -> Reader {
    let address = scaler.address().to_string();
    let all: Vec<_> = [("scalerAddress", address.as_str())].iter().chain(metadata).copied().collect();
    let parameters: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let Source::External(trigger) = source(type_, &all, &parameters) else { panic!("another trigger") };
    Reader::new(&trigger, TARGET, secrets(known)).expect("the trigger is supported")
}

fn reader(scaler: &ExternalScaler) -> Reader {
    with(scaler, "external", &[], &[])
}

fn answer(replicas: f64, active: bool) -> Answer {
    Answer { replicas, active }
}

#[tokio::test]
async fn a_scaler_in_python_is_read_and_gets_the_triggers_metadata() {
    let mut scaler = ExternalScaler::start();
    let reader = with(&scaler, "external", &[("queue", "jobs"), ("token", "hunter2")], &[]);
    scaler.tell(&json!({ "active": true, "metrics": { "jobs": [4, 10] } }));
    assert_eq!(reader.read().await, Ok(answer(2.5, true)));
    scaler
        .tell(&json!({ "active": false, "metrics": { "jobs": [0.5, 0.25], "age": [10, 30], "no": [1, 0] } }));
    assert_eq!(reader.read().await, Ok(answer(3.0, false)), "the largest of several counts");
    let expected = json!({
        "name": "chat",
        "namespace": "models",
        "metadata": { "queue": "jobs", "token": "hunter2", "scalerAddress": scaler.address().to_string() },
    });
    assert_eq!(scaler.seen()["target"], expected);
    assert!(!format!("{reader:?} {:?}", reader.question()).contains("hunter2"));
    assert_ne!(reader.question(), self::reader(&scaler).question(), "other metadata, another question");
}

#[tokio::test]
async fn what_makes_no_sense_is_an_error_that_says_so() {
    let mut scaler = ExternalScaler::start();
    let reader = reader(&scaler);
    let told = reader.read().await.expect_err("it names no metric").to_string();
    assert!(told.contains("got empty metric spec"), "{told}");
    scaler.tell(&json!({ "metrics": { "jobs": [0, 1] } }));
    let told = reader.read().await.expect_err("no target").to_string();
    assert!(told.contains("gives jobs no target above 0"), "{told}");
    scaler.tell(&json!({ "metrics": { "jobs": [1, 1] }, "fail": "the queue is gone" }));
    let told = reader.read().await.expect_err("it refuses").to_string();
    assert!(told.contains("FailedPrecondition: the queue is gone"), "{told}");
    let many: serde_json::Map<_, _> = (0..40).map(|index| (format!("m{index}"), json!([1, 1]))).collect();
    scaler.tell(&json!({ "metrics": many, "fail": "" }));
    let told = reader.read().await.expect_err("40 metrics").to_string();
    assert!(told.contains("more than 32 metrics"), "{told}");
    scaler.tell(&json!({ "metrics": { "long".repeat(20_000): [1, 1] } }));
    let told = reader.read().await.expect_err("80 KB of a name").to_string();
    assert!(told.contains("too large"), "{told}");
}

#[tokio::test]
async fn one_that_hangs_stops_nobody_else_and_is_read_again_when_it_answers() {
    let mut hung = ExternalScaler::start();
    let mut quick = ExternalScaler::start();
    for scaler in [&mut hung, &mut quick] {
        scaler.tell(&json!({ "metrics": { "jobs": [1, 2] } }));
    }
    hung.tell(&json!({ "hang": true }));
    let (slow, fast) = (reader(&hung), reader(&quick));
    let mut waits = pin!(slow.read());
    tokio::select! {
        biased;
        told = &mut waits => panic!("it hangs, and says {told:?}"),
        read = async { (fast.read().await, fast.read().await, fast.read().await) } => {
            assert_eq!(read.0, Ok(answer(2.0, false)));
            assert_eq!((&read.1, &read.2), (&read.0, &read.0));
        }
    }
    assert!(matches!(waits.await, Err(Error::Late { .. })));
    hung.tell(&json!({ "hang": false }));
    assert_eq!(slow.read().await, Ok(answer(2.0, false)));
}

#[tokio::test]
async fn a_scaler_that_crashes_is_an_error_and_one_that_comes_back_is_read_at_once() {
    let mut scaler = ExternalScaler::start();
    let reader = reader(&scaler);
    for round in 0..3 {
        scaler.tell(&json!({ "metrics": { "jobs": [1, 2] } }));
        assert_eq!(reader.read().await, Ok(answer(2.0, false)), "round {round}");
        scaler.kill();
        let gone = reader.read().await.expect_err("nobody listens");
        assert!(matches!(gone, Error::Server { .. }), "{gone}");
        scaler.restart();
    }
}

#[tokio::test]
async fn a_push_is_news_makes_the_next_ask_active_and_comes_again_after_a_crash() {
    let mut scaler = ExternalScaler::start();
    let reader = with(&scaler, "external-push", &[], &[]);
    let mut news = reader.news().expect("it pushes");
    for round in 0..2 {
        scaler.tell(&json!({ "metrics": { "jobs": [1, 1] } }));
        assert_eq!(reader.read().await, Ok(answer(1.0, false)));
        while scaler.seen()["streams"] != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        scaler.tell(&json!({ "active": true }));
        let heard = tokio::time::timeout(Duration::from_secs(60), news.changed()).await;
        assert!(heard.is_ok_and(|heard| heard.is_ok()), "round {round}: nothing was heard");
        assert!(reader.read().await.is_ok_and(|answer| answer.active));
        scaler.kill();
        assert!(reader.read().await.is_err());
        scaler.restart();
    }
    drop(reader);
    while scaler.seen()["streams"] != 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn tls_proves_both_sides() {
    let certificates = Certificates::new();
    let mut scaler = ExternalScaler::start_tls(&certificates);
    scaler.tell(&json!({ "metrics": { "jobs": [1, 2] } }));
    let ours = [
        ("caCert", certificates.ca_pem.as_str()),
        ("tlsClientCert", certificates.cert_pem.as_str()),
        ("tlsClientKey", certificates.key_pem.as_str()),
    ];
    let tls = [("enableTLS", "true")];
    assert_eq!(with(&scaler, "external", &tls, &ours).read().await, Ok(answer(2.0, false)));
    assert_eq!(
        with(&scaler, "external", &[("enableTLS", "true"), ("unsafeSsl", "true")], &ours[1..]).read().await,
        Ok(answer(2.0, false)),
    );
    let other = Certificates::new();
    let strangers = with(&scaler, "external", &tls, &[("caCert", &other.ca_pem), ours[1], ours[2]]);
    assert!(strangers.read().await.is_err(), "another authority");
    assert!(with(&scaler, "external", &tls, &ours[..1]).read().await.is_err(), "no certificate of ours");
    assert!(reader(&scaler).read().await.is_err(), "no TLS at all");
}

#[test]
fn an_address_that_is_none_is_told() {
    for address in ["scaler", ":80", "http://scaler:80", "scaler:80/path", "a b:1"] {
        let Source::External(trigger) = source("external", &[("scalerAddress", address)], &[]) else {
            panic!("another trigger")
        };
        let told = Reader::new(&trigger, TARGET, |_: &_| None);
        assert!(matches!(told, Err(Error::Address)), "{address}: {told:?}");
    }
}
