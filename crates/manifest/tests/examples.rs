//! The manifests under `examples/` are what people start from: nothing in them may be worth a warning, and
//! each must be something that can be run.

#![expect(clippy::disallowed_methods, reason = "a test may read the files it is about")]

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_manifest::lint::lint;
use tidegate_manifest::{Finding, Manifests, Severity, Source, load, lower};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// Every example's file name and text, by name.
fn examples() -> Vec<(String, String)> {
    let entries = fs::read_dir(directory()).expect("examples/ is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(paths.len() >= 11, "only {} examples", paths.len());
    let name = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("readable"))).collect()
}

fn loaded(name: &str, text: &str) -> Manifests {
    load(&[Source::new(name, text.as_bytes())])
}

fn show(finding: &Finding) -> String {
    let Finding { code, severity, file, line, column, message, .. } = finding;
    format!("{file}:{line}:{column}: {severity} {code}: {message}")
}

#[test]
fn no_example_is_worth_a_finding() {
    let findings = examples().into_iter().flat_map(|(name, text)| lint(&loaded(&name, &text)));
    let found: Vec<String> = findings.map(|finding| show(&finding)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_example_can_be_run() {
    for (name, text) in examples() {
        let lowered = lower(&loaded(&name, &text));
        let errors: Vec<String> =
            lowered.findings.iter().filter(|finding| finding.severity == Severity::Error).map(show).collect();
        assert!(errors.is_empty(), "{}", errors.join("\n"));
        assert!(!lowered.targets.is_empty(), "{name} has no target");
    }
}

#[test]
fn every_example_says_what_it_shows_and_stands_in_the_table() {
    let table = fs::read_to_string(directory().join("README.md")).expect("examples/README.md is there");
    for (name, text) in examples() {
        assert!(text.starts_with("# "), "{name} has no head");
        assert!(table.contains(&format!("[{name}]({name})")), "{name} is not in examples/README.md");
    }
}
