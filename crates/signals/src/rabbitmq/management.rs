//! What the management API says of a queue, or of all that match a pattern.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tidegate_manifest::trigger::Operation;

use super::Error;
use crate::find::brief;
use crate::http::Error as HttpError;
use crate::https::Client;
use crate::oauth::Tokens;

/// One queue, or several as one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Queue {
    /// Ready and delivered but not acknowledged.
    pub(super) messages: f64,
    pub(super) messages_ready: f64,
    pub(super) published_per_s: f64,
    pub(super) delivered_per_s: f64,
}

#[derive(Deserialize)]
struct Told {
    // A queue that was just made has no counts yet.
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    messages_ready: u64,
    #[serde(default)]
    message_stats: Stats,
}

#[derive(Default, Deserialize)]
struct Stats {
    #[serde(default)]
    publish_details: Rate,
    #[serde(default)]
    deliver_get_details: Rate,
}

#[derive(Default, Deserialize)]
struct Rate {
    #[serde(default)]
    rate: f64,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    page_count: u64,
    items: Vec<Told>,
}

impl From<&Told> for Queue {
    fn from(told: &Told) -> Self {
        // Counts of messages stay far below 2^53.
        Queue {
            messages: told.messages as f64,
            messages_ready: told.messages_ready as f64,
            published_per_s: told.message_stats.publish_details.rate,
            delivered_per_s: told.message_stats.deliver_get_details.rate,
        }
    }
}

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
        match &self.which {
            Which::One => serde_json::from_slice::<Told>(&body)
                .map(|told| Some(Queue::from(&told)))
                .map_err(|error| self.broken(error)),
            Which::Pattern(operation) => {
                let page: Page = serde_json::from_slice(&body).map_err(|error| self.broken(error))?;
                if page.page_count > 1 {
                    return Err(Error::Pages);
                }
                Ok(together(&page.items, *operation))
            }
        }
    }

    fn broken(&self, reason: impl std::fmt::Display) -> Error {
        Error::Answer { url: self.url.to_string(), reason: brief(reason) }
    }
}

/// Several queues as one. A mean of messages is a whole number, rounded down as KEDA does.
fn together(told: &[Told], operation: Operation) -> Option<Queue> {
    let queues: Vec<Queue> = told.iter().map(Queue::from).collect();
    let fold = |of: fn(&Queue) -> f64| -> f64 {
        let values = queues.iter().map(of);
        match operation {
            Operation::Sum => values.sum(),
            // At most the pages of 8 MiB: far below 2^53 queues.
            Operation::Average => values.sum::<f64>() / queues.len() as f64,
            Operation::Max => values.fold(0.0, f64::max),
        }
    };
    (!queues.is_empty()).then(|| Queue {
        messages: fold(|queue| queue.messages).floor(),
        messages_ready: fold(|queue| queue.messages_ready).floor(),
        published_per_s: fold(|queue| queue.published_per_s),
        delivered_per_s: fold(|queue| queue.delivered_per_s),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<Told> {
        serde_json::from_str(text).expect("queues")
    }

    #[test]
    fn several_queues_are_summed_averaged_or_the_largest_counts() {
        let queues = told(
            r#"[{"messages": 4, "messages_ready": 1, "message_stats": {"publish_details": {"rate": 1.5}}},
                {"messages": 3, "messages_ready": 3, "message_stats": {"deliver_get_details": {"rate": 3.0}}}]"#,
        );
        let queue = |messages, messages_ready, published_per_s, delivered_per_s| {
            Some(Queue { messages, messages_ready, published_per_s, delivered_per_s })
        };
        assert_eq!(together(&queues, Operation::Sum), queue(7.0, 4.0, 1.5, 3.0));
        assert_eq!(together(&queues, Operation::Average), queue(3.0, 2.0, 0.75, 1.5));
        assert_eq!(together(&queues, Operation::Max), queue(4.0, 3.0, 1.5, 3.0));
        assert_eq!(together(&[], Operation::Average), None);
    }
}
