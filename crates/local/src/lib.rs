//! Driver: replicas are processes of this machine.
//!
//! ```text
//! manifests ─▶ plan ─▶ units ─▶ machine ─▶ supervisor ─▶ replica
//!                                  │  ▲
//!                          traffic ◀  └ ledger (GPUs), probes, back-off
//! ```
//!
//! Where to look:
//! - [`plan`], [`mod@unit`]: what is to run, from the manifests; [`swap`]: who yields a GPU to whom;
//! - [`machine`]: replicas as they are wanted, one task; [`status`]: what it looks like;
//! - [`supervisor`], [`sweep`]: why nothing is ever left behind;
//! - [`ledger`], [`backoff`], [`starts`]: devices, restarts, how long a start takes;
//! - [`traffic`]: what we need of the gateway, as a trait: nothing here knows of requests.
//!
//! Memory limits are measured, not enforced by the kernel: once a second the supervisor adds up what
//! its processes use and kills them beyond the limit. A cgroup would need rights that one box's user
//! seldom has.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod gpu;
mod launch;
pub mod ledger;
mod log;
pub mod machine;
pub mod plan;
mod probe;
mod procfs;
pub mod starts;
pub mod status;
pub mod supervisor;
pub mod swap;
pub mod sweep;
#[cfg(test)]
mod testing;
pub mod traffic;
pub mod unit;
mod words;

pub use machine::{Config, Error, Machine};
pub use status::Status;
pub use traffic::Traffic;
pub use unit::Unit;

/// A length of time as the core counts it.
pub(crate) fn span(time: std::time::Duration) -> tidegate_core::time::Span {
    tidegate_core::time::Span::from_micros(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}
