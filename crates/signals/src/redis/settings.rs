//! What a trigger says of its Redis, with the values that stand elsewhere.

use tidegate_manifest::trigger::{Given, Origin, RedisConnection, Secret, Topology};

use super::Error;
use crate::find::{self, given};
use crate::remote::Question;
use crate::tls::Tls;

const PORT: u16 = 6379;

/// Addresses tried of one trigger: three sentinels or six nodes are usual, and each may cost a time-out.
const ADDRESSES_MAX: usize = 32;

/// A host and its port.
pub(super) type Address = (String, u16);

/// All of it. Never shown: it has passwords.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) topology: Topology,
    /// At least one.
    pub(super) addresses: Vec<Address>,
    pub(super) database: i64,
    pub(super) login: Login,
    /// For the sentinels themselves.
    pub(super) sentinel_login: Login,
    pub(super) master: String,
    pub(super) tls: Option<Tls>,
}

/// Who we are; empty texts are none.
#[derive(Clone, Default)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

impl Settings {
    /// What tells this server and us from others.
    pub(super) fn question(&self) -> Question {
        let servers: Vec<String> =
            self.addresses.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let question = Question::new("redis", servers.join(","))
            .with("topology", format!("{:?}", self.topology).to_lowercase())
            .with("database", self.database);
        let question = match self.topology {
            Topology::Sentinel => question.with("master", &self.master),
            _ => question,
        };
        let tls = self.tls.as_ref();
        let question = match tls {
            None => question,
            Some(tls) => question.with("tls", if tls.insecure { "unsafe" } else { "checked" }),
        };
        question
            .secret("username", self.login.username.as_deref())
            .secret("password", self.login.password.as_deref())
            .secret("sentinelUsername", self.sentinel_login.username.as_deref())
            .secret("sentinelPassword", self.sentinel_login.password.as_deref())
            .secret("ca", tls.and_then(|tls| tls.ca_pem.as_deref()))
            .secret("cert", tls.and_then(|tls| tls.cert_pem.as_deref()))
            .secret("key", tls.and_then(|tls| tls.key_pem.as_deref()))
    }
}

pub(super) fn settings(
    of: &RedisConnection,
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<Settings, Error> {
    let secret = |what, secret: &Option<Secret>| find::secret(what, secret.as_ref(), value);
    let master = given("sentinelMaster", of.sentinel_master.as_ref(), value)?.unwrap_or_default();
    if of.topology == Topology::Sentinel && master.is_empty() {
        return Err(Error::NoMaster);
    }
    let tls = match &of.tls {
        Given::Value(tls) => *tls,
        Given::Elsewhere(origin) => value(origin).is_some_and(|text| text.trim() == "enable"),
    };
    let tls = if tls {
        Some(Tls {
            ca_pem: secret("ca", &of.ca)?,
            cert_pem: secret("cert", &of.cert)?,
            key_pem: secret("key", &of.key)?,
            key_password: secret("keyPassword", &of.key_password)?,
            insecure: of.unsafe_ssl,
        })
    } else {
        None
    };
    let login = |username: &Option<Secret>, password: &Option<Secret>, names: [&'static str; 2]| {
        Ok::<_, find::Error>(Login {
            username: secret(names[0], username)?,
            password: secret(names[1], password)?,
        })
    };
    Ok(Settings {
        topology: of.topology,
        addresses: addresses(of, value)?,
        // A cluster has one database.
        database: if of.topology == Topology::Cluster { 0 } else { of.database },
        login: login(&of.username, &of.password, ["username", "password"])?,
        sentinel_login: match of.topology {
            Topology::Sentinel => {
                login(&of.sentinel_username, &of.sentinel_password, ["sentinelUsername", "sentinelPassword"])?
            }
            _ => Login::default(),
        },
        master,
        tls,
    })
}

/// Every address, or for one server the first, as KEDA's `redis` takes it.
fn addresses(
    of: &RedisConnection,
    value: &impl Fn(&Origin) -> Option<String>,
) -> Result<Vec<Address>, Error> {
    let list = |what, given: &Option<Given<Vec<String>>>| match given {
        None => Ok(Vec::new()),
        Some(Given::Value(all)) => Ok(all.clone()),
        Some(Given::Elsewhere(origin)) => {
            let text = find::secret(what, Some(&Secret(origin.clone())), value)?.unwrap_or_default();
            Ok::<_, Error>(text.split(',').map(|part| part.trim().to_owned()).collect())
        }
    };
    let mut all = list("address", &of.addresses)?;
    for (host, port) in list("host", &of.hosts)?.iter().zip(&list("port", &of.ports)?) {
        all.push(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") });
    }
    all.retain(|address| !address.is_empty());
    all.truncate(if of.topology == Topology::Single { 1 } else { ADDRESSES_MAX });
    if all.is_empty() {
        return Err(Error::Address { address: "nothing".to_owned() });
    }
    all.into_iter().map(|address| split(&address).ok_or(Error::Address { address })).collect()
}

/// `host:port`, `[v6]:port`, or a host alone.
pub(super) fn split(address: &str) -> Option<Address> {
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()?),
        _ => (address, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
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
