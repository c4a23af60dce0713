//! The processes under a supervisor: started, told to stop, killed, reaped.

use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{self, Pid, Signal, WaitOptions, WaitStatus};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::protocol::{Exit, Instruction, Report};
use super::{EXEC_WITHIN, KILL_EVERY, KILL_EVERY_MAX, send};
use crate::log::{Rotating, Tail};
use crate::procfs;

/// Hooks and probes that run at once; more are refused. Two probes and a hook are what a replica has.
const EXECS_MAX: usize = 8;

/// A replica's processes.
pub(super) struct Replica {
    pub(super) pid: Pid,
    instruction: Instruction,
    stage: Stage,
    exit: Option<Exit>,
    out_of_memory: Option<String>,
    execs: Vec<Exec>,
    refused: Vec<Reaped>,
    log: Option<Rotating>,
    tail: Tail,
    gone: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    Running,
    /// SIGTERM is sent.
    Stopping {
        until: Instant,
    },
    /// SIGKILL is sent, again and again.
    Killing {
        next: Instant,
        every: Duration,
    },
}

struct Exec {
    pid: Pid,
    id: u64,
    until: Instant,
    timed_out: bool,
}

/// Who ended.
#[derive(Debug)]
pub(super) enum Reaped {
    /// The replica's first process.
    Replica,
    /// A hook or probe.
    Exec { id: u64, error: Option<String> },
}

impl Replica {
    /// Starts the replica; returns when it has become the program, or why it could not.
    pub(super) async fn spawn(instruction: Instruction, output: PipeWriter) -> Result<Self, String> {
        let log = Rotating::open(&instruction.log, instruction.log_bytes_max, instruction.log_files_max);
        let log = match log {
            Ok(log) => Some(log),
            Err(error) => {
                complain!("{} cannot be written: {error}", instruction.log.display());
                None
            }
        };
        if let Some(directory) = instruction.working_dir.as_ref().filter(|directory| !directory.is_dir()) {
            return Err(format!("the working directory {} is not there", directory.display()));
        }
        let (status, theirs) = UnixStream::pair().map_err(|error| format!("no socket: {error}"))?;
        let [program, prefix @ ..] = instruction.trampoline.as_slice() else {
            return Err("the instruction names no supervisor".to_owned());
        };
        let mut command = Command::new(program);
        command.args(prefix).arg(process::getpid().as_raw_nonzero().get().to_string());
        command.args(&instruction.command).process_group(0);
        surroundings(&mut command, &instruction);
        let errors = output.try_clone().map_err(|error| format!("no pipe: {error}"))?;
        command.stdin(OwnedFd::from(theirs)).stdout(output).stderr(errors);
        let child = command.spawn().map_err(|error| format!("no process: {error}"))?;
        // Our ends of what is theirs now close here, so that the socket ends with the exec.
        drop(command);
        let pid = Pid::from_child(&child);
        let failure = failure(status).await.map_err(|error| format!("the start was not seen: {error}"))?;
        if !failure.is_empty() {
            let _ = process::waitpid(Some(pid), WaitOptions::empty());
            return Err(failure);
        }
        Ok(Replica {
            pid,
            instruction,
            stage: Stage::Running,
            exit: None,
            out_of_memory: None,
            execs: Vec::new(),
            refused: Vec::new(),
            log,
            tail: Tail::default(),
            gone: false,
        })
    }

    /// Sends SIGTERM, and SIGKILL after the grace. Said again, it can only become shorter.
    pub(super) fn stop(&mut self, grace: Duration) {
        let until = Instant::now() + grace;
        match self.stage {
            Stage::Running => {
                if self.exit.is_none() {
                    send(self.pid, Signal::TERM);
                }
                self.stage = Stage::Stopping { until };
            }
            Stage::Stopping { until: earlier } => {
                self.stage = Stage::Stopping { until: until.min(earlier) };
            }
            Stage::Killing { .. } => {}
        }
    }

    /// Runs a hook or probe beside the replica.
    pub(super) fn exec(&mut self, id: u64, command: &[String], timeout: Duration) {
        let started = match command {
            _ if self.execs.len() >= EXECS_MAX => Err(format!("{EXECS_MAX} commands run already")),
            [program, arguments @ ..] => {
                let mut child = Command::new(program);
                child.args(arguments).process_group(0);
                surroundings(&mut child, &self.instruction);
                child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                child.spawn().map_err(|error| format!("{program}: {error}"))
            }
            [] => Err("an empty command".to_owned()),
        };
        match started {
            Ok(child) => {
                let pid = Pid::from_child(&child);
                self.execs.push(Exec { pid, id, until: Instant::now() + timeout, timed_out: false });
            }
            Err(error) => self.refused.push(Reaped::Exec { id, error: Some(error) }),
        }
    }

