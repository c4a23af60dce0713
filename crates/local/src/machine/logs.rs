//! The directory of a target's logs: `logs/<namespace>_<name>/<replica>.log`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory of a target. Names of Kubernetes objects hold no `_`, so no two targets share one.
pub(super) fn directory(state_dir: &Path, target: &str) -> PathBuf {
    state_dir.join("logs").join(target.replace('/', "_"))
}

/// The log of a replica; older ones are beside it as `.1` and `.2`.
pub(super) fn file(state_dir: &Path, target: &str, replica: &str) -> PathBuf {
    directory(state_dir, target).join(format!("{replica}.log"))
}

/// The number after the greatest that a replica of this workload ever had here, so that no log is
/// written by two.
pub(super) fn next_number(state_dir: &Path, target: &str, workload: &str) -> u64 {
    by_number(&directory(state_dir, target), workload).keys().next_back().map_or(1, |number| number + 1)
}

/// Removes the logs of all but the last replicas.
pub(super) fn prune(state_dir: &Path, target: &str, workload: &str, keep: usize) {
    let logs = by_number(&directory(state_dir, target), workload);
    let surplus = logs.len().saturating_sub(keep);
    for path in logs.into_values().take(surplus).flatten() {
        let _ = fs::remove_file(path);
    }
}

fn by_number(directory: &Path, workload: &str) -> BTreeMap<u64, Vec<PathBuf>> {
    let mut logs: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else { return logs };
    for path in entries.flatten().map(|entry| entry.path()) {
        if let Some(number) = number_of(&path, workload) {
            logs.entry(number).or_default().push(path);
        }
    }
    logs
}

fn number_of(path: &Path, workload: &str) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let (number, _) = name.strip_prefix(workload)?.strip_prefix('-')?.split_once(".log")?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_where_an_earlier_run_ended_and_old_logs_go() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(next_number(state.path(), "default/chat", "chat"), 1);
        fs::create_dir_all(directory(state.path(), "default/chat")).unwrap();
        for number in [2, 9, 10, 11] {
            fs::write(file(state.path(), "default/chat", &format!("chat-{number}")), "").unwrap();
        }
        fs::write(directory(state.path(), "default/chat").join("chat-2.log.1"), "").unwrap();
        assert_eq!(next_number(state.path(), "default/chat", "chat"), 12);
        prune(state.path(), "default/chat", "chat", 2);
        let left = by_number(&directory(state.path(), "default/chat"), "chat");
        assert_eq!(left.keys().copied().collect::<Vec<_>>(), [10, 11]);
    }
}
