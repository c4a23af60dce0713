//! A server of others as a process of a test: started with its own directory, ended with its value.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a server may take until it answers. A JVM or an Erlang machine needs ten seconds on an idle
/// machine; one that compiles with ten times as many programs as processors has needed two minutes.
const READY: Duration = Duration::from_secs(300);

/// How long one question may take. RabbitMQ takes connections before anybody there answers, and lets such
/// a one wait for a minute.
const TRY: Duration = Duration::from_secs(3);

/// How often it is asked.
const STEP: Duration = Duration::from_millis(50);

/// A process with all its children, killed when this value goes.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a group of its own; what it prints goes to a file in `directory`.
    ///
    /// # Panics
    /// When it cannot be started; `install` is the line that mends that.
    #[must_use]
    pub fn start(name: &'static str, mut command: Command, directory: &Path, install: &str) -> Self {
        let log = directory.join(format!("{name}.out"));
        let file = File::options().create(true).append(true).open(&log).expect("a file for what it prints");
        let errors = file.try_clone().expect("the same file");
        command.process_group(0).stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}; {install}"));
        Process { name, child, log }
    }

    /// Waits until `ready` says so.
    ///
    /// # Panics
    /// When the process ends before, or five minutes have passed.
    pub async fn ready(&mut self, mut ready: impl AsyncFnMut() -> bool) {
        let waiting = tokio::time::timeout(READY, async {
            while !tokio::time::timeout(TRY, ready()).await.unwrap_or(false) {
                if let Some(status) = self.child.try_wait().expect("it is our child") {
                    panic!("{} ended ({status}) before it was ready: {}", self.name, self.told());
                }
                tokio::time::sleep(STEP).await;
            }
        });
        if waiting.await.is_err() {
            panic!("{} is not ready after {} s: {}", self.name, READY.as_secs(), self.told());
        }
    }

    /// Ends it at once, as a machine that fails does.
    pub fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }

    fn told(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        // The end of it: servers say last what stopped them.
        String::from_utf8_lossy(&text[text.len().saturating_sub(4_000)..]).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether somebody takes connections there.
pub async fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}

/// One HTTP request over a connection of its own: the status and the body. `None` when nobody answers.
pub async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
