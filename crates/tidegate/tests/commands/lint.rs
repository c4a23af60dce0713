//! `tidegate lint`, `crds` and `completions`, as users run them.

use crate::common::{QUEUE, files, project, text, tidegate};
use serde_json::Value;

/// The query averages what the trigger divides again: an error. The name is deprecated: a warning.
const TWICE: &str = "\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: llm}
spec:
  scaleTargetRef: {name: llm}
  minReplicaCount: 1
  triggers:
  - type: prometheus
    metadata:
      serverAddress: http://prometheus:9090
      metricName: kv
      query: avg(vllm:kv_cache_usage_perc)
      threshold: '0.8'
";

#[test]
fn json_findings_have_the_fields_of_the_contract() {
    let directory = files(&[("so.yaml", TWICE)]);
    let run = tidegate(&["lint", text(directory.path()), "--format", "json"], "");
    assert_eq!(run.code, 1, "{}", run.err);
    let findings: Vec<Value> = serde_json::from_str(&run.out).unwrap();
    let finding = findings.iter().find(|finding| finding["code"] == "TG101").unwrap();
    let keys: Vec<_> = finding.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "column", "file", "help", "line", "message", "object", "severity"]);
    assert_eq!((&finding["severity"], &finding["line"]), (&"error".into(), &12.into()));
    assert_eq!(finding["object"], "ScaledObject default/llm");
    assert!(finding["file"].as_str().unwrap().ends_with("so.yaml"));
}

#[test]
fn text_shows_the_line_with_a_caret_and_the_fix() {
    let directory = files(&[("so.yaml", TWICE)]);
    let run = tidegate(&["lint", text(directory.path())], "");
    assert!(run.out.contains("error[TG101]"), "{}", run.out);
    assert!(run.out.contains("12 |") && run.out.contains("^^^^^"), "{}", run.out);
    assert!(run.out.contains("help: "), "{}", run.out);
    assert!(!run.out.contains('\u{1b}'), "colour in a pipe");
}

#[test]
fn sarif_names_every_rule_it_reports() {
    let directory = files(&[("so.yaml", TWICE)]);
    let run = tidegate(&["lint", text(directory.path()), "--format", "sarif"], "");
    let report: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(report["version"], "2.1.0");
    let rules: Vec<_> =
        report["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().iter().map(|r| &r["id"]).collect();
    for result in report["runs"][0]["results"].as_array().unwrap() {
        assert!(rules.contains(&&result["ruleId"]), "{result}");
        assert!(result["locations"][0]["physicalLocation"]["region"]["startLine"].is_u64());
    }
}

#[test]
fn warnings_end_with_zero_unless_they_are_denied() {
    let only_warnings = QUEUE.replace("listName: jobs,", "listName: jobs, metricName: x,");
    let directory = files(&[("so.yaml", &only_warnings)]);
    assert_eq!(tidegate(&["lint", text(directory.path())], "").code, 0);
    assert_eq!(tidegate(&["lint", text(directory.path()), "--deny", "warnings"], "").code, 1);
    assert_eq!(tidegate(&["lint"], "").code, 2);
}

#[test]
fn explain_prints_the_page_of_a_code_and_lists_them_all() {
    let page = tidegate(&["lint", "--explain", "tg101"], "");
    assert!(page.code == 0 && page.out.starts_with("# TG101"), "{}", page.out);
    let all = tidegate(&["lint", "--explain", "all"], "");
    assert!(all.out.lines().count() > 40, "{}", all.out);
    assert_eq!(tidegate(&["lint", "--explain", "TG999"], "").code, 1);
}

#[test]
fn the_examples_are_clean_even_with_warnings_denied() {
    let run = tidegate(&["lint", text(&project("examples")), "--deny", "warnings"], "");
    assert_eq!(run.code, 0, "{}", run.out);
}

#[test]
fn hostile_files_are_refused_with_their_place() {
    let bomb: String = std::iter::once("a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned())
        .chain(
            "abcdefgh"
                .chars()
                .zip("bcdefghi".chars())
                .map(|(a, b)| format!("{b}: &{b} [{}]\n", [format!("*{a}").as_str(); 9].join(","))),
        )
        .collect();
    let deep = "[".repeat(100_000);
    let huge = QUEUE.replace("maxReplicaCount: 10", "maxReplicaCount: 99999999999999999999999");
    for (name, hostile, line) in [
        ("bomb.yaml", bomb.as_str(), 2..10),
        ("deep.yaml", deep.as_str(), 1..2),
        ("duplicate.yaml", "a: 1\nb: 2\na: 3\n", 3..4),
        ("huge.yaml", huge.as_str(), 6..7),
    ] {
        let directory = files(&[(name, hostile)]);
        let run = tidegate(&["lint", text(directory.path()), "--format", "json"], "");
        let findings: Vec<Value> = serde_json::from_str(&run.out).unwrap();
        assert_eq!(run.code, 1, "{name}");
        let at =
            findings.iter().find(|finding| finding["severity"] == "error").unwrap()["line"].as_u64().unwrap();
        assert!(line.contains(&at), "{name}: line {at} is not in {line:?}");
    }
    let directory = files(&[]);
    std::fs::write(directory.path().join("bytes.yaml"), b"a: 1\nb: \xff\n").unwrap();
    let run = tidegate(&["lint", text(directory.path())], "");
    assert!(
        run.code == 1 && run.out.contains("not UTF-8") && run.out.contains("bytes.yaml:2:4"),
        "{}",
        run.out
    );
}

#[test]
fn crds_are_four_documents_of_keda_kinds() {
    let run = tidegate(&["crds"], "");
    assert_eq!(run.code, 0);
    let kinds = ["ScaledObject", "ScaledJob", "TriggerAuthentication", "ClusterTriggerAuthentication"];
    for kind in kinds {
        assert!(run.out.contains(&format!("kind: {kind}\n")), "{kind}");
    }
    assert_eq!(run.out.matches("kind: CustomResourceDefinition").count(), 4);
}

#[test]
fn completions_come_for_every_shell_and_unknown_ones_are_usage() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = tidegate(&["completions", shell], "");
        assert!(run.code == 0 && run.out.contains("tidegate"), "{shell}");
    }
    assert_eq!(tidegate(&["completions", "csh"], "").code, 2);
}
