//! `tidegate simulate`, `compare` and `tune`, as users run them.

use std::fmt::Write as _;
use std::fs;

use crate::common::{files, text, tidegate};
use serde_json::Value;

const MANIFEST: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat}
spec:
  scaleTargetRef: {name: chat}
  minReplicaCount: 1
  maxReplicaCount: 4
  triggers:
  - type: prometheus
    metadata:
      serverAddress: http://prometheus:9090
      query: sum(vllm:num_requests_running) + sum(vllm:num_requests_waiting)
      threshold: '2'
";

/// Two minutes of one request a second, the second minute of four.
fn trace() -> String {
    let mut text = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned();
    for n in 0..300 {
        let at_s = if n < 60 { f64::from(n) } else { 60.0 + f64::from(n - 60) / 4.0 };
        let (minute, second) = ((at_s / 60.0) as u32, at_s % 60.0);
        writeln!(text, "2023-11-16 18:{minute:02}:{second:09.6},500,100").unwrap();
    }
    text
}

#[test]
fn a_trace_through_a_manifest_gives_one_object_with_the_fields_of_the_contract() {
    let directory = files(&[("chat.yaml", MANIFEST), ("trace.csv", &trace())]);
    let (manifest, trace) = (directory.path().join("chat.yaml"), directory.path().join("trace.csv"));
    let out = directory.path().join("out");
    let arguments = ["simulate", "-f", text(&manifest), "--trace", text(&trace), "--start-s", "5"];
    let more = ["--format", "json", "--out", text(&out)];
    let run = tidegate(&[&arguments[..], &more[..]].concat(), "");
    assert_eq!(run.code, 0, "{}", run.err);
    let found: Value = serde_json::from_str(&run.out).unwrap();
    for field in [
        "policy",
        "unfinished",
        "slo_attainment",
        "gpu_hours",
        "replicas_max",
        "scale_actions",
        "events",
        "wall_s",
    ] {
        assert!(!found[field].is_null(), "{field} in {found}");
    }
    assert_eq!((&found["requests"], &found["unfinished"]), (&300.into(), &0.into()));
    assert!(found["ttft_s"]["p95"].as_f64().unwrap() > 0.0 && found["itl_s"]["p50"].as_f64().unwrap() > 0.0);
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(page.contains("<title>1 → 2"), "every change is on the page");
    let replay = tidegate(&["replay", text(&out.join("journal"))], "");
    assert_eq!(replay.code, 0, "{}{}", replay.out, replay.err);
}

#[test]
fn a_bad_trace_is_refused_with_its_line() {
    let good = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,374,44\n";
    let cases = [
        ("2023-11-16 18:15:45,1,1\n", "line 3", "sort the file"),
        ("2023-11-16 18:15:47,-5,1\n", "line 3", "-5"),
        ("2023-11-16 18:15:47,99999999999,1\n", "line 3", "99999999999"),
        ("2023-11-16 18:15:47,5\n", "line 3", "column 3"),
    ];
    for (bad, line, said) in cases {
        let directory = files(&[("trace.csv", &format!("{good}{bad}"))]);
        let trace = directory.path().join("trace.csv");
        let run = tidegate(&["simulate", "--policy", "fixed:1", "--trace", text(&trace)], "");
        assert_eq!(run.code, 1, "{bad}");
        assert!(run.err.contains(line) && run.err.contains(said), "{bad}: {}", run.err);
    }
}

#[test]
fn policies_stand_side_by_side_with_what_nobody_can_beat() {
    let directory = files(&[("chat.yaml", MANIFEST), ("trace.csv", &trace())]);
    let (manifest, trace) = (directory.path().join("chat.yaml"), directory.path().join("trace.csv"));
    let arguments =
        ["compare", "-f", text(&manifest), "--trace", text(&trace), "--policy", "keda,fixed:2,kpa:2"];
    let run = tidegate(&[&arguments[..], &["--bounds", "--seeds", "2", "--format", "json"]].concat(), "");
    assert_eq!(run.code, 0, "{}", run.err);
    let found: Value = serde_json::from_str(&run.out).unwrap();
    let names: Vec<_> =
        found["policies"].as_array().unwrap().iter().map(|row| row["policy"].clone()).collect();
    assert_eq!(names, ["keda", "fixed:2", "kpa:2"]);
    let hours = |name: &str| found["bounds"][name]["gpu_hours"].as_f64().unwrap();
    assert!(hours("o1") <= hours("o2") && hours("o2") <= hours("o3") + 1e-9, "{}", found["bounds"]);
}

#[test]
fn a_tuned_manifest_is_written_and_is_a_manifest() {
    let directory = files(&[("chat.yaml", MANIFEST), ("trace.csv", &trace())]);
    let (manifest, trace) = (directory.path().join("chat.yaml"), directory.path().join("trace.csv"));
    let tuned = directory.path().join("tuned.yaml");
    let arguments = ["tune", "-f", text(&manifest), "--trace", text(&trace), "--write", text(&tuned)];
    let run = tidegate(&arguments, "");
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("best"), "{}", run.out);
    assert!(fs::read_to_string(&tuned).unwrap().contains("stabilizationWindowSeconds"));
    let lint = tidegate(&["simulate", "-f", text(&tuned), "--trace", text(&trace)], "");
    assert_eq!(lint.code, 0, "{}", lint.err);
}
