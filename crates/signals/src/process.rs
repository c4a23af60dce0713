//! What processes use, for `cpu` and `memory` triggers on one machine.
//!
//! One pass over `/proc` a tick for all replicas: each replica is a process group, and every process of
//! the group counts. CPU time is added up by process, so that one that ends takes nothing back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_core::scale::Sample;
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;

/// Processes looked at in one pass: the kernel's default limit on process ids.
const PROCESSES_MAX: usize = 32_768;

/// `/proc` counts CPU time in hundredths of a second (`USER_HZ`) on every Linux that Rust supports.
const TICKS_PER_S: f64 = 100.0;

/// What one replica used.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// The replica.
    pub replica: Arc<str>,
    /// CPUs in use: a mean over [`Usage::window`]. `None` at the first look.
    pub cpus: Option<f64>,
    /// Resident memory, pages shared by its processes counted for each of them.
    pub memory_bytes: u64,
    /// When it was taken.
    pub at: Time,
    /// What the CPU use is a mean over.
    pub window: Span,
}

impl Usage {
    /// The sample the core wants for a `cpu` or `memory` trigger, under the name of the container that
    /// the trigger names.
    #[must_use]
    pub fn sample(&self, resource: &str, container: Option<&str>) -> Option<Sample> {
        let milli = match resource {
            "cpu" => (self.cpus? * 1000.0).round() as i64,
            // Thousandths of a byte, as all quantities are thousandths.
            "memory" => i64::try_from(self.memory_bytes).ok()?.checked_mul(1000)?,
            _ => return None,
        };
        Some(Sample {
            pod: self.replica.to_string(),
            containers: BTreeMap::from([(container.unwrap_or_default().to_owned(), Some(Milli(milli)))]),
            at: self.at,
            window: self.window,
        })
    }
}

/// Remembers CPU times from one look to the next.
#[derive(Clone, Debug)]
pub struct Table {
    proc: PathBuf,
    before: Option<Look>,
}

/// One pass: CPU time of each process of interest, in ticks. A process is told from a later one of the
/// same id by when it started.
#[derive(Clone, Debug)]
struct Look {
    at: Time,
    ticks: BTreeMap<(u32, u64), u64>,
}

impl Default for Table {
    fn default() -> Self {
        Table { proc: PathBuf::from("/proc"), before: None }
    }
}

impl Table {
    /// What each replica, given with its process group, used since the last look. A group without a
    /// process is left out.
    pub fn look(&mut self, now: Time, replicas: &[(Arc<str>, u32)]) -> Vec<Usage> {
        let groups: BTreeMap<u32, usize> =
            replicas.iter().enumerate().map(|(at, (_, group))| (*group, at)).collect();
        let mut ticks = BTreeMap::new();
        let mut used: Vec<(u64, u64, u32)> = vec![(0, 0, 0); replicas.len()];
        for (directory, stat) in processes(&self.proc) {
            let Some(at) = groups.get(&stat.group).copied() else { continue };
            let key = (stat.pid, stat.started);
            ticks.insert(key, stat.ticks);
            let before = self.before.as_ref().and_then(|look| look.ticks.get(&key)).copied().unwrap_or(0);
            let (cpu, memory, count) = &mut used[at];
            *cpu += stat.ticks.saturating_sub(before);
            *memory += resident_bytes(&directory).unwrap_or(0);
            *count += 1;
        }
        let window = self.before.as_ref().map_or(Span::ZERO, |look| now.since(look.at));
        let seconds = window.as_secs_f64();
        self.before = Some(Look { at: now, ticks });
        let usage = |((replica, _), (cpu, memory, count)): (&(Arc<str>, u32), &(u64, u64, u32))| {
            (*count > 0).then(|| Usage {
                replica: Arc::clone(replica),
                cpus: (seconds > 0.0).then(|| *cpu as f64 / TICKS_PER_S / seconds),
                memory_bytes: *memory,
                at: now,
                window,
            })
        };
        replicas.iter().zip(&used).filter_map(usage).collect()
    }
}

