//! From a trigger's parameters to a reader.

use std::time::Duration;

use tidegate_manifest::trigger::{Given, Kafka, Origin, Sasl, TokenProvider};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::api::Broker;
use super::connection::{Login, Manner, SignIn};
use super::lag::Rules;
use super::sasl::Hash;
use super::wire::TEXT_BYTES_MAX;
use super::{Error, KafkaLag, State};
use crate::find;
use crate::oauth::{Credentials, Tokens};
use crate::remote::Question;
use crate::tls::{self, Tls};

/// Bootstrap servers used; any one that answers tells all others.
const SERVERS_MAX: usize = 32;

/// KEDA's `pollingInterval` where none is set.
const POLLING_INTERVAL: Duration = Duration::from_secs(30);

const PORT: u16 = 9092;

impl KafkaLag {
    /// A reader of what `trigger` describes; `value` finds what stands elsewhere. Nothing is connected yet.
    ///
    /// # Errors
    /// When a value is not at hand or cannot be used, or the trigger signs in by a way not spoken here.
    pub fn new(trigger: &Kafka, value: impl Fn(&Origin) -> Option<String>) -> Result<Self, Error> {
        check_version(trigger)?;
        let servers = words(&trigger.bootstrap_servers, "bootstrapServers", &value)?;
        let bootstrap: Vec<_> =
            servers.iter().take(SERVERS_MAX).filter_map(|server| broker(server)).collect();
        if bootstrap.is_empty() {
            return Err(Error::NoServers);
        }
        let group = find::given("consumerGroup", Some(&trigger.consumer_group), &value)?.unwrap_or_default();
        let topics = match &trigger.topics {
            None => Vec::new(),
            Some(topics) => words(topics, "topic", &value)?,
        };
        if group.is_empty() || group.len() > TEXT_BYTES_MAX {
            return Err(Error::Value { what: "consumerGroup", why: "is empty or too long" });
        }
        if topics.iter().any(|topic| topic.len() > TEXT_BYTES_MAX) {
            return Err(Error::Value { what: "topic", why: "is too long" });
        }
        let question = Question::new("kafka", servers.join(","))
            .with("group", &group)
            .with("topics", topics.join(","))
            .with("partitions", format!("{:?}", trigger.partitions))
            .with("rules", format!("{:?}", Rules::of(trigger, POLLING_INTERVAL)));
        let (question, manner) = manner(trigger, &value, question)?;
        Ok(KafkaLag {
            question,
            bootstrap,
            manner,
            group,
            topics,
            partitions: trigger.partitions.clone(),
            rules: Rules::of(trigger, POLLING_INTERVAL),
            started: Instant::now(),
            state: Mutex::new(State::default()),
        })
    }

    /// With `excludePersistentLag`, an offset that stands still for this long has a persistent lag: the
    /// time between two of KEDA's polls, 30 s unless told here.
    #[must_use]
    pub fn polled_every(mut self, interval: Duration) -> Self {
        // Anybody else's question stays the same, and is shared whatever their intervals.
        if self.rules.exclude_persistent {
            self.rules.persistent_after = interval;
            self.question = self.question.with("interval", interval.as_millis());
        }
        self
    }
}

/// What is asked is understood from 1.0 on; older brokers would close the connection without a word.
fn check_version(trigger: &Kafka) -> Result<(), Error> {
    if trigger.version.as_deref().is_some_and(|version| version.starts_with("0.")) {
        return Err(Error::Unsupported {
            what: "brokers before version 1.0 are not spoken to",
            instead: "remove version where the brokers are newer",
        });
    }
    Ok(())
}

