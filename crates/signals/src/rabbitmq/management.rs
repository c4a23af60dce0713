//! What the management API says of a queue, or of all that match a pattern.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_manifest::trigger::Operation;

use super::Error;
use super::told::{self, Queue, Unread};
use crate::find::brief;
use crate::http::Error as HttpError;
use crate::https::Client;
use crate::oauth::Tokens;

/// Who asks.
pub(super) enum Login {
    Basic(HeaderValue),
    OAuth(Box<Tokens>),
}

impl Login {
    pub(super) fn basic(user: &str, password: &str) -> Option<Self> {
        let mut value =
            HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
        if let Ok(value) = &mut value {
            value.set_sensitive(true);
        }
        value.ok().map(Login::Basic)
    }
}

/// Which queues.
#[derive(Debug)]
pub(super) enum Which {
    /// One, by name.
    One,
    /// All whose name a pattern matches, on one page.
    Pattern(Operation),
}

pub(super) struct Management {
    client: Client,
    login: Option<Login>,
    url: Uri,
    which: Which,
    queue: String,
    deadline: Duration,
}

/// As a name in a path or a value in a query.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Management {
    /// `base` ends before `/api`; `vhost` is plain text.
    pub(super) fn new(
        client: Client,
        login: Option<Login>,
        base: &str,
        vhost: &str,
        (queue, which, page_size): (&str, Which, i64),
        deadline: Duration,
    ) -> Result<Self, Error> {
        let name = utf8_percent_encode(queue, IN_URL);
        let vhost = utf8_percent_encode(vhost, IN_URL);
        let url = match which {
            Which::One => format!("{base}/api/queues/{vhost}/{name}"),
            Which::Pattern(_) => format!(
                "{base}/api/queues/{vhost}?page=1&use_regex=true&pagination=false&name={name}&page_size={page_size}"
            ),
        };
        let url = url.parse().map_err(|_| Error::Host)?;
        Ok(Management { client, login, url, which, queue: queue.to_owned(), deadline })
    }

    pub(super) const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What is known now; `None` when a pattern matches nothing.
    pub(super) async fn ask(&self) -> Result<Option<Queue>, Error> {
        let mut headers = HeaderMap::new();
        match &self.login {
            None => {}
            Some(Login::Basic(value)) => {
                headers.insert(AUTHORIZATION, value.clone());
            }
            Some(Login::OAuth(tokens)) => {
                let token = tokens.token(self.deadline).await?;
                let bearer = HeaderValue::try_from(format!("Bearer {token}"));
                let mut bearer = bearer.map_err(|_| self.broken("its token is no header"))?;
                bearer.set_sensitive(true);
                headers.insert(AUTHORIZATION, bearer);
            }
        }
        let body = match self.client.get(&self.url, &headers, self.deadline).await {
            Err(HttpError::Status { status: StatusCode::NOT_FOUND, .. })
                if matches!(self.which, Which::One) =>
            {
                return Err(Error::NoQueue { queue: self.queue.clone() });
            }
            Err(HttpError::Status { status: StatusCode::UNAUTHORIZED, url }) => {
                if let Some(Login::OAuth(tokens)) = &self.login {
                    tokens.forget().await;
                }
                return Err(HttpError::Status { status: StatusCode::UNAUTHORIZED, url }.into());
            }
            answer => answer?,
        };
        let operation = match &self.which {
            Which::One => None,
            Which::Pattern(operation) => Some(*operation),
        };
        match told::queue(&body, operation) {
            Ok(queue) => Ok(queue),
            Err(Unread::Pages) => Err(Error::Pages),
            Err(Unread::Form(reason)) => Err(self.broken(reason)),
        }
    }

    fn broken(&self, reason: impl std::fmt::Display) -> Error {
        Error::Answer { url: self.url.to_string(), reason: brief(reason) }
    }
}
