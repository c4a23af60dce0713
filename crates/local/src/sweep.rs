//! Removing what an earlier Tidegate, or a supervisor that was killed, has left behind.
//!
//! Nothing is adopted: a replica whose supervisor or gateway is gone is killed, whole, at once. Its
//! clients' connections died with the gateway, so there is nobody left to be polite to, and its GPU is
//! wanted. Leftovers are found by three marks, since each can be lost alone:
//! - the supervisor's file in `run/`: its process number and start time;
//! - the session: a supervisor leads one, and the kernel gives the number to nobody else while any
//!   process of that session lives;
//! - [`MARK`] in the environment a process was started with, which also survives `setsid`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::procfs::{self, Process};
use crate::supervisor::protocol::Instruction;

/// The variable every process of a replica is started with: `<state directory>:<run>`.
pub const MARK: &str = "TIDEGATE_REPLICA";

/// Between two looks at what dies.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// After this, what is still there is stuck in the kernel (a GPU driver): it is told and left.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// What a supervisor notes of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    run: String,
    pid: i32,
    start_ticks: u64,
    boot: String,
}

/// Writes the supervisor's file. Not synced: after a power cut there is nothing to find.
pub(crate) fn note_down(instruction: &Instruction) -> io::Result<()> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let start_ticks = procfs::process(pid).map_or(0, |process| process.start_ticks);
    let note = Note { run: instruction.run.clone(), pid, start_ticks, boot: procfs::boot_id() };
    if let Some(directory) = instruction.pid_file.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(&instruction.pid_file, serde_json::to_vec(&note)?)
}

/// What marks the processes of a run: of all runs of this state directory for an empty `run`.
pub(crate) fn mark(state_dir: &Path, run: &str) -> String {
    format!("{}:{run}", state_dir.display())
}

/// Where the supervisors of a state directory note themselves.
pub(crate) fn notes_of(state_dir: &Path) -> PathBuf {
    state_dir.join("run")
}

/// Kills every process that replicas of this state directory have left, and waits for their end.
/// Returns how many there were.
///
/// # Errors
/// When something cannot be killed; its process numbers are named.
pub async fn sweep(state_dir: &Path) -> io::Result<usize> {
    let directory = notes_of(state_dir);
    let notes = read_notes(&directory);
    let sessions: Vec<(i32, u64)> = notes.iter().map(|note| (note.pid, note.start_ticks)).collect();
    let killed = kill_all(&sessions, &mark(state_dir, "")).await?;
    if let Ok(entries) = fs::read_dir(&directory) {
        for entry in entries.flatten() {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(killed)
}

/// Kills what is left of one run whose supervisor is gone.
pub(crate) async fn sweep_run(
    state_dir: &Path,
    run: &str,
    supervisor: Option<(i32, u64)>,
) -> io::Result<usize> {
    let sessions: Vec<(i32, u64)> = supervisor.into_iter().collect();
    kill_all(&sessions, &mark(state_dir, run)).await
}

fn read_notes(directory: &Path) -> Vec<Note> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let boot = procfs::boot_id();
    entries
        .filter_map(|entry| fs::read(entry.ok()?.path()).ok())
        .filter_map(|bytes| serde_json::from_slice::<Note>(&bytes).ok())
        .filter(|note| note.boot == boot)
        .collect()
}

async fn kill_all(sessions: &[(i32, u64)], mark: &str) -> io::Result<usize> {
    let mut seen = std::collections::BTreeSet::new();
    let until = tokio::time::Instant::now() + GIVE_UP_AFTER;
    // A process that is just being replaced by exec has no environment for a moment: nothing is left
    // when twice nothing was found.
    let mut empty = 0;
    loop {
        let left = leftovers(sessions, mark);
        empty = if left.is_empty() { empty + 1 } else { 0 };
        if empty == 2 {
            return Ok(seen.len());
        }
        for process in &left {
            seen.insert((process.pid, process.start_ticks));
            if let Some(pid) = Pid::from_raw(process.pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if tokio::time::Instant::now() >= until {
            let pids: Vec<String> = left.iter().map(|process| process.pid.to_string()).collect();
            return Err(io::Error::other(format!(
                "process {} of an earlier replica does not die; see what holds it",
                pids.join(", ")
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn leftovers(sessions: &[(i32, u64)], mark: &str) -> Vec<Process> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let all = procfs::processes();
    // A number that was given anew leads a session of somebody else's.
    let ours = |session: i32| {
        let noted = sessions.iter().find(|(pid, _)| *pid == session);
        noted.is_some_and(|(pid, start_ticks)| {
            let leader = all.iter().find(|process| process.pid == *pid);
            leader.is_none_or(|leader| leader.start_ticks == *start_ticks)
        })
    };
    let marked = |pid: i32| {
        procfs::has_variable(pid, MARK, |value| {
            // A whole run or a whole directory, never the beginning of a longer name.
            value == mark.as_bytes() || (mark.ends_with(':') && value.starts_with(mark.as_bytes()))
        })
    };
    all.iter()
        .filter(|process| process.pid != own && !process.is_zombie())
        .filter(|process| ours(process.session) || marked(process.pid))
        .copied()
        .collect()
}
