//! `external` and `external-push`: a gRPC server that speaks KEDA's protocol.
//!
//! One such server is our own gateway: its service is named `tidegate…`, as in
//! `tidegate-gateway.tidegate:9090`. KEDA asks it for the target over gRPC; here the same metadata that
//! it would answer from says it: `targetValue`, and `metric` for what is counted, or `signal` for a number
//! that somebody pushes under that name.

use std::collections::BTreeMap;
use std::fmt;

use tidegate_core::scale::spec::{Goal, Series};
use tidegate_core::time::Span;

use super::params::{A, Given, Origin, Reader, Secret, boolean, float, param, text};
use super::{FaultKind, Parsed, Source};
use crate::duration;

/// The parameters of an `external` or `external-push` trigger.
#[derive(Clone, PartialEq)]
pub struct External {
    /// `scalerAddress`: `host:port`.
    pub scaler_address: String,
    /// Whether the server pushes activity.
    pub push: bool,
    /// `enableTLS`.
    pub enable_tls: bool,
    /// `unsafeSsl`.
    pub unsafe_ssl: bool,
    /// `caCert`.
    pub ca_cert: Option<Secret>,
    /// `tlsClientCert`.
    pub tls_client_cert: Option<Secret>,
    /// `tlsClientKey`.
    pub tls_client_key: Option<Secret>,
    /// All metadata, which the server gets. A key that ends in `FromEnv` goes with the variable's value,
    /// and not at all where the container has no such variable or an empty one.
    pub metadata: BTreeMap<String, Given<String>>,
}

/// What a gateway counts of a target, as `metric` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatewayMetric {
    /// Requests held or queued in the gateway.
    Waiting,
    /// Requests that a replica works on.
    InFlight,
    /// Both together, in requests.
    #[default]
    Demand,
    /// Both together, in tokens still to be computed.
    Tokens,
}

impl GatewayMetric {
    /// Every one with its name.
    pub const ALL: [(&'static str, GatewayMetric); 4] = [
        ("waiting", GatewayMetric::Waiting),
        ("in-flight", GatewayMetric::InFlight),
        ("demand", GatewayMetric::Demand),
        ("tokens", GatewayMetric::Tokens),
    ];

    fn named(name: &str) -> Option<Self> {
        GatewayMetric::ALL.iter().find(|(known, _)| *known == name).map(|(_, metric)| *metric)
    }
}

impl External {
    /// What is asked of our own gateway, if the address is a gateway's and no pushed signal is meant.
    #[must_use]
    pub fn gateway(&self) -> Option<GatewayMetric> {
        if !is_gateway(&self.scaler_address) || self.pushed().is_some() {
            return None;
        }
        let metric = self.metadata.get("metric").and_then(Given::value);
        Some(metric.and_then(|name| GatewayMetric::named(name.trim())).unwrap_or_default())
    }
}

/// A number that somebody pushes to us under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedSignal {
    /// `signal`: the name it is pushed under.
    pub name: String,
    /// `staleAfter`: how long a push counts.
    pub stale_after: Span,
}

/// How long a push counts where the trigger has no `staleAfter`: a pusher's minute, with nothing to spare.
const STALE_AFTER: Span = Span::from_secs(60);

/// The longest and the shortest that make sense: a day, and a tick.
const STALE_AFTER_RANGE: std::ops::RangeInclusive<Span> = Span::from_secs(1)..=Span::from_secs(86_400);

/// Characters of a pushed signal's name: a label's.
const SIGNAL_NAME_MAX: usize = 63;

impl External {
    /// The pushed signal that is meant, if the address is a gateway's and the metadata names one.
    #[must_use]
    pub fn pushed(&self) -> Option<PushedSignal> {
        let text = |key: &str| self.metadata.get(key).and_then(Given::value).map(|text| text.trim());
        let name = text("signal").filter(|name| !name.is_empty() && is_gateway(&self.scaler_address))?;
        let stale_after = text("staleAfter").and_then(|text| duration::parse(text).ok());
        Some(PushedSignal { name: name.to_owned(), stale_after: stale_after.unwrap_or(STALE_AFTER) })
    }
}

