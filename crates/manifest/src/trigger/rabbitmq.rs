//! `rabbitmq`: a queue's length or rates.

use tidegate_core::scale::spec::Absent;
use tidegate_core::time::Span;

use super::auth::OAuth;
use super::params::{
    A, AE, Address, Given, MA, MAE, Param, Reader, Secret, address, boolean, choice, float, int, param, text,
    words,
};
use super::prometheus::timeout;
use super::{FaultKind, Parsed, Source};

words! {
    /// How to talk to RabbitMQ.
    Protocol {
        /// AMQP 0-9-1.
        Amqp = "amqp",
        /// The management API.
        Http = "http",
    }
}

words! {
    /// What is measured.
    Mode {
        /// Messages in the queue.
        QueueLength = "QueueLength",
        /// Messages published a second.
        MessageRate = "MessageRate",
        /// Messages delivered a second.
        DeliverGetRate = "DeliverGetRate",
        /// Published by delivered.
        PublishedToDeliveredRatio = "PublishedToDeliveredRatio",
        /// Seconds until the queue is empty.
        ExpectedQueueConsumptionTime = "ExpectedQueueConsumptionTime",
    }
}

words! {
    /// How several queues that match become one number.
    Operation {
        /// Their sum.
        Sum = "sum",
        /// Their mean.
        Average = "avg",
        /// The largest.
        Max = "max",
    }
}

/// The parameters of a `rabbitmq` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct RabbitMq {
    /// `queueName`: a name, or a regular expression.
    pub queue_name: String,
    /// `host`: a URI, with the virtual host as its path.
    pub host: Given<Address>,
    /// `protocol`; `None` while it depends on a host or a parameter that is not known yet.
    pub protocol: Option<Protocol>,
    /// `mode`.
    pub mode: Mode,
    /// `value`, or the older `queueLength`.
    pub value: f64,
    /// `activationValue`.
    pub activation_value: f64,
    /// `vhostName`: instead of the host's path.
    pub vhost_name: Option<Given<String>>,
    /// `useRegex`.
    pub use_regex: bool,
    /// `excludeUnacknowledged`.
    pub exclude_unacknowledged: bool,
    /// `operation`.
    pub operation: Operation,
    /// `pageSize`.
    pub page_size: i64,
    /// `timeout`; the program's own if `None`.
    pub timeout: Option<Span>,
    /// `username`.
    pub username: Option<Secret>,
    /// `password`.
    pub password: Option<Secret>,
    /// `tls` from the TriggerAuthentication, `enable` or `disable`; off if `None`.
    pub tls: Option<Secret>,
    /// `unsafeSsl`.
    pub unsafe_ssl: bool,
    /// `ca`.
    pub ca: Option<Secret>,
    /// `cert`.
    pub cert: Option<Secret>,
    /// `key`.
    pub key: Option<Secret>,
    /// `keyPassword`.
    pub key_password: Option<Secret>,
    /// `workloadIdentityResource`.
    pub workload_identity_resource: Option<Secret>,
    /// OAuth 2 client credentials.
    pub oauth: OAuth,
}

const USERNAME: Param = param(&["username"], AE);
const PASSWORD: Param = param(&["password"], AE);
const PROTOCOL: Param = param(&["protocol"], MA);

