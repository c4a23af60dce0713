//! `metrics-api`: one number from an HTTP response.
//!
//! Redirects are not followed, so that no credential goes to another host. With
//! `aggregateFromKubeServiceEndpoints` every ready endpoint of the service is asked, five at a time, and
//! those that answer are put together, as KEDA does.

mod auth;
pub mod gjson;
pub mod value;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tidegate_core::scale::Reading;
use tidegate_manifest::trigger::{self, Aggregation, Origin};
use tokio::time::Instant;

use crate::find::{self, brief};
use crate::http::Error as HttpError;
use crate::https::Client;
use crate::remote::{Question, Remote};
use crate::tls;
use auth::Credentials;
use value::Location;

/// Time for an answer where the trigger has no `timeout`: KEDA's default.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// Endpoints asked at a time, as in KEDA.
const AT_A_TIME: usize = 5;

/// Time for all endpoints, in deadlines of one: two rounds of five that hang leave a third for the others.
const DEADLINES: u32 = 3;

/// Endpoints of one service: more pods than one Service of Kubernetes is tested with have no place here.
const ENDPOINTS_MAX: usize = 1_000;

/// A service of Kubernetes, as a URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The port that pods listen on.
    pub port: u16,
}

/// Finds the ready endpoints of a service. The first time it may have to wait for a list of them.
pub type Endpoints =
    Arc<dyn Fn(&Service) -> BoxFuture<'static, Result<Vec<SocketAddr>, String>> + Send + Sync>;

/// Why there is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value stands where nobody can look.
    #[error(transparent)]
    Unknown(#[from] find::Error),
    /// A URL that is none.
    #[error("url is no http:// or https:// address")]
    Address,
    /// A header that HTTP cannot carry.
    #[error("{name} makes no HTTP header; remove line ends and blanks from it")]
    Header {
        /// The header or the parameter.
        name: String,
    },
    /// An `authModes` of a TriggerAuthentication that is none.
    #[error("authModes holds a word that is none of apiKey, basic, bearer, tls, custom")]
    Mode,
    /// OAuth.
    #[error("authMode oauth is not read for metrics-api, as in KEDA; use bearer or apiKey")]
    OAuth,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Services have no endpoints here.
    #[error(
        "aggregateFromKubeServiceEndpoints needs the endpoints of a service, which only a cluster has; leave it \
         out, or name one server"
    )]
    NoCluster,
    /// The service has no endpoint that is ready. Asking again can help.
    #[error("no endpoints URLs were given for the service name {namespace}/{name}")]
    NoEndpoints {
        /// The service.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// The endpoints are not known. Asking again can help.
    #[error("failed to get kubernetes endpoints urls from configured service URL: {0}")]
    Endpoints(String),
    /// None of several has answered. Asking again can help.
    #[error("could not get any metric successfully from the {count} provided endpoints; the first: {first}")]
    All {
        /// How many were asked.
        count: usize,
        /// What the first said.
        first: Box<Error>,
    },
    /// Not 200.
    #[error("{server}: api returned {status}")]
    Status {
        /// Host and port.
        server: String,
        /// What it answered. Redirects are not followed.
        status: StatusCode,
    },
    /// No whole answer. Asking again can help.
    #[error("{server}: {reason}")]
    Server {
        /// Host and port.
        server: String,
        /// What went wrong.
        reason: String,
    },
    /// An answer without the number, or a location that is none.
    #[error(transparent)]
    Value(#[from] value::Error),
}

/// A number to be read again and again.
pub struct MetricsApi {
    scheme: String,
    /// Host and port as written.
    authority: String,
    /// Path and query, with the key where it goes there.
    path: String,
    credentials: Credentials,
    client: Client,
    location: Location,
    deadline: Duration,
    several: Option<(Service, Endpoints, Aggregation)>,
    question: Question,
}

impl fmt::Debug for MetricsApi {
    /// The question: neither headers nor parameters, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.question.fmt(f)
    }
}

