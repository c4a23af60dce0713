//! MariaDB from Debian.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Server, again, command, hand_over, run, shared};
use super::{Certificates, free_address};

const INSTALL: &str = "apt-get install -y mariadb-server";

/// A server with the user `tester`, who may do everything, and the database `jobs`.
#[derive(Debug)]
pub struct MariaDb {
    address: SocketAddr,
    server: Option<Server>,
    settings: Vec<String>,
    directory: TempDir,
}

impl MariaDb {
    /// The password of `tester`.
    pub const PASSWORD: &'static str = "hunter2";

    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let mut server = MariaDb::prepared(Vec::new());
        server.restart();
        server
    }

    /// One that other tests use at the same time: for those that only ask.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static ONE: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
        shared(&ONE, Self::start)
    }

    /// Starts one that also talks TLS, with this certificate.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_tls(certificates: &Certificates) -> Self {
        let mut server = MariaDb::prepared(Vec::new());
        let pems = [
            ("ssl-ca", &certificates.ca_pem),
            ("ssl-cert", &certificates.cert_pem),
            ("ssl-key", &certificates.key_pem),
        ];
        for (option, text) in pems {
            let path = server.directory.path().join(option);
            fs::write(&path, text).expect("the directory is ours");
            hand_over(&path);
            server.settings.push(format!("--{option}={}", path.display()));
        }
        server.restart();
        server
    }

    fn prepared(settings: Vec<String>) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the server");
        hand_over(directory.path());
        let server = MariaDb { address: free_address(), server: None, settings, directory };
        let mut install = command(Path::new("mariadb-install-db"));
        install.args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
        install.arg(format!("--datadir={}", server.path("data")));
        run(&mut install, INSTALL);
        let accounts = server.directory.path().join("accounts.sql");
        let password = Self::PASSWORD;
        let text = format!(
            "CREATE DATABASE IF NOT EXISTS jobs;\n\
             CREATE OR REPLACE USER tester@'%' IDENTIFIED BY '{password}';\n\
             GRANT ALL ON *.* TO tester@'%';\n"
        );
        fs::write(&accounts, text).expect("the directory is ours");
        hand_over(&accounts);
        server
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
        let start = || {
            let mut mariadbd = command(&program());
            mariadbd.arg("--no-defaults");
            mariadbd.arg(format!("--datadir={}", self.path("data")));
            mariadbd.arg(format!("--socket={}", self.path("socket")));
            mariadbd.arg(format!("--pid-file={}", self.path("pid")));
            mariadbd.arg(format!("--init-file={}", self.path("accounts.sql")));
            mariadbd.arg(format!("--bind-address={}", self.address.ip()));
            mariadbd.arg(format!("--port={}", self.address.port()));
            // Thrown away with the test, so nothing need reach the disk, only the system; and few
            // connections, so that a leak of them is seen.
            mariadbd.args(["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=16M"]);
            mariadbd.args(["--innodb-log-file-size=4M", "--max-connections=20", "--skip-name-resolve"]);
            mariadbd.args(&self.settings);
            Server::start(&mut mariadbd, "ready for connections", Signal::TERM, INSTALL)
        };
        self.server = Some(again(start, "mariadbd"));
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

/// Debian puts it where only root looks.
fn program() -> std::path::PathBuf {
    let path = Path::new("/usr/sbin/mariadbd");
    if path.is_file() { path.to_owned() } else { Path::new("mariadbd").to_owned() }
}
