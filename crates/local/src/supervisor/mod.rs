//! The process between Tidegate and a replica: our own binary, run again.
//!
//! ```text
//! tidegate ──pipe──▶ supervisor (own session, child subreaper) ──▶ exec ──▶ replica ─▶ its children
//! ```
//!
//! What it is for: nothing of a replica outlives Tidegate, whatever way Tidegate ends.
//! - The supervisor reads its standard input to the end. Only Tidegate holds the other end, so the end
//!   of the pipe is the death of Tidegate, `kill -9` included. A parent-death signal would say no more,
//!   and says it too early: it is tied to the thread that started the child.
//! - It is a child subreaper: whatever a replica starts and leaves behind becomes its child, is found
//!   below it in `/proc`, killed and reaped.
//! - Between fork and exec the replica is a moment of our own binary (`trampoline`), which asks the
//!   kernel for SIGKILL at the supervisor's death. So the replica's first process dies even when the
//!   supervisor is killed with `kill -9`; what is left of its children then, Tidegate removes, or the
//!   next start of it ([`crate::sweep`]).
//!
//! SIGTERM goes to the replica's first process alone, as Kubernetes does it: vLLM's API server ends its
//! streams first and then tells its engine process, which a signal of its own would end at once. When
//! the first process has ended, whatever is left is killed, as in a container.

/// Says something on standard error, which is Tidegate's own. A supervisor has no log of its own.
macro_rules! complain {
    ($($part:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "tidegate supervisor: {}", format_args!($($part)*));
    }};
}

pub(crate) mod protocol;
mod replica;
mod trampoline;

