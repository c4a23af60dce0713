//! The project's own chores: `cargo xtask ci | setup | tidy | codegen | fuzz`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a chore tells what it does")]

mod chart;
mod codegen;
mod fuzz;
mod kafka;
mod setup;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that must hold before a change lands.
    Ci,
    /// Installs what the tests need beside Rust: servers and clients, under target/tools.
    Setup {
        /// Also llama.cpp's server, which is compiled: ten minutes.
        #[arg(long)]
        real_engine: bool,
    },
    /// Sizes, forbidden words, links between documents.
    Tidy,
    /// Writes the generated documents; with `--check` only tells whether they are fresh.
    Codegen {
        /// Change nothing; fail when something would change.
        #[arg(long)]
        check: bool,
    },
    /// Fuzzes each target for a while.
    Fuzz {
        /// Seconds each.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only this target.
        target: Option<String>,
    },
}

fn main() -> Result<()> {
    match Cli::parse().chore {
        Chore::Ci => ci(),
        Chore::Setup { real_engine } => setup::run_all(&root(), real_engine),
        Chore::Tidy => tidy::run(&root()),
        Chore::Codegen { check } => codegen::run(&root(), check),
        Chore::Fuzz { seconds, target } => fuzz::run(&root(), seconds, target.as_deref()),
    }
}

/// One line of what is being done.
fn say(message: &str) {
    println!("{message}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a command in the project's root and fails with its name.
fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    println!("$ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} {} failed", arguments.join(" "));
    }
    Ok(())
}

fn ci() -> Result<()> {
    let begin = Instant::now();
    setup::run_all(&root(), false)?;
    run("cargo", &["fmt", "--all", "--check"], &[])?;
    tidy::run(&root())?;
    codegen::run(&root(), true)?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"], &[])?;
    deny()?;
    run(
        "cargo",
        &["doc", "--workspace", "--no-deps", "--document-private-items"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )?;
    // One seed, so that the same commit always says the same: `PROPTEST_RNG_SEED=N cargo test` tries others. All of
    // them are run, so that one run tells everything that is broken.
    let tests = ["test", "--workspace", "--all-features", "--no-fail-fast"];
    run("cargo", &tests, &[("PROPTEST_RNG_SEED", "20180717"), ("RUST_TEST_THREADS", TESTS_AT_ONCE)])?;
    println!("all of it held, in {} s", begin.elapsed().as_secs());
    Ok(())
}

/// Tests of one program that run at the same time. The long ones wait for ticks, leases and drains and compute little:
/// the operator's hundred take 435 s two at a time, and 118 s eight at a time beside two busy loops on one core. Four,
/// because some start an API server or a broker of half a gigabyte.
const TESTS_AT_ONCE: &str = "4";

/// Bans, licences and sources. Advisories are not part of it: they need the network.
fn deny() -> Result<()> {
    if run("cargo", &["deny", "--version"], &[]).is_err() {
        bail!("cargo-deny is missing: cargo install cargo-deny --locked --version 0.20.2");
    }
    // Offline it needs every platform's crates at hand, and a build fetches only its own.
    run("cargo", &["fetch", "--locked"], &[])?;
    run("cargo", &["deny", "--offline", "check", "bans", "licenses", "sources"], &[])
}
