//! `prometheus`: one number from a query, asked of any server with Prometheus' HTTP API.
//!
//! An instant query for now, in KEDA's words. Redirects are not followed, so that no credential goes to
//! another host.

mod answer;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tidegate_core::scale::Reading;
use tidegate_core::time::Span;
use tidegate_manifest::trigger::{self, AuthMode, Given, HttpAuth, Origin, Secret};

pub use answer::{Refused, read};

use crate::find::{self, secret};
use crate::http as errors;
use crate::https::{Client, Clients};
use crate::remote::{Question, Remote};
use crate::tls::{self, Tls};

/// Time for an answer where the trigger has no `timeout`: KEDA's default.
const DEADLINE: Duration = Duration::from_secs(3);

/// What goes into a query as it is, as Go's `url.QueryEscape` has it.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why there is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value stands where nobody can look.
    #[error(transparent)]
    Unknown(#[from] find::Error),
    /// An address that is none.
    #[error("serverAddress is no http:// or https:// URL; write it as http://prometheus.monitoring:9090")]
    Address,
    /// A header that HTTP cannot carry.
    #[error("{name} makes no HTTP header; remove line ends and blanks from it")]
    Header {
        /// The header or the parameter.
        name: String,
    },
    /// Amazon's Prometheus.
    #[error("signing for Amazon's Prometheus (awsRegion) is not read yet; put its signing proxy between")]
    Aws,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The server redirects.
    #[error(
        "prometheus query api returned error. status: {status}; redirects are not followed, give the address \
         it points to"
    )]
    Redirect {
        /// 301 and the like.
        status: StatusCode,
    },
    /// The server refuses.
    #[error("prometheus query api returned error. status: {status}")]
    Status {
        /// What it answered.
        status: StatusCode,
    },
    /// No whole answer. Asking again can help.
    #[error("prometheus at {server}: {reason}")]
    Server {
        /// Host and port.
        server: String,
        /// What went wrong.
        reason: String,
    },
    /// An answer that is no one number.
    #[error("{0}")]
    Refused(#[from] Refused),
}

/// A query to be asked again and again.
pub struct Prometheus {
    question: Question,
    client: Arc<Client>,
    /// All of the URL but the time.
    url: String,
    headers: HeaderMap,
    query: String,
    ignore_null_values: bool,
    deadline: Duration,
}

impl fmt::Debug for Prometheus {
    /// The question: neither headers nor parameters, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.question.fmt(f)
    }
}

impl Prometheus {
    /// A reader of what `of` describes; `value` finds what stands elsewhere. Nothing is connected yet.
    ///
    /// # Errors
    /// When a value is not at hand, or address, headers or TLS are no good.
    pub fn new(of: &trigger::Prometheus, value: impl Fn(&Origin) -> Option<String>) -> Result<Self, Error> {
        Prometheus::sharing(&Clients::default(), of, value)
    }

    /// The same with the connections of others who trust the same: 10,000 queries need no 10,000 connections.
    ///
    /// # Errors
    /// As for [`Prometheus::new`].
    pub fn sharing(
        clients: &Clients,
        of: &trigger::Prometheus,
        value: impl Fn(&Origin) -> Option<String>,
    ) -> Result<Self, Error> {
        if of.aws_region.is_some() {
            return Err(Error::Aws);
        }
        let (base, login) = address(&of.server_address.0)?;
        let modes = modes(&of.auth, &value)?;
        let mut headers = HeaderMap::new();
        if let Some(login) = login {
            headers.insert(AUTHORIZATION, hidden("serverAddress", &basic(&login))?);
        }
        authorize(&mut headers, &of.auth, &modes, &value)?;
        if let Some(tenant) = &of.cortex_org_id {
            headers.insert(HeaderName::from_static("x-scope-orgid"), hidden("cortexOrgID", tenant)?);
        }
        for (name, text) in &of.custom_headers.0 {
            let header = HeaderName::try_from(name).map_err(|_| Error::Header { name: name.clone() })?;
            headers.insert(header, hidden(name, text)?);
        }
        let tls = tls(of, &modes, &value)?;
        let secure = base.starts_with("https:");
        let question = question(of, &base, &headers, secure.then_some(&tls));
        Ok(Prometheus {
            question,
            client: clients.client(secure.then_some(&tls))?,
            url: url(&base, of),
            headers,
            query: of.query.clone(),
            ignore_null_values: of.ignore_null_values,
            deadline: of.timeout.map_or(DEADLINE, duration),
        })
    }

