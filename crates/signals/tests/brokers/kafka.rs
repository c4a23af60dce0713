//! Lags, as a real Kafka has them and another client made them.

use std::time::Duration;

use tidegate_manifest::trigger::Source;
use tidegate_signals::kafka::{Error, KafkaLag, Lag};
use tidegate_testkit::brokers::Kafka;
use tidegate_testkit::brokers::kafka::{PASSWORD, USER};

use crate::trigger::{held, source, values};

type Pairs<'p> = &'p [(&'p str, &'p str)];

fn reader(servers: &str, more: Pairs<'_>, auth: Pairs<'_>) -> KafkaLag {
    let mut metadata = vec![("bootstrapServers", servers), ("consumerGroup", "workers")];
    metadata.extend(more);
    match source("kafka", &metadata, auth) {
        Source::Kafka(trigger) => KafkaLag::new(&trigger, values(auth)).expect("the trigger is fine"),
        other => panic!("{other:?}"),
    }
}

fn lag(value: f64) -> Result<Option<Lag>, Error> {
    Ok(Some(Lag { value, active: value > 0.0 }))
}

/// Reads until the cluster has made up its mind.
async fn until(reader: &KafkaLag, expected: &Result<Option<Lag>, Error>) {
    let reached = tokio::time::timeout(Duration::from_secs(60), async {
        while reader.read().await != *expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(reached.await.is_ok(), "{:?}", reader.read().await);
}

const JOBS: (&str, &str) = ("topic", "jobs");

/// One broker for both, since it takes the longest of all this.
#[tokio::test]
async fn a_groups_lag_is_read_and_a_broker_that_was_killed_is_an_error_until_it_is_back() {
    let mut kafka = Kafka::start().await;
    every_rule_and_every_sign_in(&kafka).await;
    killed_and_back(&mut kafka).await;
}

async fn every_rule_and_every_sign_in(kafka: &Kafka) {
    let servers = format!("127.0.0.1:1,{}", kafka.plain());
    let read = async |more: Pairs<'_>| reader(&servers, more, &[]).read().await;
    // A new cluster makes the place for offsets when it is first asked for one.
    until(&reader(&servers, &[], &[]), &Ok(None)).await;
    let missing = read(&[("topic", "nobody")]).await.expect_err("there is no such topic");
    assert!(missing.to_string().contains("UNKNOWN_TOPIC"), "{missing}");
    assert!(read(&[("topic", "nobody")]).await.is_err(), "and asking has not created it");

    let mut driver = kafka.driver();
    driver.create("jobs", 4);
    driver.create("other", 1);
    driver.produce("jobs", 0, 30);
    driver.produce("jobs", 1, 5);
    driver.produce("other", 0, 7);
    driver.commit("workers", "jobs", 0, 10);
    driver.commit("workers", "jobs", 1, 5);
    driver.commit("workers", "jobs", 2, 0);
    driver.commit("workers", "other", 0, 4);
    // 20 behind in 0, none in 1 and 2, nothing committed in 3.
    let large = ("lagThreshold", "1000");
    assert_eq!(read(&[JOBS, large]).await, lag(21.0));
    assert_eq!(read(&[JOBS, large, ("scaleToZeroOnInvalidOffset", "true")]).await, lag(20.0));
    assert_eq!(read(&[JOBS, large, ("partitionLimitation", "1-3")]).await, lag(1.0));
    driver.produce("jobs", 3, 9);
    assert_eq!(read(&[JOBS, large, ("offsetResetPolicy", "earliest")]).await, lag(29.0));
    assert_eq!(read(&[JOBS, ("lagThreshold", "2")]).await, lag(8.0), "four partitions of two");
    let idle = [JOBS, ("lagThreshold", "2"), ("allowIdleConsumers", "true")];
    assert_eq!(read(&idle).await, lag(21.0));
    let with_lag = [JOBS, ("lagThreshold", "2"), ("limitToPartitionsWithLag", "true")];
    assert_eq!(read(&with_lag).await, lag(4.0));
    // All topics of the group: what is committed nowhere counts for 1 here too.
    assert_eq!(read(&[large]).await, lag(24.0));
    let nothing = [JOBS, ("partitionLimitation", "9")];
    assert!(matches!(read(&nothing).await, Err(Error::NoPartition { .. })));

    let login = [("username", USER), ("password", PASSWORD)];
    let servers = kafka.sasl().to_string();
    for sasl in ["plaintext", "scram_sha256", "scram_sha512"] {
        let reader = reader(&servers, &[JOBS, large, ("sasl", sasl)], &login);
        assert_eq!(reader.read().await, lag(21.0), "{sasl}");
        let wrong = [("username", USER), ("password", "guess")];
        let refused = self::reader(&servers, &[JOBS, ("sasl", sasl)], &wrong).read().await;
        let refused = refused.expect_err("a wrong password").to_string();
        assert!(refused.contains("refused") && !refused.contains("guess"), "{refused}");
    }
    let own = [
        ("ca", kafka.certificates.ca_pem.as_str()),
        ("cert", kafka.certificates.cert_pem.as_str()),
        ("key", kafka.certificates.key_pem.as_str()),
    ];
    let servers = kafka.tls().to_string();
    assert_eq!(reader(&servers, &[JOBS, large, ("tls", "enable")], &own).read().await, lag(21.0));
    let plain = reader(&servers, &[JOBS], &[]).read().await.expect_err("that port speaks TLS");
    assert!(matches!(plain, Error::Broker { .. }), "{plain}");
}

async fn killed_and_back(kafka: &mut Kafka) {
    let ports = [kafka.plain().port()];
    let reader = reader(&kafka.plain().to_string(), &[("topic", "other")], &[]);
    assert_eq!(reader.read().await, lag(3.0));
    let before = held(&ports);
    // One by the bootstrap server's address, which the broker tells as its own too.
    assert_eq!(before.0, 1);
    for _ in 0..20 {
        assert_eq!(reader.read().await, lag(3.0));
    }
    assert_eq!(held(&ports), before, "connections are kept from reading to reading");
    kafka.kill();
    for _ in 0..100 {
        let gone = reader.read().await.expect_err("nobody listens");
        assert!(matches!(gone, Error::Broker { .. }), "{gone}");
    }
    kafka.start_again().await;
    // A broker takes connections before it has read what groups have committed.
    until(&reader, &lag(3.0)).await;
    let after = held(&ports);
    assert!(
        after.0 <= before.0 && after.1 <= before.1,
        "sockets and tasks: {before:?} before, {after:?} after"
    );
}
