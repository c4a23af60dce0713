//! `redis`: the length of a list, set, sorted set or hash.
//!
//! One question as KEDA asks it, a script that looks at the key's type: a list has a length, a set and a
//! sorted set a cardinality, a hash its fields, and a key that is not there 0. The connection is kept;
//! after a failure the next reading makes a new one.

use std::fmt;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo};
use tidegate_manifest::trigger::{Given, Origin, RedisList, Secret, Topology};
use tokio::sync::Mutex;

/// How long connecting and asking may take together: less than a tick.
pub const DEADLINE: Duration = Duration::from_millis(900);

const PORT: u16 = 6379;

const LENGTH: &str = "\
local kind = redis.call('type', KEYS[1]).ok
if kind == 'list' or kind == 'none' then return redis.call('llen', KEYS[1]) end
if kind == 'set' then return redis.call('scard', KEYS[1]) end
if kind == 'zset' then return redis.call('zcard', KEYS[1]) end
if kind == 'hash' then return redis.call('hlen', KEYS[1]) end
return redis.error_reply('WRONGTYPE ' .. kind .. ' has no length that is counted here')";

/// Why a length is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the trigger asks for is not read yet.
    #[error("{what} is not read yet; {instead}")]
    Unsupported {
        /// What.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// A value stands where nobody can look.
    #[error("{what} stands in {place}, which is not at hand; give its object among the files")]
    Unknown {
        /// The parameter.
        what: &'static str,
        /// Where.
        place: String,
    },
    /// An address that is none.
    #[error("{address} is no address of the form host:port")]
    Address {
        /// As written.
        address: String,
    },
    /// The server cannot be reached or has not answered. Asking again can help.
    #[error("redis at {server}: {reason}")]
    Server {
        /// Host and port.
        server: String,
        /// What it or the system said.
        reason: String,
    },
    /// No answer in time. Asking again can help.
    #[error("redis at {server} has not answered within {} ms", DEADLINE.as_millis())]
    Late {
        /// Host and port.
        server: String,
    },
}

