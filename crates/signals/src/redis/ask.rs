//! What is asked, as KEDA asks it.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, cmd, from_redis_value};
use tidegate_manifest::trigger::{RedisStream, StreamMode};

use crate::remote::Question;

/// A list has a length, a set and a sorted set a cardinality, a hash its fields, and a key that is not
/// there 0.
const LENGTH: &str = "\
local kind = redis.call('type', KEYS[1]).ok
if kind == 'list' or kind == 'none' then return redis.call('llen', KEYS[1]) end
if kind == 'set' then return redis.call('scard', KEYS[1]) end
if kind == 'zset' then return redis.call('zcard', KEYS[1]) end
if kind == 'hash' then return redis.call('hlen', KEYS[1]) end
return redis.error_reply('WRONGTYPE ' .. kind .. ' has no length that is counted here')";

/// Before this version groups do not know their lag.
const LAG_SINCE: u32 = 7;

/// One question to the server that has the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Query {
    /// Elements of a list, set, sorted set or hash.
    Length { key: String },
    /// All entries of a stream.
    Entries { key: String },
    /// Entries delivered to the group and not acknowledged.
    Pending { key: String, group: String },
    /// Entries the group has not read.
    Lag { key: String, group: String },
}

impl Query {
    pub(super) fn of(stream: &RedisStream) -> Self {
        let key = stream.stream.clone();
        match &stream.mode {
            StreamMode::Length { .. } => Query::Entries { key },
            StreamMode::Pending { group, .. } => Query::Pending { key, group: group.clone() },
            StreamMode::Lag { group, .. } => Query::Lag { key, group: group.clone() },
        }
    }

    /// Adds what tells this question from another to the same server.
    pub(super) fn question(&self, to: Question) -> Question {
        match self {
            Query::Length { key } => to.with("key", key),
            Query::Entries { key } => to.with("stream", key),
            Query::Pending { key, group } => to.with("stream", key).with("pending", group),
            Query::Lag { key, group } => to.with("stream", key).with("lag", group),
        }
    }

    /// The number; `None` where the server says that it cannot tell.
    pub(super) async fn run(&self, connection: &mut MultiplexedConnection) -> RedisResult<Option<i64>> {
        match self {
            Query::Length { key } => {
                cmd("EVAL").arg(LENGTH).arg(1).arg(key).query_async(connection).await.map(Some)
            }
            Query::Entries { key } => entries(connection, key).await,
            Query::Pending { key, group } => {
                let summary: Vec<Value> = cmd("XPENDING").arg(key).arg(group).query_async(connection).await?;
                let count = summary.into_iter().next().unwrap_or(Value::Int(0));
                Ok(Some(from_redis_value(count)?))
            }
            Query::Lag { key, group } => lag(connection, key, group).await,
        }
    }
}

async fn entries(connection: &mut MultiplexedConnection, key: &str) -> RedisResult<Option<i64>> {
    cmd("XLEN").arg(key).query_async(connection).await.map(Some)
}

/// A stream that is not there has no lag, and to a group that is not there all entries are new. Redis
/// forgets a group's lag when entries in its middle are deleted, or when it began in the middle: that is
/// no zero, and which number it counts as is for the manifest to say.
async fn lag(connection: &mut MultiplexedConnection, key: &str, group: &str) -> RedisResult<Option<i64>> {
    let asked: RedisResult<Vec<BTreeMap<String, Value>>> =
        cmd("XINFO").arg("GROUPS").arg(key).query_async(connection).await;
    let groups = match asked {
        Err(error) if error.detail().is_some_and(|detail| detail.starts_with("no such key")) => {
            return Ok(Some(0));
        }
        asked => asked?,
    };
    let named = |group_of: &BTreeMap<String, Value>| match group_of.get("name") {
        Some(Value::BulkString(name)) => name == group.as_bytes(),
        Some(Value::SimpleString(name)) => name == group,
        _ => false,
    };
    let Some(mut found) = groups.into_iter().find(named) else { return entries(connection, key).await };
    match found.remove("lag") {
        Some(Value::Nil) => Ok(None),
        Some(lag) => Ok(Some(from_redis_value(lag)?)),
        None => Err(too_old(connection).await),
    }
}

/// A server whose groups have no lag: which version it is, for the message.
async fn too_old(connection: &mut MultiplexedConnection) -> RedisError {
    let info: RedisResult<String> = cmd("INFO").arg("server").query_async(connection).await;
    let version = info.ok().and_then(|info| {
        let line = info.lines().find_map(|line| line.strip_prefix("redis_version:"))?;
        Some(line.trim().to_owned())
    });
    let version = version.unwrap_or_else(|| "an older one".to_owned());
    let kind = ErrorKind::Server(ServerErrorKind::ResponseError);
    (kind, "ERR", format!("redis version {LAG_SINCE}+ required for lag; this is {version}")).into()
}
