//! A client for sources that ask for credentials: GET and POST, with or without TLS.
//!
//! Beside [`crate::http`], which asks engines and is made for many small pages, this one sends headers and
//! trusts what its trigger trusts. Redirects are not followed, so that no credential goes to another host.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::asker::TURNS_MAX;
use crate::find::root_cause;
use crate::http::Error;
use crate::tls::{self, Tls};

/// The longest body read: 8 MiB is 16,000 queues or 8,000 consumers with all their figures.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// How long an unused connection is kept: longer than KEDA's usual 30 s between two questions.
const IDLE: Duration = Duration::from_secs(45);

/// A client with its connections, by default one kept for each server. It has the authorities and the
/// certificate of one source, or of several for which [`Clients`] found them to be the same. Clones share the
/// connections.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    secure: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("secure", &self.secure).finish_non_exhaustive()
    }
}

/// Clients by what they trust and who they are: sources for which that is the same share one, with as many
/// connections to a server as may ask it at once. Clones are the same.
#[derive(Clone, Default)]
pub struct Clients(Arc<Mutex<BTreeMap<u64, Weak<Client>>>>);

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

/// What tells one TLS from another, as a hash keyed anew in every process: keys are not kept for it.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Clients {
    /// The client for this TLS, made if nobody has one; it lives as long as somebody does.
    ///
    /// # Errors
    /// As for [`Client::new`].
    pub fn client(&self, tls: Option<&Tls>) -> Result<Arc<Client>, tls::Error> {
        let key = KEY.hash_one(tls);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(client);
        }
        let client = Arc::new(Client::keeping(tls, TURNS_MAX)?);
        known.retain(|_, client| client.strong_count() > 0);
        known.insert(key, Arc::downgrade(&client));
        Ok(client)
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// GET or POST.
    pub method: Method,
    /// Where; without user and password.
    pub url: &'a Uri,
    /// With which headers.
    pub headers: &'a HeaderMap,
    /// And which body.
    pub body: Bytes,
    /// Time for the whole answer.
    pub deadline: Duration,
}

impl Client {
    /// A client that speaks TLS as `tls` says; one that refuses `https` URLs if `None`, and then needs no
    /// authority.
    ///
    /// # Errors
    /// When a certificate or key cannot be read.
    pub fn new(tls: Option<&Tls>) -> Result<Self, tls::Error> {
        Client::built(tls, None, 1)
    }

    /// The same, for servers whose certificates have this name and not the one they are asked by.
    ///
    /// # Errors
    /// When a certificate or key cannot be read; a name that none can have is passed over, and fits none.
    pub fn named(tls: Option<&Tls>, name: Option<&str>) -> Result<Self, tls::Error> {
        Client::built(tls, name, 1)
    }

    /// The same as [`Client::new`], with so many connections kept for each server.
    fn keeping(tls: Option<&Tls>, connections: usize) -> Result<Self, tls::Error> {
        Client::built(tls, None, connections)
    }

    fn built(tls: Option<&Tls>, name: Option<&str>, connections: usize) -> Result<Self, tls::Error> {
        // Without TLS nobody need be trusted: `ask_whole` lets no https URL come as far as this.
        let unused = Tls { insecure: true, ..Tls::default() };
        let config = ClientConfig::clone(&*tls::client_config(tls.unwrap_or(&unused))?);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let name = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let builder = match name {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let connector = builder.enable_http1().wrap_connector(connector);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(connections)
            .build(connector);
        Ok(Client { pool, secure: tls.is_some() })
    }

    /// The body at `url`, if the answer is 200 and whole in time.
    ///
    /// # Errors
    /// As [`Error`] lists.
    pub async fn get(&self, url: &Uri, headers: &HeaderMap, deadline: Duration) -> Result<Bytes, Error> {
        let asked = Asked { method: Method::GET, url, headers, body: Bytes::new(), deadline };
        self.ask(asked).await
    }

    /// The body of the answer, if that is 200 and whole in time.
    ///
    /// # Errors
    /// As [`Error`] lists.
    pub async fn ask(&self, asked: Asked<'_>) -> Result<Bytes, Error> {
        let (url, deadline) = (asked.url, asked.deadline);
        match tokio::time::timeout(deadline, self.ask_whole(asked)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Late { url: url.to_string(), after_ms: deadline.as_millis() }),
        }
    }

    async fn ask_whole(&self, asked: Asked<'_>) -> Result<Bytes, Error> {
        let text = || asked.url.to_string();
        let known = match asked.url.scheme_str() {
            Some("http") => true,
            Some("https") => self.secure,
            _ => false,
        };
        if !known || asked.url.host().is_none() {
            return Err(Error::Address { url: text() });
        }
        let mut request = Request::new(Full::new(asked.body));
        *request.method_mut() = asked.method;
        *request.uri_mut() = asked.url.clone();
        *request.headers_mut() = asked.headers.clone();
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("tidegate"));
        let response = self.pool.request(request).await.map_err(|error| {
            let (url, reason) = (text(), root_cause(&error));
            if error.is_connect() {
                Error::Unreachable { url, reason }
            } else {
                Error::Broken { url, reason }
            }
        })?;
        if response.status() != StatusCode::OK {
            return Err(Error::Status { url: text(), status: response.status() });
        }
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| {
            let url = text();
            if error.is::<LengthLimitError>() {
                Error::TooLong { url }
            } else {
                Error::Broken { url, reason: root_cause(&*error) }
            }
        })
    }
}
