//! Runners for the kinds of case in `conformance/keda`.

pub(crate) mod executor;
pub(crate) mod fallback;
pub(crate) mod jobs;

use tidegate_core::time::Time;

/// Now, late enough that 2,000,000,000 s ago (the tables' zero time) is an ordinary instant.
pub(crate) const NOW: Time = Time::from_secs(3_000_000_000);

/// Every case whose expectation here is not KEDA's: its id, and why.
pub(crate) fn differences() -> impl Iterator<Item = (&'static str, &'static str)> {
    let executor = executor::DIFFERENCES.iter().map(|(id, _, why)| (*id, *why));
    let fallback = fallback::DIFFERENCES.iter().map(|(id, _, why)| (*id, *why));
    let jobs = jobs::DIFFERENCES.iter().map(|(id, _, why)| (*id, *why));
    executor.chain(fallback).chain(jobs)
}
