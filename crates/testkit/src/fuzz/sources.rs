//! Bodies of the fuzzers of what sources answer and of how they are named.

use tidegate_manifest::trigger::{Format, Operation};
use tidegate_signals::metrics_api::value::Location;
use tidegate_signals::rabbitmq::told;
use tidegate_signals::{mysql, postgresql, prometheus};

/// A location, which is the first line, and an answer to find a number in, which is the rest: in every
/// format, and what is found is finite.
pub fn location(data: &[u8]) {
    let at = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let Ok(text) = std::str::from_utf8(&data[..at]) else { return };
    let body = data.get(at + 1..).unwrap_or_default();
    for format in [Format::Json, Format::Yaml, Format::Xml, Format::Prometheus] {
        let Ok(location) = Location::parse(text, format) else { continue };
        if let Ok(number) = location.read(body) {
            assert!(number.is_finite(), "{number} at {text}");
        }
    }
}

/// A connection string of either database: what is accepted names hosts, and no socket of this machine.
pub fn connection(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(settings) = postgresql::settings::Settings::parse(text) {
        assert!((1..=8).contains(&settings.hosts.len()));
        for (host, port) in &settings.hosts {
            assert!(!host.is_empty() && !host.starts_with('/') && *port > 0, "{host}:{port}");
        }
    }
    if let Ok(settings) = mysql::settings::Settings::parse(text) {
        assert!(!settings.host.is_empty() && !settings.host.starts_with('/') && settings.port > 0);
    }
}

/// What a Prometheus or RabbitMQ's management API answers, and what a client pushes: no panic, and a number
/// that is taken for one is finite or, of many queues together, refused where readings are taken.
pub fn reply(data: &[u8]) {
    for ignore_null_values in [false, true] {
        if let Ok(Some(value)) = prometheus::read(data, "q", ignore_null_values) {
            assert!(value.is_finite());
        }
    }
    for operation in [None, Some(Operation::Sum), Some(Operation::Average), Some(Operation::Max)] {
        if let Ok(Some(queue)) = told::queue(data, operation) {
            assert!(queue.messages >= 0.0 && queue.messages_ready >= 0.0 && !queue.published_per_s.is_nan());
        }
    }
    if let Ok(pushed) = tidegate_dashboard::number(data) {
        assert!(pushed.value.is_finite());
    }
}
