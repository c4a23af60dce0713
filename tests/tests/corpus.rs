//! The fuzzers' corpus is replayed: what once was found stays found.

use std::fs;
use std::path::Path;

use tidegate_testkit::fuzz::TARGETS;

#[test]
fn every_seed_of_every_fuzz_target_is_taken_without_a_panic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    for (name, target) in TARGETS {
        assert!(root.join(format!("fuzz_targets/{name}.rs")).exists(), "fuzz_targets/{name}.rs is missing");
        let directory = root.join("corpus").join(name);
        let mut seeds = 0;
        for entry in
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
            seeds += 1;
        }
        assert!(seeds > 0, "{name} has no seed");
    }
    let files = fs::read_dir(root.join("fuzz_targets")).unwrap().count();
    assert_eq!(files, TARGETS.len(), "a fuzz target is not in testkit::fuzz::TARGETS");
}
