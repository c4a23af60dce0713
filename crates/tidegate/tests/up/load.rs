//! `tidegate load`, as users run it, at a real `tidegate up`.

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::fleet::{Model, manifests};
use crate::rig::{Rig, of, signal};

fn load(rig: &Rig, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["load", "--url", &rig.gateway])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn played(rig: &Rig, more: &[&str]) -> Output {
    load(rig, more).wait_with_output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test]
async fn a_plan_wakes_a_model_and_is_reported_as_table_json_and_page() {
    let rig = Rig::up(&manifests(&[Model::new("tide")]), &[]);
    rig.until("at zero", |fleet| of(fleet, "default/tide")["wanted"] == 0).await;
    let page = rig.state_dir().join("load.html");
    let plan = ["--plan", "0s:5rps 2s:20rps 4s:0rps", "--output-tokens", "5", "--slo-ttft", "30s"];
    let html = ["--html", page.to_str().unwrap(), "--format", "json"];
    let output = played(&rig, &[&plan[..], &html[..]].concat());
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    let requests = report["requests"].as_u64().unwrap();
    // 5..20 a second over two seconds and down again over two: 45, as independent users come.
    assert!((15..90).contains(&requests), "{requests}");
    assert_eq!((report["ok"].as_u64(), report["failed"].as_u64()), (Some(requests), Some(0)));
    for measured in ["ttft_s", "itl_s", "e2e_s"] {
        let of = |name: &str| report[measured][name].as_f64().unwrap();
        let rising = ["p50", "p90", "p95", "p99", "max"].map(of);
        assert!(rising.is_sorted() && rising[0] >= 0.0, "{measured}: {rising:?}");
    }
    let text = std::fs::read_to_string(page).unwrap();
    assert!(text.starts_with("<!doctype html>") && text.contains("<svg"), "{}", &text[..200]);

    let table = played(&rig, &["--plan", "0s:5rps 1s:5rps", "--arrivals", "uniform"]);
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(text.contains("TTFT") && text.contains("p95"), "{text}");
}

#[tokio::test]
async fn a_trace_is_played_and_a_failure_is_counted_and_ends_with_1() {
    let rig = Rig::up(&manifests(&[Model { min: 1, ..Model::new("tide") }]), &[]);
    rig.until_ready("default/tide", 1).await;
    let trace = rig.state_dir().join("trace.csv");
    let lines = (0..30).map(|second| format!("2023-11-16 18:00:{second:02}.000000,40,6\n"));
    let text = format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{}", lines.collect::<String>());
    std::fs::write(&trace, text).unwrap();
    let trace = trace.to_str().unwrap();
    let good = played(&rig, &["--trace", trace, "--speed", "30", "--format", "json"]);
    let report = json(&good);
    assert_eq!((good.status.code(), report["ok"].as_u64()), (Some(0), Some(30)), "{report:#}");
    assert_eq!(report["tokens"]["output"].as_u64(), Some(180));

    let nobody = ["--model", "ebb", "--limit", "3", "--format", "json"];
    let bad = played(&rig, &[&["--trace", trace, "--speed", "30"], &nobody[..]].concat());
    let report = json(&bad);
    assert_eq!((bad.status.code(), report["failed"].as_u64()), (Some(1), Some(3)), "{report:#}");

    let usage = played(&rig, &["--plan", "soon"]);
    assert_eq!(usage.status.code(), Some(2), "{}", String::from_utf8_lossy(&usage.stderr));
}

#[tokio::test]
async fn ctrl_c_ends_a_run_and_reports_what_there_is() {
    let rig = Rig::up(&manifests(&[Model { min: 1, ..Model::new("tide") }]), &[]);
    rig.until_ready("default/tide", 1).await;
    let endless = load(&rig, &["--plan", "0s:50rps", "--for", "10m", "--format", "json"]);
    rig.until("under load", |fleet| of(fleet, "default/tide")["requests_per_s"].as_f64() > Some(1.0)).await;
    signal(endless.id(), "INT");
    let report = json(&endless.wait_with_output().unwrap());
    assert!(report["ok"].as_u64() > Some(0), "{report:#}");
}
