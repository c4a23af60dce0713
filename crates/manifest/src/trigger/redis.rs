//! `redis`, `redis-cluster`, `redis-sentinel` and their `-streams`.

use tidegate_core::scale::spec::Absent;

use super::params::{A, Given, MAE, MEA, Param, Reader, Secret, boolean, int, list, param, text};
use super::{FaultKind, Parsed, Source};

/// How the Redis servers stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server: the first address.
    Single,
    /// A cluster.
    Cluster,
    /// Behind sentinels, whose addresses these are.
    Sentinel,
}

/// How to reach Redis.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisConnection {
    /// How the servers stand together.
    pub topology: Topology,
    /// `address` or `addresses`, each `host:port`.
    pub addresses: Option<Given<Vec<String>>>,
    /// `host` or `hosts`; added to the addresses, each with its port.
    pub hosts: Option<Given<Vec<String>>>,
    /// `port` or `ports`.
    pub ports: Option<Given<Vec<String>>>,
    /// `databaseIndex`; a cluster has none.
    pub database: i64,
    /// `enableTLS`, or `tls` from the TriggerAuthentication (`enable` or `disable`).
    pub tls: Given<bool>,
    /// `unsafeSsl`.
    pub unsafe_ssl: bool,
    /// `username`.
    pub username: Option<Secret>,
    /// `password`.
    pub password: Option<Secret>,
    /// `sentinelUsername`.
    pub sentinel_username: Option<Secret>,
    /// `sentinelPassword`.
    pub sentinel_password: Option<Secret>,
    /// `sentinelMaster`.
    pub sentinel_master: Option<Given<String>>,
    /// `cert`.
    pub cert: Option<Secret>,
    /// `key`.
    pub key: Option<Secret>,
    /// `keyPassword`.
    pub key_password: Option<Secret>,
    /// `ca`.
    pub ca: Option<Secret>,
}

impl RedisConnection {
    /// Every address with its port, where all of them are known.
    #[must_use]
    pub fn known_addresses(&self) -> Option<Vec<String>> {
        let part = |given: &Option<Given<Vec<String>>>| match given {
            None => Some(Vec::new()),
            Some(given) => given.value().cloned(),
        };
        let mut all = part(&self.addresses)?;
        for (host, port) in part(&self.hosts)?.iter().zip(&part(&self.ports)?) {
            // An IPv6 address needs its brackets.
            all.push(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") });
        }
        Some(all)
    }
}

/// The parameters of a `redis`, `redis-cluster` or `redis-sentinel` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisList {
    /// How to reach Redis.
    pub connection: RedisConnection,
    /// `listName`: the key of a list, set, sorted set or hash.
    pub list_name: String,
    /// `listLength`.
    pub list_length: i64,
    /// `activationListLength`.
    pub activation_list_length: i64,
}

/// The parameters of a `redis-streams`, `redis-cluster-streams` or `redis-sentinel-streams` trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisStream {
    /// How to reach Redis.
    pub connection: RedisConnection,
    /// `stream`: the key.
    pub stream: String,
    /// What is counted, and its target.
    pub mode: StreamMode,
    /// `activationLagCount`, which counts in every mode.
    pub activation_lag_count: i64,
}

/// What a stream trigger counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamMode {
    /// All entries: there is no `consumerGroup`.
    Length {
        /// `streamLength`.
        target: i64,
    },
    /// Entries delivered to the group and not acknowledged. Unread ones do not count.
    Pending {
        /// `consumerGroup`.
        group: String,
        /// `pendingEntriesCount`.
        target: i64,
    },
    /// Entries the group has not read; needs Redis 7.
    Lag {
        /// `consumerGroup`.
        group: String,
        /// `lagCount`.
        target: i64,
    },
}

pub(super) fn parse_list(reader: &mut Reader<'_>, topology: Topology) -> Option<Parsed> {
    let source = RedisList {
        connection: connection(reader, topology),
        list_name: reader.needed("listName", text),
        list_length: reader.or("listLength", 5, int),
        activation_list_length: reader.or("activationListLength", 0, int),
    };
    let goal = reader.goal_int("listLength", source.list_length);
    let name = format!("redis-{}", source.list_name);
    let activation = source.activation_list_length as f64;
    // A key that does not exist has length 0; the server says so itself.
    Some(Parsed { absent: Absent::Zero, ..Parsed::new(name, goal, activation, Source::RedisList(source)) })
}

