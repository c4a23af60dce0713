//! Scripts in Prometheus' language for tests of PromQL, run against the evaluator.
//!
//! Our own script stands beside this file. With `TIDEGATE_PROMQLTEST_DIR` set, every `*.test` file of
//! that directory is run as well, and counted: passed, unsupported (refused when compiled, or about native
//! histograms), failed.

mod run;
mod script;

use std::path::Path;

use run::{Count, run};

const OWN: &str = include_str!("own.test");

#[test]
fn our_own_script_passes_whole() {
    let count = run("own.test", OWN);
    assert_eq!((count.unsupported, &count.failed), (0, &Vec::new()));
    assert!(count.passed >= 40, "{}", count.passed);
}

#[test]
fn a_wrong_expectation_is_seen() {
    let count =
        run("wrong", "load 1m\n  x 1 2 3\n\neval instant at 1m x\n  x 3\n\neval instant at 1m x\n  x 2\n");
    assert_eq!((count.passed, count.failed.len()), (1, 1));
}

#[test]
fn what_is_not_evaluated_is_counted_as_such() {
    let count = run("other", "load 1m\n  x 1\n\neval instant at 0 info(x)\n  x 1\n");
    assert_eq!((count.passed, count.unsupported), (0, 1));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the scripts are Prometheus' own and stay where they are")]
#[expect(clippy::print_stdout, reason = "the counts are what this is for")]
fn the_scripts_of_a_directory_are_run_and_counted() {
    let Ok(directory) = std::env::var("TIDEGATE_PROMQLTEST_DIR") else { return };
    let mut paths: Vec<_> = Path::new(&directory)
        .read_dir()
        .unwrap_or_else(|error| panic!("{directory}: {error}"))
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no *.test file in {directory}");
    let mut total = Count::default();
    for path in paths {
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let count = run(&name, &text);
        println!(
            "{name}: {} passed, {} unsupported, {} failed",
            count.passed,
            count.unsupported,
            count.failed.len()
        );
        for failed in &count.failed {
            println!("  {failed}");
        }
        total.add(count);
    }
    println!(
        "in all: {} passed, {} unsupported, {} failed",
        total.passed,
        total.unsupported,
        total.failed.len()
    );
    assert!(total.passed > total.failed.len() * 10, "more than a tenth failed");
}
