//! Where requests go, how they are sent, and what counts as good.

use std::sync::Arc;
use std::time::Duration;

use http::uri::{Parts, PathAndQuery};
use http::{HeaderName, HeaderValue, Uri};
use rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

/// How long one request may take, from its sending to its last byte. A cold start of a large model takes
/// minutes, and a long answer a few more.
pub const TIMEOUT: Duration = Duration::from_secs(600);

/// Requests in flight at once: a socket and some 20 KB each, so 200 MB. One that would be the next is not
/// sent and counted as failed.
pub const IN_FLIGHT_MAX: usize = 10_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
}

/// What counts as good; a bound that is absent is kept by every answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slo {
    /// The longest time to the first token.
    pub ttft: Option<Duration>,
    /// The longest mean time between tokens.
    pub itl: Option<Duration>,
}

/// Why options are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an address of a server.
    #[error("\"{0}\" is no address of a server; write http://HOST:PORT or https://HOST:PORT")]
    Url(String),
    /// Not a header.
    #[error("\"{0}\" is no header; write Name: value")]
    Header(String),
    /// A key that no header can carry.
    #[error("the API key holds characters that no header can carry; it must be one line of ASCII")]
    Key,
}

/// How a run is played.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) base: Uri,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// What is asked for.
    pub api: Api,
    /// How long one request may take.
    pub timeout: Duration,
    /// Requests in flight at once.
    pub in_flight_max: usize,
    /// Ask for exactly as many tokens as planned (`"ignore_eos": true`, which vLLM, SGLang and llama.cpp
    /// know), not for at most as many.
    pub ignore_eos: bool,
    /// What counts as good.
    pub slo: Slo,
    /// Whom an `https://` server is checked against; nobody is trusted until it says.
    pub tls: Arc<ClientConfig>,
    /// Ends the run when it is cancelled: nothing more is sent, what is in flight is given up.
    pub stop: CancellationToken,
}

/// Trusts no certificate at all. `None` when the provider lacks what TLS needs, which ring does not.
fn nobody() -> Option<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

impl Options {
    /// Everything as usual, to the server at this address; a path in front of `/v1` is kept.
    ///
    /// # Errors
    /// When it is neither an `http://` nor an `https://` address.
    pub fn to(url: &str) -> Result<Options, Error> {
        let wrong = || Error::Url(url.to_owned());
        let base: Uri = url.parse().map_err(|_| wrong())?;
        match base.scheme_str() {
            Some("http" | "https")
                if base.host().is_some_and(|host| !host.is_empty()) && base.query().is_none() => {}
            _ => return Err(wrong()),
        }
        Ok(Options {
            base,
            headers: Vec::new(),
            api: Api::Chat,
            timeout: TIMEOUT,
            in_flight_max: IN_FLIGHT_MAX,
            ignore_eos: true,
            slo: Slo::default(),
            tls: Arc::new(nobody().ok_or_else(wrong)?),
            stop: CancellationToken::new(),
        })
    }

    /// Sends a header, written `Name: value`, with each request.
    ///
    /// # Errors
    /// When it is no header.
    pub fn header(&mut self, line: &str) -> Result<(), Error> {
        let header = line.split_once(':').and_then(|(name, value)| {
            Some((name.trim().parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
        });
        self.headers.push(header.ok_or_else(|| Error::Header(line.to_owned()))?);
        Ok(())
    }

    /// Sends an API key as `Authorization: Bearer …` with each request. It is in no report and no message.
    ///
    /// # Errors
    /// When no header can carry it.
    pub fn api_key(&mut self, key: &str) -> Result<(), Error> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", key.trim())).map_err(|_| Error::Key)?;
        value.set_sensitive(true);
        self.headers.push((http::header::AUTHORIZATION, value));
        Ok(())
    }

    /// The address requests go to.
    pub(crate) fn uri(&self) -> Option<Uri> {
        self.uri_of(match self.api {
            Api::Chat => "chat/completions",
            Api::Completions => "completions",
        })
    }

    /// An address below `/v1/`.
    pub(crate) fn uri_of(&self, end: &str) -> Option<Uri> {
        let path = self.base.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path);
        let mut parts: Parts = self.base.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(format!("{path}/v1/{end}")).ok();
        Uri::from_parts(parts).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Api, Error, Options};

    #[test]
    fn the_path_in_front_of_v1_is_kept() {
        let cases = [
            ("http://h:1", "http://h:1/v1/chat/completions"),
            ("http://h:1/v1/", "http://h:1/v1/chat/completions"),
            ("http://h/proxy", "http://h/proxy/v1/chat/completions"),
        ];
        for (url, want) in cases {
            assert_eq!(Options::to(url).unwrap().uri().unwrap().to_string(), want);
        }
        let mut options = Options::to("http://h:1").unwrap();
        options.api = Api::Completions;
        assert_eq!(options.uri().unwrap().path(), "/v1/completions");
    }

    #[test]
    fn what_is_no_address_of_a_server_is_refused() {
        for bad in ["", "127.0.0.1:8080", "ftp://h", "http://h?x=1", "http://"] {
            assert_eq!(Options::to(bad).unwrap_err(), Error::Url(bad.to_owned()));
        }
        assert!(Options::to("https://h").is_ok());
    }

    #[test]
    fn a_key_never_shows_in_debug_output() {
        let mut options = Options::to("http://h").unwrap();
        options.api_key("sk-secret\n").unwrap();
        assert!(!format!("{options:?}").contains("sk-secret"));
        assert_eq!(options.api_key("a\nb"), Err(Error::Key));
    }

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let mut options = Options::to("http://h").unwrap();
        assert_eq!(options.header("X-Tenant: a b"), Ok(()));
        assert_eq!(options.header("no colon"), Err(Error::Header("no colon".to_owned())));
    }
}
