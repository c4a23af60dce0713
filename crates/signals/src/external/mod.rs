//! `external` and `external-push`: a server that speaks KEDA's gRPC contract.
//!
//! Each ask is what KEDA asks in a poll: which metrics there are, what each is now, and whether the target
//! is active; here with a deadline for all of it, so a server that hangs is an error after three seconds
//! and stops nobody. The reading is in replicas: the largest of value by target, since the server tells
//! the target too. A server that pushes is listened to as well ([`push`]).

mod link;
#[rustfmt::skip]
#[expect(unreachable_pub, reason = "made by codegen")]
mod proto;
mod push;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::{BoxFuture, try_join, try_join_all};
use tidegate_core::scale::Reading;
use tidegate_manifest::trigger::{External, Given, Origin};
use tokio::sync::{Mutex, watch};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::find;
use crate::remote::{Question, Remote};
use crate::tls::Tls;
use link::{Client, Link};
use proto::{GetMetricsRequest, MetricSpec, ScaledObjectRef};
use push::Listener;

/// How long connecting and all questions of one ask may take together: KEDA's own default for a request.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// Metrics of one trigger. KEDA makes a metric of an HPA of each.
pub const METRICS_MAX: usize = 32;

/// Bytes of one message: 32 metrics with names of 1 KiB, and as much again.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Why the server's numbers are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value stands where nobody can look.
    #[error(transparent)]
    Unknown(#[from] find::Error),
    /// An address that is none.
    #[error("scalerAddress is not of the form host:port")]
    Address,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] crate::tls::Error),
    /// The server cannot be reached, or refuses. Asking again can help.
    #[error("external scaler at {server}: {reason}")]
    Server {
        /// Host and port.
        server: String,
        /// What it or the system said.
        reason: String,
    },
    /// No answer in time. Asking again can help.
    #[error("external scaler at {server} has not answered within {} s", DEADLINE.as_secs())]
    Late {
        /// Host and port.
        server: String,
    },
    /// An answer that makes no sense. The scaler has to be mended.
    #[error("external scaler at {server} {what}")]
    Answer {
        /// Host and port.
        server: String,
        /// What it did.
        what: String,
    },
}

/// The object whose trigger it is, as the server gets to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

/// What a server said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The largest of value by target, in replicas.
    pub replicas: f64,
    /// Whether the target is active, as the server sees it.
    pub active: bool,
}

/// A server to be asked again and again.
pub struct ExternalScaler {
    link: Arc<Link>,
    target: ScaledObjectRef,
    question: Question,
    channel: Mutex<Option<Channel>>,
    push: bool,
    news: watch::Sender<u64>,
    listener: OnceLock<Listener>,
}

impl fmt::Debug for ExternalScaler {
    /// Without metadata and TLS, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalScaler")
            .field("server", &self.link.server)
            .field("push", &self.push)
            .finish_non_exhaustive()
    }
}

impl ExternalScaler {
    /// A reader of what `trigger` describes for `object`; `value` finds what stands elsewhere. Nothing is
    /// connected yet.
    ///
    /// # Errors
    /// When a value is not at hand, the address is none, or TLS cannot be set up.
    pub fn new(
        trigger: &External,
        object: Object<'_>,
        value: impl Fn(&Origin) -> Option<String>,
    ) -> Result<Self, Error> {
        let text = |what, secret: &Option<_>| find::secret(what, secret.as_ref(), &value);
        let tls = Tls {
            ca_pem: text("caCert", &trigger.ca_cert)?,
            cert_pem: text("tlsClientCert", &trigger.tls_client_cert)?,
            key_pem: text("tlsClientKey", &trigger.tls_client_key)?,
            insecure: trigger.unsafe_ssl,
            ..Tls::default()
        };
        let metadata = metadata(trigger, &value)?;
        let server = trigger.scaler_address.trim().trim_start_matches("dns:///").to_owned();
        let mut question =
            Question::new(if trigger.push { "external-push" } else { "external" }, server.clone())
                .with("object", format!("{}/{}", object.namespace, object.name))
                .with("tls", trigger.enable_tls)
                .with("unsafeSsl", trigger.unsafe_ssl)
                .secret("ca", tls.ca_pem.as_deref())
                .secret("cert", tls.cert_pem.as_deref())
                .secret("key", tls.key_pem.as_deref());
        // Any of it may be a secret. Sorted by the manifest; the length keeps neighbours apart.
        for (key, text) in &metadata {
            question = question.secret("metadata", Some(&format!("{}:{key}={text}", key.len())));
        }
        let link = Arc::new(Link::new(server, trigger.enable_tls.then_some(&tls))?);
        let target = ScaledObjectRef {
            name: object.name.to_owned(),
            namespace: object.namespace.to_owned(),
            scaler_metadata: metadata.into_iter().collect::<HashMap<_, _>>(),
        };
        Ok(ExternalScaler {
            link,
            target,
            question,
            channel: Mutex::new(None),
            push: trigger.push,
            news: watch::Sender::default(),
            listener: OnceLock::new(),
        })
    }

    /// What the server says now.
    ///
    /// # Errors
    /// When it gives no answer within [`DEADLINE`], or one that makes no sense.
    pub async fn read(&self) -> Result<Answer, Error> {
        let pushed = self.listener().is_some_and(Listener::take);
        let mut slot = self.channel.lock().await;
        let kept = slot.take();
        let Ok(asked) = tokio::time::timeout(DEADLINE, self.ask_twice(kept)).await else {
            // The channel goes too: behind a network that swallows everything it would never be mended.
            return Err(Error::Late { server: self.link.server.clone() });
        };
        let (channel, answer) = asked?;
        *slot = Some(channel);
        drop(slot);
        answer.map(|answer| Answer { active: answer.active || pushed, ..answer })
    }

