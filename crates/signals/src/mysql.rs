//! `mysql`: one number from a query, of MySQL or MariaDB.
//!
//! The connection string is the one KEDA's client takes: `user:password@tcp(host:port)/database?tls=true`.
//! The connection is kept. The server is told to give up what takes longer than we wait, so that a slow
//! query never runs twice there. As for KEDA the first column of the first row is the value, and a query
//! without a row, or with NULL in it, is a failure and no zero.

pub mod settings;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts, Value};
use tidegate_core::scale::Reading;
use tidegate_manifest::trigger::{MySql, Origin};
use tokio::sync::Mutex;

use crate::find;
use crate::remote::{Question, Remote};
use settings::{Settings, TlsMode};

/// How long connecting and asking may take together: KEDA's own default for a request.
pub const DEADLINE: Duration = Duration::from_secs(3);

/// How long closing may take after that: one packet, and no answer is awaited.
const LEAVE_DEADLINE: Duration = Duration::from_millis(100);

/// Bytes of one packet of an answer, which is a row. A number has twenty.
const PACKET_BYTES_MAX: usize = 64 << 10;

/// Rows read of one answer; past them the connection is closed, which costs less than the rest.
const ROWS_MAX: usize = 1_000;

/// Tells the server to give up a query when we do: MariaDB in seconds, MySQL in milliseconds. Each knows
/// one of them and refuses the other, which is passed over.
const GIVE_UP: [&str; 2] = ["SET SESSION max_statement_time = 3", "SET SESSION max_execution_time = 3000"];

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
    /// The server cannot be reached, or refuses. Asking again can help.
    #[error("mysql at {server}: {reason}")]
    Server {
        /// Host and port.
        server: String,
        /// What it or the system said.
        reason: String,
    },
    /// No answer in time. Asking again can help.
    #[error("mysql at {server} has not answered within {} s; the server gives the query up too", DEADLINE.as_secs())]
    Late {
        /// Host and port.
        server: String,
    },
    /// The query gave something else than one number.
    #[error(
        "mysql at {server}: the query gave {what} instead of a number; let it select one, such as coalesce(sum(x), 0)"
    )]
    Number {
        /// Host and port.
        server: String,
        /// What it gave.
        what: &'static str,
    },
}

/// A query to be asked again and again.
pub struct MySqlQuery {
    options: Opts,
    query: String,
    server: String,
    question: Question,
    connection: Mutex<Option<Conn>>,
}

impl fmt::Debug for MySqlQuery {
    /// Without the options, which hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlQuery")
            .field("server", &self.server)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

impl MySqlQuery {
    /// A reader of what `trigger` describes; `value` finds what stands elsewhere. Nothing is connected yet.
    ///
    /// # Errors
    /// When a value is not at hand or the connection string is wrong.
    pub fn new(trigger: &MySql, value: impl Fn(&Origin) -> Option<String>) -> Result<Self, Error> {
        let settings = match find::secret("connectionString", trigger.connection_string.as_ref(), &value)? {
            Some(text) => Settings::parse(&text)?,
            None => parts(trigger, &value)?,
        };
        let server = format!("{}:{}", settings.host, settings.port);
        let question = Question::new("mysql", server.clone())
            .with("database", settings.database.as_deref().unwrap_or_default())
            .with("user", settings.user.as_deref().unwrap_or_default())
            .with("query", &trigger.query)
            .with("tls", format!("{:?}", settings.tls))
            .secret("password", settings.password.as_deref());
        let options = options(&settings);
        let query = trigger.query.clone();
        Ok(MySqlQuery { options, query, connection: Mutex::new(None), server, question })
    }

    /// The number now.
    ///
    /// # Errors
    /// When the server does not give one within [`DEADLINE`].
    pub async fn read(&self) -> Result<f64, Error> {
        let mut slot = self.connection.lock().await;
        // Taken out, so that a reading given up half way leaves no connection with an answer still to come.
        let mut kept = Kept(slot.take());
        match tokio::time::timeout(DEADLINE, self.ask(&mut kept)).await {
            Ok(answer) => {
                *slot = kept.0.take();
                answer.map_err(|error| error.into_public(&self.server))
            }
            Err(_) => {
                kept.leave().await;
                Err(Error::Late { server: self.server.clone() })
            }
        }
    }

    /// Asks over the connection kept, or over a new one. At most one is made, so a server that is down
    /// sees one attempt an ask.
    async fn ask(&self, kept: &mut Kept) -> Result<f64, Failed> {
        if kept.0.is_some() {
            let answer = kept.number(&self.query).await;
            // A server that was restarted closed it; a server that answers "no such table" did not.
            if kept.0.is_some() || !answer.as_ref().is_err_and(Failed::is_io) {
                return answer;
            }
        }
        kept.0 = Some(self.connect().await?);
        kept.number(&self.query).await
    }

