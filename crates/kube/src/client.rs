//! The connection to the API server: one place that every request passes.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Request, Response};
pub use kube::Client;
use kube::Config;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::BoxError;

/// Until a connection is there. An API server next door answers in milliseconds; one that does not in
/// this time is away, and the next try may find another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Until the next byte of an answer. Watches are ended by the server after 90 s at the most, and 15 s more are for one
/// that is busy.
const READ_TIMEOUT: Duration = Duration::from_secs(105);

/// Until a whole answer that somebody waits for: the pages of what is remembered, 30 MB of 10,000 targets, come in less.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// Where tokens are reviewed.
const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// How to find the API server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A kubeconfig; without one `$KUBECONFIG`, `~/.kube/config`, then the pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// Its context; without one the current one.
    pub context: Option<String>,
    /// Refuse every request that could change something.
    pub read_only: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable configuration.
    #[error("no way to an API server: {0}; give --kubeconfig, or run in a pod with a service account")]
    Config(String),
    /// A configuration that makes no client.
    #[error("cannot make a client of the configuration: {0}; check its certificates")]
    Client(#[from] kube::Error),
}

/// A request that would change something, where nothing may be.
#[derive(Debug, thiserror::Error)]
#[error("{method} is refused: this operator only advises")]
struct ReadOnly {
    method: Method,
}

/// Requests sent, by what they do.
#[derive(Debug, Default)]
pub struct Requests {
    reads: AtomicU64,
    writes: AtomicU64,
    refused: AtomicU64,
}

impl Requests {
    /// GETs: reads, lists and watches.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Everything else that was sent.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Writes that were not sent because nothing may be written.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// A client and its count of requests.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// What it has sent.
    pub requests: Arc<Requests>,
    /// Whether writes are refused.
    pub read_only: bool,
    /// The namespace of the configuration: the pod's own, in a pod.
    pub namespace: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl Connection {
    /// A client after `options`. Nothing is sent yet.
    ///
    /// # Errors
    /// Without a configuration, or with one that cannot be used.
    pub async fn new(options: &Options) -> Result<Self, Error> {
        let mut config = config(options).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        // A connection that lay idle has its whole time when it is used again.
        config.reset_reader_on_write = true;
        // The client's own policy tries again up to fifteen times, for minutes: a count decided minutes
        // ago must not be written. Whoever sends decides whether to send again.
        config.default_retry = false;
        let namespace = config.default_namespace.clone();
        let inner = Client::try_from(config)?;
        let requests = Arc::new(Requests::default());
        let (counted, read_only) = (Arc::clone(&requests), options.read_only);
        let service = tower::service_fn(move |request: Request<Body>| {
            let allowed = allow(&request, read_only, &counted);
            let inner = inner.clone();
            async move {
                allowed?;
                let answer: Response<Body> = inner.send(request).await?;
                Ok::<_, BoxError>(answer)
            }
        });
        let client = Client::new(service, namespace.clone());
        Ok(Connection { client, requests, read_only, namespace })
    }
}

fn allow(request: &Request<Body>, read_only: bool, counted: &Requests) -> Result<(), BoxError> {
    let method = request.method();
    // A review of a token is asked with a POST, and leaves nothing behind.
    if method == Method::GET || request.uri().path() == TOKEN_REVIEWS {
        counted.reads.fetch_add(1, Ordering::Relaxed);
    } else if read_only {
        counted.refused.fetch_add(1, Ordering::Relaxed);
        return Err(ReadOnly { method: method.clone() }.into());
    } else {
        counted.writes.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn config(options: &Options) -> Result<Config, Error> {
    let said = |error: &dyn fmt::Display| Error::Config(error.to_string());
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    match &options.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| said(&error))?;
            Config::from_custom_kubeconfig(file, &chosen).await.map_err(|error| said(&error))
        }
        None if chosen.context.is_some() => {
            Config::from_kubeconfig(&chosen).await.map_err(|error| said(&error))
        }
        None => Config::infer().await.map_err(|error| said(&error)),
    }
}
