//! How far consumers are behind, as a real NATS says.

use tidegate_manifest::trigger::Source;
use tidegate_signals::nats::{Error, NatsLag};
use tidegate_testkit::brokers::Nats;

use crate::trigger::{source, values};

fn reader(endpoint: &str, consumer: &str) -> NatsLag {
    let metadata = [
        ("natsServerMonitoringEndpoint", endpoint),
        ("account", "$G"),
        ("stream", "jobs"),
        ("consumer", consumer),
    ];
    match source("nats-jetstream", &metadata, &[]) {
        Source::NatsJetStream(trigger) => NatsLag::new(&trigger, values(&[])).expect("the trigger is fine"),
        other => panic!("{other:?}"),
    }
}

async fn stream_with_consumer(nats: &Nats, copies: u8) {
    let stream = format!(r#"{{"name":"jobs","subjects":["jobs"],"storage":"file","num_replicas":{copies}}}"#);
    nats.api("STREAM.CREATE.jobs", &stream).await;
    let consumer = r#"{"stream_name":"jobs","config":{"durable_name":"workers","ack_policy":"explicit"}}"#;
    nats.api("CONSUMER.DURABLE.CREATE.jobs.workers", consumer).await;
}

/// Reads until the number is there: a cluster agrees on it some milliseconds after it was told.
async fn until(reader: &NatsLag, lag: f64) {
    let reached = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while reader.read().await != Ok(lag) {
            tokio::task::yield_now().await;
        }
    });
    assert!(reached.await.is_ok(), "not {lag}: {:?}", reader.read().await);
}

#[tokio::test]
async fn a_consumers_lag_is_what_it_has_not_taken_and_what_it_has_not_acknowledged() {
    let nats = Nats::start().await;
    let endpoint = nats.monitoring(0).to_string();
    let reader = reader(&endpoint, "workers");
    let missing = reader.read().await.expect_err("there is no stream");
    assert!(matches!(missing, Error::NoStream { .. }), "{missing}");
    stream_with_consumer(&nats, 1).await;
    assert_eq!(reader.read().await, Ok(0.0));
    nats.publish("jobs", 5).await;
    assert_eq!(reader.read().await, Ok(5.0));
    nats.take("jobs", "workers").await;
    assert_eq!(reader.read().await, Ok(5.0), "one of them is taken and not acknowledged");
    let nobody = self::reader(&endpoint, "nobody").read().await.expect_err("there is no such consumer");
    assert_eq!(nobody.to_string(), r#"consumer "nobody" not found in stream "jobs""#);
}

#[tokio::test]
async fn a_server_that_was_killed_is_an_error_until_it_is_back() {
    let mut nats = Nats::start().await;
    stream_with_consumer(&nats, 1).await;
    nats.publish("jobs", 3).await;
    let reader = reader(&nats.monitoring(0).to_string(), "workers");
    assert_eq!(reader.read().await, Ok(3.0));
    nats.kill(0);
    let gone = reader.read().await.expect_err("nobody listens");
    assert!(matches!(gone, Error::Server(_)), "{gone}");
    nats.start_again().await;
    assert_eq!(reader.read().await, Ok(3.0));
}

#[tokio::test]
async fn in_a_cluster_the_leader_is_found_and_its_successor_too() {
    let mut nats = Nats::cluster(3).await;
    stream_with_consumer(&nats, 3).await;
    nats.publish("jobs", 4).await;
    for node in 0..3 {
        until(&reader(&nats.monitoring(node).to_string(), "workers"), 4.0).await;
    }
    let info = nats.api("CONSUMER.INFO.jobs.workers", "").await;
    // Read from a server that stays: the first one talks to the test.
    let reader = reader(&nats.monitoring(0).to_string(), "workers");
    until(&reader, 4.0).await;
    let leader = (1..3).find(|node| info.contains(&format!(r#""leader":"{}""#, nats.name(*node))));
    nats.kill(leader.unwrap_or(2));
    until(&reader, 4.0).await;
}
