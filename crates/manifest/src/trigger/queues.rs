//! `nats-jetstream` and `aws-sqs-queue`.

use super::auth::AwsIdentity;
use super::params::{AM, Given, MA, ME, Param, Reader, boolean, int, param, text};
use super::{FaultKind, Parsed, Source};

/// The parameters of a `nats-jetstream` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct NatsJetStream {
    /// `natsServerMonitoringEndpoint`: `host:port`.
    pub endpoint: Given<String>,
    /// `accountID`, else `account`. `None` where a TriggerAuthentication that is not at hand has it.
    pub account: Option<Given<String>>,
    /// `stream`.
    pub stream: String,
    /// `consumer`.
    pub consumer: String,
    /// `lagThreshold`.
    pub lag_threshold: i64,
    /// `activationLagThreshold`.
    pub activation_lag_threshold: i64,
    /// `useHttps`.
    pub use_https: bool,
}

/// The parameters of an `aws-sqs-queue` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsSqs {
    /// `queueURL`: a URL or a name.
    pub queue_url: Given<String>,
    /// `awsRegion`.
    pub aws_region: Given<String>,
    /// `queueLength`.
    pub queue_length: i64,
    /// `activationQueueLength`.
    pub activation_queue_length: i64,
    /// `scaleOnInFlight`: messages being worked on count too.
    pub scale_on_in_flight: bool,
    /// `scaleOnDelayed`: messages that are not due yet count too.
    pub scale_on_delayed: bool,
    /// `awsEndpoint`.
    pub aws_endpoint: Option<String>,
    /// How it signs in.
    pub identity: AwsIdentity,
}

pub(super) fn parse_nats(reader: &mut Reader<'_>) -> Option<Parsed> {
    const ENDPOINT: Param = param(&["natsServerMonitoringEndpoint"], AM);
    const ACCOUNT: Param = param(&["account"], AM);
    const ACCOUNT_ID: Param = param(&["accountID"], AM);
    let endpoint = reader.required(ENDPOINT, text).unwrap_or(Given::Value(String::new()));
    let account = reader.optional(ACCOUNT, text);
    let account_id = reader.optional(ACCOUNT_ID, text);
    if reader.lacks(ACCOUNT) && reader.lacks(ACCOUNT_ID) {
        reader.fault(
            "account",
            FaultKind::MissingRequired,
            "no account name or id given".to_owned(),
            "Set account or accountID; a server without accounts has the account $G.",
        );
    }
    let source = NatsJetStream {
        endpoint,
        account: account_id.or(account),
        stream: reader.needed("stream", text),
        consumer: reader.needed("consumer", text),
        lag_threshold: reader.or("lagThreshold", 10, int),
        activation_lag_threshold: reader.or("activationLagThreshold", 0, int),
        use_https: reader.or("useHttps", false, boolean),
    };
    let goal = reader.goal_int("lagThreshold", source.lag_threshold);
    let name = format!("nats-jetstream-{}", source.stream);
    let activation = source.activation_lag_threshold as f64;
    Some(Parsed::new(name, goal, activation, Source::NatsJetStream(source)))
}

pub(super) fn parse_sqs(reader: &mut Reader<'_>) -> Option<Parsed> {
    const QUEUE_URL: Param = param(&["queueURL"], ME);
    const REGION: Param = param(&["awsRegion"], MA);
    let source = AwsSqs {
        queue_url: reader.required(QUEUE_URL, text).unwrap_or(Given::Value(String::new())),
        aws_region: reader.required(REGION, text).unwrap_or(Given::Value(String::new())),
        queue_length: reader.or("queueLength", 5, int),
        activation_queue_length: reader.or("activationQueueLength", 0, int),
        scale_on_in_flight: reader.or("scaleOnInFlight", true, boolean),
        scale_on_delayed: reader.or("scaleOnDelayed", false, boolean),
        aws_endpoint: reader.maybe("awsEndpoint", text),
        identity: AwsIdentity::read(reader),
    };
    let queue = match &source.queue_url {
        Given::Elsewhere(_) => Some("*"),
        Given::Value(url) => queue_name(url),
    };
    if queue.is_none() {
        reader.fault(
            "queueURL",
            FaultKind::BadValue,
            "cannot get queueName from queueURL".to_owned(),
            "Write it as https://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE, or the queue's name alone.",
        );
    }
    let goal = reader.goal_int("queueLength", source.queue_length);
    let name = format!("aws-sqs-{}", queue.unwrap_or_default());
    let activation = source.activation_queue_length as f64;
    Some(Parsed::new(name, goal, activation, Source::AwsSqs(source)))
}

/// The queue's name: the second part of a URL's path, or a text that is no URL.
fn queue_name(url: &str) -> Option<&str> {
    let path = if url.starts_with('/') {
        url
    } else {
        let Some((scheme, rest)) = url.split_once("://") else { return Some(url) };
        let letters = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !letters || !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Some(url);
        }
        rest.find('/').map_or("", |at| &rest[at..])
    };
    let path = path.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["", _, name] if !name.is_empty() => Some(name),
        _ => None,
    }
}

#[cfg(test)]
#[path = "tests/queues.rs"]
mod tests;