pub(super) fn parse(reader: &mut Reader<'_>) -> Option<Parsed> {
    let host = reader.required(param(&["host"], MAE), address);
    let protocol = protocol(reader, host.as_ref());
    let (mode, value, value_key) = mode(reader);
    let page_size = reader.or("pageSize", 100, int);
    if page_size < 1 {
        reader.fault(
            "pageSize",
            FaultKind::BadValue,
            "pageSize should be 1 or greater".to_owned(),
            "Remove it, or set how many queues a page may hold.",
        );
    }
    let source = RabbitMq {
        queue_name: reader.needed("queueName", text),
        host: host.unwrap_or(Given::Value(Address(String::new()))),
        protocol,
        mode,
        value,
        activation_value: reader.or("activationValue", 0.0, float),
        vhost_name: reader.optional(param(&["vhostName"], MA), text),
        use_regex: reader.or("useRegex", false, boolean),
        exclude_unacknowledged: reader.or("excludeUnacknowledged", false, boolean),
        operation: reader.or("operation", Operation::Sum, choice),
        page_size,
        timeout: timeout(reader),
        username: reader.secret(USERNAME),
        password: reader.secret(PASSWORD),
        tls: reader.secret(param(&["tls"], A)),
        unsafe_ssl: reader.or("unsafeSsl", false, boolean),
        ca: reader.secret(param(&["ca"], A)),
        cert: reader.secret(param(&["cert"], A)),
        key: reader.secret(param(&["key"], A)),
        key_password: reader.secret(param(&["keyPassword"], A)),
        workload_identity_resource: reader.secret(param(&["workloadIdentityResource"], A)),
        oauth: OAuth::read(reader),
    };
    if protocol == Some(Protocol::Amqp) {
        check_amqp(reader, &source);
    }
    check_auth(reader, &source);
    let goal = reader.goal(value_key, value);
    let name = format!("rabbitmq-{}", query_escaped(&source.queue_name));
    let activation = source.activation_value;
    // A pattern that matches no queue is no work, as upstream; a queue that is not there is a mistake.
    let absent = if source.use_regex { Absent::Zero } else { Absent::Error };
    Some(Parsed { absent, ..Parsed::new(name, goal, activation, Source::RabbitMq(source)) })
}

/// The protocol by its name, or by the host's scheme.
fn protocol(reader: &mut Reader<'_>, host: Option<&Given<Address>>) -> Option<Protocol> {
    let by_name = |text: &str| match text {
        "auto" => Ok(None),
        other => choice(other).map(Some).map_err(|_| "must be one of auto, amqp, http".to_owned()),
    };
    match reader.optional(PROTOCOL, by_name) {
        Some(Given::Value(Some(protocol))) => return Some(protocol),
        Some(Given::Elsewhere(_)) => return None,
        Some(Given::Value(None)) | None => {}
    }
    let host = host?.value()?;
    let scheme = host.0.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("amqp" | "amqps") => Some(Protocol::Amqp),
        Some("http" | "https") => Some(Protocol::Http),
        // The host may hold a password, so it is not shown.
        _ => {
            reader.fault(
                "host",
                FaultKind::BadValue,
                "host has none of the URL schemes amqp, amqps, http and https, and protocol is auto"
                    .to_owned(),
                "Write host as amqp://user:password@name:5672/vhost or http://name:15672/vhost.",
            );
            None
        }
    }
}

/// The mode, its target and the key the target stands under.
fn mode(reader: &mut Reader<'_>) -> (Mode, f64, &'static str) {
    // KEDA takes the word Unknown for no mode at all.
    let by_name = |text: &str| if text == "Unknown" { Ok(None) } else { choice(text).map(Some) };
    let mode: Option<Mode> = reader.maybe("mode", by_name).flatten();
    let named = names_mode(reader);
    // A target of 0 counts as none, as it does upstream.
    let value = reader.maybe("value", float).filter(|value| *value != 0.0);
    let length = reader.maybe("queueLength", float).filter(|length| *length != 0.0);
    match (length, named, value) {
        (None, false, None) => (Mode::QueueLength, 20.0, "value"),
        (Some(length), false, None) => (Mode::QueueLength, length, "queueLength"),
        (Some(_), _, _) => {
            reader.fault(
                "queueLength",
                FaultKind::Conflict,
                "queueLength is deprecated; use mode and value".to_owned(),
                "Remove queueLength; mode: QueueLength with value says the same.",
            );
            (Mode::QueueLength, 20.0, "queueLength")
        }
        (None, true, Some(value)) => (mode.unwrap_or(Mode::QueueLength), value, "value"),
        (None, false, Some(value)) => {
            reader.fault(
                "mode",
                FaultKind::MissingRequired,
                "mode must be specified".to_owned(),
                "Set mode to what value counts, usually QueueLength.",
            );
            (Mode::QueueLength, value, "value")
        }
        (None, true, None) => {
            if !reader.faults.iter().any(|fault| fault.key.as_deref() == Some("value")) {
                reader.fault(
                    "value",
                    FaultKind::MissingRequired,
                    "value must be specified".to_owned(),
                    "Set value to the load one replica should carry.",
                );
            }
            (mode.unwrap_or(Mode::QueueLength), 20.0, "value")
        }
    }
}