use std::ffi::OsString;
use std::fs;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{self, Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use protocol::{Instruction, Report, Request};
use replica::{Reaped, Replica};

/// The longest line between Tidegate and a supervisor: an instruction with an environment of 2 MiB,
/// which is where Linux stops (`ARG_MAX` for arguments and environment together), JSON's escapes twice.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// How long a program may take from fork to exec: a cold disk, not a hung network share.
const EXEC_WITHIN: Duration = Duration::from_secs(10);
/// Between two rounds of SIGKILL, at first; doubled up to [`KILL_EVERY_MAX`] while something is stuck
/// in the kernel.
const KILL_EVERY: Duration = Duration::from_millis(20);
/// See [`KILL_EVERY`].
const KILL_EVERY_MAX: Duration = Duration::from_secs(1);
/// How often memory is measured where it is limited.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// Why a supervisor could not do its work.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("a supervisor is started by tidegate itself, with an instruction on its standard input: {0}")]
    Instruction(String),
    #[error("the supervisor cannot {what}: {error}")]
    System { what: &'static str, error: io::Error },
}

fn cannot(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| Error::System { what, error }
}

/// Runs a supervisor, or the step between fork and exec, until it is done.
///
/// `arguments` are those after the subcommand that leads here: none for a supervisor. Call it first of
/// all in `main`, before any thread is started and before arguments are parsed.
#[must_use]
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match arguments.next() {
        Some(word) if word == "exec" => trampoline::main(arguments),
        Some(_) => ExitCode::from(2),
        None => match run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain!("{error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(cannot("start"))?;
    runtime.block_on(supervise())
}

async fn supervise() -> Result<(), Error> {
    // Failing means that we lead a group already; then a terminal's Ctrl-C may reach us, no more.
    let _ = process::setsid();
    process::set_child_subreaper(Some(process::getpid()))
        .map_err(|error| cannot("become a subreaper")(error.into()))?;
    let input =
        owned(&io::stdin()).and_then(pipe::Receiver::from_owned_fd).map_err(cannot("read its input"))?;
    let output =
        owned(&io::stdout()).and_then(pipe::Sender::from_owned_fd).map_err(cannot("write its output"))?;
    let mut requests = BufReader::new(input.take(LINE_BYTES_MAX)).lines();
    let line = requests.next_line().await.map_err(cannot("read its instruction"))?;
    let line = line.ok_or_else(|| Error::Instruction("there was none".to_owned()))?;
    let instruction: Instruction =
        serde_json::from_str(&line).map_err(|error| Error::Instruction(error.to_string()))?;
    let pid_file = instruction.pid_file.clone();
    if let Err(error) = crate::sweep::note_down(&instruction) {
        complain!("{} could not be written: {error}", pid_file.display());
    }
    let mut supervisor = Supervisor { requests: Some(requests), output, instruction };
    let result = supervisor.watch().await;
    // Before the last word: whoever hears it may kill us.
    let _ = fs::remove_file(pid_file);
    supervisor.say(&Report::Gone).await;
    result
}

/// A second descriptor of a standard stream, to be closed by us.
fn owned(stream: &impl std::os::fd::AsFd) -> io::Result<OwnedFd> {
    stream.as_fd().try_clone_to_owned()
}

struct Supervisor {
    /// None once Tidegate is gone.
    requests: Option<Lines<BufReader<tokio::io::Take<pipe::Receiver>>>>,
    output: pipe::Sender,
    instruction: Instruction,
}

impl Supervisor {
    async fn watch(&mut self) -> Result<(), Error> {
        let mut children = signal(SignalKind::child()).map_err(cannot("hear of its children"))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot("hear SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot("hear SIGINT"))?;
        let (reader, writer) = io::pipe().map_err(cannot("make a pipe for the log"))?;
        let mut output = log_reader(reader).map_err(cannot("read the log pipe"))?;
        let mut replica = match Replica::spawn(self.instruction.clone(), writer).await {
            Ok(replica) => replica,
            Err(message) => {
                self.say(&Report::Failed { message }).await;
                return Ok(());
            }
        };
        self.say(&Report::Spawned { pid: replica.pid.as_raw_nonzero().get() }).await;
        let mut measure = tokio::time::interval(MEASURE_EVERY);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let limited = self.instruction.memory_limit_bytes.is_some();
        let mut log = vec![0; 64 << 10];
        let mut log_open = true;
        loop {
            let next = replica.next_deadline();
            tokio::select! {
                line = next_request(&mut self.requests) => self.obey(line, &mut replica),
                _ = children.recv() => {}
                _ = terminate.recv() => replica.stop(self.orphan_grace()),
                _ = interrupt.recv() => replica.stop(self.orphan_grace()),
                read = output.read(&mut log), if log_open => match read {
                    Ok(0) | Err(_) => log_open = false,
                    Ok(bytes) => replica.logged(&log[..bytes]),
                },
                _ = measure.tick(), if limited => replica.measure(),
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    replica.deadline_reached();
                }
            }
            for reaped in replica.reap() {
                if matches!(reaped, Reaped::Replica) {
                    // What it wrote last is in the pipe: a pipe holds 64 KiB.
                    while let Ok(bytes @ 1..) = output.try_read(&mut log) {
                        replica.logged(&log[..bytes]);
                    }
                }
                let report = replica.report(reaped);
                self.say(&report).await;
            }
            if replica.is_gone() {
                return Ok(());
            }
        }
    }

    fn obey(&mut self, line: io::Result<Option<String>>, replica: &mut Replica) {
        let Ok(Some(line)) = line else {
            // Tidegate is gone.
            self.requests = None;
            replica.stop(self.orphan_grace());
            return;
        };
        if let Some(requests) = &mut self.requests {
            requests.get_mut().get_mut().set_limit(LINE_BYTES_MAX);
        }
        match serde_json::from_str(&line) {
            Ok(Request::Stop { grace_ms }) => replica.stop(Duration::from_millis(grace_ms)),
            Ok(Request::Exec { id, command, timeout_ms }) => {
                replica.exec(id, &command, Duration::from_millis(timeout_ms));
            }
            Err(error) => complain!("a request that cannot be read: {error}"),
        }
    }

    fn orphan_grace(&self) -> Duration {
        Duration::from_millis(self.instruction.orphan_grace_ms)
    }

    /// Writes a report. Nobody may be there any more to read it.
    async fn say(&mut self, report: &Report) {
        let Ok(mut line) = serde_json::to_vec(report) else { return };
        line.push(b'\n');
        let _ = self.output.write_all(&line).await;
    }
}

async fn next_request<R: AsyncRead + Unpin>(
    requests: &mut Option<Lines<BufReader<R>>>,
) -> io::Result<Option<String>> {
    match requests {
        Some(requests) => requests.next_line().await,
        None => std::future::pending().await,
    }
}

fn log_reader(reader: PipeReader) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(OwnedFd::from(reader))
}

/// Sends a signal to a process that may be gone already.
fn send(pid: Pid, signal: Signal) {
    let _ = process::kill_process(pid, signal);
}
