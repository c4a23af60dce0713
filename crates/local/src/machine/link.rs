//! Tidegate's end of the pipe to a supervisor.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use crate::procfs;
use crate::supervisor::protocol::{Instruction, Report, Request};

/// How much longer than its own time-out an answer about a command may take on its way.
const ANSWER_SLACK: Duration = Duration::from_secs(2);

/// How long a supervisor may take from its last word to its end.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// A supervisor and what it says.
pub(crate) struct Link {
    child: Child,
    reports: Lines<BufReader<ChildStdout>>,
    handle: Handle,
    /// Its process number and start time.
    pub(crate) supervisor: Option<(i32, u64)>,
}

/// Says things to a supervisor. The pipe closes, and with it the replica, when the last handle goes.
#[derive(Clone)]
pub(crate) struct Handle {
    input: Arc<AsyncMutex<ChildStdin>>,
    next: Arc<AtomicU64>,
    waiting: Arc<Mutex<BTreeMap<u64, oneshot::Sender<Option<String>>>>>,
}

impl Link {
    /// Starts a supervisor and gives it its instruction.
    pub(crate) async fn open(supervisor: &[String], instruction: &Instruction) -> io::Result<Link> {
        let [program, arguments @ ..] = supervisor else {
            return Err(io::Error::other("no supervisor command is configured"));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("supervisor {program}: {error}")))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the supervisor has no pipes"));
        };
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let supervisor = pid.and_then(procfs::process).map(|process| (process.pid, process.start_ticks));
        let handle =
            Handle { input: Arc::new(AsyncMutex::new(input)), next: Arc::default(), waiting: Arc::default() };
        handle.say(instruction).await?;
        Ok(Link { child, reports: BufReader::new(output).lines(), handle, supervisor })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The next thing it says; `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<Report> {
        loop {
            let line = self.reports.next_line().await.ok().flatten()?;
            match serde_json::from_str(&line) {
                Ok(Report::ExecDone { id, error }) => self.handle.answered(id, error),
                Ok(report) => return Some(report),
                Err(error) => tracing::error!("a supervisor said what cannot be read: {error}"),
            }
        }
    }

    /// Waits for the supervisor's own end.
    pub(crate) async fn close(mut self) {
        if tokio::time::timeout(ENDS_WITHIN, self.child.wait()).await.is_err() {
            // What ran under it is gone; a supervisor that lingers is of no use.
            let _ = self.child.start_kill();
            let _ = self.child.wait().await;
        }
    }
}

impl Handle {
    async fn say(&self, what: &impl serde::Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.input.lock().await.write_all(&line).await
    }

    /// SIGTERM, and SIGKILL after the grace.
    pub(crate) async fn stop(&self, grace: Duration) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        if let Err(error) = self.say(&Request::Stop { grace_ms }).await {
            // It is gone, and whoever reads its reports sees so.
            tracing::debug!("a supervisor cannot be told to stop: {error}");
        }
    }

    /// Runs a command beside the replica.
    ///
    /// # Errors
    /// What went wrong with it.
    pub(crate) async fn exec(&self, command: &[String], timeout: Duration) -> Result<(), String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(id, sender);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Exec { id, command: command.to_vec(), timeout_ms };
        let result = match self.say(&request).await {
            Ok(()) => tokio::time::timeout(timeout + ANSWER_SLACK, answer).await,
            Err(error) => {
                self.waiting().remove(&id);
                return Err(error.to_string());
            }
        };
        self.waiting().remove(&id);
        match result {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(error))) => Err(error),
            Ok(Err(_)) | Err(_) => Err("its supervisor did not answer".to_owned()),
        }
    }

    fn answered(&self, id: u64, error: Option<String>) {
        if let Some(sender) = self.waiting().remove(&id) {
            let _ = sender.send(error);
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Option<String>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
