//! `tidegate simulate`, `compare` and `tune`, as users run them.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;

use crate::common::{QUEUE, files, project, text, tidegate};
use serde_json::Value;

/// Two or three requests are at work when the second minute is scraped, by how a scrape falls between two
/// arrivals: either is two replicas.
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
      threshold: '1.5'
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
fn a_simulated_policy_slo_leaves_a_journal_that_replays_and_says_why() {
    let directory = files(&[("chat.yaml", MANIFEST)]);
    let manifest = directory.path().join("chat.yaml");
    let trace = "synth:steady,rate=30,for=5m";
    let out = directory.path().join("out");
    let arguments = ["simulate", "-f", text(&manifest), "--trace", trace, "--policy", "slo"];
    let run = tidegate(&[&arguments[..], &["--start-s", "5", "--out", text(&out)]].concat(), "");
    assert_eq!(run.code, 0, "{}", run.err);
    let journal = out.join("journal");
    let replay = tidegate(&["replay", text(&journal)], "");
    assert_eq!(replay.code, 0, "{}{}", replay.out, replay.err);
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(page.contains("of their time"), "the plan's thresholds are on the page");
    assert!(page.contains("requests a second of"), "and the work they come from");
}

#[test]
fn a_bad_trace_is_refused_with_its_line() {
    let good = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,374,44\n";
    let cases = [
        ("2023-11-16 18:15:45,1,1\n", "line 3", "sort the file"),
        ("2023-11-16 18:15:47,-5,1\n", "line 3", "-5"),
        ("2023-11-16 18:15:47,99999999999,1\n", "line 3", "99999999999"),
        ("2023-11-16 18:15:47,5\n", "line 3", "column 3"),
        ("2033-11-16 18:15:47,5,1\n", "line 3", "slip in the date"),
        ("2023-11-16 18:15:47,,1\n", "line 3", "not a number of tokens"),
        ("\0\u{1}\n", "line 3", "not a time"),
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

#[test]
fn a_signal_that_is_not_in_a_trace_is_told_and_the_count_stays() {
    let directory = files(&[("queue.yaml", QUEUE), ("trace.csv", &trace())]);
    let (manifest, trace) = (directory.path().join("queue.yaml"), directory.path().join("trace.csv"));
    let arguments = ["simulate", "-f", text(&manifest), "--trace", text(&trace), "--initial", "2"];
    let run = tidegate(&[&arguments[..], &["--format", "json"]].concat(), "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.err.contains("is not simulated"), "{}", run.err);
    let found: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&found["scale_actions"], &found["replicas_max"]), (&0.into(), &2.into()));
}

#[test]
fn an_example_runs_as_it_stands() {
    let directory = files(&[("trace.csv", &trace())]);
    let (manifest, trace) = (project("examples/vllm-queue-depth.yaml"), directory.path().join("trace.csv"));
    let run = tidegate(&["simulate", "-f", text(&manifest), "--trace", text(&trace)], "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.starts_with("policy") && run.out.contains("keda") && run.err.is_empty(), "{}", run.out);
}

#[test]
fn a_trace_of_other_columns_or_cut_short_is_refused() {
    let directory = files(&[("other.csv", "when,in,out\n1,2,3\n")]);
    let path = directory.path().join("other.csv");
    let run = tidegate(&["simulate", "--policy", "fixed:1", "--trace", text(&path)], "");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("line 1") && run.err.contains("ContextTokens"), "{}", run.err);
    // A gzip file of which the last bytes are missing: what is whole is played, then it is told where it ends.
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zip.write_all(trace().as_bytes()).unwrap();
    let whole = zip.finish().unwrap();
    let path = directory.path().join("cut.csv.gz");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let run = tidegate(&["simulate", "--policy", "fixed:1", "--trace", text(&path)], "");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("line ") && run.err.contains("ends in the middle"), "{}", run.err);
    fs::write(&path, &whole).unwrap();
    let run = tidegate(&["simulate", "--policy", "fixed:1", "--trace", text(&path)], "");
    assert_eq!(run.code, 0, "{}", run.err);
}

#[test]
fn a_trace_is_drawn_from_a_shape_and_a_seed() {
    let played = |seed: &str| {
        let shape = "synth:step,rate=1,high=3,at=1m,for=2m,prompt=200,output=50";
        let arguments = ["simulate", "--policy", "fixed:1", "--trace", shape, "--seed", seed];
        let run = tidegate(&[&arguments[..], &["--format", "json"]].concat(), "");
        assert_eq!(run.code, 0, "{}", run.err);
        let mut found: Value = serde_json::from_str(&run.out).unwrap();
        found["wall_s"] = Value::Null;
        found
    };
    let (first, again, other) = (played("1"), played("1"), played("2"));
    assert_eq!(first, again);
    assert_ne!(first["ttft_s"], other["ttft_s"]);
    // 60 + 180 requests, give or take four deviations.
    assert!((178..302).contains(&first["requests"].as_u64().unwrap()), "{first}");
    let run = tidegate(&["simulate", "--policy", "fixed:1", "--trace", "synth:wave"], "");
    assert!(run.code == 1 && run.err.contains("daily"), "{}", run.err);
}

#[test]
fn what_a_journal_recorded_is_played_to_other_policies() {
    let directory = files(&[("chat.yaml", MANIFEST), ("trace.csv", &trace())]);
    let (manifest, trace) = (directory.path().join("chat.yaml"), directory.path().join("trace.csv"));
    let out = directory.path().join("out");
    let arguments = ["simulate", "--policy", "live", "-f", text(&manifest), "--trace", text(&trace)];
    let run = tidegate(&[&arguments[..], &["--start-s", "5", "--out", text(&out)]].concat(), "");
    assert_eq!(run.code, 0, "{}", run.err);
    let journal = out.join("journal");
    let arguments = ["compare", "-f", text(&manifest), "--from-journal", text(&journal)];
    let run = tidegate(&[&arguments[..], &["--policy", "live,fixed:4", "--format", "json"]].concat(), "");
    assert_eq!(run.code, 0, "{}", run.err);
    let found: Value = serde_json::from_str(&run.out).unwrap();
    let start_s = found["recorded"]["start_p50_s"].as_f64().unwrap();
    assert!((4.0..6.5).contains(&start_s), "{found}");
    let hours = |place: usize| found["policies"][place]["gpu_hours"]["mean"].as_f64().unwrap();
    let recorded = found["recorded"]["replica_hours"].as_f64().unwrap();
    assert!((hours(0) / recorded - 1.0).abs() < 0.25, "{} against {recorded}", hours(0));
    assert!(hours(1) > 1.2 * hours(0), "four all the time cost more");
    let run = tidegate(&["simulate", "--policy", "fixed:1", "--from-journal", text(&trace)], "");
    assert!(run.code == 1 && run.err.contains("line 1"), "{}", run.err);
    let run = tidegate(&["simulate", "--policy", "fixed:1"], "");
    assert_eq!(run.code, 2, "{}", run.err);
}
