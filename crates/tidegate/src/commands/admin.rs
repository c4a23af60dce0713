//! Asking a Tidegate that runs: its admin listener, over HTTP or HTTPS.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Uri;
use http::uri::Authority;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::tls::{self, TlsArgs};

/// An answer takes milliseconds; after this nobody is there.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an answer: a fleet of a thousand targets with 20 changes of 1 KB each is 20 MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The variable with the token of an admin listener that others can reach.
const TOKEN_VARIABLE: &str = "TIDEGATE_ADMIN_TOKEN";

/// Which Tidegate is asked.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// Where the admin listener is: an address or a name with its port, or a URL such as
    /// `http://tidegate-operator.tidegate.svc:8081`. Where it is not loopback there, as in a pod, also behind `kubectl
    /// port-forward`, TIDEGATE_ADMIN_TOKEN holds its token.
    #[arg(long, value_name = "HOST:PORT|URL", default_value = "127.0.0.1:8081")]
    pub(crate) admin_addr: Place,
    /// The admin listener speaks TLS, as it does elsewhere than on loopback where `--tls-cert` was given.
    #[arg(long)]
    pub(crate) https: bool,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// Where an admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Whether it speaks TLS; not said where no URL was given.
    secure: Option<bool>,
    authority: Authority,
    /// Before each path, without a slash at its end: that of a proxy.
    prefix: String,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unusable = || format!("{text:?} is no HOST:PORT, and no http:// or https:// URL of a host");
        if !text.contains("://") {
            let authority: Authority = text.parse().map_err(|_| unusable())?;
            let whole = authority.port_u16().is_some() && !authority.host().is_empty();
            let place = Place { secure: None, authority, prefix: String::new() };
            return if whole && !text.contains('@') { Ok(place) } else { Err(unusable()) };
        }
        let url: Uri = text.parse().map_err(|_| unusable())?;
        let secure = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(unusable()),
        };
        let authority = url.authority().filter(|one| !one.as_str().contains('@')).ok_or_else(unusable)?;
        if url.query().is_some() {
            return Err(format!("{text:?} has a query: only the beginning of a URL is wanted"));
        }
        let prefix = url.path().trim_end_matches('/').to_owned();
        Ok(Place { secure: Some(secure), authority: authority.clone(), prefix })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.secure {
            Some(secure) => {
                write!(f, "{}://{}{}", if secure { "https" } else { "http" }, self.authority, self.prefix)
            }
            None => write!(f, "{}", self.authority),
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The body of a 200.
    Found(Bytes),
    /// Another status, and the sentence with it.
    Refused(u16, String),
    /// Nobody answers.
    Nobody(anyhow::Error),
}

/// A client that blocks.
#[derive(Debug)]
pub(crate) struct Admin {
    place: Place,
    runtime: Runtime,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    scheme: &'static str,
    token: Option<String>,
}

impl Admin {
    pub(crate) fn new(args: &AdminArgs) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let https = match args.admin_addr.secure {
            Some(false) if args.https || args.tls.given() => {
                bail!(
                    "{} is without TLS, and --https or a --tls-… asks for it: say https://",
                    args.admin_addr
                )
            }
            Some(secure) => secure,
            None => args.https || args.tls.given(),
        };
        let connector = if https { args.tls.connector()? } else { tls::plain()? };
        Ok(Admin {
            place: args.admin_addr.clone(),
            scheme: if https { "https" } else { "http" },
            runtime: runtime.context("cannot start a client")?,
            client: Client::builder(TokioExecutor::new()).build(connector),
            token: std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()),
        })
    }

    /// Where it asks.
    pub(crate) fn addr(&self) -> &Place {
        &self.place
    }

    /// GET, to the whole body.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let outcome = self.runtime.block_on(async { tokio::time::timeout(TIMEOUT, self.fetch(path)).await });
        match outcome {
            Ok(Ok((200, body))) => Answer::Found(body),
            Ok(Ok((status, body))) => Answer::Refused(status, sentence(&body)),
            Ok(Err(error)) => Answer::Nobody(error),
            Err(_) => Answer::Nobody(anyhow::anyhow!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    async fn fetch(&self, path: &str) -> Result<(u16, Bytes)> {
        let mut request = hyper::Request::get(format!(
            "{}://{}{}{path}",
            self.scheme, self.place.authority, self.place.prefix
        ));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = self.client.request(request.body(Empty::new())?).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let Ok(body) = body else {
            bail!("an answer that is cut short, or longer than {ANSWER_BYTES_MAX} bytes")
        };
        Ok((status, body.to_bytes()))
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

fn sentence(body: &[u8]) -> String {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error,
        Err(_) => String::from_utf8_lossy(body).chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_named_by_address_by_name_or_by_url() {
        for (text, secure, prefix) in [
            ("127.0.0.1:8081", None, ""),
            ("[::1]:8081", None, ""),
            ("tidegate-operator.tidegate.svc:8081", None, ""),
            ("http://localhost:9091", Some(false), ""),
            ("https://tidegate.example.com/", Some(true), ""),
            ("http://localhost:8001/api/v1/proxy/", Some(false), "/api/v1/proxy"),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.secure, place.prefix.as_str()), (secure, prefix), "{text}");
            assert_eq!(place.to_string(), text.trim_end_matches('/'));
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_what_was_given() {
        for text in
            ["localhost", ":8081", "ftp://a:1", "http://", "http://a:1/?b=c", "http://me:word@a:1", "a b:1"]
        {
            let said = text.parse::<Place>().unwrap_err();
            assert!(said.contains(text), "{text}: {said}");
        }
    }
}