impl MetricsApi {
    /// A reader of what `of` describes; `value` finds what stands elsewhere, `endpoints` what stands behind
    /// a service, where there is a cluster. Nothing is connected yet.
    ///
    /// # Errors
    /// When a value is not at hand, or the URL, the location, the headers or TLS are no good.
    pub fn new(
        of: &trigger::MetricsApi,
        value: impl Fn(&Origin) -> Option<String>,
        endpoints: Option<Endpoints>,
    ) -> Result<Self, Error> {
        let (scheme, login, authority, path) = address(&of.url.0)?;
        let location = Location::parse(&of.value_location, of.format)?;
        let mut credentials = Credentials::read(&of.auth, of.unsafe_ssl, &value)?;
        if let Some(login) = login {
            credentials.login(&percent_decode_str(login).decode_utf8_lossy())?;
        }
        let path = match &credentials.parameter {
            None => path.to_owned(),
            Some(pair) => format!("{path}{}{pair}", if path.contains('?') { '&' } else { '?' }),
        };
        let several = match (of.aggregate_from_kube_service_endpoints, endpoints) {
            (false, _) => None,
            (true, None) => return Err(Error::NoCluster),
            (true, Some(endpoints)) => Some((service(scheme, authority)?, endpoints, of.aggregation_type)),
        };
        let mut question = Question::new("metrics-api", authority)
            .with("scheme", scheme)
            .with("location", &of.value_location)
            .with("format", of.format.as_str())
            .with("aggregation", several.as_ref().map_or("", |(_, _, kind)| kind.as_str()))
            .with("unsafeSsl", of.unsafe_ssl)
            // A query may hold a key.
            .secret("path", Some(&path))
            .secret("ca", credentials.tls.ca_pem.as_deref())
            .secret("cert", credentials.tls.cert_pem.as_deref())
            .secret("key", credentials.tls.key_pem.as_deref());
        for (name, text) in &credentials.headers {
            let pair = format!("{name}:{}", String::from_utf8_lossy(text.as_bytes()));
            question = question.secret("header", Some(&pair));
        }
        let timeout = |span: tidegate_core::time::Span| {
            Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or_default())
        };
        Ok(MetricsApi {
            client: Client::new((scheme == "https").then_some(&credentials.tls))?,
            deadline: of.timeout.map_or(DEADLINE, timeout),
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path,
            credentials,
            location,
            several,
            question,
        })
    }

    /// The number now.
    ///
    /// # Errors
    /// When the server, or every endpoint of several, gives none in time.
    pub async fn read(&self) -> Result<f64, Error> {
        match &self.several {
            None => self.one(&self.authority).await,
            Some((service, endpoints, aggregation)) => {
                let mut all = endpoints(service).await.map_err(|reason| Error::Endpoints(brief(reason)))?;
                if all.is_empty() {
                    let (name, namespace) = (service.name.clone(), service.namespace.clone());
                    return Err(Error::NoEndpoints { name, namespace });
                }
                all.truncate(ENDPOINTS_MAX);
                self.aggregated(&all, *aggregation).await
            }
        }
    }

    /// Of those that answer: one that does not is left out, as in KEDA.
    async fn aggregated(&self, all: &[SocketAddr], aggregation: Aggregation) -> Result<f64, Error> {
        let ask = |endpoint: &SocketAddr| {
            let authority = endpoint.to_string();
            async move { self.one(&authority).await }
        };
        let mut asked = stream::iter(all).map(ask).buffer_unordered(AT_A_TIME);
        let end = Instant::now() + self.deadline * DEADLINES;
        let mut answers: Vec<Result<f64, Error>> = Vec::with_capacity(all.len());
        while let Ok(Some(answer)) = tokio::time::timeout_at(end, asked.next()).await {
            answers.push(answer);
        }
        let numbers: Vec<f64> = answers.iter().filter_map(|answer| answer.as_ref().ok().copied()).collect();
        if numbers.is_empty() {
            let first = answers.into_iter().find_map(Result::err).unwrap_or(Error::NoCluster);
            return Err(Error::All { count: all.len(), first: Box::new(first) });
        }
        let sum: f64 = numbers.iter().sum();
        let number = match aggregation {
            Aggregation::Sum => sum,
            // A thousand endpoints at the most.
            Aggregation::Average => sum / numbers.len() as f64,
            Aggregation::Max => numbers.into_iter().fold(f64::NEG_INFINITY, f64::max),
            Aggregation::Min => numbers.into_iter().fold(f64::INFINITY, f64::min),
        };
        if number.is_finite() {
            Ok(number)
        } else {
            Err(value::Error::Number { got: "a number beyond 64 bits".to_owned() }.into())
        }
    }

    async fn one(&self, authority: &str) -> Result<f64, Error> {
        let url = format!("{}://{authority}{}", self.scheme, self.path);
        let url: Uri = url.parse().map_err(|_| Error::Address)?;
        let body = self.client.get(&url, &self.credentials.headers, self.deadline).await;
        let body = body.map_err(|error| failed(authority, error))?;
        Ok(self.location.read(&body)?)
    }
}

/// Without the URL, whose query may hold a key.
fn failed(authority: &str, error: HttpError) -> Error {
    let server = authority.to_owned();
    let reason = match error {
        HttpError::Status { status, .. } => return Error::Status { server, status },
        HttpError::Address { .. } => return Error::Address,
        HttpError::Unreachable { reason, .. } => format!("it cannot be reached: {reason}"),
        HttpError::Late { after_ms, .. } => format!("it has not answered within {after_ms} ms"),
        HttpError::TooLong { .. } => "its answer is longer than 8 MiB".to_owned(),
        HttpError::Broken { reason, .. } => format!("its answer is broken: {reason}"),
    };
    Error::Server { server, reason }
}

/// Scheme, user with password, host with port, and path with query, which begins with a slash.
fn address(url: &str) -> Result<(&str, Option<&str>, &str, &str), Error> {
    let (scheme, rest) = url.trim().split_once("://").ok_or(Error::Address)?;
    if !matches!(scheme, "http" | "https") {
        return Err(Error::Address);
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    // `http://host?query` has no path, and hyper wants one.
    if authority.is_empty() || path.starts_with('?') {
        return Err(Error::Address);
    }
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let whole: Uri = format!("{scheme}://{host}{path}").parse().map_err(|_| Error::Address)?;
    whole.host().filter(|host| !host.is_empty()).ok_or(Error::Address)?;
    Ok((scheme, login, host, path))
}

/// The service and namespace that begin a host.
fn service(scheme: &str, authority: &str) -> Result<Service, Error> {
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    let mut labels = host.split('.').map(str::to_owned);
    let (Some(name), Some(namespace)) = (labels.next(), labels.next()) else { return Err(Error::Address) };
    let port = match (port, scheme) {
        ("", "https") => 443,
        ("", _) => 80,
        (port, _) => port.parse().map_err(|_| Error::Address)?,
    };
    Ok(Service { name, namespace, port })
}

impl Remote for MetricsApi {
    fn question(&self) -> &Question {
        &self.question
    }

    fn ask(&self) -> BoxFuture<'_, Result<Reading, String>> {
        Box::pin(async {
            let value = self.read().await.map_err(|error| error.to_string())?;
            Ok(Reading::Value { value, active: None })
        })
    }
}
