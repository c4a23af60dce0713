//! `kafka` and `apache-kafka`: how far a consumer group lags behind.

use tidegate_core::scale::spec::Absent;

use super::auth::{AwsIdentity, require};
use super::params::{
    A, Given, MA, ME, Param, Reader, Secret, boolean, choice, int, list, param, ranges, text, words,
};
use super::{FaultKind, Parsed, Source, name_part};

/// Which of KEDA's two Kafka scalers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `kafka`.
    Sarama,
    /// `apache-kafka`: several topics, MSK sign-in; no Kerberos, no OAuth, no `fullMetadata`.
    KafkaGo,
}

words! {
    /// Where a group without a committed offset begins.
    OffsetResetPolicy {
        /// At the end: such a partition has a lag of 1.
        Latest = "latest",
        /// At the beginning: such a partition lags by all it has.
        Earliest = "earliest",
    }
}

words! {
    /// How it signs in.
    Sasl {
        /// Not at all.
        None = "none",
        /// User name and password.
        Plaintext = "plaintext",
        /// SCRAM with SHA-256.
        ScramSha256 = "scram_sha256",
        /// SCRAM with SHA-512.
        ScramSha512 = "scram_sha512",
        /// A bearer token; `kafka` only.
        OauthBearer = "oauthbearer",
        /// Kerberos; `kafka` only.
        Gssapi = "gssapi",
        /// Amazon MSK; `apache-kafka` only.
        AwsMskIam = "aws_msk_iam",
    }
}

words! {
    /// Where a bearer token comes from.
    TokenProvider {
        /// An OAuth 2 endpoint.
        Bearer = "bearer",
        /// Amazon MSK.
        AwsMskIam = "aws_msk_iam",
    }
}

/// The parameters of a `kafka` or `apache-kafka` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Kafka {
    /// Which of the two.
    pub client: Client,
    /// `bootstrapServers`.
    pub bootstrap_servers: Given<Vec<String>>,
    /// `consumerGroup`.
    pub consumer_group: Given<String>,
    /// `topic`: one for `kafka`, any number for `apache-kafka`; all of the group's topics if there is none.
    pub topics: Option<Given<Vec<String>>>,
    /// `partitionLimitation`, as ranges with both ends; all partitions if empty, or if there is no topic.
    pub partitions: Vec<(i32, i32)>,
    /// `lagThreshold`.
    pub lag_threshold: i64,
    /// `activationLagThreshold`.
    pub activation_lag_threshold: i64,
    /// `offsetResetPolicy`.
    pub offset_reset_policy: OffsetResetPolicy,
    /// `allowIdleConsumers`: more replicas than partitions.
    pub allow_idle_consumers: bool,
    /// `excludePersistentLag`: a partition that does not move does not count.
    pub exclude_persistent_lag: bool,
    /// `scaleToZeroOnInvalidOffset`.
    pub scale_to_zero_on_invalid_offset: bool,
    /// `limitToPartitionsWithLag`.
    pub limit_to_partitions_with_lag: bool,
    /// `ensureEvenDistributionOfPartitions`.
    pub ensure_even_distribution_of_partitions: bool,
    /// `fullMetadata`; always on for `apache-kafka`.
    pub full_metadata: bool,
    /// `version` of the protocol; `kafka` only, there 1.0.0 if `None`.
    pub version: Option<String>,
    /// `tls`: `enable` or `disable`.
    pub tls: Given<bool>,
    /// `unsafeSsl`; `kafka` only.
    pub unsafe_ssl: bool,
    /// `ca`.
    pub ca: Option<Secret>,
    /// `cert`.
    pub cert: Option<Secret>,
    /// `key`.
    pub key: Option<Secret>,
    /// `keyPassword`.
    pub key_password: Option<Secret>,
    /// `sasl`.
    pub sasl: Given<Sasl>,
    /// `username`.
    pub username: Option<Secret>,
    /// `password`.
    pub password: Option<Secret>,
    /// `awsRegion`.
    pub aws_region: Option<String>,
    /// How it signs in to Amazon MSK.
    pub aws: AwsIdentity,
    /// `saslTokenProvider`; `kafka` only.
    pub token_provider: Given<TokenProvider>,
    /// `scopes`.
    pub scopes: Option<Secret>,
    /// `oauthTokenEndpointUri`.
    pub oauth_token_endpoint_uri: Option<Secret>,
    /// `oauthExtensions`.
    pub oauth_extensions: Option<Secret>,
    /// `keytab`.
    pub keytab: Option<Secret>,
    /// `realm`.
    pub realm: Option<Secret>,
    /// `kerberosConfig`.
    pub kerberos_config: Option<Secret>,
    /// `kerberosServiceName`; `kafka` if there is none.
    pub kerberos_service_name: Option<Secret>,
    /// `kerberosDisableFAST`, a boolean; false if there is none.
    pub kerberos_disable_fast: Option<Secret>,
}

