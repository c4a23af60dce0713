//! `postgresql`: one number from a query.
//!
//! Asked in the simple protocol, which every pooler passes on and which gives numbers as text, whatever
//! their type. The connection is kept; a query that is late is cancelled on the server, so that a slow one
//! never runs twice there. As for KEDA the first column of the first row is the value, and a query without
//! a row, or with NULL in it, is a failure and no zero.

pub mod settings;
mod tls;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use rustls::ClientConfig;
use tidegate_core::scale::Reading;
use tidegate_manifest::trigger::{Origin, PostgreSql};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_postgres::{CancelToken, Client, SimpleQueryMessage};
use tokio_util::task::AbortOnDropHandle;

use crate::find;
use crate::metered::{Budget, Metered};
use crate::remote::{Question, Remote};
use crate::tls::{Tls, client_config, server_name};
use settings::{Settings, SslMode};
use tls::Handshake;

/// How long connecting and asking may take together: KEDA's own default for a request.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// How long cancelling may take after that, a connection of its own.
const CANCEL_DEADLINE: Duration = Duration::from_millis(500);

/// Bytes of one answer, with the greeting before it. A number has twenty; a query that returns ten
/// thousand rows of a hundred bytes still passes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why there is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value stands where nobody can look.
    #[error(transparent)]
    Unknown(#[from] find::Error),
    /// The connection string or a part of it is wrong.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] crate::tls::Error),
    /// The server cannot be reached, or refuses. Asking again can help.
    #[error("postgresql at {server}: {reason}")]
    Server {
        /// Host and port.
        server: String,
        /// What it or the system said.
        reason: String,
    },
    /// No answer in time. Asking again can help.
    #[error("postgresql at {server} has not answered within {} s; the query was cancelled", DEADLINE.as_secs())]
    Late {
        /// Host and port.
        server: String,
    },
    /// The query gave something else than one number.
    #[error(
        "postgresql at {server}: the query gave {what} instead of a number; let it select one, such as coalesce(sum(x), 0)"
    )]
    Number {
        /// Host and port.
        server: String,
        /// What it gave.
        what: &'static str,
    },
}

/// A query to be asked again and again.
pub struct PostgreSqlQuery {
    settings: Settings,
    config: tokio_postgres::Config,
    tls: Arc<ClientConfig>,
    query: String,
    server: String,
    question: Question,
    live: Mutex<Option<Live>>,
}

/// A connection, and the task that carries its bytes. Both end together.
struct Live {
    client: Client,
    budget: Budget,
    host: (String, u16),
    _task: AbortOnDropHandle<()>,
}

impl fmt::Debug for PostgreSqlQuery {
    /// Without settings, which hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgreSqlQuery")
            .field("server", &self.server)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

impl PostgreSqlQuery {
    /// A reader of what `trigger` describes; `value` finds what stands elsewhere. Nothing is connected yet.
    ///
    /// # Errors
    /// When a value is not at hand, the connection string is wrong, or TLS cannot be set up.
    pub fn new(trigger: &PostgreSql, value: impl Fn(&Origin) -> Option<String>) -> Result<Self, Error> {
        let settings = match find::secret("connection", trigger.connection.as_ref(), &value)? {
            Some(text) => Settings::parse(&text)?,
            None => Settings::of(parts(trigger, &value)?)?,
        };
        let names: Vec<String> = settings.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let server = names.join(",");
        let question = Question::new("postgresql", server.clone())
            .with("database", settings.database.as_deref().unwrap_or_default())
            .with("user", settings.user.as_deref().unwrap_or_default())
            .with("query", &trigger.query)
            .with("sslmode", format!("{:?}", settings.ssl_mode))
            .secret("options", settings.options.as_deref())
            .secret("password", settings.password.as_deref());
        let insecure = settings.ssl_mode != SslMode::Verify;
        Ok(PostgreSqlQuery {
            config: config(&settings),
            tls: client_config(&Tls { insecure, ..Tls::default() })?,
            query: trigger.query.clone(),
            live: Mutex::new(None),
            settings,
            server,
            question,
        })
    }

    /// The number now.
    ///
    /// # Errors
    /// When the server does not give one within [`DEADLINE`].
    pub async fn read(&self) -> Result<f64, Error> {
        let mut slot = self.live.lock().await;
        // Taken out, so that a reading given up half way leaves no connection with an answer still to come.
        let mut kept = slot.take();
        let mut running = None;
        match tokio::time::timeout(DEADLINE, self.ask(&mut kept, &mut running)).await {
            Ok(answer) => {
                *slot = kept.filter(|live| !live.client.is_closed());
                answer
            }
            Err(_) => {
                drop(kept);
                if let Some((token, host)) = running {
                    let _ = tokio::time::timeout(CANCEL_DEADLINE, self.cancel(&token, &host)).await;
                }
                Err(Error::Late { server: self.server.clone() })
            }
        }
    }

