//! PostgreSQL from Debian.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Server, again, command, hand_over, run, shared};
use super::{Certificates, free_address};

const INSTALL: &str = "apt-get install -y postgresql";

/// A server with the superuser `postgres`.
#[derive(Debug)]
pub struct PostgreSql {
    address: SocketAddr,
    server: Option<Server>,
    settings: Vec<String>,
    directory: TempDir,
}

impl PostgreSql {
    /// The superuser's password.
    pub const PASSWORD: &'static str = "hunter2";

    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        PostgreSql::prepared(&[]).started()
    }

    /// One that other tests use at the same time: for those that only ask.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static ONE: Mutex<Weak<PostgreSql>> = Mutex::new(Weak::new());
        shared(&ONE, Self::start)
    }

    /// Starts one that also talks TLS, with this certificate.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_tls(certificates: &Certificates) -> Self {
        let server = PostgreSql::prepared(&["ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key"]);
        for (name, text) in [("server.crt", &certificates.cert_pem), ("server.key", &certificates.key_pem)] {
            let path = server.data().join(name);
            fs::write(&path, text).expect("the directory is ours");
            hand_over(&path);
            // It refuses a key that others may read.
            run(Command::new("chmod").arg("600").arg(&path), INSTALL);
        }
        server.started()
    }

    fn prepared(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the server");
        hand_over(directory.path());
        let server = PostgreSql {
            address: free_address(),
            server: None,
            settings: settings.iter().map(|text| (*text).to_owned()).collect(),
            directory,
        };
        let password = server.directory.path().join("password");
        fs::write(&password, Self::PASSWORD).expect("the directory is ours");
        hand_over(&password);
        let mut initdb = command(&program("initdb"));
        initdb.args(["-U", "postgres", "-A", "scram-sha-256", "--no-locale", "-E", "UTF8", "--no-sync"]);
        initdb.arg("-D").arg(server.data()).arg("--pwfile").arg(&password);
        run(&mut initdb, INSTALL);
        server
    }

    fn started(mut self) -> Self {
        self.restart();
        self
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it at once, as a crash does. The address stays its own.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Starts it again on the same address with the same data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let ready = "database system is ready to accept connections";
        let start = || {
            let mut postgres = command(&program("postgres"));
            postgres.arg("-D").arg(self.data()).arg("-k").arg(self.directory.path());
            postgres.args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()]);
            // Thrown away with the test; and few connections, so that a leak of them is seen.
            for setting in
                ["fsync=off", "max_connections=20", "shared_buffers=16MB", "log_destination=stderr"]
            {
                postgres.args(["-c", setting]);
            }
            for setting in &self.settings {
                postgres.args(["-c", setting]);
            }
            Server::start(&mut postgres, ready, Signal::QUIT, INSTALL)
        };
        self.server = Some(again(start, "postgres"));
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

/// Debian keeps the programs of each version in a directory of its own, out of the way.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|path| path.is_file());
    found.sort();
    found.pop().unwrap_or_else(|| Path::new(name).to_owned())
}
