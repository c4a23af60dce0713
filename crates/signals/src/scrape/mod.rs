//! Asks many replicas for their metrics, each once a second.
//!
//! Each endpoint has a task of its own. Its first scrape comes at a place in the second that its name
//! chooses, so that 500 engines are asked evenly and not in a burst; the same fleet is asked in the same
//! rhythm every time. After a failure the pause doubles up to five seconds. Results go through one
//! bounded channel; when nobody takes them, new ones are dropped and counted, for a second later there
//! are newer ones.

mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use http::header::HeaderValue;
use tidegate_core::time::Time;
use tidegate_metrics::dialect::Engine;
use tidegate_metrics::rates::Rates;
use tidegate_metrics::sample::{self, EngineSample};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::http::{self as client, Client};
use crate::https;
use crate::series::Series;

/// Results waiting to be taken: two seconds of 500 engines.
const RESULTS_MAX: usize = 1024;

/// Endpoints asked at the most: each costs a connection and 10 KB, so 40 MB in all.
pub const ENDPOINTS_MAX: usize = 4096;

/// How often and how patiently.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From one scrape of an endpoint to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub deadline: Duration,
    /// The longest pause after failures.
    pub pause_max: Duration,
}

impl Default for Pace {
    /// Each second, within a second, and each five seconds where nobody answers.
    fn default() -> Self {
        Pace {
            interval: Duration::from_secs(1),
            deadline: Duration::from_secs(1),
            pause_max: Duration::from_secs(5),
        }
    }
}

/// A replica to ask.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its name, unique among all endpoints.
    pub id: Arc<str>,
    /// Where its metrics are: `http://127.0.0.1:8000/metrics`.
    pub url: Uri,
    /// The engine, where it is known; else the first page tells.
    pub engine: Option<Engine>,
    /// Sent as `Authorization`: llama.cpp guards its metrics with the API key.
    pub authorization: Option<HeaderValue>,
    /// Who speaks TLS with it; `None` for plain HTTP.
    pub tls: Option<https::Client>,
    /// Labels that its series get: `pod`, `namespace`, ….
    pub labels: Vec<(String, String)>,
    /// Where its target's queries find what they want.
    pub series: Option<Arc<Series>>,
}

impl Endpoint {
    /// An endpoint of a local replica.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>, url: Uri, engine: Option<Engine>) -> Self {
        Endpoint {
            id: id.into(),
            url,
            engine,
            authorization: None,
            tls: None,
            labels: Vec::new(),
            series: None,
        }
    }
}

/// A replica, by what its series are labelled with: as Prometheus' usual configuration does.
#[derive(Clone, Copy, Debug)]
pub struct Replica<'a> {
    /// Its name among all endpoints.
    pub id: &'a Arc<str>,
    /// Its namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container that serves.
    pub container: &'a str,
    /// The kind of its workload in small letters: `deployment`.
    pub kind: &'a str,
    /// Its workload's name.
    pub workload: &'a str,
    /// Where it listens.
    pub addr: SocketAddr,
    /// The path of its metrics.
    pub path: &'a str,
    /// The engine, where it is known.
    pub engine: Option<Engine>,
    /// The key it asks of its clients.
    pub key: Option<&'a str>,
    /// Who speaks TLS with it; `None` for plain HTTP.
    pub tls: Option<&'a https::Client>,
    /// The model it serves: for engines whose series do not say. Theirs wins.
    pub model: Option<&'a str>,
}

impl Replica<'_> {
    /// What is asked; `None` where the path makes no address.
    #[must_use]
    pub fn endpoint(&self, series: Option<Arc<Series>>) -> Option<Endpoint> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}{}", self.addr, self.path).parse().ok()?;
        let mut endpoint = Endpoint::new(Arc::clone(self.id), url, self.engine);
        endpoint.authorization = self.key.and_then(|key| format!("Bearer {key}").parse().ok());
        endpoint.series = series;
        endpoint.tls = self.tls.cloned();
        let instance = self.addr.to_string();
        let labels = [
            ("namespace", self.namespace),
            ("pod", self.pod),
            ("container", self.container),
            (self.kind, self.workload),
            ("job", self.workload),
            ("instance", &instance),
        ];
        let labels = labels.into_iter().chain(self.model.map(|model| ("model_name", model)));
        endpoint.labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(endpoint)
    }
}

/// What a scrape found.
#[derive(Clone, Debug)]
pub struct Scraped {
    /// The engine that wrote the page.
    pub engine: Engine,
    /// What it says.
    pub sample: EngineSample,
    /// What changed over the last half minute.
    pub rates: Rates,
}

/// One scrape.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The endpoint.
    pub endpoint: Arc<str>,
    /// When the answer was there.
    pub at: Time,
    /// How long it took.
    pub took: Duration,
    /// What it found.
    pub result: Result<Box<Scraped>, Error>,
}

/// Why a scrape found nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No page came.
    #[error(transparent)]
    Http(#[from] client::Error),
    /// The page is not text.
    #[error("{url} answered with bytes that are not UTF-8, from byte {at}")]
    NotText {
        /// The URL.
        url: String,
        /// The first wrong byte.
        at: usize,
    },
    /// The page gives no sample.
    #[error("{url}: {reason}")]
    Page {
        /// The URL.
        url: String,
        /// Why.
        reason: sample::Error,
    },
}

/// Asks endpoints until it is dropped. Clones share the endpoints.
#[derive(Clone, Debug)]
pub struct Scraper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pace: Pace,
    clock: Clock,
    client: Client,
    results: mpsc::Sender<Scrape>,
    dropped: AtomicU64,
    tasks: Mutex<BTreeMap<Arc<str>, Task>>,
}

/// A task that ends with its handle.
#[derive(Debug)]
struct Task {
    url: Uri,
    handle: JoinHandle<()>,
    _watch: worker::Watch,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Scraper {
    /// A scraper without endpoints, and where its results come out. It needs a tokio runtime from
    /// [`Scraper::add`] on.
    #[must_use]
    pub fn new(pace: Pace, clock: Clock) -> (Scraper, mpsc::Receiver<Scrape>) {
        let (results, receiver) = mpsc::channel(RESULTS_MAX);
        let shared = Shared {
            pace,
            clock,
            client: Client::default(),
            results,
            dropped: AtomicU64::new(0),
            tasks: Mutex::default(),
        };
        (Scraper { shared: Arc::new(shared) }, receiver)
    }

    /// Asks `endpoint` from now on; one of the same name and URL goes on as it is, one of the same name
    /// elsewhere gives way. Returns false, and asks nobody, beyond [`ENDPOINTS_MAX`].
    pub fn add(&self, endpoint: Endpoint) -> bool {
        let mut tasks = self.tasks();
        let id = Arc::clone(&endpoint.id);
        if tasks.get(&id).is_some_and(|task| task.url == endpoint.url) {
            return true;
        }
        if tasks.len() >= ENDPOINTS_MAX && !tasks.contains_key(&id) {
            return false;
        }
        // The old one is forgotten before the new one is named.
        tasks.remove(&id);
        let url = endpoint.url.clone();
        let watch = worker::Watch::of(&endpoint);
        let handle = tokio::spawn(worker::run(endpoint, Arc::downgrade(&self.shared)));
        tasks.insert(id, Task { url, handle, _watch: watch });
        true
    }

    /// Asks `id` no more.
    pub fn remove(&self, id: &str) {
        self.tasks().remove(id);
    }

    /// Endpoints asked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks().len()
    }

    /// Whether nobody is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks().is_empty()
    }

    /// Results dropped so far because nobody took them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Task>> {
        self.shared.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
