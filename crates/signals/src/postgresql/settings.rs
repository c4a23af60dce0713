//! What a connection string or its parts say: `postgres://…` or `key=value key=value`.
//!
//! Read here rather than by the client: it knows fewer values of `sslmode`, and what a manifest may ask
//! for has to be limited. No file is read (`sslrootcert`, `passfile`, `service`), no socket of this
//! machine is opened, and what changes nothing here is passed over.

use std::fmt;

use percent_encoding::percent_decode_str;

/// Hosts of one connection string: a primary and its replicas.
const HOSTS_MAX: usize = 8;

/// The longest connection string: eight hosts of 255 letters and as much again.
const TEXT_BYTES_MAX: usize = 8 << 10;

const PORT: u16 = 5432;

/// How TLS is used, as libpq names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server has it; whoever it is. `allow` is read as this too.
    #[default]
    Prefer,
    /// Always; whoever it is.
    Require,
    /// Always, and the certificate must be the host's by a known authority. `verify-ca` is read as this
    /// too: a certificate of somebody else never helps.
    Verify,
}

impl SslMode {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" | "verify-full" => SslMode::Verify,
            _ => return None,
        })
    }
}

/// Where to connect to, and as whom.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Hosts with their ports, tried in order; at least one.
    pub hosts: Vec<(String, u16)>,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Database.
    pub database: Option<String>,
    /// TLS.
    pub ssl_mode: SslMode,
    /// `options` of the session, as libpq sends them.
    pub options: Option<String>,
}

impl fmt::Debug for Settings {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("ssl_mode", &self.ssl_mode)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a connection string. Never quotes a value of it: it may be the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not written as one.
    #[error(
        "the connection string {0}; write postgres://user:password@host:port/database or key=value pairs"
    )]
    Form(&'static str),
    /// A parameter with a value that is none of its own.
    #[error("the connection's {key} is not {wanted}")]
    Value {
        /// The parameter.
        key: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A parameter that is not followed.
    #[error("the connection's {key} is not supported: {why}")]
    Unsupported {
        /// The parameter.
        key: String,
        /// Why, and what to do.
        why: &'static str,
    },
}

impl Settings {
    /// Reads a connection string.
    ///
    /// # Errors
    /// As [`Error`] lists.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::Form("is longer than 8 KiB"));
        }
        let text = text.trim();
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let pairs = match rest {
            Some(rest) => url(rest)?,
            None => words(text)?,
        };
        Settings::of(pairs)
    }

    /// Takes parameters by libpq's names.
    pub(super) fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        let mut settings = Settings::default();
        let (mut hosts, mut addresses, mut ports) = (String::new(), String::new(), String::new());
        for (key, value) in pairs {
            match key.as_str() {
                "host" => hosts = value,
                "hostaddr" => addresses = value,
                "port" => ports = value,
                "user" => settings.user = Some(value),
                "password" => settings.password = Some(value),
                "dbname" | "database" => settings.database = Some(value),
                "options" => settings.options = Some(value),
                "sslmode" => {
                    let wanted = "disable, allow, prefer, require, verify-ca or verify-full";
                    let mode = SslMode::named(&value).ok_or(Error::Value { key: "sslmode", wanted })?;
                    settings.ssl_mode = mode;
                }
                key if PASSED_OVER.contains(&key) || key.starts_with("pool_") => {}
                "sslrootcert" | "sslcert" | "sslkey" | "sslcrl" | "passfile" | "service" | "servicefile" => {
                    let why = "files are not read for a trigger; leave it out";
                    return Err(Error::Unsupported { key, why });
                }
                _ => {
                    let why = "it is unknown here; for a setting of the session use options=-c name=value";
                    return Err(Error::Unsupported { key, why });
                }
            }
        }
        let hosts = if addresses.is_empty() { hosts } else { addresses };
        settings.hosts = pair_up(&hosts, &ports)?;
        Ok(settings)
    }
}

/// Parameters that other clients know and that change nothing for one number a tick.
const PASSED_OVER: &[&str] = &[
    "application_name",
    "fallback_application_name",
    "connect_timeout",
    "client_encoding",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "target_session_attrs",
    "load_balance_hosts",
    "gssencmode",
    "krbsrvname",
    "channel_binding",
    "sslcompression",
    "sslsni",
    "ssl_min_protocol_version",
    "binary_parameters",
    "default_query_exec_mode",
    "statement_cache_capacity",
    "description_cache_capacity",
];

fn pair_up(hosts: &str, ports: &str) -> Result<Vec<(String, u16)>, Error> {
    let wanted = "a number from 1 to 65535, or as many of them as hosts";
    let read = |port: &str| match port.trim() {
        "" => Ok(PORT),
        port => {
            let port = port.parse().ok().filter(|port| *port > 0);
            port.ok_or(Error::Value { key: "port", wanted })
        }
    };
    let ports: Vec<u16> = ports.split(',').take(HOSTS_MAX + 1).map(read).collect::<Result<_, _>>()?;
    let hosts: Vec<&str> = hosts.split(',').map(str::trim).take(HOSTS_MAX + 1).collect();
    if hosts.len() > HOSTS_MAX || ports.len() > HOSTS_MAX {
        return Err(Error::Form("names more than 8 hosts"));
    }
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(Error::Value { key: "port", wanted });
    }
    let mut pairs = Vec::with_capacity(hosts.len());
    for (index, host) in hosts.into_iter().enumerate() {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(Error::Value { key: "host", wanted: "there" });
        }
        if host.starts_with('/') || host.starts_with('@') {
            let why = "a socket of this machine is not opened for a trigger; name a host";
            return Err(Error::Unsupported { key: "host".to_owned(), why });
        }
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
        pairs.push((host.to_owned(), port));
    }
    Ok(pairs)
}

/// `user:password@host:port,host:port/database?key=value&key=value`.
fn url(rest: &str) -> Result<Vec<(String, String)>, Error> {
    let mut pairs = Vec::new();
    let mut add = |key: &str, value: &str| {
        let decoded = percent_decode_str(value).decode_utf8();
        let decoded = decoded.map_err(|_| Error::Form("holds bytes that are no UTF-8"))?;
        pairs.push((key.to_owned(), decoded.into_owned()));
        Ok(())
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A password may hold an @ that nobody has encoded, so the last one counts.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    if let Some(user) = user {
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        add("user", user)?;
        if !password.is_empty() {
            add("password", password)?;
        }
    }
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for host in authority.split(',').take(HOSTS_MAX + 1) {
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            _ => (host, ""),
        };
        hosts.push(host);
        ports.push(port);
    }
    if !authority.is_empty() {
        add("host", &hosts.join(","))?;
        add("port", &ports.join(","))?;
    }
    if !database.is_empty() {
        add("dbname", database)?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(Error::Form("has a parameter without a value"))?;
        add(key, value)?;
    }
    Ok(pairs)
}

/// `key = value key='it\'s'`.
fn words(text: &str) -> Result<Vec<(String, String)>, Error> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or(Error::Form("has a word without ="))?;
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(Error::Form("has a word without ="));
        }
        let (value, after) = word(after.trim_start())?;
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// A value, plain or in quotes, with backslashes undone; and what follows it.
fn word(text: &str) -> Result<(String, &str), Error> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut letters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            '\\' => value.push(letters.next().ok_or(Error::Form("ends in a backslash"))?.1),
            letter if !quoted && letter.is_whitespace() => return Ok((value, &text[at..])),
            letter => value.push(letter),
        }
    }
    if quoted { Err(Error::Form("has a quote that does not end")) } else { Ok((value, "")) }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
