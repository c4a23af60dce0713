//! `tidegate decide` and `tidegate replay`, as users run them.

use std::fs;

use crate::common::{QUEUE, files, project, text, tidegate};
use serde_json::Value;

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_good_line_gets_one_decision_with_the_fields_of_the_contract() {
    let directory = files(&[("so.yaml", QUEUE)]);
    let manifest = directory.path().join("so.yaml");
    let input = "{\"t\": 100, \"replicas\": {\"spec\": 1, \"ready\": 1}, \"signals\": {\"s0-redis\": 12}}\n\n\
                 {\"t\": 101.5, \"target\": \"default/worker\", \"signals\": {\"s0-redis\": 0}}\n";
    let run = tidegate(&["decide", "-f", text(&manifest), "--observations", "-"], input);
    assert_eq!(run.code, 0, "{}", run.err);
    let decisions = lines(&run.out);
    assert_eq!(decisions.len(), 2);
    let first = decisions[0].as_object().unwrap();
    assert_eq!(first.keys().collect::<Vec<_>>(), ["replicas", "rule", "steps", "t", "target"]);
    assert_eq!(
        (&first["t"], &first["target"], &first["replicas"]),
        (&100.into(), &"default/worker".into(), &3.into())
    );
    let step = first["steps"][0].as_object().unwrap();
    assert_eq!(step.keys().collect::<Vec<_>>(), ["because", "from", "rule", "to"]);
    assert_eq!(decisions[1]["t"], 101.5);
}

#[test]
fn bad_lines_are_told_by_number_and_do_not_stop_the_others() {
    let directory = files(&[("so.yaml", QUEUE)]);
    let manifest = directory.path().join("so.yaml");
    let good = "{\"t\": 5, \"replicas\": {\"spec\": 1}, \"signals\": {\"s0-redis\": 12}}";
    let bad = [
        "nonsense",
        "{\"replicas\": {\"spec\": 1}}",
        "{\"t\": 1, \"replicas\": {\"spec\": -1}}",
        "{\"t\": 1, \"replicas\": {\"spec\": 1}, \"signals\": {\"s0-reddis\": 1}}",
        "{\"t\": 1, \"replicas\": {\"spec\": 1}, \"signal\": {}}",
        "{\"t\": 1, \"replicas\": {\"spec\": 1}, \"signals\": {\"s0-redis\": 1e999}}",
        "{\"t\": 1, \"target\": \"default/other\", \"replicas\": {\"spec\": 1}}",
        "{\"t\": 1}",
    ];
    let input = format!("{}\n{good}\n{{\"t\": 4, \"signals\": {{}}}}\n", bad.join("\n"));
    let run = tidegate(&["decide", "-f", text(&manifest), "--observations", "-"], &input);
    assert_eq!(run.code, 1);
    assert_eq!(lines(&run.out).len(), 1, "{}", run.out);
    for number in (1..=bad.len()).chain([bad.len() + 2]) {
        assert!(run.err.contains(&format!("line {number}: ")), "line {number} is not told in:\n{}", run.err);
    }
    assert!(run.err.contains("t goes back"), "{}", run.err);
    assert!(run.err.contains("there are: s0-redis"), "{}", run.err);
}

#[test]
fn a_manifest_with_an_error_is_refused_whole_with_its_place() {
    let broken = QUEUE.replace("maxReplicaCount: 10", "minReplicaCount: 11\n  maxReplicaCount: 10");
    let directory = files(&[("so.yaml", &broken), ("other.yaml", &QUEUE.replace("worker", "other"))]);
    let run = tidegate(&["decide", "-f", text(directory.path()), "--observations", "-"], "{\"t\": 1}\n");
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(run.err.contains("minReplicaCount 11 is above maxReplicaCount 10"), "{}", run.err);
    assert!(run.err.contains("so.yaml:6:3"), "{}", run.err);
}

#[test]
fn several_targets_ask_for_a_name() {
    let two = format!("{QUEUE}---\n{}", QUEUE.replace("worker", "other"));
    let directory = files(&[("two.yaml", &two)]);
    let input = "{\"t\": 1, \"replicas\": {\"spec\": 1}}\n\
                 {\"t\": 1, \"target\": \"default/other\", \"replicas\": {\"spec\": 1}, \"signals\": {\"s0-redis\": 1}}\n";
    let run = tidegate(&["decide", "-f", text(directory.path()), "--observations", "-"], input);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("there are several: default/other, default/worker"), "{}", run.err);
    assert_eq!(lines(&run.out)[0]["target"], "default/other");
}