    /// The number now; `None` where the server has nothing, which counts as the manifest says.
    ///
    /// # Errors
    /// When the server gives no answer in time, or one that is not one number.
    pub async fn read(&self) -> Result<Option<f64>, Error> {
        let url: Uri = format!("{}&time={}", self.url, now()).parse().map_err(|_| Error::Address)?;
        let body = self.client.get(&url, &self.headers, self.deadline).await;
        let body = body.map_err(|error| self.failed(error))?;
        Ok(read(&body, &self.query, self.ignore_null_values)?)
    }

    /// Without the URL, whose parameters may be credentials.
    fn failed(&self, error: errors::Error) -> Error {
        use errors::Error as E;
        let reason = match error {
            E::Status { status, .. } if status.is_redirection() => return Error::Redirect { status },
            E::Status { status, .. } => return Error::Status { status },
            E::Address { .. } => return Error::Address,
            E::Unreachable { reason, .. } => format!("it cannot be reached: {reason}"),
            E::Late { after_ms, .. } => format!("it has not answered within {after_ms} ms"),
            E::TooLong { .. } => "its answer is longer than any one number; sum the series".to_owned(),
            E::Broken { reason, .. } => format!("its answer is broken: {reason}"),
        };
        Error::Server { server: self.question.server().to_owned(), reason }
    }
}

impl Remote for Prometheus {
    fn question(&self) -> &Question {
        &self.question
    }

    fn ask(&self) -> BoxFuture<'_, Result<Reading, String>> {
        Box::pin(async {
            match self.read().await {
                Ok(Some(value)) => Ok(Reading::Value { value, active: None }),
                Ok(None) => Ok(Reading::Absent),
                Err(failed) => Err(failed.to_string()),
            }
        })
    }
}

/// The URL without a trailing slash and without user and password, and those.
fn address(text: &str) -> Result<(String, Option<String>), Error> {
    let (scheme, rest) = text.trim().split_once("://").ok_or(Error::Address)?;
    if !matches!(scheme, "http" | "https") {
        return Err(Error::Address);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(percent_decode_str(login).decode_utf8_lossy().into_owned()), host),
        None => (None, authority),
    };
    if host.is_empty() || path.contains(['?', '#']) {
        return Err(Error::Address);
    }
    let base = format!("{scheme}://{host}{}", path.trim_end_matches('/'));
    base.parse::<Uri>().map_err(|_| Error::Address)?;
    Ok((base, login))
}

fn url(base: &str, of: &trigger::Prometheus) -> String {
    let escaped = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
    let mut url = format!("{base}/api/v1/query?query={}", escaped(&of.query));
    let namespace = of.namespace.iter().map(|namespace| ("namespace", namespace.as_str()));
    let more = of.query_parameters.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in namespace.chain(more) {
        url.push_str(&format!("&{}={}", escaped(name), escaped(value)));
    }
    url
}

/// The time as KEDA writes it, in whole seconds.
fn now() -> String {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let stamp = jiff::Timestamp::from_second(i64::try_from(unix_s).unwrap_or(i64::MAX));
    utf8_percent_encode(&stamp.unwrap_or_default().to_string(), PLAIN).to_string()
}

fn modes(auth: &HttpAuth, value: &impl Fn(&Origin) -> Option<String>) -> Result<Vec<AuthMode>, Error> {
    match &auth.modes {
        Given::Value(modes) => Ok(modes.clone()),
        Given::Elsewhere(_) => {
            let text = find_list(&auth.modes, value)?;
            Ok(text.split(',').filter_map(AuthMode::from_word).collect())
        }
    }
}

