//! The operator: how soon a count is written, and what ten thousand objects cost.
//!
//! `cargo bench -p tidegate-benches --bench operator` builds the program and runs it
//!
//! - against a stand-in API server and a stand-in Prometheus in one process of their own: from the moment a value
//!   crosses its threshold to the count in the object; then 10,000 ScaledObjects: start, CPU, memory, late ticks,
//!   and writes where nothing changes;
//! - against the real test cluster, where it can be had: the same crossing, seen by `kubectl get --watch`.
//!
//! `-- --objects N` for another crowd, `-- --seconds N` for how long it is looked at, `-- --program PATH` for a
//! program that is built already.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod crossing;
mod crowd;
mod program;
mod real;
mod world;

/// The stand-ins' API server is that of the tests.
#[path = "../../crates/kube/tests/it/server.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "a test fails by panicking, and uses more of it")]
mod server;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A number after a flag.
fn number(flag: &str, default: u32) -> u32 {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag);
    arguments.nth(1).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() -> Outcome<()> {
    // `cargo test` calls benches with --test: nothing is measured then.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    if std::env::args().any(|argument| argument == world::FLAG) {
        return world::serve();
    }
    let program = program::build()?;
    crossing::measure(&program)?;
    crowd::measure(&program, number("--objects", 10_000), number("--seconds", 30))?;
    real::measure(&program)
}
