//! The few things we read from `/proc`.

use std::fs;
use std::path::Path;

/// One process, as `/proc/PID/stat` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) state: u8,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    /// Clock ticks since boot: with `pid`, a name that is never used twice in one boot.
    pub(crate) start_ticks: u64,
}

impl Process {
    /// Whether it is dead and merely not yet reaped.
    pub(crate) fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// All processes we may see.
pub(crate) fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut all: Vec<Process> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect();
    all.sort_unstable_by_key(|process| process.pid);
    all
}

/// One process, if it is there.
pub(crate) fn process(pid: i32) -> Option<Process> {
    parse_stat(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// `pid (name) state ppid pgrp session … starttime …`; the name may hold blanks and parentheses, so
/// fields are counted from the last `)`.
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Process> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    // Field 22 of the file; 6 is the last one taken.
    let start_ticks = fields.nth(15)?.parse().ok()?;
    Some(Process { pid, state, parent, session, start_ticks })
}

/// Every living process below one.
pub(crate) fn descendants(of: i32) -> Vec<Process> {
    let all = processes();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            if !process.is_zombie() {
                found.push(*process);
            }
        }
    }
    found
}

/// Bytes of memory that only swapping or killing would free: anonymous pages, and the largest share of
/// shared memory any one process has mapped. File pages do not count: the kernel drops them when it
/// needs room, and an engine that maps its weights has tens of gigabytes of them.
pub(crate) fn memory_bytes(processes: &[Process]) -> u64 {
    let mut anonymous = 0_u64;
    let mut shared_max = 0_u64;
    for process in processes {
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", process.pid)) else { continue };
        anonymous += status_kib(&status, "RssAnon:") * 1024;
        shared_max = shared_max.max(status_kib(&status, "RssShmem:") * 1024);
    }
    anonymous + shared_max
}

fn status_kib(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Whether a process was started with `name=value` in its environment.
pub(crate) fn has_variable(pid: i32, name: &str, matches: impl Fn(&[u8]) -> bool) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    environment.split(|&byte| byte == 0).any(|variable| {
        let value = variable.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        value.is_some_and(&matches)
    })
}

/// A name for the time since the machine was switched on.
pub(crate) fn boot_id() -> String {
    let text = fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = b"7 (a) b) (c) S 3 7 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 991 1000 20 184\n";
        assert_eq!(
            parse_stat(7, stat),
            Some(Process { pid: 7, state: b'S', parent: 3, session: 5, start_ticks: 991 })
        );
    }

    #[test]
    fn we_find_ourselves_and_our_memory() {
        let own = process(std::process::id() as i32).unwrap();
        assert!(processes().iter().any(|process| process.pid == own.pid));
        assert!(memory_bytes(&[own]) > 100_000);
    }
}
