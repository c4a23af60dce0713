//! `nats-jetstream`: how many messages a consumer has still to take or to acknowledge.
//!
//! Read from the server's monitoring port, as KEDA does. In a cluster only the consumer's leader knows
//! both numbers, so the leader is looked for among the servers the first one names, and remembered.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tidegate_core::scale::Reading;
use tidegate_manifest::trigger::{NatsJetStream, Origin};
use tokio::sync::Mutex;

use crate::find;
use crate::https::Client;
use crate::remote::{Question, Remote};
use crate::tls::{self, Tls};

/// Time for one reading, all its questions together: KEDA's own for HTTP.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// Servers asked for the leader in one reading. Streams have at most five copies; NATS advises three or
/// five servers, and 32 that answer in 90 ms each fill [`DEADLINE`].
pub const SERVERS_MAX: usize = 32;

/// Why the number is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value stands where nobody can look.
    #[error(transparent)]
    Find(#[from] find::Error),
    /// `https` is asked for and cannot be spoken.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Not the address of a monitoring port.
    #[error(
        "{endpoint} is no monitoring endpoint; write natsServerMonitoringEndpoint as host:port, usually port 8222"
    )]
    Endpoint {
        /// As written.
        endpoint: String,
    },
    /// No account.
    #[error("no account name or id given; a server without accounts has the account $G")]
    NoAccount,
    /// The server cannot be asked. Asking again can help.
    #[error("nats: {0}")]
    Server(#[from] crate::http::Error),
    /// An answer that is not the monitoring port's. Asking again hardly helps.
    #[error("{url} answered something else than NATS does: {reason}")]
    Answer {
        /// Who.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The account has no such stream, or JetStream is off.
    #[error("stream {stream:?} not found in account {account:?}")]
    NoStream {
        /// The stream.
        stream: String,
        /// The account.
        account: String,
    },
    /// The stream has no such consumer.
    #[error("consumer {consumer:?} not found in stream {stream:?}")]
    NoConsumer {
        /// The consumer.
        consumer: String,
        /// The stream.
        stream: String,
    },
    /// The cluster has no leader for the consumer, or it cannot be reached. Asking again can help.
    #[error("no server reached is the leader of consumer {consumer:?} in stream {stream:?}: {reason}")]
    NoLeader {
        /// The consumer.
        consumer: String,
        /// The stream.
        stream: String,
        /// What the servers said.
        reason: String,
    },
    /// No answer in time. Asking again can help.
    #[error("nats at {server} has not answered within {} ms", DEADLINE.as_millis())]
    Late {
        /// Host and port.
        server: String,
    },
}

/// A consumer to be read again and again.
#[derive(Debug)]
pub struct NatsLag {
    client: Client,
    question: Question,
    scheme: &'static str,
    /// The endpoint of the manifest, `host:port`.
    endpoint: String,
    account: String,
    stream: String,
    consumer: String,
    /// The leader that answered last.
    leader: Mutex<Option<String>>,
}

/// `/jsz`, as far as it is wanted.
#[derive(Debug, Deserialize)]
struct Jsz {
    #[serde(default)]
    account_details: Vec<Account>,
    #[serde(default)]
    meta_cluster: Option<Meta>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    #[serde(default)]
    cluster_size: u32,
}

#[derive(Debug, Deserialize)]
struct Account {
    #[serde(default)]
    name: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    consumer_detail: Vec<Consumer>,
}

#[derive(Clone, Debug, Deserialize)]
struct Consumer {
    name: String,
    #[serde(default)]
    num_pending: u64,
    #[serde(default)]
    num_ack_pending: u64,
    #[serde(default)]
    cluster: Option<Raft>,
}

#[derive(Clone, Debug, Deserialize)]
struct Raft {
    #[serde(default)]
    leader: String,
}

/// `/varz`, as far as it is wanted.
#[derive(Debug, Deserialize)]
struct Varz {
    #[serde(default)]
    server_name: String,
    #[serde(default)]
    connect_urls: Vec<String>,
    #[serde(default)]
    cluster: Cluster,
}

#[derive(Debug, Default, Deserialize)]
struct Cluster {
    #[serde(default)]
    urls: Vec<String>,
}

impl Consumer {
    /// Not taken yet, and taken but not acknowledged.
    fn lag(&self) -> f64 {
        // Counts of messages stay far below 2^53.
        self.num_pending.saturating_add(self.num_ack_pending) as f64
    }

    fn leader(&self) -> &str {
        self.cluster.as_ref().map_or("", |raft| &raft.leader)
    }
}

/// Everything but what names are made of is escaped; `$G` becomes `%24G`.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl NatsLag {
    /// A reader of what `trigger` describes; `value` finds what stands elsewhere. Nothing is connected yet.
    ///
    /// # Errors
    /// When a value is not at hand or is no address.
    pub fn new(trigger: &NatsJetStream, value: impl Fn(&Origin) -> Option<String>) -> Result<Self, Error> {
        let endpoint = find::given("natsServerMonitoringEndpoint", Some(&trigger.endpoint), &value)?;
        let endpoint = endpoint.unwrap_or_default();
        let (scheme, tls) = if trigger.use_https { ("https", Some(Tls::default())) } else { ("http", None) };
        let url: Result<Uri, _> = format!("{scheme}://{endpoint}/jsz").parse();
        if !url.is_ok_and(|url| url.path() == "/jsz" && url.host().is_some_and(|host| !host.is_empty())) {
            return Err(Error::Endpoint { endpoint });
        }
        let account = find::given("account", trigger.account.as_ref(), &value)?.ok_or(Error::NoAccount)?;
        let question = Question::new("nats-jetstream", &endpoint)
            .with("https", trigger.use_https)
            .with("account", &account)
            .with("stream", &trigger.stream)
            .with("consumer", &trigger.consumer);
        Ok(NatsLag {
            client: Client::new(tls.as_ref())?,
            question,
            scheme,
            endpoint,
            account,
            stream: trigger.stream.clone(),
            consumer: trigger.consumer.clone(),
            leader: Mutex::new(None),
        })
    }

    /// Messages the consumer has not acknowledged yet.
    ///
    /// # Errors
    /// When no server says so within [`DEADLINE`].
    pub async fn read(&self) -> Result<f64, Error> {
        let late = Error::Late { server: self.endpoint.clone() };
        tokio::time::timeout(DEADLINE, self.ask()).await.unwrap_or(Err(late))
    }

    async fn ask(&self) -> Result<f64, Error> {
        let mut remembered = self.leader.lock().await;
        if let Some(leader) = remembered.clone() {
            if let Some(lag) = self.as_leader(&leader).await {
                return Ok(lag);
            }
            *remembered = None;
        }
        let first = self.jsz(&self.endpoint).await?;
        let found = self.find(&first);
        let size = first.meta_cluster.as_ref().map_or(0, |meta| meta.cluster_size);
        match found {
            Ok(consumer) if size <= 1 || consumer.leader().is_empty() && consumer.cluster.is_none() => {
                Ok(consumer.lag())
            }
            Err(error) if size <= 1 => Err(error),
            found => {
                let (leader, lag) = self.search(found).await?;
                *remembered = Some(leader);
                Ok(lag)
            }
        }
    }

    /// The lag as a server says that still is the leader.
    async fn as_leader(&self, server: &str) -> Option<f64> {
        let consumer = self.find(&self.jsz(server).await.ok()?).ok()?;
        let name = self.varz(server).await.ok()?.server_name;
        (consumer.leader() == name).then(|| consumer.lag())
    }

    /// Asks the servers of the cluster one by one for the leader. A server that is down is passed over:
    /// the cluster does without it too.
    async fn search(&self, first: Result<Consumer, Error>) -> Result<(String, f64), Error> {
        let varz = self.varz(&self.endpoint).await?;
        let mut reason = match &first {
            Ok(consumer) if consumer.leader().is_empty() => "there is none now".to_owned(),
            Ok(consumer) => format!("{} is not among the servers reached", consumer.leader()),
            Err(error) => error.to_string(),
        };
        if let Ok(consumer) = &first
            && consumer.leader() == varz.server_name
        {
            return Ok((self.endpoint.clone(), consumer.lag()));
        }
        for server in self.servers(&varz) {
            match self.jsz(&server).await.and_then(|jsz| self.find(&jsz)) {
                Ok(consumer) => match self.varz(&server).await {
                    Ok(varz) if varz.server_name == consumer.leader() => return Ok((server, consumer.lag())),
                    Ok(_) => {}
                    Err(error) => reason = error.to_string(),
                },
                // A server without a copy says so, which says nothing of the others.
                Err(Error::NoStream { .. } | Error::NoConsumer { .. }) => {}
                Err(error) => reason = error.to_string(),
            }
        }
        match first {
            Err(error @ (Error::NoStream { .. } | Error::NoConsumer { .. }))
                if reason == error.to_string() =>
            {
                Err(error)
            }
            _ => {
                let (consumer, stream) = (self.consumer.clone(), self.stream.clone());
                Err(Error::NoLeader { consumer, stream, reason })
            }
        }
    }

    /// The monitoring endpoints of the cluster's servers. All use the port of the one we know. Where the
    /// servers tell clients their addresses, those hosts; else, as on Kubernetes, each server's name before
    /// the host we know: `nats-1.` and `nats.ns.svc`.
    fn servers(&self, varz: &Varz) -> BTreeSet<String> {
        let (host, port) = split(&self.endpoint);
        let with_port = |host: &str| port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        if varz.connect_urls.is_empty() {
            let names = std::iter::once(&varz.server_name).chain(&varz.cluster.urls);
            let nodes = names.map(|name| name.split(['.', ':']).next().unwrap_or_default());
            return nodes.take(SERVERS_MAX).map(|node| with_port(&format!("{node}.{host}"))).collect();
        }
        varz.connect_urls.iter().take(SERVERS_MAX).map(|url| with_port(split(url).0)).collect()
    }

    fn find(&self, jsz: &Jsz) -> Result<Consumer, Error> {
        let account =
            jsz.account_details.iter().find(|one| one.name == self.account || one.id == self.account);
        let streams = account.map_or(&[][..], |account| &account.stream_detail);
        let Some(stream) = streams.iter().find(|stream| stream.name == self.stream) else {
            return Err(Error::NoStream { stream: self.stream.clone(), account: self.account.clone() });
        };
        let consumer = stream.consumer_detail.iter().find(|consumer| consumer.name == self.consumer);
        consumer
            .cloned()
            .ok_or_else(|| Error::NoConsumer { consumer: self.consumer.clone(), stream: self.stream.clone() })
    }

    async fn jsz(&self, server: &str) -> Result<Jsz, Error> {
        let account = utf8_percent_encode(&self.account, IN_QUERY);
        self.get(&format!("{}://{server}/jsz?acc={account}&consumers=true", self.scheme)).await
    }

    async fn varz(&self, server: &str) -> Result<Varz, Error> {
        self.get(&format!("{}://{server}/varz", self.scheme)).await
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, url: &str) -> Result<T, Error> {
        let uri: Uri = url.parse().map_err(|_| Error::Endpoint { endpoint: url.to_owned() })?;
        let body = self.client.get(&uri, &HeaderMap::new(), DEADLINE).await?;
        serde_json::from_slice(&body)
            .map_err(|error| Error::Answer { url: url.to_owned(), reason: find::brief(error) })
    }
}

impl Remote for NatsLag {
    fn question(&self) -> &Question {
        &self.question
    }

    fn ask(&self) -> BoxFuture<'_, Result<Reading, String>> {
        Box::pin(async {
            match self.read().await {
                Ok(value) => Ok(Reading::Value { value, active: None }),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// Host and port; `[v6]:port` keeps its brackets.
fn split(address: &str) -> (&str, Option<&str>) {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    }
}
