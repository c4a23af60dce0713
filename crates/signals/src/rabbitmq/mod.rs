//! `rabbitmq`: a queue's length or rates, over AMQP or from the management API.
//!
//! Over AMQP a queue's length is what is ready to be delivered; the management API also counts what is
//! delivered and not acknowledged, unless `excludeUnacknowledged` is set. Only that API knows rates and
//! patterns. Both as KEDA does.

mod amqp;
pub mod frame;
mod host;
mod management;
pub mod told;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidegate_core::scale::Reading;
use tidegate_manifest::trigger::{Given, Mode, Origin, Protocol, RabbitMq};

use self::amqp::{Amqp, Server};
use self::frame::SHORT_BYTES_MAX;
use self::host::{Host, Scheme};
use self::management::{Login, Management, Which};
use self::told::Queue;
use crate::find;
use crate::https::Client;
use crate::oauth::{self, Credentials, Tokens};
use crate::remote::{Question, Remote};
use crate::tls::{self, Tls};

/// Time for one reading unless `timeout` says otherwise: KEDA's own for HTTP.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// The longest `timeout` obeyed: past a minute a number is no signal any more.
pub const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// Why the number is not known. No password stands in any of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value stands where nobody can look.
    #[error(transparent)]
    Find(#[from] find::Error),
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// No token from OAuth's endpoint.
    #[error(transparent)]
    OAuth(#[from] oauth::Error),
    /// Not a URI that is understood. It may hold a password, so it is not shown.
    #[error(
        "host is none of amqp://, amqps://, http:// and https:// with a host name, or does not fit protocol"
    )]
    Host,
    /// What the trigger asks for is not read.
    #[error("{what}; {instead}")]
    Unsupported {
        /// What.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A name that AMQP cannot carry.
    #[error("{what} is longer than {SHORT_BYTES_MAX} bytes")]
    TooLong {
        /// Which parameter.
        what: &'static str,
    },
    /// The server has no such queue. Asking again helps once somebody has declared it.
    #[error("queue {queue:?} not found")]
    NoQueue {
        /// The queue.
        queue: String,
    },
    /// The pattern matches more than a page.
    #[error("regex matches more queues than can be recovered at once; raise pageSize")]
    Pages,
    /// The server cannot be asked over AMQP, or refuses.
    #[error("rabbitmq at {server}: {reason}")]
    Amqp {
        /// Host and port.
        server: String,
        /// What it said.
        reason: amqp::Error,
    },
    /// The management API cannot be asked, or refuses. Asking again can help.
    #[error("rabbitmq: {0}")]
    Http(#[from] crate::http::Error),
    /// Something else than the management API answered.
    #[error("{url} answered something else than RabbitMQ does: {reason}")]
    Answer {
        /// Who.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A number that is none.
    #[error("queue {queue:?} has rates that are no finite number")]
    NotFinite {
        /// The queue.
        queue: String,
    },
    /// No answer in time. Asking again can help.
    #[error("rabbitmq at {server} has not answered within {after_ms} ms")]
    Late {
        /// Host and port.
        server: String,
        /// The deadline.
        after_ms: u128,
    },
}

/// A number and whether it means work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Messages, messages a second, a ratio or seconds, by mode; finite.
    pub value: f64,
    /// KEDA's activity, which in some modes is more than a threshold's.
    pub active: bool,
}

/// A queue to be read again and again.
pub struct RabbitQueue {
    question: Question,
    queue: String,
    mode: Mode,
    activation: f64,
    exclude_unacknowledged: bool,
    via: Via,
}

enum Via {
    Amqp(Amqp),
    Management(Box<Management>),
}

impl fmt::Debug for RabbitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitQueue").field("question", &self.question).finish_non_exhaustive()
    }
}