/// A name that is one piece of a path.
fn is_signal_name(name: &str) -> bool {
    (1..=SIGNAL_NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && name.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

fn check_pushed(reader: &mut Reader<'_>) {
    if let Some(name) = reader.maybe("signal", text).filter(|name| !is_signal_name(name)) {
        let shown: String = name.chars().take(SIGNAL_NAME_MAX).collect();
        let message =
            format!("signal: \"{shown}\" is no name: letters, digits, -, _ and ., at most {SIGNAL_NAME_MAX}");
        reader.fault(
            "signal",
            FaultKind::BadValue,
            message,
            "Name it as a label would be, such as queue-depth.",
        );
    }
    let Some(after) = reader.maybe("staleAfter", text) else { return };
    if !duration::parse(&after).is_ok_and(|span| STALE_AFTER_RANGE.contains(&span)) {
        let message = "staleAfter is no time between 1s and 24h".to_owned();
        reader.fault(
            "staleAfter",
            FaultKind::BadValue,
            message,
            "Write how long a push counts, such as 60s.",
        );
    }
}

/// Whether the host is one of ours: a service called `tidegate` or `tidegate-…`.
fn is_gateway(address: &str) -> bool {
    let host = address.split([':', '/']).next().unwrap_or_default();
    let service = host.split('.').next().unwrap_or_default();
    service == "tidegate" || service.starts_with("tidegate-")
}

impl fmt::Debug for External {
    /// Values may be secrets, so only the keys of the metadata are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.metadata.keys().collect();
        f.debug_struct("External")
            .field("scaler_address", &self.scaler_address)
            .field("push", &self.push)
            .field("enable_tls", &self.enable_tls)
            .field("unsafe_ssl", &self.unsafe_ssl)
            .field("ca_cert", &self.ca_cert)
            .field("tls_client_cert", &self.tls_client_cert)
            .field("tls_client_key", &self.tls_client_key)
            .field("metadata", &keys)
            .finish()
    }
}

pub(super) fn parse(reader: &mut Reader<'_>, push: bool) -> Option<Parsed> {
    let source = External {
        scaler_address: reader.needed("scalerAddress", text),
        push,
        enable_tls: reader.or("enableTLS", false, boolean),
        unsafe_ssl: reader.or("unsafeSsl", false, boolean),
        ca_cert: reader.secret(param(&["caCert"], A)),
        tls_client_cert: reader.secret(param(&["tlsClientCert"], A)),
        tls_client_key: reader.secret(param(&["tlsClientKey"], A)),
        metadata: metadata(reader),
    };
    let keys: Vec<&str> = reader.declared.metadata.keys().map(String::as_str).collect();
    reader.also_reads(&keys);
    // The server tells the target when it is asked, and activity with every value.
    let (goal, activation) = if is_gateway(&source.scaler_address) {
        check_pushed(reader);
        let activation =
            if source.pushed().is_some() { reader.or("activationValue", 0.0, float) } else { 0.0 };
        (gateway_goal(reader), activation)
    } else {
        (reader.goal("scalerAddress", 1.0), 0.0)
    };
    let parsed = Parsed::new("*".to_owned(), goal, activation, Source::External(source));
    Some(Parsed { series: Series::Sum, ..parsed })
}

/// What one replica should carry. There is no good guess: 8 requests are much for one model and nothing
/// for another.
fn gateway_goal(reader: &mut Reader<'_>) -> Goal {
    if let Some(name) = reader.maybe("metric", text).filter(|name| GatewayMetric::named(name).is_none()) {
        let known = GatewayMetric::ALL.map(|(name, _)| name).join(", ");
        reader.fault(
            "metric",
            FaultKind::BadValue,
            format!("metric: \"{name}\" is none of {known}"),
            "Leave it out for demand: what waits and what is in flight, in requests.",
        );
    }
    match reader.maybe("targetValue", float).or_else(|| reader.maybe("target", float)) {
        Some(target) => reader.goal("targetValue", target),
        None => {
            let unread = reader
                .faults
                .iter()
                .any(|fault| matches!(fault.key.as_deref(), Some("targetValue" | "target")));
            if !unread && !reader.has_modifiers() {
                reader.fault(
                    "targetValue",
                    FaultKind::MissingRequired,
                    "no targetValue given, which a gateway needs".to_owned(),
                    "Set targetValue to what one replica should carry, such as \"16\" requests.",
                );
            }
            reader.goal("targetValue", 1.0)
        }
    }
}

fn metadata(reader: &Reader<'_>) -> BTreeMap<String, Given<String>> {
    let mut all = BTreeMap::new();
    for (key, value) in reader.declared.metadata {
        if !key.ends_with("FromEnv") {
            all.insert(key.clone(), Given::Value(value.clone()));
            continue;
        }
        // The value is never kept: what stands in a variable is often a secret.
        let there = match reader.declared.environment {
            None => true,
            Some(environment) => match environment.get(value) {
                None => false,
                Some(plain) => plain.as_ref().is_none_or(|plain| !plain.is_empty()),
            },
        };
        if there {
            all.insert(key.clone(), Given::Elsewhere(Origin::Environment(value.clone())));
        }
    }
    all
}

#[cfg(test)]
#[path = "tests/external.rs"]
mod tests;
