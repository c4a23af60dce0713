//! `redis`, `redis-cluster`, `redis-sentinel`: the length of a list, set, sorted set or hash; and their
//! `-streams`: entries of a stream, entries pending, or how far a group lags.
//!
//! [`ask`] has the questions as KEDA asks them, [`route`] the way to the server that has the key. The
//! connection is kept; after a failure the next reading makes a new one.

mod ask;
mod route;
mod settings;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidegate_core::scale::Reading;
use tidegate_manifest::trigger::{Origin, RedisList, RedisStream};
use tokio::sync::Mutex;

use self::ask::Query;
use self::route::{Connection, Route};
use crate::find;
use crate::remote::{Question, Remote};
use crate::tls;

/// How long connecting and asking may take together: KEDA's default for a source, 3 s.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// Why a number is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value stands where nobody can look.
    #[error(transparent)]
    Unknown(#[from] find::Error),
    /// An address that is none.
    #[error("{address} is no address of the form host:port")]
    Address {
        /// As written.
        address: String,
    },
    /// Sentinels guard masters by name.
    #[error("redis-sentinel needs sentinelMaster: the name its sentinels know the master by")]
    NoMaster,
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The server cannot be reached or has not answered. Asking again can help.
    #[error("redis at {server}: {reason}")]
    Server {
        /// Host and port.
        server: String,
        /// What it or the system said.
        reason: String,
    },
    /// No answer in time. Asking again can help.
    #[error("redis at {server} has not answered within {} s", DEADLINE.as_secs())]
    Late {
        /// Host and port.
        server: String,
    },
}

/// A number in Redis to be read again and again.
pub struct Redis {
    question: Question,
    query: Query,
    route: Route,
    connection: Mutex<Option<Connection>>,
}

impl fmt::Debug for Redis {
    /// The question, which shows no credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.question.fmt(f)
    }
}

impl Redis {
    /// A reader of the key that `list` describes; `value` finds what stands elsewhere. Nothing is
    /// connected yet.
    ///
    /// # Errors
    /// When a value is not at hand, an address is none, or TLS cannot be set up.
    pub fn list(list: &RedisList, value: impl Fn(&Origin) -> Option<String>) -> Result<Self, Error> {
        let query = Query::Length { key: list.list_name.clone() };
        Redis::new(query, settings::settings(&list.connection, &value)?)
    }

    /// The same for a stream.
    ///
    /// # Errors
    /// As for a list.
    pub fn stream(stream: &RedisStream, value: impl Fn(&Origin) -> Option<String>) -> Result<Self, Error> {
        let query = Query::of(stream);
        Redis::new(query, settings::settings(&stream.connection, &value)?)
    }

    fn new(query: Query, settings: settings::Settings) -> Result<Self, Error> {
        let question = query.question(settings.question());
        let route = Route::new(settings)?;
        Ok(Redis { question, query, route, connection: Mutex::new(None) })
    }

    /// The number now; `None` where the server is well and cannot tell it.
    ///
    /// # Errors
    /// When the server does not give it within [`DEADLINE`].
    pub async fn read(&self) -> Result<Option<f64>, Error> {
        let mut slot = self.connection.lock().await;
        // Taken out, so that a reading given up half way leaves no connection with an answer still to come.
        let kept = slot.take();
        match tokio::time::timeout(DEADLINE, self.route.ask(kept, &self.query)).await {
            Err(_) => Err(Error::Late { server: self.route.shown().to_owned() }),
            Ok(Err(error)) => Err(error),
            Ok(Ok((connection, number))) => {
                *slot = Some(connection);
                // Counts stay far below 2^53.
                Ok(number.map(|number| number as f64))
            }
        }
    }
}

impl Remote for Redis {
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