fn manner(
    trigger: &Kafka,
    value: &impl Fn(&Origin) -> Option<String>,
    question: Question,
) -> Result<(Question, Manner), Error> {
    let secret = |what, secret| find::secret(what, secret, value);
    let enabled = match &trigger.tls {
        Given::Value(enabled) => *enabled,
        Given::Elsewhere(origin) => match value(origin).unwrap_or_default().trim() {
            "enable" => true,
            "" | "disable" => false,
            _ => return Err(Error::Value { what: "tls", why: "must be one of enable, disable" }),
        },
    };
    let mut question = question.with("tls", enabled);
    let mut config = None;
    if enabled {
        let tls = Tls {
            ca_pem: secret("ca", trigger.ca.as_ref())?,
            cert_pem: secret("cert", trigger.cert.as_ref())?,
            key_pem: secret("key", trigger.key.as_ref())?,
            key_password: secret("keyPassword", trigger.key_password.as_ref())?,
            insecure: trigger.unsafe_ssl,
        };
        question = question
            .with("unsafe", tls.insecure)
            .secret("ca", tls.ca_pem.as_deref())
            .secret("cert", tls.cert_pem.as_deref())
            .secret("key", tls.key_pem.as_deref());
        config = Some(tls::client_config(&tls)?);
    }
    let sasl = match &trigger.sasl {
        Given::Value(sasl) => *sasl,
        Given::Elsewhere(origin) => match value(origin).filter(|text| !text.trim().is_empty()) {
            None => Sasl::None,
            Some(text) => {
                Sasl::from_word(&text).ok_or(Error::Value { what: "sasl", why: "is no way to sign in" })?
            }
        },
    };
    let (question, sign_in) = sign_in(trigger, sasl, value, question.with("sasl", sasl.as_str()))?;
    Ok((question, Manner { tls: config, sign_in }))
}

fn sign_in(
    trigger: &Kafka,
    sasl: Sasl,
    value: &impl Fn(&Origin) -> Option<String>,
    question: Question,
) -> Result<(Question, SignIn), Error> {
    let secret = |what, secret| find::secret(what, secret, value);
    let instead = "use plaintext over TLS, scram_sha256, scram_sha512 or oauthbearer";
    match sasl {
        Sasl::None => return Ok((question, SignIn::No)),
        Sasl::Gssapi => return Err(Error::Unsupported { what: "Kerberos is not spoken", instead }),
        Sasl::AwsMskIam => return Err(Error::Unsupported { what: "aws_msk_iam is not spoken", instead }),
        Sasl::OauthBearer => {
            let provider = match &trigger.token_provider {
                Given::Value(provider) => Some(*provider),
                Given::Elsewhere(origin) => value(origin).and_then(|text| TokenProvider::from_word(&text)),
            };
            if provider == Some(TokenProvider::AwsMskIam) {
                return Err(Error::Unsupported { what: "aws_msk_iam is not spoken", instead });
            }
        }
        Sasl::Plaintext | Sasl::ScramSha256 | Sasl::ScramSha512 => {}
    }
    let user = secret("username", trigger.username.as_ref())?.unwrap_or_default();
    let password = secret("password", trigger.password.as_ref())?.unwrap_or_default();
    let question = question.secret("username", Some(&user)).secret("password", Some(&password));
    Ok(match sasl {
        Sasl::ScramSha256 => (question, SignIn::Scram(Hash::Sha256, Login { user, password })),
        Sasl::ScramSha512 => (question, SignIn::Scram(Hash::Sha512, Login { user, password })),
        Sasl::OauthBearer => {
            let url = secret("oauthTokenEndpointUri", trigger.oauth_token_endpoint_uri.as_ref())?;
            let scopes = secret("scopes", trigger.scopes.as_ref())?.unwrap_or_default();
            let scopes = scopes.split(',').map(str::trim).collect::<Vec<_>>().join(" ");
            let extensions =
                secret("oauthExtensions", trigger.oauth_extensions.as_ref())?.unwrap_or_default();
            let url = url.unwrap_or_default();
            let question =
                question.with("url", &url).with("scopes", &scopes).secret("extensions", Some(&extensions));
            let parameters = String::new();
            let credentials =
                Credentials { url, client_id: user, client_secret: password, scopes, parameters };
            let tokens = Tokens::new(credentials, &Tls::default())?;
            (question, SignIn::Bearer(Box::new(tokens), extensions))
        }
        _ => (question, SignIn::Plain(Login { user, password })),
    })
}

fn words(
    given: &Given<Vec<String>>,
    what: &'static str,
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<Vec<String>, Error> {
    let all = match given {
        Given::Value(all) => all.clone(),
        Given::Elsewhere(origin) => {
            let text = find::given(what, Some(&Given::Elsewhere(origin.clone())), value)?.unwrap_or_default();
            text.split(',').map(str::to_owned).collect()
        }
    };
    let trimmed = all.iter().map(|word| word.trim()).filter(|word| !word.is_empty());
    Ok(trimmed.map(str::to_owned).collect())
}

/// `host:port`, `[v6]:port`, or a host alone.
fn broker(address: &str) -> Option<Broker> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()?),
        _ => (address, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    (!host.is_empty()).then_some(Broker { host, port })
}