struct Stat {
    pid: u32,
    group: u32,
    ticks: u64,
    started: u64,
}

fn processes(proc: &Path) -> impl Iterator<Item = (PathBuf, Stat)> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let numbered =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok()));
    // A process may end between the listing and the reading: it is then nobody's.
    numbered.take(PROCESSES_MAX).filter_map(|entry| {
        let directory = entry.path();
        let stat = fs::read_to_string(directory.join("stat")).ok()?;
        Some((directory, parse(&stat)?))
    })
}

/// `pid (name) state ppid pgrp … utime stime … starttime …`; the name may hold blanks and brackets.
fn parse(stat: &str) -> Option<Stat> {
    let (pid, rest) = stat.split_once(' ')?;
    let fields: Vec<&str> = rest.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        pid: pid.parse().ok()?,
        group: u32::try_from(number(2)?).ok()?,
        ticks: number(11)?.saturating_add(number(12)?),
        started: number(19)?,
    })
}

fn resident_bytes(directory: &Path) -> Option<u64> {
    let status = fs::read_to_string(directory.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up `/proc` of one process: pid, group, CPU ticks, start, resident KiB.
    fn write(proc: &Path, pid: u32, group: u32, ticks: u64, started: u64, kib: u64) {
        let directory = proc.join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        let stat =
            format!("{pid} (a (b) c) S 1 {group} 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {started} 0 0");
        fs::write(directory.join("stat"), stat).unwrap();
        fs::write(directory.join("status"), format!("Name:\ta\nVmRSS:\t{kib} kB\n")).unwrap();
    }

    fn table(proc: &Path) -> Table {
        Table { proc: proc.to_owned(), before: None }
    }

    #[test]
    fn a_replica_uses_what_all_processes_of_its_group_use() {
        let proc = tempfile::tempdir().unwrap();
        let replicas = [(Arc::from("chat-0"), 10)];
        let mut table = table(proc.path());
        write(proc.path(), 10, 10, 100, 1, 1024);
        write(proc.path(), 11, 10, 50, 1, 1024);
        write(proc.path(), 12, 99, 5000, 1, 1024);
        let first = table.look(Time::from_secs(0), &replicas);
        assert_eq!((first[0].cpus, first[0].memory_bytes), (None, 2 << 20));
        // 100 and 50 hundredths in a second: one and a half CPUs.
        write(proc.path(), 10, 10, 200, 1, 1024);
        write(proc.path(), 11, 10, 100, 1, 1024);
        let second = table.look(Time::from_secs(1), &replicas);
        assert_eq!(second[0].cpus, Some(1.5));
        let sample = second[0].sample("cpu", None).unwrap();
        assert_eq!(sample.containers[""], Some(Milli(1500)));
        assert_eq!(
            second[0].sample("memory", Some("server")).unwrap().containers["server"],
            Some(Milli(2_097_152_000))
        );
    }

    #[test]
    fn a_process_that_ends_takes_nothing_back_and_a_reused_id_starts_afresh() {
        let proc = tempfile::tempdir().unwrap();
        let replicas = [(Arc::from("chat-0"), 10)];
        let mut table = table(proc.path());
        write(proc.path(), 10, 10, 100, 1, 0);
        write(proc.path(), 11, 10, 900, 1, 0);
        table.look(Time::from_secs(0), &replicas);
        write(proc.path(), 11, 10, 25, 77, 0);
        write(proc.path(), 10, 10, 125, 1, 0);
        assert_eq!(table.look(Time::from_secs(1), &replicas)[0].cpus, Some(0.5));
    }

    #[test]
    fn a_group_without_a_process_is_left_out() {
        let proc = tempfile::tempdir().unwrap();
        assert!(table(proc.path()).look(Time::from_secs(0), &[(Arc::from("gone"), 10)]).is_empty());
    }

    #[test]
    fn this_very_process_is_seen() {
        let group = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| parse(&stat)).unwrap().group;
        let seen = Table::default().look(Time::from_secs(0), &[(Arc::from("me"), group)]);
        assert!(seen[0].memory_bytes > 0);
    }
}
