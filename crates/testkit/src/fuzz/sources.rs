//! Bodies of the fuzzers of what sources answer and of how they are named.

use tidegate_manifest::trigger::Format;
use tidegate_signals::metrics_api::value::Location;
use tidegate_signals::{mysql, postgresql};

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