    /// Takes a piece of output.
    pub(super) fn logged(&mut self, bytes: &[u8]) {
        self.tail.push(bytes);
        if let Some(log) = &mut self.log
            && let Err(error) = log.write(bytes)
        {
            // A full disk must not stop a replica; its last lines are still remembered.
            complain!("{} is written no further: {error}", self.instruction.log.display());
            self.log = None;
        }
    }

    /// Kills everything when it uses more memory than it may.
    pub(super) fn measure(&mut self) {
        let Some(limit) = self.instruction.memory_limit_bytes else { return };
        let own = process::getpid().as_raw_nonzero().get();
        let used = procfs::memory_bytes(&procfs::descendants(own));
        if used > limit && self.out_of_memory.is_none() {
            let mib = |bytes: u64| bytes >> 20;
            self.out_of_memory =
                Some(format!("OOMKilled: it used {} MiB of a limit of {} MiB", mib(used), mib(limit)));
            self.kill();
        }
    }

    /// When something is to be done without anything happening.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Running => None,
            Stage::Stopping { until } => Some(until),
            Stage::Killing { next, .. } => Some(next),
        };
        let execs = self.execs.iter().filter(|exec| !exec.timed_out).map(|exec| exec.until);
        execs.chain(stage).min()
    }

    /// Does what is due.
    pub(super) fn deadline_reached(&mut self) {
        let now = Instant::now();
        for exec in &mut self.execs {
            if exec.until <= now && !exec.timed_out {
                exec.timed_out = true;
                let _ = process::kill_process_group(exec.pid, Signal::KILL);
            }
        }
        match self.stage {
            Stage::Stopping { until } if until <= now => self.kill(),
            Stage::Killing { next, .. } if next <= now => self.kill(),
            _ => {}
        }
    }

    /// Kills all that is below us, and comes back for what was just being born.
    fn kill(&mut self) {
        if self.exit.is_none() {
            let _ = process::kill_process_group(self.pid, Signal::KILL);
        }
        for process in procfs::descendants(process::getpid().as_raw_nonzero().get()) {
            if let Some(pid) = Pid::from_raw(process.pid) {
                send(pid, Signal::KILL);
            }
        }
        let every = match self.stage {
            Stage::Killing { every, .. } => (every * 2).min(KILL_EVERY_MAX),
            _ => KILL_EVERY,
        };
        self.stage = Stage::Killing { next: Instant::now() + every, every };
    }

    /// Collects every child that has ended.
    pub(super) fn reap(&mut self) -> Vec<Reaped> {
        let mut reaped = std::mem::take(&mut self.refused);
        loop {
            match process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.pid && self.exit.is_none() => {
                    self.exit = Some(self.exit_of(status));
                    reaped.push(Reaped::Replica);
                    // The first process has ended: the rest ends with it, as in a container.
                    self.kill();
                }
                Ok(Some((pid, status))) => {
                    if let Some(index) = self.execs.iter().position(|exec| exec.pid == pid) {
                        let exec = self.execs.swap_remove(index);
                        reaped.push(Reaped::Exec { id: exec.id, error: exec.error(status) });
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    self.gone = self.exit.is_some();
                    break;
                }
            }
        }
        reaped
    }

    fn exit_of(&self, status: WaitStatus) -> Exit {
        Exit {
            code: status.exit_status(),
            signal: status.terminating_signal(),
            reason: self.out_of_memory.clone(),
            last_lines: Vec::new(),
        }
    }

    /// What is told of somebody's end.
    pub(super) fn report(&self, reaped: Reaped) -> Report {
        match reaped {
            Reaped::Replica => {
                let exit = self.exit.clone().unwrap_or_default();
                Report::Exited(Exit { last_lines: self.tail.lines(), ..exit })
            }
            Reaped::Exec { id, error } => Report::ExecDone { id, error },
        }
    }

    /// Whether no process is left.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }
}

impl Exec {
    fn error(&self, status: WaitStatus) -> Option<String> {
        match (status.exit_status(), status.terminating_signal()) {
            _ if self.timed_out => Some("it did not end in time".to_owned()),
            (Some(0), _) => None,
            (Some(code), _) => Some(format!("exit code {code}")),
            (None, signal) => Some(format!("killed by signal {}", signal.unwrap_or_default())),
        }
    }
}

/// The replica's environment and directory.
fn surroundings(command: &mut Command, instruction: &Instruction) {
    // What configures Tidegate is not the replica's.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"TIDEGATE_") {
            command.env_remove(name);
        }
    }
    command.envs(&instruction.env).env(crate::sweep::MARK, &instruction.mark);
    if let Some(directory) = &instruction.working_dir {
        command.current_dir(directory);
    }
}

/// What the step before exec says went wrong; nothing when it became the program.
async fn failure(status: UnixStream) -> io::Result<String> {
    status.set_nonblocking(true)?;
    let mut status = tokio::net::UnixStream::from_std(status)?;
    let mut message = String::new();
    tokio::time::timeout(EXEC_WITHIN, status.read_to_string(&mut message)).await??;
    Ok(message)
}