const SERVERS: Param = param(&["bootstrapServers"], ME);
const GROUP: Param = param(&["consumerGroup"], ME);
const TOPIC: Param = param(&["topic"], ME);
const TLS: Param = param(&["tls"], MA);
const SASL: Param = param(&["sasl"], MA);
const PROVIDER: Param = param(&["saslTokenProvider"], MA);
const CERT: Param = param(&["cert"], A);
const KEY: Param = param(&["key"], A);
const USERNAME: Param = param(&["username"], A);
const PASSWORD: Param = param(&["password"], A);

pub(super) fn parse(reader: &mut Reader<'_>, client: Client) -> Option<Parsed> {
    let sarama = client == Client::Sarama;
    // Keys of the other client stay unread, and so are reported as unknown.
    let secret = |reader: &mut Reader<'_>, name: &'static [&'static str]| {
        if sarama { reader.secret(Param { names: name, places: A }) } else { None }
    };
    let flag = |reader: &mut Reader<'_>, name: &'static str| reader.or(name, false, boolean);
    let topics = match client {
        Client::Sarama => reader.optional(TOPIC, |topic| Ok(vec![topic.to_owned()])),
        Client::KafkaGo => reader.optional(TOPIC, list),
    };
    let mut partitions = reader.or("partitionLimitation", Vec::new(), ranges);
    if topics.is_none() {
        partitions.clear();
    }
    let source = Kafka {
        client,
        bootstrap_servers: reader.required(SERVERS, list).unwrap_or(Given::Value(Vec::new())),
        consumer_group: reader.required(GROUP, text).unwrap_or(Given::Value(String::new())),
        topics,
        partitions,
        lag_threshold: reader.or("lagThreshold", 10, int),
        activation_lag_threshold: reader.or("activationLagThreshold", 0, int),
        offset_reset_policy: reader.or("offsetResetPolicy", OffsetResetPolicy::Latest, choice),
        allow_idle_consumers: flag(reader, "allowIdleConsumers"),
        exclude_persistent_lag: flag(reader, "excludePersistentLag"),
        scale_to_zero_on_invalid_offset: flag(reader, "scaleToZeroOnInvalidOffset"),
        limit_to_partitions_with_lag: flag(reader, "limitToPartitionsWithLag"),
        ensure_even_distribution_of_partitions: flag(reader, "ensureEvenDistributionOfPartitions"),
        full_metadata: !sarama || reader.or("fullMetadata", true, boolean),
        version: if sarama { reader.maybe("version", version) } else { None },
        tls: reader.optional(TLS, enabled).unwrap_or(Given::Value(false)),
        unsafe_ssl: sarama && flag(reader, "unsafeSsl"),
        ca: reader.secret(param(&["ca"], A)),
        cert: reader.secret(CERT),
        key: reader.secret(KEY),
        key_password: reader.secret(param(&["keyPassword"], A)),
        sasl: reader.optional(SASL, |text| sasl(text, client)).unwrap_or(Given::Value(Sasl::None)),
        username: reader.secret(USERNAME),
        password: reader.secret(PASSWORD),
        aws_region: reader.maybe("awsRegion", text),
        aws: AwsIdentity::read(reader),
        token_provider: if sarama { reader.optional(PROVIDER, choice) } else { None }
            .unwrap_or(Given::Value(TokenProvider::Bearer)),
        scopes: secret(reader, &["scopes"]),
        oauth_token_endpoint_uri: secret(reader, &["oauthTokenEndpointUri"]),
        oauth_extensions: secret(reader, &["oauthExtensions"]),
        keytab: secret(reader, &["keytab"]),
        realm: secret(reader, &["realm"]),
        kerberos_config: secret(reader, &["kerberosConfig"]),
        kerberos_service_name: secret(reader, &["kerberosServiceName"]),
        kerberos_disable_fast: secret(reader, &["kerberosDisableFAST"]),
    };
    check_lag(reader, &source);
    check_topic(reader, &source);
    check_sign_in(reader, &source);
    let goal = reader.goal_int("lagThreshold", source.lag_threshold);
    let name = match &source.topics {
        Some(topics) => {
            format!("kafka-{}", topics.value().map_or_else(|| "*".to_owned(), |topics| topics.join(",")))
        }
        None => format!("kafka-{}-topics", name_part(Some(&source.consumer_group))),
    };
    let activation = source.activation_lag_threshold as f64;
    // A group that has not committed anything has no topics either, which counts as no lag upstream.
    let absent = if source.topics.is_none() { Absent::Zero } else { Absent::Error };
    Some(Parsed { absent, ..Parsed::new(name, goal, activation, Source::Kafka(source)) })
}

