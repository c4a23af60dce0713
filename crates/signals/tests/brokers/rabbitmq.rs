//! Lengths and rates, as a real RabbitMQ says.

use std::time::Duration;

use tidegate_manifest::trigger::Source;
use tidegate_signals::rabbitmq::{Error, Measured, RabbitQueue};
use tidegate_testkit::brokers::RabbitMq;

use crate::trigger::{held, source, values};

type Pairs<'p> = &'p [(&'p str, &'p str)];

fn reader(host: &str, more: Pairs<'_>, auth: Pairs<'_>) -> RabbitQueue {
    let mut metadata = vec![("host", host)];
    metadata.extend(more);
    match source("rabbitmq", &metadata, auth) {
        Source::RabbitMq(trigger) => RabbitQueue::new(&trigger, values(auth)).expect("the trigger is fine"),
        other => panic!("{other:?}"),
    }
}

fn length(queue: &str) -> [(&str, &str); 3] {
    [("queueName", queue), ("mode", "QueueLength"), ("value", "20")]
}

/// Reads until it is so: the management API counts a little later than the queue.
async fn until(reader: &RabbitQueue, what: impl Fn(&Result<Option<Measured>, Error>) -> bool) {
    let reached = tokio::time::timeout(Duration::from_secs(60), async {
        while !what(&reader.read().await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(reached.await.is_ok(), "{:?}", reader.read().await);
}

fn is(value: f64) -> impl Fn(&Result<Option<Measured>, Error>) -> bool {
    move |read| matches!(read, Ok(Some(measured)) if (measured.value - value).abs() < 1e-9)
}

/// One server for all, since it takes the longest of all this.
#[tokio::test]
async fn queues_are_read_and_a_server_that_was_killed_is_an_error_until_it_is_back() {
    let mut rabbit = RabbitMq::start().await;
    over_amqp(&rabbit).await;
    from_the_management_api(&rabbit).await;
    over_tls(&rabbit).await;
    killed_and_back(&mut rabbit).await;
}

const LOGIN: Pairs<'static> = &[("username", "guest"), ("password", "hunter2")];

async fn over_amqp(rabbit: &RabbitMq) {
    for (queue, messages) in [("jobs", 3), ("jobs-2", 4), ("other", 1)] {
        rabbit.declare(queue).await;
        rabbit.publish(queue, messages).await;
    }
    let amqp = format!("amqp://guest:guest@{}/", rabbit.amqp());
    let jobs = reader(&amqp, &length("jobs"), &[]);
    until(&jobs, is(3.0)).await;
    // A refusal closes the channel, and the connection goes on.
    let nobody = reader(&amqp, &length("nobody"), &[]);
    for _ in 0..3 {
        let missing = nobody.read().await.expect_err("it was never declared");
        assert_eq!(missing.to_string(), r#"queue "nobody" not found"#);
    }
    rabbit.declare("nobody").await;
    until(&nobody, is(0.0)).await;
    let vhost = reader(&amqp, &[&length("jobs")[..], &[("vhostName", "elsewhere")]].concat(), &[]);
    let refused = vhost.read().await.expect_err("there is no such virtual host").to_string();
    assert!(refused.contains("530") && !refused.contains("guest:"), "{refused}");
    let refused =
        reader(&amqp, &length("jobs"), LOGIN).read().await.expect_err("a wrong password").to_string();
    assert!(refused.contains("403") && !refused.contains("hunter2"), "{refused}");
}

async fn from_the_management_api(rabbit: &RabbitMq) {
    let http = format!("http://guest:guest@{}/", rabbit.management());
    until(&reader(&http, &length("jobs"), &[]), is(3.0)).await;
    let missing = reader(&http, &length("no-one"), &[]).read().await.expect_err("it was never declared");
    assert!(matches!(missing, Error::NoQueue { .. }), "{missing}");
    let refused =
        reader(&http, &length("jobs"), LOGIN).read().await.expect_err("a wrong password").to_string();
    assert!(refused.contains("401") && !refused.contains("hunter2"), "{refused}");
    let pattern =
        |operation| [&length("^jobs")[..], &[("useRegex", "true"), ("operation", operation)]].concat();
    for (operation, value) in [("sum", 7.0), ("avg", 3.0), ("max", 4.0)] {
        until(&reader(&http, &pattern(operation), &[]), is(value)).await;
    }
    let none = [&length("^nothing")[..], &[("useRegex", "true")]].concat();
    assert_eq!(reader(&http, &none, &[]).read().await, Ok(None));
    let rate = [("queueName", "jobs"), ("mode", "MessageRate"), ("value", "1")];
    let rate = reader(&http, &rate, &[]);
    rabbit.publish("jobs", 20).await;
    until(&rate, |read| matches!(read, Ok(Some(measured)) if measured.value > 0.0 && measured.active)).await;
}

/// On both ports; over AMQP the server asks for our certificate too.
async fn over_tls(rabbit: &RabbitMq) {
    let certificates = &rabbit.certificates;
    let encrypted = certificates.encrypted_key_pem("secret");
    let own = [
        ("ca", certificates.ca_pem.as_str()),
        ("cert", certificates.cert_pem.as_str()),
        ("key", encrypted.as_str()),
        ("keyPassword", "secret"),
        ("tls", "enable"),
    ];
    let amqps = format!("amqps://guest:guest@{}/", rabbit.amqps());
    until(&reader(&amqps, &length("jobs-2"), &own), is(4.0)).await;
    let https = format!("https://guest:guest@{}/", rabbit.management_tls());
    until(&reader(&https, &length("jobs-2"), &own), is(4.0)).await;
    let unsafe_ssl = [&length("jobs-2")[..], &[("unsafeSsl", "true")]].concat();
    until(&reader(&https, &unsafe_ssl, &[]), is(4.0)).await;
    let stranger =
        reader(&https, &length("jobs-2"), &[]).read().await.expect_err("nobody knows its authority");
    assert!(stranger.to_string().contains("certificate"), "{stranger}");
}

async fn killed_and_back(rabbit: &mut RabbitMq) {
    rabbit.declare("kept").await;
    rabbit.publish("kept", 2).await;
    let amqp = reader(&format!("amqp://guest:guest@{}/", rabbit.amqp()), &length("kept"), &[]);
    let http = reader(&format!("http://guest:guest@{}/", rabbit.management()), &length("kept"), &[]);
    until(&amqp, is(2.0)).await;
    until(&http, is(2.0)).await;
    // Kept from reading to reading.
    for _ in 0..20 {
        amqp.read().await.expect("the server runs");
    }
    let ports = [rabbit.amqp().port(), rabbit.management().port()];
    let before = held(&ports);
    assert_eq!(before.0, 2, "one connection for each reader");
    rabbit.kill();
    for _ in 0..100 {
        let gone = amqp.read().await.expect_err("nobody listens");
        assert!(matches!(gone, Error::Amqp { .. }), "{gone}");
        let gone = http.read().await.expect_err("nobody listens");
        assert!(matches!(gone, Error::Http(_)), "{gone}");
    }
    rabbit.start_again().await;
    assert!(amqp.read().await.is_ok(), "the next reading sees that it is back");
    until(&amqp, is(2.0)).await;
    until(&http, is(2.0)).await;
    let after = held(&ports);
    assert!(
        after.0 <= before.0 && after.1 <= before.1,
        "sockets and tasks: {before:?} before, {after:?} after"
    );
}
