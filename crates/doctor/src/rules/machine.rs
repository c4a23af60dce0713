//! The running Tidegate itself and the machine under it.

use super::Rule;
use crate::evidence::Evidence;
use crate::finding::Finding;

/// A stream takes two files, so 4,096 are two thousand streams.
const OPEN_FILES_MIN: u64 = 4_096;
/// Share of the open files in use from which on it gets tight.
const OPEN_FILES_TIGHT: f64 = 0.8;

/// Sixteen segments of a journal at 64 MiB each.
const FREE_BYTES_MIN: u64 = 1 << 30;

pub(super) fn refused(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    for remark in &evidence.remarks {
        let fix = "mend the files: they are read again when they are saved; `tidegate lint` shows the place"
            .to_owned();
        out.push(rule.finding("files", remark.clone(), Vec::new(), fix));
    }
}

pub(super) fn open_files(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(machine) = &evidence.machine else { return };
    let Some(most) = machine.open_files_max else { return };
    let tight = machine.open_files.is_some_and(|open| open as f64 > OPEN_FILES_TIGHT * most as f64);
    if most >= OPEN_FILES_MIN && !tight {
        return;
    }
    let message =
        format!("it may have {most} files open, and a stream takes two: more clients than that are refused");
    let seen = machine.open_files.iter().map(|open| format!("{open} are open now")).collect();
    let fix = "start it with a higher limit: ulimit -n 65536, or LimitNOFILE=65536 in its unit".to_owned();
    out.push(rule.finding("open files", message, seen, fix));
}

pub(super) fn disk(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some((directory, free)) =
        evidence.machine.as_ref().and_then(|machine| machine.state_dir_free.as_ref())
    else {
        return;
    };
    if *free >= FREE_BYTES_MIN {
        return;
    }
    let message = "there is little room for the journal, and without one nothing is decided".to_owned();
    let seen = vec![format!("{} MiB free at {directory}", free >> 20)];
    let fix = "make room there, or start with another --state-dir".to_owned();
    out.push(rule.finding("disk", message, seen, fix));
}

pub(super) fn versions(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some((runs, looks)) = &evidence.versions else { return };
    if runs != looks {
        let message = format!("version {runs} runs, and this command is {looks}");
        let fix = "start the newer one; it drains and brings the fleet back from its journal".to_owned();
        out.push(rule.finding("tidegate", message, Vec::new(), fix));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::codes;
    use crate::evidence::{Evidence, Machine};
    use crate::rules::examine;

    fn on(machine: Machine) -> Vec<crate::Finding> {
        examine(&Evidence { machine: Some(machine), ..Evidence::default() })
    }

    #[test]
    fn few_open_files_are_told_and_many_that_are_nearly_used_up() {
        let files =
            |most, open| Machine { open_files_max: Some(most), open_files: Some(open), ..Machine::default() };
        assert_eq!(codes(&on(files(1_024, 20))), ["TD402"]);
        assert_eq!(codes(&on(files(20_000, 20))), [""; 0]);
        assert_eq!(codes(&on(files(20_000, 17_000))), ["TD402"]);
        assert_eq!(codes(&on(Machine::default())), [""; 0]);
    }

    #[test]
    fn a_disk_without_room_for_the_journal_is_an_error() {
        let disk = |free| Machine { state_dir_free: Some(("/var".to_owned(), free)), ..Machine::default() };
        assert_eq!(codes(&on(disk(10 << 20))), ["TD403"]);
        assert_eq!(codes(&on(disk(10 << 30))), [""; 0]);
    }

    #[test]
    fn a_refused_edit_and_another_version_are_told() {
        let evidence = Evidence {
            remarks: vec!["An edit was refused: f.yaml:3:1".to_owned()],
            versions: Some(("0.1.0".to_owned(), "0.2.0".to_owned())),
            ..Evidence::default()
        };
        assert_eq!(codes(&examine(&evidence)), ["TD401", "TD404"]);
    }
}
