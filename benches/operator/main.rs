//! The operator: how soon a count is written, and what ten thousand objects cost.
//!
//! `cargo bench -p tidegate-benches --bench operator` builds the program and runs it
//!
//! - against a stand-in API server and a stand-in Prometheus in one process of their own: from the moment a value
//!   crosses its threshold to the count in the object; then 10,000 ScaledObjects: start, CPU, memory, late ticks,
//!   and writes where nothing changes;
//! - against the real test cluster, where it can be had: the same crossing, seen by `kubectl get --watch`; the same
//!   waking, seen by the API server's audit log.
//!
//! Two parts are only measured when they are named, since each takes minutes and both cores: `churn`, 10,000 pods of
//! the real cluster that come and go, and `crowd-real`, 10,000 ScaledObjects at a real API server.
//!
//! `-- --only crossing` (or `waking`, `crowd`, `real`, `waking-real`) for one part, `-- --pods N` for another churn, `-- --objects N` for another crowd,
//! `-- --seconds N` for how long it is looked at, `-- --program PATH` for a program that is built already.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

mod churn;
mod cluster;
mod crossing;
mod crowd;
mod crowd_real;
mod program;
mod prometheus;
mod real;
mod waking;
mod waking_real;
mod world;

/// The stand-ins' API server is that of the tests.
#[path = "../../crates/kube/tests/it/server.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "a test fails by panicking, and uses more of it")]
mod server;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What stands after a flag.
fn after(flag: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != flag).nth(1)
}

fn number(flag: &str, default: u32) -> u32 {
    after(flag).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Whether this part is to be measured.
fn wanted(part: &str) -> bool {
    after("--only").is_none() || named(part)
}

/// Whether this part is asked for by its name.
fn named(part: &str) -> bool {
    after("--only").is_some_and(|only| only == part)
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
    if wanted("crossing") {
        crossing::measure(&program)?;
    }
    if wanted("waking") {
        waking::measure(&program)?;
    }
    if wanted("crowd") {
        crowd::measure(&program, number("--objects", 10_000), number("--seconds", 30))?;
    }
    if wanted("real") {
        real::measure(&program)?;
    }
    if wanted("waking-real") {
        waking_real::measure(&program)?;
    }
    if named("churn") {
        churn::measure(&program, number("--pods", 10_000))?;
    }
    if named("crowd-real") {
        crowd_real::measure(&program, number("--objects", 10_000), number("--seconds", 30))?;
    }
    Ok(())
}