/// `enable` or `disable`.
fn enabled(text: &str) -> Result<bool, String> {
    match text {
        "enable" => Ok(true),
        "disable" => Ok(false),
        _ => Err("must be one of enable, disable".into()),
    }
}

fn sasl(text: &str, client: Client) -> Result<Sasl, String> {
    let (other, words) = match client {
        Client::Sarama => {
            (Sasl::AwsMskIam, "none, plaintext, scram_sha256, scram_sha512, oauthbearer, gssapi")
        }
        Client::KafkaGo => (Sasl::OauthBearer, "none, plaintext, scram_sha256, scram_sha512, aws_msk_iam"),
    };
    match choice(text) {
        Ok(sasl) if sasl != other && !(sasl == Sasl::Gssapi && client == Client::KafkaGo) => Ok(sasl),
        _ => Err(format!("must be one of {words}")),
    }
}

/// Four numbers at most, and at least three from 1.0 on: `2.8.0`, `0.10.2.1`.
fn version(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('.').collect();
    let numbers = parts
        .iter()
        .all(|part| !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit()));
    let count = if parts.first() == Some(&"0") { 4 } else { 3 };
    if numbers && parts.len() == count {
        Ok(text.to_owned())
    } else {
        Err("is not a Kafka version such as 2.8.0".into())
    }
}

fn check_lag(reader: &mut Reader<'_>, source: &Kafka) {
    if source.activation_lag_threshold < 0 {
        reader.fault(
            "activationLagThreshold",
            FaultKind::BadValue,
            "\"activationLagThreshold\" must be a non-negative number".to_owned(),
            "Remove it, or set the lag above which the target becomes active.",
        );
    }
    // Under scalingModifiers another type may do without; this one may not.
    if source.lag_threshold <= 0 && reader.has_modifiers() {
        reader.fault(
            "lagThreshold",
            FaultKind::BadValue,
            "\"lagThreshold\" must be positive number".to_owned(),
            "Remove it, or set the lag one replica should carry.",
        );
    }
}

