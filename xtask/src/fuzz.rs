//! Fuzzing: each target for a while, from its corpus.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Runs cargo-fuzz on every target, or one.
pub(crate) fn run(root: &Path, seconds: u32, only: Option<&str>) -> Result<()> {
    let directory = root.join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        if let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) {
            targets.push(stem.to_owned());
        }
    }
    targets.sort();
    if let Some(only) = only {
        targets.retain(|target| target == only);
    }
    if targets.is_empty() {
        bail!("no such target in {}", directory.display());
    }
    for target in &targets {
        let limit = format!("-max_total_time={seconds}");
        // What a run finds goes below target/; the seeds beside the targets stay as they are.
        let found = format!("fuzz/target/corpus/{target}");
        let seeds = format!("fuzz/corpus/{target}");
        fs::create_dir_all(root.join(&found))?;
        // libFuzzer's instrumentation is behind nightly flags; the bootstrap variable opens them on stable.
        let environment = [("RUSTC_BOOTSTRAP", "1")];
        crate::run(
            "cargo",
            &[
                "fuzz",
                "run",
                // Unoptimised and without the address sanitizer: our crates forbid unsafe code, and the
                // optimised build of the Kubernetes types takes longer than the fuzzing.
                "--dev",
                "--sanitizer",
                "none",
                target,
                &found,
                &seeds,
                "--",
                &limit,
                "-rss_limit_mb=2048",
                "-timeout=10",
                "-max_len=65536",
                "-print_final_stats=1",
            ],
            &environment,
        )
        .context("cargo-fuzz found something, or is missing: cargo install cargo-fuzz --locked")?;
    }
    crate::say(&format!("fuzz: {} targets, {seconds} s each, clean", targets.len()));
    Ok(())
}
