//! Tokens of OAuth 2 client credentials, asked for once and kept until they are about to end.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::find::brief;
use crate::http::Error as HttpError;
use crate::https::{Asked, Client};
use crate::tls::{self, Tls};

/// A token is asked for anew this long before it ends, as the usual clients do.
const EARLY: Duration = Duration::from_secs(10);

/// A token without an end is asked for anew after this; so is one that lasts longer.
const KEPT_MAX: Duration = Duration::from_secs(3_600);

/// The longest token used: 16 KiB is what servers take as all of a request's headers.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a URL.
    #[error("the token URL is not an http:// or https:// address")]
    Address,
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The endpoint cannot be asked, or refuses. Asking again can help.
    #[error("no token: {0}")]
    Endpoint(#[from] HttpError),
    /// Something else than a token came.
    #[error("no token: the answer of {url} has none: {reason}")]
    Answer {
        /// Who.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

/// What to ask for, and as whom.
#[derive(Clone)]
pub struct Credentials {
    /// The token endpoint.
    pub url: String,
    /// Who asks.
    pub client_id: String,
    /// The proof.
    pub client_secret: String,
    /// Scopes, separated by blanks; none if empty.
    pub scopes: String,
    /// More parameters, as a query string.
    pub parameters: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// Gives tokens.
pub struct Tokens {
    client: Client,
    url: Uri,
    credentials: Credentials,
    kept: Mutex<Option<(String, Instant)>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

const IN_FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, IN_FORM).to_string()
}

impl Tokens {
    /// Tokens for these credentials. Nothing is asked yet.
    ///
    /// # Errors
    /// When the URL is none, or TLS cannot be spoken.
    pub fn new(credentials: Credentials, tls: &Tls) -> Result<Self, Error> {
        let url: Uri = credentials.url.parse().map_err(|_| Error::Address)?;
        let secure = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(Error::Address),
        };
        let client = Client::new(secure.then_some(tls))?;
        Ok(Tokens { client, url, credentials, kept: Mutex::new(None) })
    }

    /// A token that is good for a while.
    ///
    /// # Errors
    /// When the endpoint gives none within `deadline`.
    pub async fn token(&self, deadline: Duration) -> Result<String, Error> {
        let mut kept = self.kept.lock().await;
        if let Some((token, until)) = &*kept
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let granted = match self.ask(true, deadline).await {
            // Some endpoints want the credentials in the form.
            Err(Error::Endpoint(HttpError::Status {
                status: StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED,
                ..
            })) => self.ask(false, deadline).await?,
            granted => granted?,
        };
        let lasts = granted.expires_in.map_or(KEPT_MAX, Duration::from_secs).min(KEPT_MAX);
        *kept = Some((granted.access_token.clone(), Instant::now() + lasts.saturating_sub(EARLY)));
        Ok(granted.access_token)
    }

    /// Forgets the token: the server it was for has refused it.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn ask(&self, in_header: bool, deadline: Duration) -> Result<Granted, Error> {
        let Credentials { client_id, client_secret, scopes, parameters, .. } = &self.credentials;
        let mut form = "grant_type=client_credentials".to_owned();
        if !scopes.is_empty() {
            form.push_str(&format!("&scope={}", escaped(scopes)));
        }
        if !parameters.is_empty() {
            form.push_str(&format!("&{parameters}"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let (id, secret) = (escaped(client_id), escaped(client_secret));
        if in_header {
            let basic = STANDARD.encode(format!("{id}:{secret}"));
            // Base64 always is a header's value.
            if let Ok(mut value) = HeaderValue::try_from(format!("Basic {basic}")) {
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
        } else {
            form.push_str(&format!("&client_id={id}&client_secret={secret}"));
        }
        let body = Bytes::from(form);
        let asked = Asked { method: Method::POST, url: &self.url, headers: &headers, body, deadline };
        let answer = self.client.ask(asked).await?;
        let wrong = |reason: String| Error::Answer { url: self.url.to_string(), reason };
        // The parser's own words may quote the token.
        let granted: Granted =
            serde_json::from_slice(&answer).map_err(|_| wrong("no access_token in JSON".to_owned()))?;
        match granted.access_token.len() {
            1..=TOKEN_BYTES_MAX => Ok(granted),
            bytes => Err(wrong(brief(format!("a token of {bytes} bytes")))),
        }
    }
}
