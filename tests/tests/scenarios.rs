//! Every file in `scenarios/` runs.

use std::fs;
use std::path::Path;

use tidegate_sim::scenario as fleet;
use tidegate_testkit::scenario;

#[test]
fn every_scenario_holds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut failed = String::new();
    let mut ran = 0;
    let mut files: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        if fleet::is_one(&text) {
            match fleet::run(&name, &text) {
                Ok(played) => {
                    ran += 1;
                    played.failures.iter().for_each(|failure| {
                        failed.push_str(&format!("scenarios/{name}: {failure}\n"));
                    });
                }
                Err(failure) => failed.push_str(&format!("scenarios/{name}: {failure}\n")),
            }
            continue;
        }
        match scenario::check(&name, &text) {
            Ok(outcome) => {
                ran += 1;
                println!("{name}: {} ticks, {} expectations", outcome.ticks, outcome.expectations);
            }
            Err(failures) => {
                for failure in failures.iter().take(5) {
                    failed.push_str(&format!("scenarios/{name}: {failure}\n"));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
    assert!(ran >= 22, "only {ran} scenarios in {}", directory.display());
}