#[test]
fn wrong_usage_ends_with_two_and_missing_files_with_one() {
    assert_eq!(tidegate(&["decide"], "").code, 2);
    assert_eq!(tidegate(&["decide", "-f", "x", "--observations", "-", "--format", "xml"], "").code, 2);
    let run = tidegate(&["decide", "-f", "/nonexistent.yaml", "--observations", "-"], "");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("cannot read /nonexistent.yaml"), "{}", run.err);
}

#[test]
fn a_journal_replays_to_the_same_bytes_and_an_edited_one_does_not() {
    let directory = files(&[("so.yaml", QUEUE)]);
    let journal = directory.path().join("journal");
    let input: String = (0..50)
        .map(|t| {
            format!(
                "{{\"t\": {t}, \"replicas\": {{\"spec\": 1}}, \"signals\": {{\"s0-redis\": {}}}}}\n",
                t * 7 % 40
            )
        })
        .collect();
    let manifest = directory.path().join("so.yaml");
    let run = tidegate(
        &["decide", "-f", text(&manifest), "--observations", "-", "--journal", text(&journal)],
        &input,
    );
    assert_eq!(run.code, 0, "{}", run.err);
    let replay = tidegate(&["replay", text(&journal), "--format", "json"], "");
    assert_eq!(replay.code, 0, "{}", replay.err);
    let outcome: Value = serde_json::from_str(&replay.out).unwrap();
    assert_eq!(
        (&outcome["same"], &outcome["events"], &outcome["segments"]),
        (&true.into(), &150.into(), &1.into())
    );

    let again = tidegate(
        &["decide", "-f", text(&manifest), "--observations", "-", "--journal", text(&journal)],
        &input,
    );
    assert!(
        again.code == 1 && again.err.contains("is not empty"),
        "a journal must not be overwritten: {}",
        again.err
    );

    let segment = journal.join("journal-000001.jsonl");
    let written = fs::read_to_string(&segment).unwrap();
    let edited = written.replacen("\"replicas\":2", "\"replicas\":3", 1);
    assert_ne!(written, edited);
    fs::write(&segment, edited).unwrap();
    let run = tidegate(&["replay", text(&segment)], "");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("replayed otherwise"), "{}", run.err);
}

#[test]
fn a_journal_that_was_cut_is_readable_to_its_last_whole_line() {
    let directory = files(&[("so.yaml", QUEUE)]);
    let journal = directory.path().join("journal");
    let manifest = directory.path().join("so.yaml");
    let input = "{\"t\": 1, \"replicas\": {\"spec\": 1}, \"signals\": {\"s0-redis\": 9}}\n".repeat(3);
    tidegate(&["decide", "-f", text(&manifest), "--observations", "-", "--journal", text(&journal)], &input);
    let segment = journal.join("journal-000001.jsonl");
    let written = fs::read(&segment).unwrap();
    fs::write(&segment, &written[..written.len() - 40]).unwrap();
    let run = tidegate(&["replay", text(&segment)], "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("the last line was cut short"), "{}", run.out);
}

#[test]
fn what_is_no_journal_is_told_apart() {
    let directory = files(&[("a.jsonl", "{\"t\":1}\n"), ("empty.jsonl", "")]);
    for name in ["a.jsonl", "empty.jsonl", "missing.jsonl"] {
        let run = tidegate(&["replay", text(&directory.path().join(name))], "");
        assert_eq!(run.code, 1, "{name}: {}", run.out);
    }
}

/// The table in the README is what the command prints.
#[test]
fn the_readme_shows_what_decide_prints() {
    let readme = fs::read_to_string(project("README.md")).unwrap();
    let block = readme.split("```").find(|block| block.contains("$ echo '")).unwrap();
    let input = block.split('\'').nth(1).unwrap();
    let expected: Vec<&str> = block
        .lines()
        .skip_while(|line| !line.contains("tidegate") && !line.contains("cargo"))
        .skip(1)
        .collect();
    let manifest = project("examples/vllm-queue-depth.yaml");
    let run = tidegate(&["decide", "-f", text(&manifest), "--observations", "-", "--format", "text"], input);
    assert_eq!(run.out.lines().collect::<Vec<_>>(), expected, "{}{}", run.out, run.err);
}

#[test]
fn the_example_observations_run_without_a_bad_line() {
    let manifest = project("examples/vllm-queue-depth.yaml");
    let observations = project("examples/observations.jsonl");
    let run = tidegate(&["decide", "-f", text(&manifest), "--observations", text(&observations)], "");
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(lines(&run.out).len(), fs::read_to_string(observations).unwrap().lines().count());
}

/// What `decide` gives for lines against a manifest.
fn decided(manifest: &str, lines_in: &[&str]) -> Vec<u64> {
    let directory = files(&[("m.yaml", manifest)]);
    let path = directory.path().join("m.yaml");
    let run = tidegate(&["decide", "-f", text(&path), "--observations", "-"], &lines_in.join("\n"));
    assert_eq!(run.code, 0, "{}", run.err);
    lines(&run.out).iter().map(|decision| decision["replicas"].as_u64().unwrap()).collect()
}

const WITH_BEHAVIOR: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: a}
spec:
  scaleTargetRef: {name: a}
  minReplicaCount: 1
  maxReplicaCount: 20
  advanced: {horizontalPodAutoscalerConfig: {behavior: {scaleDown: {stabilizationWindowSeconds: 300}}}}
  triggers:
  - {type: redis, name: q, metadata: {address: 'redis:6379', listName: q, listLength: '10'}}