impl RabbitQueue {
    /// A reader of what `trigger` describes; `value` finds what stands elsewhere. Nothing is connected yet.
    ///
    /// # Errors
    /// When a value is not at hand or cannot be used, or the protocol cannot do what is asked.
    pub fn new(trigger: &RabbitMq, value: impl Fn(&Origin) -> Option<String>) -> Result<Self, Error> {
        let secret = |what, secret| find::secret(what, secret, &value);
        if trigger.workload_identity_resource.is_some() {
            return Err(Error::Unsupported {
                what: "workloadIdentityResource is not read",
                instead: "use username and password, or OAuth 2 client credentials",
            });
        }
        let vhost = find::given("vhostName", trigger.vhost_name.as_ref(), &value)?;
        let address = match &trigger.host {
            Given::Value(address) => address.0.clone(),
            Given::Elsewhere(origin) => {
                let elsewhere = Given::Elsewhere(origin.clone());
                find::given("host", Some(&elsewhere), &value)?.unwrap_or_default()
            }
        };
        let mut host = Host::parse(&address).ok_or(Error::Host)?;
        let wanted = trigger.protocol.unwrap_or(host.scheme.protocol());
        if wanted != host.scheme.protocol() {
            return Err(Error::Host);
        }
        let user = secret("username", trigger.username.as_ref())?;
        let password = secret("password", trigger.password.as_ref())?;
        if let (Some(user), Some(password)) = (user, password) {
            host.login = Some((user, password));
        }
        let tls = Tls {
            ca_pem: secret("ca", trigger.ca.as_ref())?,
            cert_pem: secret("cert", trigger.cert.as_ref())?,
            key_pem: secret("key", trigger.key.as_ref())?,
            key_password: secret("keyPassword", trigger.key_password.as_ref())?,
            insecure: trigger.unsafe_ssl,
        };
        let question = question(trigger, &host, vhost.as_deref(), &tls);
        let (question, via) = match wanted {
            Protocol::Amqp => (question, over_amqp(trigger, &host, vhost, &tls)?),
            Protocol::Http => {
                let tokens = tokens(trigger, &tls, &value)?;
                let question = question.secret("oauth", tokens.as_ref().map(|(_, secret)| secret.as_str()));
                (question, over_http(trigger, &host, vhost, &tls, tokens.map(|(tokens, _)| tokens))?)
            }
        };
        Ok(RabbitQueue {
            question,
            queue: trigger.queue_name.clone(),
            mode: trigger.mode,
            activation: trigger.activation_value,
            exclude_unacknowledged: trigger.exclude_unacknowledged,
            via,
        })
    }

    /// The number now; `None` where a pattern matches no queue.
    ///
    /// # Errors
    /// When the server does not give it in time.
    pub async fn read(&self) -> Result<Option<Measured>, Error> {
        let deadline = match &self.via {
            Via::Amqp(_) => DEADLINE,
            Via::Management(management) => management.deadline(),
        };
        let server = || self.question.server().to_owned();
        let asked = tokio::time::timeout(deadline, async {
            match &self.via {
                Via::Management(management) => management.ask().await,
                Via::Amqp(amqp) => match amqp.ready(&self.queue).await {
                    Ok(ready) => {
                        let ready = f64::from(ready);
                        Ok(Some(Queue { messages: ready, messages_ready: ready, ..Queue::default() }))
                    }
                    Err(amqp::Error::Refused { code: 404, .. }) => {
                        Err(Error::NoQueue { queue: self.queue.clone() })
                    }
                    Err(reason) => Err(Error::Amqp { server: server(), reason }),
                },
            }
        });
        let queue =
            asked.await.map_err(|_| Error::Late { server: server(), after_ms: deadline.as_millis() })??;
        let Some(queue) = queue else { return Ok(None) };
        let measured = measure(self.mode, &queue, self.activation, self.exclude_unacknowledged);
        if !measured.value.is_finite() {
            return Err(Error::NotFinite { queue: self.queue.clone() });
        }
        Ok(Some(measured))
    }
}

impl Remote for RabbitQueue {
    fn question(&self) -> &Question {
        &self.question
    }

