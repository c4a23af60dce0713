//! The horizontal pod autoscaler's own test cases, as data, run against this crate.
//!
//! `TIDEGATE_CONFORMANCE_DIR` may name a directory with more tables in the same format.

mod common;
mod hpa;

use std::path::Path;

use common::data::{Case, cases, json_files, run_all};

fn run(case: &Case) -> Result<(), String> {
    match case.kind.as_str() {
        "replica_calculator" => hpa::calculator::replicas(case),
        "group_pods" => hpa::calculator::groups(case),
        "convert_desired_replicas_with_rules" => hpa::limits::convert_legacy(case),
        "convert_desired_replicas_with_behavior_rate" => hpa::limits::convert_with_rates(case),
        "scale_up_limit_with_rules" => hpa::limits::limit(case, true),
        "scale_down_limit_with_rules" => hpa::limits::limit(case, false),
        "stabilize_recommendation" => hpa::limits::stabilise_legacy(case),
        "stabilize_recommendation_with_behaviors" => hpa::limits::stabilise(case),
        "store_scale_event" => hpa::limits::store_event(case),
        "reconcile" => hpa::reconcile::reconcile(case),
        other => Err(format!("no runner for cases of kind {other}")),
    }
}

#[test]
fn every_case_of_the_upstream_table_gives_what_upstream_gives() {
    let table = cases("hpa_cases.json", include_str!("../../../conformance/hpa_cases.json"));
    assert_eq!(table.len(), 190);
    run_all("hpa_cases.json", &table, run);
}

#[test]
fn every_case_of_the_tables_in_the_named_directory_gives_what_it_expects() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the tables' place is the one thing a test is told from outside"
    )]
    let Ok(directory) = std::env::var("TIDEGATE_CONFORMANCE_DIR") else { return };
    // A relative place is meant from where the command was typed: the project's root.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let files = json_files(&root.join(&directory));
    assert!(!files.is_empty(), "{directory} holds no *.json");
    let mut failures = Vec::new();
    for (name, text) in &files {
        // Every table is run before any failure is reported.
        let outcome = std::panic::catch_unwind(|| run_all(name, &cases(name, text), run));
        if let Err(panic) = outcome {
            let text = panic.downcast_ref::<String>().cloned();
            failures.push(text.unwrap_or_else(|| format!("{name}: panicked")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_case_of_an_unknown_kind_fails() {
    let table =
        cases("made up", r#"{"cases":[{"id":"x-1","kind":"phase_of_the_moon","input":{},"expected":{}}]}"#);
    assert!(run(&table[0]).is_err());
}

#[test]
#[should_panic(expected = "has no cases")]
fn a_table_without_cases_fails() {
    cases("empty.json", r#"{"meta":{},"cases":[]}"#);
}
