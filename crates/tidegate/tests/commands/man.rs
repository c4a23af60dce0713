use std::collections::BTreeSet;

use super::common::tidegate;

#[test]
fn there_is_a_page_for_every_command_that_help_lists() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    let output = tidegate(&["man", "--output", pages.to_str().unwrap()], "");
    assert_eq!(output.code, 0, "{}", output.err);
    let names = std::fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<String> = names.map(|name| name.to_str().unwrap().to_owned()).collect();
    assert!(names.contains("tidegate.1"), "{names:?}");
    let help = tidegate(&["--help"], "").out;
    let listed = help.split_once("Commands:").unwrap().1.split_once("Options:").unwrap().0;
    let commands = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<&str> = commands.filter(|name| !matches!(*name, "" | "help")).collect();
    assert!(commands.len() > 15, "{commands:?}");
    for name in commands {
        assert!(names.contains(&format!("tidegate-{name}.1")), "{name}: {names:?}");
    }
}

#[test]
fn one_page_is_printed_and_a_command_that_is_not_there_is_named() {
    let page = tidegate(&["man", "why"], "").out;
    assert!(page.contains(".TH tidegate-why 1") && page.contains("admin"), "{page}");
    let page = tidegate(&["man"], "").out;
    assert!(page.contains(".TH tidegate 1"), "{page}");
    let wrong = tidegate(&["man", "wy"], "");
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("there is no command wy"), "{}", wrong.err);
}