    /// The listener, from the first ask on: only then is there somebody to tell.
    fn listener(&self) -> Option<&Listener> {
        let listen = || Listener::start(Arc::clone(&self.link), self.target.clone(), self.news.clone());
        self.push.then(|| self.listener.get_or_init(listen))
    }

    /// Asks over the channel kept, and once more over a new one if that is broken: a server that was
    /// restarted closed it. The outer error is one of the channel, the inner one of the scaler.
    async fn ask_twice(&self, kept: Option<Channel>) -> Result<(Channel, Result<Answer, Error>), Error> {
        if let Some(channel) = kept {
            match self.ask(&channel).await {
                Err(Failed::Broken(_)) => {}
                Err(Failed::Late) => return Err(self.public(Failed::Late)),
                answer => return Ok((channel, answer.map_err(|failed| self.public(failed)))),
            }
        }
        let channel = self.link.channel();
        match self.ask(&channel).await {
            Err(broken @ (Failed::Broken(_) | Failed::Late)) => Err(self.public(broken)),
            answer => Ok((channel, answer.map_err(|failed| self.public(failed)))),
        }
    }

    /// What KEDA asks in one poll.
    async fn ask(&self, channel: &Channel) -> Result<Answer, Failed> {
        let client = Link::client(channel);
        let activity = async {
            let answer = client.clone().is_active(request(self.target.clone())).await?;
            Ok::<_, Failed>(answer.into_inner().result)
        };
        let (active, replicas) = try_join(activity, self.replicas(&client)).await?;
        Ok(Answer { replicas, active })
    }

    async fn replicas(&self, client: &Client) -> Result<f64, Failed> {
        let specs = client.clone().get_metric_spec(request(self.target.clone())).await?;
        let specs = specs.into_inner().metric_specs;
        if specs.is_empty() {
            return Err(Failed::Answer("got empty metric spec".to_owned()));
        }
        if specs.len() > METRICS_MAX {
            return Err(Failed::Answer(format!("names more than {METRICS_MAX} metrics")));
        }
        let all = specs.iter().map(|spec| self.metric(client.clone(), spec));
        Ok(try_join_all(all).await?.into_iter().fold(f64::NEG_INFINITY, f64::max))
    }

    /// One metric, in replicas.
    async fn metric(&self, mut client: Client, spec: &MetricSpec) -> Result<f64, Failed> {
        let name = find::brief(&spec.metric_name);
        // The newer field counts once somebody fills it, as for KEDA.
        let either = |float: f64, whole: i64| if float > 0.0 { float } else { whole as f64 };
        let target = either(spec.target_size_float, spec.target_size);
        if !(target > 0.0 && target.is_finite()) {
            return Err(Failed::Answer(format!("gives {name} no target above 0")));
        }
        let asked = GetMetricsRequest {
            scaled_object_ref: Some(self.target.clone()),
            metric_name: spec.metric_name.clone(),
        };
        let values = client.get_metrics(request(asked)).await?.into_inner().metric_values;
        if values.is_empty() {
            return Err(Failed::Answer(format!("gives {name} no value")));
        }
        let sum: f64 = values.iter().map(|value| either(value.metric_value_float, value.metric_value)).sum();
        let replicas = sum / target;
        if replicas.is_finite() {
            Ok(replicas)
        } else {
            Err(Failed::Answer(format!("gives {name} no finite value")))
        }
    }

    fn public(&self, failed: Failed) -> Error {
        let server = self.link.server.clone();
        match failed {
            Failed::Broken(reason) | Failed::Refused(reason) => Error::Server { server, reason },
            Failed::Late => Error::Late { server },
            Failed::Answer(what) => Error::Answer { server, what },
        }
    }
}

impl Remote for ExternalScaler {
    fn question(&self) -> &Question {
        &self.question
    }

    fn ask(&self) -> BoxFuture<'_, Result<Reading, String>> {
        Box::pin(async {
            let answer = self.read().await.map_err(|error| error.to_string())?;
            Ok(Reading::Value { value: answer.replicas, active: Some(answer.active) })
        })
    }

    fn news(&self) -> Option<watch::Receiver<u64>> {
        self.push.then(|| self.news.subscribe())
    }
}

/// What went wrong in an ask.
enum Failed {
    /// The connection: another one may do.
    Broken(String),
    /// No answer in time, by the clock of either side.
    Late,
    /// The server said no.
    Refused(String),
    /// An answer that makes no sense.
    Answer(String),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        // The client's own clock says Cancelled.
        if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) {
            return Failed::Late;
        }
        match std::error::Error::source(&status) {
            Some(cause) => Failed::Broken(find::root_cause(cause)),
            None if status.code() == Code::Unavailable => Failed::Broken(find::brief(status.message())),
            None => Failed::Refused(find::brief(format!("{:?}: {}", status.code(), status.message()))),
        }
    }
}

/// A message with the time its answer is awaited, so that the server too can give up.
fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn metadata(
    trigger: &External,
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<Vec<(String, String)>, Error> {
    let mut all = Vec::with_capacity(trigger.metadata.len());
    for (key, given) in &trigger.metadata {
        match given {
            Given::Value(text) => all.push((key.clone(), text.clone())),
            elsewhere => {
                let found = find::given("a value of the scaler's metadata", Some(elsewhere), value)?;
                all.extend(found.map(|text| (key.clone(), text)));
            }
        }
    }
    Ok(all)
}