fn check_topic(reader: &mut Reader<'_>, source: &Kafka) {
    let sarama = source.client == Client::Sarama;
    let mut refuse = |key: &str, message: &str, help: &str| {
        reader.fault(key, FaultKind::Conflict, message.to_owned(), help);
    };
    let topic_help = "Set topic.";
    if source.allow_idle_consumers && source.limit_to_partitions_with_lag {
        refuse(
            "limitToPartitionsWithLag",
            "allowIdleConsumers and limitToPartitionsWithLag cannot be set simultaneously",
            "One permits more replicas than partitions, the other fewer: keep one.",
        );
    }
    if sarama && source.limit_to_partitions_with_lag && source.ensure_even_distribution_of_partitions {
        refuse(
            "ensureEvenDistributionOfPartitions",
            "limitToPartitionsWithLag and ensureEvenDistributionOfPartitions cannot be set simultaneously",
            "Keep one.",
        );
    }
    if source.topics.is_some() {
        return;
    }
    if source.limit_to_partitions_with_lag {
        let message = "topic must be specified when using limitToPartitionsWithLag";
        refuse("topic", message, topic_help);
    }
    if sarama && source.ensure_even_distribution_of_partitions {
        let message = "topic must be specified when using ensureEvenDistributionOfPartitions";
        refuse("topic", message, topic_help);
    }
    if !source.full_metadata {
        refuse("topic", "topic must be specified when fullMetadata is false", topic_help);
    }
}

fn check_sign_in(reader: &mut Reader<'_>, source: &Kafka) {
    if source.client == Client::KafkaGo {
        for (name, place) in [("sasl", SASL), ("tls", TLS)] {
            let in_auth = !reader.lacks(Param { names: place.names, places: A })
                && reader.declared.auth_parameters.is_some();
            if in_auth && reader.declared.metadata.get(name).is_some_and(|value| !value.is_empty()) {
                reader.fault(
                    name,
                    FaultKind::Conflict,
                    format!("unable to set `{name}` in both ScaledObject and TriggerAuthentication together"),
                    "Keep one of them.",
                );
            }
        }
    }
    if source.tls == Given::Value(true) && source.cert.is_some() != source.key.is_some() {
        require(
            reader,
            if source.cert.is_some() { KEY } else { CERT },
            "beside the other when TLS is enabled",
        );
    }
    let Given::Value(sasl) = &source.sasl else { return };
    let when = format!("when sasl is {}", sasl.as_str());
    match sasl {
        Sasl::None => {}
        // kafka-go notices an empty SCRAM user only when it signs in.
        Sasl::Plaintext | Sasl::ScramSha256 | Sasl::ScramSha512 => {
            require(reader, USERNAME, &when);
            require(reader, PASSWORD, &when);
        }
        Sasl::OauthBearer if source.token_provider == Given::Value(TokenProvider::Bearer) => {
            require(reader, USERNAME, &when);
            require(reader, PASSWORD, &when);
            require(reader, param(&["oauthTokenEndpointUri"], A), &when);
        }
        Sasl::OauthBearer => {
            if source.token_provider == Given::Value(TokenProvider::AwsMskIam) {
                check_msk(reader, source);
            }
        }
        Sasl::AwsMskIam => check_msk(reader, source),
        Sasl::Gssapi => {
            require(reader, USERNAME, &when);
            require(reader, param(&["realm"], A), &when);
            require(reader, param(&["kerberosConfig"], A), &when);
            let neither = reader.lacks(PASSWORD) && reader.lacks(param(&["keytab"], A));
            if neither || (source.password.is_some() && source.keytab.is_some()) {
                reader.fault(
                    "keytab",
                    if neither { FaultKind::MissingRequired } else { FaultKind::Conflict },
                    "exactly one of 'password' or 'keytab' must be provided for GSSAPI authentication"
                        .to_owned(),
                    "Provide one of them in the TriggerAuthentication.",
                );
            }
        }
    }
}

fn check_msk(reader: &mut Reader<'_>, source: &Kafka) {
    let declared = reader.declared.metadata.get("tls").is_some_and(|tls| !tls.trim().is_empty());
    if source.tls == Given::Value(false) && (declared || reader.lacks(TLS)) {
        reader.fault(
            "tls",
            FaultKind::Conflict,
            "TLS must be enabled when using AWS MSK IAM".to_owned(),
            "Set tls: enable.",
        );
    }
    if source.aws_region.is_none() {
        reader.fault(
            "awsRegion",
            FaultKind::MissingRequired,
            "awsRegion must be set when using AWS MSK IAM".to_owned(),
            "Set awsRegion in the trigger's metadata.",
        );
    }
}

#[cfg(test)]
#[path = "tests/kafka.rs"]
mod tests;