pub(super) fn parse_stream(reader: &mut Reader<'_>, topology: Topology) -> Option<Parsed> {
    let connection = connection(reader, topology);
    let stream = reader.needed("stream", text);
    let pending = reader.or("pendingEntriesCount", 5, int);
    let length = reader.or("streamLength", 5, int);
    let lag = reader.or("lagCount", 0, int);
    let (mode, key, target) = match reader.maybe("consumerGroup", text) {
        None => (StreamMode::Length { target: length }, "streamLength", length),
        Some(group) if lag != 0 => (StreamMode::Lag { group, target: lag }, "lagCount", lag),
        Some(group) => (StreamMode::Pending { group, target: pending }, "pendingEntriesCount", pending),
    };
    let activation_lag_count = reader.or("activationLagCount", 0, int);
    let goal = reader.goal_int(key, target);
    let name = format!("redis-streams-{stream}");
    let source = RedisStream { connection, stream, mode, activation_lag_count };
    let activation = activation_lag_count as f64;
    // A stream that does not exist has no entries and no lag.
    Some(Parsed { absent: Absent::Zero, ..Parsed::new(name, goal, activation, Source::RedisStream(source)) })
}

const ADDRESSES: Param = param(&["address", "addresses"], MAE);
const HOSTS: Param = param(&["host", "hosts"], MEA);
const PORTS: Param = param(&["port", "ports"], MEA);
const TLS: Param = param(&["tls"], A);

fn connection(reader: &mut Reader<'_>, topology: Topology) -> RedisConnection {
    let addresses = reader.optional(ADDRESSES, list);
    let hosts = reader.optional(HOSTS, list);
    let ports = reader.optional(PORTS, list);
    check_addresses(reader, addresses.as_ref(), hosts.as_ref(), ports.as_ref());
    RedisConnection {
        topology,
        addresses,
        hosts,
        ports,
        database: reader.or("databaseIndex", 0, int),
        tls: tls(reader),
        unsafe_ssl: reader.or("unsafeSsl", false, boolean),
        username: reader.secret(param(&["username"], MEA)),
        password: reader.secret(param(&["password"], MEA)),
        sentinel_username: reader.secret(param(&["sentinelUsername"], MAE)),
        sentinel_password: reader.secret(param(&["sentinelPassword"], MAE)),
        sentinel_master: reader.optional(param(&["sentinelMaster"], MAE), text),
        cert: reader.secret(param(&["Cert", "cert"], A)),
        key: reader.secret(param(&["key"], A)),
        key_password: reader.secret(param(&["keyPassword"], A)),
        ca: reader.secret(param(&["ca"], A)),
    }
}

fn check_addresses(
    reader: &mut Reader<'_>,
    addresses: Option<&Given<Vec<String>>>,
    hosts: Option<&Given<Vec<String>>>,
    ports: Option<&Given<Vec<String>>>,
) {
    if let (Some(Given::Value(hosts)), Some(Given::Value(ports))) = (hosts, ports)
        && hosts.len() != ports.len()
    {
        reader.fault(
            "host",
            FaultKind::Conflict,
            "not enough hosts or ports given. number of hosts should be equal to the number of ports"
                .to_owned(),
            "Give each host its port, in the same order.",
        );
    }
    let first_is_empty =
        matches!(addresses, Some(Given::Value(list)) if list.first().is_none_or(String::is_empty));
    let pair = hosts.is_some() && ports.is_some();
    let perhaps = !reader.lacks(ADDRESSES) || (!reader.lacks(HOSTS) && !reader.lacks(PORTS));
    if first_is_empty || (addresses.is_none() && !pair && !perhaps) {
        reader.fault(
            "address",
            FaultKind::MissingRequired,
            "no addresses or hosts given. address should be a comma separated list of host:port or set the \
             host/port values"
                .to_owned(),
            "Set address to host:port, or host and port, in metadata, from the container's environment or in \
             the TriggerAuthentication.",
        );
    }
}

fn tls(reader: &mut Reader<'_>) -> Given<bool> {
    let declared = reader.maybe("enableTLS", boolean);
    match (declared, reader.optional(TLS, text)) {
        (Some(_), Some(_)) => {
            reader.fault(
                "enableTLS",
                FaultKind::Conflict,
                "unable to set `tls` in both ScaledObject and TriggerAuthentication together".to_owned(),
                "Remove enableTLS from the metadata, or tls from the TriggerAuthentication.",
            );
            Given::Value(false)
        }
        (Some(tls), None) => Given::Value(tls),
        (None, Some(Given::Elsewhere(origin))) => Given::Elsewhere(origin),
        (None, _) => Given::Value(false),
    }
}

#[cfg(test)]
#[path = "tests/redis.rs"]
mod tests;