fn find_list<T>(given: &Given<T>, value: &impl Fn(&Origin) -> Option<String>) -> Result<String, Error> {
    let Given::Elsewhere(origin) = given else { return Ok(String::new()) };
    Ok(secret("authModes", Some(&Secret(origin.clone())), value)?.unwrap_or_default())
}

/// One of bearer and basic, and a header of one's own. The modes `apiKey` and `oauth` do nothing here, as
/// in KEDA.
fn authorize(
    headers: &mut HeaderMap,
    auth: &HttpAuth,
    modes: &[AuthMode],
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<(), Error> {
    let text =
        |what, from: &Option<Secret>| Ok::<_, Error>(secret(what, from.as_ref(), value)?.unwrap_or_default());
    for mode in modes {
        match mode {
            AuthMode::Bearer => {
                let token = format!("Bearer {}", text("bearerToken", &auth.bearer_token)?);
                headers.insert(AUTHORIZATION, hidden("bearerToken", &token)?);
            }
            AuthMode::Basic => {
                let (username, password) =
                    (text("username", &auth.username)?, text("password", &auth.password)?);
                headers.insert(AUTHORIZATION, hidden("username", &basic(&format!("{username}:{password}")))?);
            }
            AuthMode::Custom => {
                let name = text("customAuthHeader", &auth.custom_header)?;
                let bad = |_| Error::Header { name: "customAuthHeader".to_owned() };
                let header = HeaderName::try_from(name).map_err(bad)?;
                headers.insert(
                    header,
                    hidden("customAuthValue", &text("customAuthValue", &auth.custom_value)?)?,
                );
            }
            AuthMode::Tls | AuthMode::ApiKey | AuthMode::OAuth => {}
        }
    }
    Ok(())
}

/// Our certificate only where the mode `tls` is on; an authority alone always counts.
fn tls(
    of: &trigger::Prometheus,
    modes: &[AuthMode],
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<Tls, Error> {
    let ours = modes.contains(&AuthMode::Tls);
    let of_mode = |what, from: &Option<Secret>| secret(what, from.as_ref().filter(|_| ours), value);
    Ok(Tls {
        ca_pem: secret("ca", of.auth.ca.as_ref(), value)?,
        cert_pem: of_mode("cert", &of.auth.cert)?,
        key_pem: of_mode("key", &of.auth.key)?,
        insecure: of.unsafe_ssl,
        ..Tls::default()
    })
}

fn question(of: &trigger::Prometheus, base: &str, headers: &HeaderMap, tls: Option<&Tls>) -> Question {
    let server = base.split_once("://").map_or(base, |(_, rest)| rest);
    let mut question = Question::new("prometheus", server.split('/').next().unwrap_or_default())
        .with("query", &of.query)
        .with("empty", if of.ignore_null_values { "zero" } else { "error" })
        .with("timeout", of.timeout.map_or(DEADLINE.as_millis(), |timeout| duration(timeout).as_millis()))
        // Parameters may be tokens.
        .secret("url", Some(&url(base, of)));
    for (name, value) in headers {
        question = question
            .secret("header", Some(&format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))));
    }
    let Some(tls) = tls else { return question };
    question
        .with("tls", if tls.insecure { "unsafe" } else { "checked" })
        .secret("ca", tls.ca_pem.as_deref())
        .secret("cert", tls.cert_pem.as_deref())
        .secret("key", tls.key_pem.as_deref())
}

fn basic(login: &str) -> String {
    format!("Basic {}", STANDARD.encode(login))
}

/// A header's value that no log shows.
fn hidden(name: &str, text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(text).map_err(|_| Error::Header { name: name.to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

fn duration(span: Span) -> Duration {
    Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_the_address_goes_into_a_header() {
        let (base, login) = address("http://me:p%40ss@prom:9090/base/").expect("an address");
        assert_eq!((base.as_str(), login.as_deref()), ("http://prom:9090/base", Some("me:p@ss")));
        for wrong in ["prom:9090", "ftp://prom", "http://", "http://prom/?x=1", "http://pr om"] {
            assert_eq!(address(wrong), Err(Error::Address), "{wrong}");
        }
    }
}