    /// Asks over the connection kept, or over a new one. At most one is made, so a server that is down
    /// sees one attempt an ask.
    async fn ask(
        &self,
        kept: &mut Option<Live>,
        running: &mut Option<(CancelToken, (String, u16))>,
    ) -> Result<f64, Error> {
        if let Some(live) = kept.as_ref().filter(|live| !live.client.is_closed()) {
            *running = Some((live.client.cancel_token(), live.host.clone()));
            let answer = self.number(live).await;
            // A server that was restarted closed it; a server that answers "no such table" did not. And
            // too long an answer would be so once more.
            if !matches!(answer, Err(Error::Server { .. })) || !live.client.is_closed() {
                return answer;
            }
            *running = None;
        }
        let live = self.connect().await?;
        *running = Some((live.client.cancel_token(), live.host.clone()));
        self.number(kept.insert(live)).await
    }

    async fn number(&self, live: &Live) -> Result<f64, Error> {
        live.budget.set(ANSWER_BYTES_MAX);
        let what = |what| Error::Number { server: self.server.clone(), what };
        let failed = |error: tokio_postgres::Error| {
            if live.budget.is_passed() { what("more than a megabyte") } else { self.failed(&error) }
        };
        let mut messages = pin!(live.client.simple_query_raw(&self.query).await.map_err(failed)?);
        let mut first = None;
        while let Some(message) = messages.next().await {
            // Read to the end: what is left over would be taken for the next answer's beginning.
            if let SimpleQueryMessage::Row(row) = message.map_err(failed)? {
                first.get_or_insert_with(|| match row.try_get(0) {
                    Ok(Some(text)) => {
                        text.trim().parse().ok().filter(|number: &f64| number.is_finite()).ok_or("a text")
                    }
                    Ok(None) => Err("NULL"),
                    Err(_) => Err("a row without columns"),
                });
            }
        }
        first.unwrap_or(Err("no row")).map_err(what)
    }

    /// The first host that takes the connection.
    async fn connect(&self) -> Result<Live, Error> {
        let mut last = None;
        // Each host has its share of the time, or a first one that is silent would be the only one tried.
        let share = DEADLINE / u32::try_from(self.settings.hosts.len()).unwrap_or(1);
        for host in &self.settings.hosts {
            match tokio::time::timeout(share, self.connect_to(host)).await {
                Ok(Ok(live)) => return Ok(live),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(Error::Late { server: format!("{}:{}", host.0, host.1) }),
            }
        }
        Err(last.unwrap_or_else(|| Error::Late { server: self.server.clone() }))
    }

    async fn connect_to(&self, host: &(String, u16)) -> Result<Live, Error> {
        let budget = Budget::default();
        budget.set(ANSWER_BYTES_MAX);
        let stream = Metered::new(self.stream(host).await?, budget.clone());
        let handshake = self.handshake(host)?;
        let joined = self.config.connect_raw(stream, handshake).await;
        let (client, connection) = joined.map_err(|error| self.failed(&error))?;
        // How it ends is seen by the next question: the client is then closed.
        let task = tokio::spawn(connection.map(drop));
        Ok(Live { client, budget, host: host.clone(), _task: AbortOnDropHandle::new(task) })
    }

    async fn stream(&self, (host, port): &(String, u16)) -> Result<TcpStream, Error> {
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        stream.map_err(|error| Error::Server { server: format!("{host}:{port}"), reason: error.to_string() })
    }

    fn handshake(&self, (host, _): &(String, u16)) -> Result<Handshake, Error> {
        Ok(Handshake { config: Arc::clone(&self.tls), host: server_name(host)? })
    }

    async fn cancel(&self, token: &CancelToken, host: &(String, u16)) -> Result<(), Error> {
        let stream = self.stream(host).await?;
        let cancelled = token.cancel_query_raw(stream, self.handshake(host)?).await;
        cancelled.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Error {
        let reason = match error.as_db_error() {
            // Its detail and its hint are left out: they may quote what the table holds.
            Some(said) => find::brief(format!("{} ({})", said.message(), said.code().code())),
            None => find::root_cause(error),
        };
        Error::Server { server: self.server.clone(), reason }
    }
}

impl Remote for PostgreSqlQuery {
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

/// The parts a trigger gives instead of a connection string, under libpq's names.
fn parts(
    trigger: &PostgreSql,
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<Vec<(String, String)>, Error> {
    let all = [
        ("host", find::given("host", trigger.host.as_ref(), value)?),
        ("port", find::given("port", trigger.port.as_ref(), value)?),
        ("user", find::given("userName", trigger.user_name.as_ref(), value)?),
        ("dbname", find::given("dbName", trigger.db_name.as_ref(), value)?),
        ("sslmode", find::given("sslmode", trigger.sslmode.as_ref(), value)?),
        ("password", find::secret("password", trigger.password.as_ref(), value)?),
    ];
    Ok(all.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))).collect())
}

fn config(settings: &Settings) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.application_name("tidegate");
    config.ssl_mode(match settings.ssl_mode {
        SslMode::Disable => tokio_postgres::config::SslMode::Disable,
        SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
        SslMode::Require | SslMode::Verify => tokio_postgres::config::SslMode::Require,
    });
    if let Some(user) = &settings.user {
        config.user(user);
    }
    if let Some(password) = &settings.password {
        config.password(password);
    }
    if let Some(database) = &settings.database {
        config.dbname(database);
    }
    if let Some(options) = &settings.options {
        config.options(options);
    }
    config
}
