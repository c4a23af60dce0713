//! What a connection string says, in the form of Go's client: `user:password@tcp(host:port)/database?tls=true`.

use std::fmt;

/// The longest connection string.
const TEXT_BYTES_MAX: usize = 8 << 10;

const PORT: u16 = 3306;

/// How TLS is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    #[default]
    Off,
    /// Always; whoever the server is.
    Anybody,
    /// Always, and the certificate must be the host's by a known authority.
    Verify,
}

/// Where to connect to, and as whom.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Database.
    pub database: Option<String>,
    /// TLS.
    pub tls: TlsMode,
}

impl fmt::Debug for Settings {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a connection string. Never quotes it: it may hold the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not written as one.
    #[error("the connection string {0}; write user:password@tcp(host:port)/database")]
    Form(&'static str),
    /// A port that is none.
    #[error("the connection's port is not a number from 1 to 65535")]
    Port,
    /// A value of `tls` that is none.
    #[error(
        "the connection's tls is none of true, false, skip-verify; a configuration registered in a program is not at hand"
    )]
    Tls,
    /// A network that is not opened.
    #[error("the connection's network is not supported: {0}; write tcp(host:port)")]
    Network(&'static str),
}

impl Settings {
    /// A server without anything else said of it. An empty port is MySQL's own.
    ///
    /// # Errors
    /// Without a host, or with a port that is none.
    pub fn at(host: &str, port: &str) -> Result<Self, Error> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(Error::Form("names no host"));
        }
        if host.starts_with('/') {
            return Err(Error::Network("a socket of this machine is not opened for a trigger"));
        }
        let port = match port {
            "" => PORT,
            port => port.parse().ok().filter(|port| *port > 0).ok_or(Error::Port)?,
        };
        Ok(Settings { host: host.to_owned(), port, ..Settings::default() })
    }

    /// Reads a connection string. Parameters other than `tls` change nothing for one number a tick.
    ///
    /// # Errors
    /// As [`Error`] lists.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::Form("is longer than 8 KiB"));
        }
        // A password may hold every one of these letters, so what stands last counts.
        let (server, rest) =
            text.trim().rsplit_once('/').ok_or(Error::Form("has no / before the database"))?;
        let (user, address) = match server.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, server),
        };
        let mut settings = network(address)?;
        if let Some(user) = user {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            settings.user = Some(user.to_owned()).filter(|text| !text.is_empty());
            settings.password = Some(password.to_owned()).filter(|text| !text.is_empty());
        }
        let (database, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        settings.database = Some(database.to_owned()).filter(|text| !text.is_empty());
        let tls = parameters.split('&').find_map(|pair| pair.strip_prefix("tls="));
        settings.tls = match tls {
            None | Some("false" | "0" | "FALSE") => TlsMode::Off,
            Some("true" | "1" | "TRUE") => TlsMode::Verify,
            // Go's client takes an unsecured server too then; here TLS is asked for and had.
            Some("skip-verify" | "preferred") => TlsMode::Anybody,
            Some(_) => return Err(Error::Tls),
        };
        Ok(settings)
    }
}

/// `tcp(host:port)`, `tcp(host)`; nothing is this machine's own server, which is nobody's here.
fn network(address: &str) -> Result<Settings, Error> {
    let inside = address.strip_suffix(')').and_then(|address| address.split_once('('));
    let (network, address) = inside.ok_or(Error::Form("names no tcp(host:port)"))?;
    match network {
        "tcp" | "tcp4" | "tcp6" => {}
        "unix" => return Err(Error::Network("a socket of this machine is not opened for a trigger")),
        _ => return Err(Error::Network("only tcp is")),
    }
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => Settings::at(host, port),
        _ => Settings::at(address, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::parse(text).expect("it is well written")
    }

    #[test]
    fn a_connection_string_is_taken_apart() {
        let all = settings("ann:p@ss:w/rd@tcp(db:3307)/jobs?timeout=3s&tls=skip-verify");
        assert_eq!((all.host.as_str(), all.port, all.tls), ("db", 3307, TlsMode::Anybody));
        assert_eq!(all.user.as_deref(), Some("ann"));
        assert_eq!(all.password.as_deref(), Some("p@ss:w/rd"));
        assert_eq!(all.database.as_deref(), Some("jobs"));
        let few = settings("tcp([::1])/");
        assert_eq!((few.host.as_str(), few.port, few.user, few.database), ("::1", 3306, None, None));
        assert_eq!(settings("u@tcp(db)/d?tls=true").tls, TlsMode::Verify);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for text in [
            "u:hunter2@db:3306",
            "u:hunter2@tcp(db:x)/d",
            "u:hunter2@unix(/run/mysqld/mysqld.sock)/d",
            "u:hunter2@tcp()/d",
            "u:hunter2@tcp(/run/mysqld.sock)/d",
            "u:hunter2@tcp([/run/mysqld.sock])/d",
            "u:hunter2@tcp(db)/d?tls=own",
            "u:hunter2@db/d",
        ] {
            let told = Settings::parse(text).expect_err(text).to_string();
            assert!(!told.contains("hunter2"), "{told}");
        }
        assert!(!format!("{:?}", settings("u:hunter2@tcp(db)/d")).contains("hunter2"));
    }
}