";

#[test]
fn a_change_that_is_never_carried_out_is_asked_for_every_time() {
    let line = |t: u32| format!("{{\"t\": {t}, \"replicas\": {{\"spec\": 1}}, \"signals\": {{\"q\": 100}}}}");
    let all: Vec<String> = (0..10).map(|n| line(n * 4)).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(decided(WITH_BEHAVIOR, &all), [5; 10]);
}

#[test]
fn two_lines_of_one_instant_are_two_observations() {
    let found = decided(
        WITH_BEHAVIOR,
        &[
            "{\"t\": 0, \"replicas\": {\"spec\": 5}, \"signals\": {\"q\": 50}}",
            "{\"t\": 0, \"replicas\": {\"spec\": 3}, \"signals\": {\"q\": 30}}",
        ],
    );
    assert_eq!(found, [5, 3]);
}

#[test]
fn a_list_of_pods_does_not_outvote_a_later_count() {
    let value = WITH_BEHAVIOR.replace("name: q, metadata", "name: q, metricType: Value, metadata");
    let found = decided(
        &value,
        &[
            "{\"t\": 0, \"replicas\": {\"spec\": 1}, \"pods\": [{\"name\": \"p\", \"ready\": \"True\"}], \"signals\": {\"q\": 10}}",
            "{\"t\": 60, \"replicas\": {\"spec\": 5, \"ready\": 5}, \"signals\": {\"q\": 20}}",
        ],
    );
    assert_eq!(found, [1, 10]);
}

#[test]
fn an_autoscaler_that_may_go_to_zero_wakes_from_a_zero_it_is_found_at() {
    let hpa = "\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: a}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: a}
  minReplicas: 0
  maxReplicas: 20
  metrics:
  - {type: External, external: {metric: {name: q}, target: {type: AverageValue, averageValue: '10'}}}
";
    let line = "{\"t\": 0, \"replicas\": {\"spec\": 0}, \"signals\": {\"external-q\": 30}}";
    assert_eq!(decided(hpa, &[line]), [3]);
    // Without zero in the manifest somebody else switched it off, and it stays off.
    assert_eq!(decided(&hpa.replace("minReplicas: 0", "minReplicas: 1"), &[line]), [0]);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_part_of_a_line() {
    let line = "\u{feff}{\"t\": 0, \"replicas\": {\"spec\": 2}, \"signals\": {\"q\": 20}}\r";
    assert_eq!(decided(WITH_BEHAVIOR, &[line, ""]), [2]);
}

#[test]
fn what_stands_twice_is_refused_and_values_of_a_strange_form_are_told_the_right_ones() {
    let directory = files(&[("m.yaml", WITH_BEHAVIOR)]);
    let path = directory.path().join("m.yaml");
    let twice = "{\"t\": 0, \"replicas\": {\"spec\": 1}, \"signals\": {\"q\": 1, \"q\": 2}}";
    let alias = "{\"t\": 0, \"replicas\": {\"spec\": 1}, \"signals\": {\"q\": 1, \"s0-redis\": 2}}";
    let strange = "{\"t\": 0, \"replicas\": {\"spec\": 1}, \"signals\": {\"q\": \"12\"}}";
    let input = [twice, alias, strange].join("\n");
    let run = tidegate(&["decide", "-f", text(&path), "--observations", "-"], &input);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    for part in
        ["signal q stands twice", "under two of its names", "expected a number, null, a list of numbers"]
    {
        assert!(run.err.contains(part), "{part:?} is not in:\n{}", run.err);
    }
}
