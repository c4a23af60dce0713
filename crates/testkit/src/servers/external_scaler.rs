//! An external scaler of KEDA's contract, written with Python's grpcio.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Certificates, free_address};

/// A scaler that says what it is told to say.
#[derive(Debug)]
pub struct ExternalScaler {
    address: SocketAddr,
    directory: TempDir,
    secure: bool,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl ExternalScaler {
    /// Starts one.
    ///
    /// # Panics
    /// When Python or grpcio is not there.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the scaler");
        let mut scaler = ExternalScaler { address: free_address(), directory, secure: false, running: None };
        scaler.restart();
        scaler
    }

    /// Starts one that talks TLS with this certificate, and only with who has one of the same authority.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_tls(certificates: &Certificates) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the scaler");
        let texts = [&certificates.key_pem, &certificates.cert_pem, &certificates.ca_pem];
        for (name, text) in ["key", "cert", "ca"].into_iter().zip(texts) {
            fs::write(directory.path().join(name), text).expect("the directory is ours");
        }
        let mut scaler = ExternalScaler { address: free_address(), directory, secure: true, running: None };
        scaler.restart();
        scaler
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it at once, as a crash does. The address stays its own.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// Starts it again on the same address, knowing nothing.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = root.join("target/tools/python/bin/python");
        let directory = self.directory.path();
        let file = |name: &str| if self.secure { directory.join(name) } else { PathBuf::new() };
        let mut child = Command::new(&python)
            .args(["-c", include_str!("external_scaler.py")])
            .arg(root.join("crates/signals/proto"))
            .arg(directory)
            .args([file("key"), file("cert"), file("ca")])
            .arg(self.address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; cargo xtask setup", python.display()));
        let input = child.stdin.take().expect("it was piped");
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        self.running = Some(Running { child, input, output });
        self.answer();
    }

    /// Tells it what to say from now on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn tell(&mut self, told: &Value) -> Value {
        let running = self.running.as_mut().expect("it runs");
        writeln!(running.input, "{told}").expect("it reads");
        self.answer()
    }

    /// The last target it was asked about, and how many calls and streams there were.
    ///
    /// # Panics
    /// When it is not running.
    pub fn seen(&mut self) -> Value {
        self.tell(&json!({ "seen": true }))
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        let running = self.running.as_mut().expect("it runs");
        running.output.read_line(&mut line).expect("it writes text");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}; cargo xtask setup"))
    }
}

impl Drop for ExternalScaler {
    fn drop(&mut self) {
        self.kill();
    }
}