    fn ask(&self) -> BoxFuture<'_, Result<Reading, String>> {
        Box::pin(async {
            match self.read().await {
                Ok(Some(Measured { value, active })) => Ok(Reading::Value { value, active: Some(active) }),
                Ok(None) => Ok(Reading::Absent),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// What KEDA makes of a queue in each mode.
fn measure(mode: Mode, queue: &Queue, activation: f64, exclude_unacknowledged: bool) -> Measured {
    let messages = if exclude_unacknowledged { queue.messages_ready } else { queue.messages };
    let (published, delivered) = (queue.published_per_s, queue.delivered_per_s);
    let by_value = |value: f64| Measured { value, active: value > activation };
    // Published and never delivered: no ratio, but somebody has to start.
    let stuck = Measured { value: activation, active: true };
    match mode {
        Mode::QueueLength => by_value(messages),
        Mode::MessageRate => {
            Measured { value: published, active: published > activation || messages > activation }
        }
        Mode::DeliverGetRate => by_value(delivered),
        Mode::PublishedToDeliveredRatio if delivered > 0.0 => by_value(published / delivered),
        Mode::PublishedToDeliveredRatio if published > 0.0 => stuck,
        Mode::PublishedToDeliveredRatio => by_value(0.0),
        Mode::ExpectedQueueConsumptionTime if messages <= 0.0 => by_value(0.0),
        Mode::ExpectedQueueConsumptionTime if delivered > 0.0 => {
            by_value((published - delivered) / delivered + messages / delivered)
        }
        Mode::ExpectedQueueConsumptionTime => stuck,
    }
}

fn question(trigger: &RabbitMq, host: &Host, vhost: Option<&str>, tls: &Tls) -> Question {
    let (user, password) =
        host.login.as_ref().map_or((None, None), |(user, password)| (Some(user), Some(password)));
    Question::new("rabbitmq", host.server())
        .with("scheme", host.scheme.as_str())
        .with("path", &host.path)
        .with("vhost", vhost.unwrap_or_default())
        .with("queue", &trigger.queue_name)
        .with("mode", trigger.mode.as_str())
        .with("activation", trigger.activation_value)
        .with("regex", trigger.use_regex)
        .with("operation", trigger.operation.as_str())
        .with("page", trigger.page_size)
        .with("ready", trigger.exclude_unacknowledged)
        .with("unsafe", tls.insecure)
        .with("timeout", format!("{:?}", trigger.timeout))
        .secret("user", user.map(String::as_str))
        .secret("password", password.map(String::as_str))
        .secret("ca", tls.ca_pem.as_deref())
        .secret("cert", tls.cert_pem.as_deref())
        .secret("key", tls.key_pem.as_deref())
}

fn over_amqp(trigger: &RabbitMq, host: &Host, vhost: Option<String>, tls: &Tls) -> Result<Via, Error> {
    let instead = "use the management API: host http://…:15672/ and protocol http";
    // Said at lint time already where the protocol is known then.
    if trigger.use_regex || trigger.exclude_unacknowledged || trigger.mode != Mode::QueueLength {
        let what = "useRegex, excludeUnacknowledged and modes other than QueueLength need protocol http";
        return Err(Error::Unsupported { what, instead });
    }
    let vhost = vhost.unwrap_or_else(|| host.amqp_vhost());
    for (what, text) in [("queueName", &trigger.queue_name), ("vhostName", &vhost)] {
        if text.len() > SHORT_BYTES_MAX {
            return Err(Error::TooLong { what });
        }
    }
    let tls = match host.scheme {
        Scheme::Amqps => Some((tls::client_config(tls)?, tls::server_name(&host.name)?)),
        _ => None,
    };
    let (user, password) = host.login.clone().unwrap_or_else(|| ("guest".to_owned(), "guest".to_owned()));
    let (name, port) = (host.name.clone(), host.port());
    Ok(Via::Amqp(Amqp::new(Server { host: name, port, tls, vhost, user, password })))
}

fn over_http(
    trigger: &RabbitMq,
    host: &Host,
    vhost: Option<String>,
    tls: &Tls,
    tokens: Option<Tokens>,
) -> Result<Via, Error> {
    let secure = host.scheme == Scheme::Https;
    let client = Client::new(secure.then_some(tls))?;
    let login = match (tokens, &host.login) {
        (Some(tokens), _) => Some(Login::OAuth(Box::new(tokens))),
        (None, Some((user, password))) => Login::basic(user, password),
        (None, None) => None,
    };
    let (prefix, path_vhost) = host.management_path();
    let base = format!("{}://{}{prefix}", host.scheme.as_str(), host.server());
    let vhost = vhost.unwrap_or(path_vhost);
    let which = if trigger.use_regex { Which::Pattern(trigger.operation) } else { Which::One };
    let deadline =
        trigger.timeout.map_or(DEADLINE, |span| Duration::from_micros(span.as_micros().unsigned_abs()));
    let queue = (trigger.queue_name.as_str(), which, trigger.page_size);
    let management = Management::new(client, login, &base, &vhost, queue, deadline.min(DEADLINE_MAX))?;
    Ok(Via::Management(Box::new(management)))
}

/// OAuth 2, where the trigger has all of it; with what tells these credentials from others.
fn tokens(
    trigger: &RabbitMq,
    tls: &Tls,
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<Option<(Tokens, String)>, Error> {
    let oauth = &trigger.oauth;
    let url = find::secret("oauthTokenURI", oauth.token_uri.as_ref(), value)?;
    let client_id = find::secret("clientID", oauth.client_id.as_ref(), value)?;
    let client_secret = find::secret("clientSecret", oauth.client_secret.as_ref(), value)?;
    let (Some(url), Some(client_id), Some(client_secret)) = (url, client_id, client_secret) else {
        return Ok(None);
    };
    let scopes = find::secret("scopes", oauth.scopes.as_ref(), value)?.unwrap_or_default();
    let scopes = scopes.split(',').map(str::trim).collect::<Vec<_>>().join(" ");
    let parameters =
        find::secret("endpointParams", oauth.endpoint_params.as_ref(), value)?.unwrap_or_default();
    let identity = [&url, &client_id, &client_secret, &scopes, &parameters].map(String::as_str).join("\n");
    let credentials = Credentials { url, client_id, client_secret, scopes, parameters };
    Ok(Some((Tokens::new(credentials, tls)?, identity)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(messages: f64, published_per_s: f64, delivered_per_s: f64) -> Queue {
        Queue { messages, messages_ready: messages / 2.0, published_per_s, delivered_per_s }
    }

    fn value(mode: Mode, queue: &Queue) -> (f64, bool) {
        let measured = measure(mode, queue, 5.0, false);
        (measured.value, measured.active)
    }

    #[test]
    fn messages_count_with_or_without_those_not_acknowledged() {
        assert_eq!(value(Mode::QueueLength, &queue(8.0, 0.0, 0.0)), (8.0, true));
        let ready = measure(Mode::QueueLength, &queue(8.0, 0.0, 0.0), 5.0, true);
        assert_eq!(ready, Measured { value: 4.0, active: false });
    }

    #[test]
    fn a_rate_of_zero_with_messages_waiting_still_is_work() {
        assert_eq!(value(Mode::MessageRate, &queue(8.0, 0.0, 0.0)), (0.0, true));
        assert_eq!(value(Mode::MessageRate, &queue(5.0, 5.0, 0.0)), (5.0, false));
        assert_eq!(value(Mode::DeliverGetRate, &queue(8.0, 0.0, 6.0)), (6.0, true));
    }

    #[test]
    fn what_is_published_and_never_delivered_wakes_somebody() {
        assert_eq!(value(Mode::PublishedToDeliveredRatio, &queue(1.0, 12.0, 2.0)), (6.0, true));
        assert_eq!(value(Mode::PublishedToDeliveredRatio, &queue(1.0, 12.0, 0.0)), (5.0, true));
        assert_eq!(value(Mode::PublishedToDeliveredRatio, &queue(1.0, 0.0, 0.0)), (0.0, false));
    }

    #[test]
    fn a_queue_of_thirty_drained_by_two_a_second_takes_fifteen_seconds_and_what_comes_meanwhile() {
        // (4 − 2) / 2 + 30 / 2
        assert_eq!(value(Mode::ExpectedQueueConsumptionTime, &queue(30.0, 4.0, 2.0)), (16.0, true));
        assert_eq!(value(Mode::ExpectedQueueConsumptionTime, &queue(0.0, 4.0, 2.0)), (0.0, false));
        assert_eq!(value(Mode::ExpectedQueueConsumptionTime, &queue(30.0, 4.0, 0.0)), (5.0, true));
    }
}
