//! The way to the server that has the key: straight, by a cluster's hints, or by what sentinels say.
//!
//! One connection to one server at a time. A cluster's node that has not the key says which has, and that
//! one is remembered as long as its connection lasts. Sentinels are asked again after [`TRUST`]: a master
//! cut off from them would not know that it is one no longer.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, RedisResult,
    ServerErrorKind, cmd,
};
use rustls::ClientConfig;
use tidegate_manifest::trigger::Topology;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::ask::Query;
use super::settings::{Address, Login, Settings, split};
use super::{DEADLINE, Error};
use crate::metered::{Budget, Metered};
use crate::tls;

/// Hints followed for one question: one to the node that has the key, one more while slots move.
const HINTS_MAX: usize = 5;

/// Bytes one question may be answered with: a count has 20, a stream's thousand groups 150 KB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long a master is taken for one: as long as sentinels take to agree that one is gone by default.
const TRUST: Duration = Duration::from_secs(30);

/// Time for one of several addresses, so that one that swallows packets leaves time for the others.
const TRY: Duration = Duration::from_millis(900);

/// How to get there.
pub(super) struct Route {
    settings: Settings,
    tls: Option<Arc<ClientConfig>>,
    shown: String,
}

/// A way that was found. It ends when this is dropped.
pub(super) struct Connection {
    talk: MultiplexedConnection,
    driver: AbortHandle,
    budget: Budget,
    since: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Route {
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        let tls = settings.tls.as_ref().map(tls::client_config).transpose()?;
        let all: Vec<String> = settings.addresses.iter().map(shown).collect();
        Ok(Route { settings, tls, shown: all.join(", ") })
    }

    /// Whom it leads to, for messages.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Asks over the connection kept, if it is still there, else over a new one.
    pub(super) async fn ask(
        &self,
        kept: Option<Connection>,
        query: &Query,
    ) -> Result<(Connection, Option<i64>), Error> {
        let trusted =
            |kept: &Connection| self.settings.topology != Topology::Sentinel || kept.since.elapsed() < TRUST;
        if let Some(kept) = kept.filter(trusted) {
            match self.follow(kept, query).await {
                Ok(answer) => return Ok(answer),
                // A server that was restarted closed it: one new attempt in the same reading.
                Err(error) if lost(&error) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        let connection = match self.settings.topology {
            Topology::Single | Topology::Cluster => self.first().await?,
            Topology::Sentinel => self.master().await?,
        };
        self.follow(connection, query).await.map_err(|error| self.failed(&error))
    }

    /// Asks, and goes where a cluster's node points.
    async fn follow(
        &self,
        mut connection: Connection,
        query: &Query,
    ) -> RedisResult<(Connection, Option<i64>)> {
        for _ in 0..HINTS_MAX {
            connection.budget.set(ANSWER_BYTES_MAX);
            let error = match query.run(&mut connection.talk).await {
                Ok(number) => return Ok((connection, number)),
                Err(error) => error,
            };
            let hint = error.redirect_node().and_then(|(address, _)| split(address));
            let Some(node) = hint.filter(|_| self.settings.topology == Topology::Cluster) else {
                return Err(error);
            };
            let asking = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
            connection = self.connect(&node, &self.settings.login, self.settings.database).await?;
            if asking {
                let _: () = cmd("ASKING").query_async(&mut connection.talk).await?;
            }
        }
        let said = format!("{HINTS_MAX} nodes in turn say that another has the key");
        Err((ErrorKind::Server(ServerErrorKind::ClusterDown), "CLUSTERDOWN", said).into())
    }

    /// The first address that answers.
    async fn first(&self) -> Result<Connection, Error> {
        let mut last = None;
        for address in &self.settings.addresses {
            let connecting = self.connect(address, &self.settings.login, self.settings.database);
            match self.in_turn(address, connecting).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(Error::Late { server: self.shown.clone() }))
    }

    /// The master that the first sentinel that answers names.
    async fn master(&self) -> Result<Connection, Error> {
        let mut last = None;
        for address in &self.settings.addresses {
            match self.in_turn(address, self.master_by(address)).await {
                Ok(master) => {
                    let connecting = self.connect(&master, &self.settings.login, self.settings.database);
                    let failed = |error: &RedisError| failed(&shown(&master), error);
                    return connecting.await.map_err(|error| failed(&error));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(Error::Late { server: self.shown.clone() }))
    }

    async fn master_by(&self, sentinel: &Address) -> RedisResult<Address> {
        let mut connection = self.connect(sentinel, &self.settings.sentinel_login, 0).await?;
        let master = &self.settings.master;
        let said: Option<(String, u16)> = cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(master)
            .query_async(&mut connection.talk)
            .await?;
        let unknown = || (ErrorKind::Server(ServerErrorKind::MasterDown), "MASTERDOWN", no_master(master));
        Ok(said.ok_or_else(unknown)?)
    }

    /// One of several: it may not use up the time of all.
    async fn in_turn<T>(
        &self,
        address: &Address,
        work: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Error> {
        let time = if self.settings.addresses.len() > 1 { TRY } else { DEADLINE };
        match tokio::time::timeout(time, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(failed(&shown(address), &error)),
            Err(_) => Err(Error::Late { server: shown(address) }),
        }
    }

    async fn connect(&self, address: &Address, login: &Login, database: i64) -> RedisResult<Connection> {
        let (host, port) = address;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        let mut info = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
        info = info.set_protocol(ProtocolVersion::RESP2);
        if let Some(username) = &login.username {
            info = info.set_username(username);
        }
        if let Some(password) = &login.password {
            info = info.set_password(password);
        }
        match &self.tls {
            None => talk(&info, stream).await,
            Some(config) => {
                let name = tls::server_name(host).map_err(std::io::Error::other)?;
                talk(&info, tls::connect(config, name, stream).await?).await
            }
        }
    }

    fn failed(&self, error: &RedisError) -> Error {
        failed(&self.shown, error)
    }
}

async fn talk<S>(info: &RedisConnectionInfo, stream: S) -> RedisResult<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let budget = Budget::default();
    budget.set(ANSWER_BYTES_MAX);
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(DEADLINE));
    let stream = Metered::new(stream, budget.clone());
    let (talk, driver) = MultiplexedConnection::new_with_config(info, stream, config).await?;
    let driver = tokio::spawn(driver).abort_handle();
    Ok(Connection { talk, driver, budget, since: Instant::now() })
}

/// Whether a new connection may help.
fn lost(error: &RedisError) -> bool {
    let moved = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown, ServerErrorKind::ClusterDown];
    error.is_io_error()
        || error.is_connection_dropped()
        || moved.iter().any(|kind| error.kind() == ErrorKind::Server(*kind))
}

fn failed(server: &str, error: &RedisError) -> Error {
    Error::Server { server: server.to_owned(), reason: reason(error) }
}

/// What the server said, or what the system did; never an argument of ours.
fn reason(error: &RedisError) -> String {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return "the username or password is wrong".to_owned();
    }
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

fn no_master(master: &str) -> String {
    format!("the sentinels know no master called {master}; see sentinelMaster")
}

fn shown((host, port): &Address) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