    async fn connect(&self) -> Result<Conn, mysql_async::Error> {
        let mut connection = Conn::new(self.options.clone()).await?;
        for set in GIVE_UP {
            match connection.query_drop(set).await {
                Ok(()) | Err(mysql_async::Error::Server(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(connection)
    }
}

/// A connection that is never left to the client's own farewell, which reads an answer to its end first,
/// however long that is.
struct Kept(Option<Conn>);

impl Kept {
    /// Asks; the connection stays if it can be used again.
    async fn number(&mut self, query: &str) -> Result<f64, Failed> {
        let Some(connection) = &mut self.0 else { return Err(Failed::Number("nothing")) };
        let answer = first(connection, query).await;
        if !matches!(answer, Ok((_, true)) | Err(mysql_async::Error::Server(_))) {
            self.leave().await;
        }
        number(answer?.0).map_err(Failed::Number)
    }

    /// Closes it, whatever is still to come.
    async fn leave(&mut self) {
        if let Some(connection) = self.0.take() {
            let _ = tokio::time::timeout(LEAVE_DEADLINE, connection.disconnect()).await;
        }
    }
}

/// The first value of an answer, and whether the answer was read to its end.
async fn first(
    connection: &mut Conn,
    query: &str,
) -> Result<(Option<Option<Value>>, bool), mysql_async::Error> {
    let mut answer = connection.query_iter(query).await?;
    let mut value = None;
    for _ in 0..ROWS_MAX {
        let Some(row) = answer.next().await? else {
            answer.drop_result().await?;
            return Ok((value, true));
        };
        value.get_or_insert_with(|| row.as_ref(0).cloned());
    }
    Ok((value, false))
}

fn number(value: Option<Option<Value>>) -> Result<f64, &'static str> {
    let finite = |number: f64| Some(number).filter(|number| number.is_finite()).ok_or("no finite number");
    match value.ok_or("no row")?.ok_or("a row without columns")? {
        Value::NULL => Err("NULL"),
        Value::Bytes(text) => {
            let text = std::str::from_utf8(&text).map_err(|_| "bytes")?;
            finite(text.trim().parse().map_err(|_| "a text")?)
        }
        // Counts stay far below 2^53.
        Value::Int(number) => Ok(number as f64),
        Value::UInt(number) => Ok(number as f64),
        Value::Float(number) => finite(number.into()),
        Value::Double(number) => finite(number),
        Value::Date(..) | Value::Time(..) => Err("a time"),
    }
}

enum Failed {
    Client(mysql_async::Error),
    Number(&'static str),
}

impl From<mysql_async::Error> for Failed {
    fn from(error: mysql_async::Error) -> Self {
        Failed::Client(error)
    }
}

impl Failed {
    fn is_io(&self) -> bool {
        matches!(self, Failed::Client(mysql_async::Error::Io(_) | mysql_async::Error::Driver(_)))
    }

    fn into_public(self, server: &str) -> Error {
        let server = server.to_owned();
        match self {
            Failed::Number(what) => Error::Number { server, what },
            Failed::Client(mysql_async::Error::Server(said)) => {
                Error::Server { server, reason: find::brief(format!("{} ({})", said.message, said.code)) }
            }
            Failed::Client(error) => Error::Server { server, reason: find::root_cause(&error) },
        }
    }
}

impl Remote for MySqlQuery {
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

fn parts(trigger: &MySql, value: &impl Fn(&Origin) -> Option<String>) -> Result<Settings, Error> {
    let host = find::given("host", trigger.host.as_ref(), value)?.unwrap_or_default();
    let port = find::given("port", trigger.port.as_ref(), value)?.unwrap_or_default();
    let mut settings = Settings::at(&host, &port)?;
    settings.user = find::secret("username", trigger.username.as_ref(), value)?;
    settings.password = find::secret("password", trigger.password.as_ref(), value)?;
    settings.database = find::given("dbName", trigger.db_name.as_ref(), value)?;
    Ok(settings)
}

fn options(settings: &Settings) -> Opts {
    let tls = match settings.tls {
        TlsMode::Off => None,
        TlsMode::Anybody => Some(SslOpts::default().with_danger_accept_invalid_certs(true)),
        TlsMode::Verify => Some(SslOpts::default()),
    };
    OptsBuilder::default()
        .ip_or_hostname(settings.host.clone())
        .tcp_port(settings.port)
        .user(settings.user.clone())
        .pass(settings.password.clone())
        .db_name(settings.database.clone())
        // The server's own socket would be a file of this machine.
        .prefer_socket(false)
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        // Ours to say, or the client asks the server for it with every connection.
        .wait_timeout(Some(28_800))
        .stmt_cache_size(0)
        .ssl_opts(tls)
        .into()
}
