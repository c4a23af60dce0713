//! What tests share: the scenario harness, what the fuzzers run, and real servers.
//!
//! A scenario is a Markdown file that reads as documentation and runs as a test: prose, a manifest,
//! and a timeline with what was observed on the left and what must be decided on the right. See
//! [`scenario`] for the form.
#![forbid(unsafe_code)]

pub mod brokers;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod fuzz;
pub mod ports;
pub mod scenario;
pub mod servers;
