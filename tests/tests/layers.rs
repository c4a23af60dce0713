//! Which crate may use which: ARCHITECTURE.md's table, held against what cargo resolves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Our crates by level. An edge goes only to a lower level, never sideways. Rule 1.
const LEVELS: &[(&str, u8)] = &[
    ("tidegate-core", 0),
    ("tidegate-metrics", 1),
    ("tidegate-journal", 1),
    ("tidegate-manifest", 2),
    ("tidegate-report", 2),
    ("tidegate-doctor", 2),
    ("tidegate-decide", 3),
    ("tidegate-sim", 3),
    ("tidegate-signals", 3),
    ("tidegate-gateway", 3),
    ("tidegate-engine", 4),
    ("tidegate-local", 4),
    ("tidegate-load", 4),
    ("tidegate-dashboard", 4),
    ("tidegate", 5),
];

/// Used by tests and chores only. Rule 2: only as dev-dependencies of the others, and never by the binary's own code.
const TOOLS: &[&str] = &["tidegate-testkit", "tidegate-tests", "tidegate-benches", "xtask"];

/// Everything outside that the core may use. Rule 3.
const CORE_MAY_USE: &[&str] = &["libm", "serde", "thiserror"];

/// Crates without I/O, clock, randomness, environment or log. Rule 4.
const PURE: &[&str] = &[
    "tidegate-core",
    "tidegate-metrics",
    "tidegate-journal",
    "tidegate-manifest",
    "tidegate-report",
    "tidegate-doctor",
    "tidegate-decide",
    "tidegate-sim",
];

/// What a pure crate may not reach, directly or through others. Rule 4.
const IMPURE: &[&str] = &[
    "tokio",
    "hyper",
    "kube-client",
    "kube-runtime",
    "rand",
    "log4rs",
    "tracing",
    "reqwest",
    "mio",
    "rustls",
];

/// Only the binary. Rule 5.
const BINARY_ONLY: &[&str] = &["clap", "anyhow", "mimalloc", "annotate-snippets"];

fn metadata() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).exec().expect("cargo metadata answers")
}

fn level(name: &str) -> Option<u8> {
    LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
}

fn ours(metadata: &Metadata) -> Vec<&Package> {
    metadata.workspace_packages()
}

#[test]
fn every_crate_of_the_workspace_has_a_level() {
    for package in ours(&metadata()) {
        let name = package.name.as_str();
        assert!(
            level(name).is_some() || TOOLS.contains(&name),
            "{name} is in no level: add it to this table"
        );
    }
}

#[test]
fn an_edge_between_our_crates_goes_only_down() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in ours(&metadata) {
        let from = package.name.as_str();
        for dependency in package.dependencies.iter().filter(|edge| edge.name.starts_with("tidegate")) {
            let to = dependency.name.as_str();
            let development = dependency.kind == DependencyKind::Development;
            if TOOLS.contains(&to) && !development {
                wrong.push(format!("rule 2: {from} → {to} outside dev-dependencies"));
            } else if let (Some(from_level), Some(to_level)) = (level(from), level(to))
                && from_level <= to_level
            {
                wrong.push(format!("rule 1: {from} (level {from_level}) → {to} (level {to_level})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_uses_nothing_but_its_allow_list() {
    let metadata = metadata();
    let core = ours(&metadata).into_iter().find(|package| package.name.as_str() == "tidegate-core").unwrap();
    let used = core.dependencies.iter().filter(|edge| edge.kind == DependencyKind::Normal);
    let extra: Vec<_> =
        used.filter(|edge| !CORE_MAY_USE.contains(&edge.name.as_str())).map(|edge| &edge.name).collect();
    assert!(extra.is_empty(), "rule 3: tidegate-core → {extra:?}");
}

#[test]
fn a_pure_crate_reaches_no_runtime_client_or_randomness() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    let names: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    let edges: BTreeMap<_, Vec<_>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let normal = node
                .deps
                .iter()
                .filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
            (&node.id, normal.map(|edge| &edge.pkg).collect())
        })
        .collect();
    let mut wrong = Vec::new();
    for package in ours(&metadata).into_iter().filter(|package| PURE.contains(&package.name.as_str())) {
        let mut reached = BTreeSet::new();
        let mut open = vec![&package.id];
        while let Some(id) = open.pop() {
            if reached.insert(id) {
                open.extend(edges[id].iter().copied());
            }
        }
        for id in reached {
            if IMPURE.contains(&names[id]) {
                wrong.push(format!("rule 4: {} reaches {}", package.name, names[id]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arguments_and_terminal_belong_to_the_binary() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in ours(&metadata) {
        let name = package.name.as_str();
        if name == "tidegate" || TOOLS.contains(&name) {
            continue;
        }
        let used = package.dependencies.iter().filter(|edge| edge.kind == DependencyKind::Normal);
        wrong.extend(
            used.filter(|edge| BINARY_ONLY.contains(&edge.name.as_str()))
                .map(|edge| format!("rule 5: {name} → {}", edge.name)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_map_names_every_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    for package in ours(&metadata()) {
        let directory = package
            .manifest_path
            .parent()
            .unwrap()
            .strip_prefix(root.canonicalize().unwrap())
            .unwrap()
            .to_string();
        assert!(map.contains(&format!("`{directory}`")), "ARCHITECTURE.md does not name `{directory}`");
    }
}