/// A list to be read again and again.
pub struct RedisLength {
    client: redis::Client,
    server: String,
    key: String,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl fmt::Debug for RedisLength {
    /// Without the client, which holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLength")
            .field("server", &self.server)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl RedisLength {
    /// A reader of what `list` describes; `value` finds what stands elsewhere. Nothing is connected yet.
    ///
    /// # Errors
    /// When the topology or TLS is not supported, or a value is not at hand.
    pub fn new(list: &RedisList, value: impl Fn(&Origin) -> Option<String>) -> Result<Self, Error> {
        let to = &list.connection;
        if to.topology != Topology::Single {
            let what = if to.topology == Topology::Cluster { "redis-cluster" } else { "redis-sentinel" };
            return Err(Error::Unsupported { what, instead: "name one server with a trigger of type redis" });
        }
        let tls = match &to.tls {
            Given::Value(tls) => *tls,
            Given::Elsewhere(origin) => value(origin).is_some_and(|text| text.trim() == "enable"),
        };
        if tls {
            let instead = "give the address of a listener without TLS";
            return Err(Error::Unsupported { what: "redis over TLS", instead });
        }
        let (host, port) = address(list, &value)?;
        let secret = |what: &'static str, secret: &Option<Secret>| match secret {
            None => Ok(None),
            Some(Secret(origin)) => match value(origin) {
                Some(text) => Ok(Some(text)),
                None => Err(Error::Unknown { what, place: place(origin) }),
            },
        };
        let mut settings = RedisConnectionInfo::default().set_db(to.database).set_skip_set_lib_name();
        if let Some(username) = secret("username", &to.username)?.filter(|name| !name.is_empty()) {
            settings = settings.set_username(username);
        }
        if let Some(password) = secret("password", &to.password)?.filter(|text| !text.is_empty()) {
            settings = settings.set_password(password);
        }
        let server = format!("{host}:{port}");
        let failed =
            |error: &redis::RedisError| Error::Server { server: server.clone(), reason: reason(error) };
        let info = ConnectionAddr::Tcp(host, port).into_connection_info().map_err(|error| failed(&error))?;
        let client =
            redis::Client::open(info.set_redis_settings(settings)).map_err(|error| failed(&error))?;
        Ok(RedisLength { client, key: list.list_name.clone(), connection: Mutex::new(None), server })
    }

    /// The length now.
    ///
    /// # Errors
    /// When the server does not give it within [`DEADLINE`].
    pub async fn read(&self) -> Result<f64, Error> {
        let mut slot = self.connection.lock().await;
        // Taken out, so that a reading given up half way leaves no connection with an answer still to come.
        let kept = slot.take();
        let asked = tokio::time::timeout(DEADLINE, self.ask(kept)).await;
        match asked {
            Err(_) => Err(Error::Late { server: self.server.clone() }),
            Ok(Err(error)) => Err(Error::Server { server: self.server.clone(), reason: reason(&error) }),
            Ok(Ok((connection, length))) => {
                *slot = Some(connection);
                // Lengths stay far below 2^53.
                Ok(length as f64)
            }
        }
    }

    async fn ask(
        &self,
        kept: Option<MultiplexedConnection>,
    ) -> redis::RedisResult<(MultiplexedConnection, i64)> {
        if let Some(mut connection) = kept {
            match self.length(&mut connection).await {
                Ok(length) => return Ok((connection, length)),
                // A server that was restarted closed it: one new attempt in the same reading.
                Err(error) if error.is_io_error() || error.is_connection_dropped() => {}
                Err(error) => return Err(error),
            }
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let length = self.length(&mut connection).await?;
        Ok((connection, length))
    }

    async fn length(&self, connection: &mut MultiplexedConnection) -> redis::RedisResult<i64> {
        redis::cmd("EVAL").arg(LENGTH).arg(1).arg(&self.key).query_async(connection).await
    }
}

/// What the server said, or what the system did; never an argument of ours.
fn reason(error: &redis::RedisError) -> String {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return "the username or password is wrong".to_owned();
    }
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// The first address, as KEDA's `redis` takes it.
fn address(list: &RedisList, value: &impl Fn(&Origin) -> Option<String>) -> Result<(String, u16), Error> {
    let first = |what: &'static str, given: &Option<Given<Vec<String>>>| match given {
        None => Ok(None),
        Some(Given::Value(all)) => Ok(all.first().cloned()),
        Some(Given::Elsewhere(origin)) => match value(origin) {
            Some(text) => Ok(text.split(',').next().map(|part| part.trim().to_owned())),
            None => Err(Error::Unknown { what, place: place(origin) }),
        },
    };
    let to = &list.connection;
    let address = match first("address", &to.addresses)? {
        Some(address) => address,
        None => match (first("host", &to.hosts)?, first("port", &to.ports)?) {
            (Some(host), Some(port)) if host.contains(':') => format!("[{host}]:{port}"),
            (Some(host), Some(port)) => format!("{host}:{port}"),
            _ => String::new(),
        },
    };
    split(&address).ok_or(Error::Address { address })
}

/// `host:port`, `[v6]:port`, or a host alone.
fn split(address: &str) -> Option<(String, u16)> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()?),
        _ => (address, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn place(origin: &Origin) -> String {
    match origin {
        Origin::Metadata(key) => format!("the trigger's metadata {key}"),
        Origin::Authentication(name) => format!("the TriggerAuthentication's {name}"),
        Origin::Environment(name) => format!("the environment variable {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let expected = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(split("redis:6380"), expected("redis", 6380));
        assert_eq!(split("redis"), expected("redis", 6379));
        assert_eq!(split("[::1]:7000"), expected("::1", 7000));
        assert_eq!(split("[::1]"), expected("::1", 6379));
        assert_eq!(split("redis:port"), None);
        assert_eq!(split(""), None);
    }
}
