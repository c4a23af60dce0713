//! KEDA's own test cases, as data, run against this crate: activation, fallback and job creation.

mod common;
mod keda;

use std::collections::BTreeSet;

use common::data::{Case, cases, run_all};

/// Kinds that say nothing about a decision, and who they are for.
const NOT_OURS: [(&str, &str); 8] = [
    ("hpa_health", "copies the state of an HPA object into a condition: there is no such object here"),
    ("initial_conditions", "what the operator writes into a new object's status"),
    ("triggers_activity", "a list in the object's status, which the operator keeps"),
    ("strategy_choice", "the manifest crate reads the strategy's name and percentage"),
    ("target_average", "the manifest crate gives a signal one target"),
    ("job_finished", "the operator reads a job's conditions; here a job is finished or it is not"),
    ("cleanup", "the operator deletes old jobs"),
    ("generate", "the operator writes the job objects"),
];

fn run(case: &Case) -> Result<(), String> {
    match case.kind.as_str() {
        "executor" => keda::executor::executor(case),
        "idle_or_min" => keda::executor::idle_or_min(case),
        "object_state" => keda::executor::object_state(case),
        "fallback" => keda::fallback::fallback(case),
        "fallback_replicas" => keda::fallback::replicas(case),
        "effective_max_scale" => keda::jobs::effective_max_scale(case),
        "scaling_decision" => keda::jobs::scaling_decision(case),
        "bounds" => keda::jobs::bounds(case),
        "combine" => keda::jobs::combine(case),
        "pending" => keda::jobs::pending(case),
        "create" => keda::jobs::create(case),
        other => Err(format!("no runner for cases of kind {other}")),
    }
}

fn skipped(case: &Case) -> bool {
    NOT_OURS.iter().any(|(kind, _)| *kind == case.kind)
}

const TABLES: [(&str, &str, usize); 3] = [
    ("executor_cases.json", include_str!("../../../conformance/keda/executor_cases.json"), 99),
    ("fallback_cases.json", include_str!("../../../conformance/keda/fallback_cases.json"), 46),
    ("scaledjob_cases.json", include_str!("../../../conformance/keda/scaledjob_cases.json"), 124),
];

fn table(index: usize) -> Vec<Case> {
    let (name, text, size) = TABLES[index];
    let table = cases(name, text);
    assert_eq!(table.len(), size, "{name}");
    table.into_iter().filter(|case| !skipped(case)).collect()
}

#[test]
fn activation_decides_as_kedas_executor_does() {
    run_all("executor_cases.json", &table(0), run);
}

#[test]
fn a_fallback_serves_what_keda_would_serve() {
    run_all("fallback_cases.json", &table(1), run);
}

#[test]
fn as_many_jobs_are_created_as_keda_would_create() {
    run_all("scaledjob_cases.json", &table(2), run);
}

#[test]
fn every_kind_that_is_left_out_is_in_the_tables_and_no_other() {
    let found: BTreeSet<String> =
        TABLES.iter().flat_map(|(name, text, _)| cases(name, text)).map(|case| case.kind).collect();
    for (kind, why) in NOT_OURS {
        assert!(found.contains(kind), "no case is of kind {kind} ({why})");
    }
}

#[test]
fn every_deliberate_difference_names_a_case() {
    let found: BTreeSet<String> =
        TABLES.iter().flat_map(|(name, text, _)| cases(name, text)).map(|case| case.id).collect();
    for (id, why) in keda::differences() {
        assert!(found.contains(id), "no case {id} ({why})");
    }
}