/// Whether the metadata names a mode.
fn names_mode(reader: &Reader<'_>) -> bool {
    reader.declared.metadata.get("mode").is_some_and(|mode| !matches!(mode.trim(), "" | "Unknown"))
}

/// What only the management API can do.
fn check_amqp(reader: &mut Reader<'_>, source: &RabbitMq) {
    let named_mode = names_mode(reader);
    let help = "Use the management API: host: http://…:15672/ and protocol: http.";
    let mut refuse = |key: &str, message: String| reader.fault(key, FaultKind::Conflict, message, help);
    if source.use_regex {
        refuse("useRegex", "configure useRegex=true only with HTTP protocol".to_owned());
    }
    if source.exclude_unacknowledged {
        refuse(
            "excludeUnacknowledged",
            "configure excludeUnacknowledged=true only with HTTP protocol".to_owned(),
        );
    }
    if source.mode != Mode::QueueLength {
        let mode = source.mode.as_str();
        refuse("mode", format!("protocol amqp not supported; must be HTTP to use trigger mode {mode}"));
    }
    // As upstream, only where a mode is written.
    if source.timeout.is_some() && named_mode {
        refuse("timeout", "AMQP protocol doesn't support custom timeouts".to_owned());
    }
    if source.workload_identity_resource.is_some() {
        refuse(
            "workloadIdentityResource",
            "workload identity is not supported for the AMQP protocol".to_owned(),
        );
    }
    let OAuth { token_uri, client_id, client_secret, .. } = &source.oauth;
    if token_uri.is_some() || client_id.is_some() || client_secret.is_some() {
        refuse(
            "oauthTokenURI",
            "OAuth2 authentication is only supported with HTTP protocol, not AMQP".to_owned(),
        );
    }
}

fn check_auth(reader: &mut Reader<'_>, source: &RabbitMq) {
    if source.username.is_some() != source.password.is_some()
        && (reader.lacks(USERNAME) || reader.lacks(PASSWORD))
    {
        let key = if source.username.is_some() { "password" } else { "username" };
        reader.fault(
            key,
            FaultKind::MissingRequired,
            "username and password must be given together".to_owned(),
            "Provide both, or neither and write them into host.",
        );
    }
    if source.cert.is_some() != source.key.is_some() {
        reader.fault(
            if source.cert.is_some() { "key" } else { "cert" },
            FaultKind::MissingRequired,
            "both key and certificate must be provided".to_owned(),
            "Provide both in the TriggerAuthentication.",
        );
    }
    let OAuth { token_uri, client_id, client_secret, .. } = &source.oauth;
    let parts = [token_uri, client_id, client_secret].iter().filter(|part| part.is_some()).count();
    if parts == 0 {
        return;
    }
    if parts < 3 {
        reader.fault(
            "oauthTokenURI",
            FaultKind::MissingRequired,
            "OAuth2 needs oauthTokenURI, clientID and clientSecret together".to_owned(),
            "Provide all three in the TriggerAuthentication.",
        );
    }
    if (source.username.is_some() && source.password.is_some()) || source.workload_identity_resource.is_some()
    {
        reader.fault(
            "oauthTokenURI",
            FaultKind::Conflict,
            "OAuth2 cannot be combined with username and password or with a workload identity".to_owned(),
            "Keep one of them in the TriggerAuthentication.",
        );
    }
}

/// A queue's name as Go's `url.QueryEscape` writes it.
fn query_escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte))
            }
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
#[path = "tests/rabbitmq.rs"]
mod tests;
