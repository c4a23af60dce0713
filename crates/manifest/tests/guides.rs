//! What public guides tell people to apply, and everything that is wrong with it: the true faults are found
//! at their lines, and nothing that is right is called wrong.

#![expect(clippy::disallowed_methods, reason = "a test may read the files it is about")]

use std::fs;
use std::path::Path;

use tidegate_manifest::lint::lint;
use tidegate_manifest::{Severity, Source, load};

/// A file and the warnings and errors in it, by line and code.
type Expected = (&'static str, &'static [(u32, &'static str)]);

/// Signals and targets: codes below TG300.
const SCALING: &[Expected] = &[
    (
        "s001-tgi-scaledobject.yaml",
        &[
            // To zero, and the only trigger asks for TGI's own queue: at zero there is none.
            (9, "TG108"),
            // And no one holds the first request, even if something else woke the target.
            (9, "TG204"),
            // KEDA has not read metricName since 2.10.
            (16, "TG012"),
            // sum / count is a mean, 5 is meant a replica, and AverageValue divides by it once more.
            (18, "TG101"),
            // TGI's queue is tgi_queue_size; one finding, though the name stands there twice.
            (18, "TG107"),
            // 100 % in 15 s, from 10 replicas to 1. The window of 300 s above it is right.
            (27, "TG202"),
        ],
    ),
    // The ServiceMonitor's 15 s, the probes' delays and the labels are all right.
    ("s002-deployment.yaml", &[]),
    (
        "s002-hpa.yaml",
        &[
            // GPU utilisation. That memory is no better shows only beside the Deployment. The queue, 50 % a
            // minute and the windows are right.
            (23, "TG111"),
        ],
    ),
    (
        "s002-multimodel.yaml",
        &[
            (14, "TG012"),
            // A rate of each process that counts, without a sum. The window of 2 m is right.
            (16, "TG103"),
            // To zero on a rate of requests, and nothing holds them. It may wake: a gateway may count them,
            // so nothing is said of TG108. Its twin above keeps one replica.
            (29, "TG204"),
            (35, "TG012"),
            (37, "TG103"),
        ],
    ),
    (
        "s002-redis-scaledobject.yaml",
        &[
            // The list is right: 5 a replica, active above 1, 25 % a minute.
            (32, "TG012"),
            // A mean over GPUs in per cent, divided by 80: never more than 2.
            (34, "TG101"),
            // And of a number that is flat anyhow.
            (34, "TG111"),
        ],
    ),
    // Whom it fights shows only beside the HorizontalPodAutoscaler.
    ("s002-vpa.yaml", &[]),
    // Five jobs a worker, to zero, polled every 5 s: all right, and a queue holds the work.
    ("s004-scaledjob.yaml", &[]),
    ("s004-spot.yaml", &[]),
    (
        "s004-vllm.yaml",
        &[
            (61, "TG012"),
            // No series has a label `deployment`; the sum against 10 a replica is right.
            (63, "TG106"),
            (68, "TG012"),
            // KV use is 0 to 1, so 0.8 asks for 2 at the most.
            (70, "TG101"),
            // kv_cache_usage_perc since the V1 engine, and the image is the latest.
            (70, "TG105"),
            (70, "TG106"),
        ],
    ),
];

/// Pods and the cluster: codes from TG300 on.
const SERVING: &[Expected] = &[
    (
        "s002-deployment.yaml",
        &[
            // preStop sleeps 30 s, and the default grace period is 30 s.
            (20, "TG307"),
            // 120 s of delay and 3 × 30 s are enough for most starts (no TG303) and a guess for all of them.
            (61, "TG304"),
            // Of 2 replicas 2 must stay. Requests equal limits, and the toleration is right.
            (94, "TG401"),
        ],
    ),
    (
        "s002-vpa.yaml",
        &[
            // Auto evicts; that it is about a GPU server shows by the policy itself.
            (12, "TG406"),
            // nvidia.com/gpu in minAllowed and maxAllowed: told once.
            (21, "TG406"),
        ],
    ),
    // A worker of the latest build. It has no GPU here and answers nobody: no probes, no hook.
    ("s004-scaledjob.yaml", &[(11, "TG310")]),
    (
        "s004-spot.yaml",
        &[
            // Not the name that is looked for.
            (4, "TG404"),
            // 10 for spot under 50 for on-demand, beside a comment that means the opposite.
            (6, "TG403"),
        ],
    ),
    (
        "s004-vllm.yaml",
        &[
            // No hook, no --shutdown-timeout, latest. That grace is the default is part of TG308's advice.
            (21, "TG306"),
            (22, "TG310"),
            (23, "TG308"),
            // Readiness waits for 60 s; without a liveness probe nothing is killed. /health is right, and so
            // are the toleration and the limits.
            (37, "TG304"),
        ],
    ),
];

/// What shows only when the files of the second guide are read together, codes from TG300 on.
const SERVING_TOGETHER: &[Expected] = &[
    // With an autoscaler from 2 to 10 the budget blocks at rest, not always.
    ("s002-deployment.yaml", &[(20, "TG307"), (61, "TG304"), (94, "TG402")]),
    ("s002-hpa.yaml", &[]),
    ("s002-vpa.yaml", &[(12, "TG406"), (21, "TG406")]),
];

/// What shows only when the files of the second guide are read together, codes below TG300.
const TOGETHER: &[Expected] = &[
    (
        "s002-hpa.yaml",
        &[
            // Memory decides over pods with a GPU.
            (16, "TG111"),
            (23, "TG111"),
        ],
    ),
    (
        "s002-redis-scaledobject.yaml",
        &[
            // The HorizontalPodAutoscaler scales the same Deployment.
            (8, "TG205"),
            // REDIS_HOST is in the Deployment's env: no TG113.
            (32, "TG012"),
            (34, "TG101"),
            (34, "TG111"),
        ],
    ),
    // It sets the memory request by which the HorizontalPodAutoscaler counts.
    ("s002-vpa.yaml", &[(22, "TG205")]),
    ("s002-deployment.yaml", &[]),
];

fn source(file: &str) -> Source {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/guides").join(file);
    Source::new(file, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Warnings and errors with a code in `codes`, as `file:line code`.
fn found(files: &[&str], codes: impl Fn(&str) -> bool) -> Vec<String> {
    let sources: Vec<Source> = files.iter().map(|file| source(file)).collect();
    let findings = lint(&load(&sources));
    let shown =
        findings.iter().filter(|finding| finding.severity >= Severity::Warning && codes(finding.code));
    let mut shown: Vec<String> = shown.map(|it| format!("{}:{} {}", it.file, it.line, it.code)).collect();
    shown.sort();
    shown
}

fn wanted(expected: &[Expected]) -> Vec<String> {
    let lines = |(file, lines): &Expected| {
        lines.iter().map(|(line, code)| format!("{file}:{line} {code}")).collect::<Vec<_>>()
    };
    let mut wanted: Vec<String> = expected.iter().flat_map(lines).collect();
    wanted.sort();
    wanted
}

fn about_scaling(code: &str) -> bool {
    code < "TG300"
}

#[test]
fn each_fault_of_scaling_is_found_at_its_line_and_nothing_else() {
    for expected in SCALING {
        assert_eq!(found(&[expected.0], about_scaling), wanted(&[*expected]), "{}", expected.0);
    }
}

#[test]
fn each_fault_of_serving_is_found_at_its_line_and_nothing_else() {
    for (file, _) in SCALING {
        let expected: Vec<Expected> = SERVING.iter().filter(|(name, _)| name == file).copied().collect();
        assert_eq!(found(&[file], |code| !about_scaling(code)), wanted(&expected), "{file}");
    }
}

#[test]
fn files_meant_for_each_other_show_more_when_they_are_read_together() {
    let files: Vec<&str> = TOGETHER.iter().map(|(file, _)| *file).collect();
    assert_eq!(found(&files, about_scaling), wanted(TOGETHER));
    let files: Vec<&str> = SERVING_TOGETHER.iter().map(|(file, _)| *file).collect();
    assert_eq!(found(&files, |code| !about_scaling(code)), wanted(SERVING_TOGETHER));
}

#[test]
fn every_file_is_in_the_tables() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/guides");
    let names = fs::read_dir(directory).expect("the directory is there");
    let names = names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".yaml")).collect();
    names.sort();
    let known: Vec<&str> = SCALING.iter().map(|(file, _)| *file).collect();
    assert_eq!(names, known);
}
