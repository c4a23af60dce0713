//! Known failures of a live fleet: what was seen goes in, findings come out, each with its evidence and the
//! command or the edit that mends it.
//!
//! The rules know nothing of where the evidence is from, so that a machine and a cluster are examined by the same
//! ones. A rule speaks only of what was seen: where a number is missing it is silent. It has a code that stays
//! (`TD…`), and never says "maybe": what it cannot tell from the evidence it does not report.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod evidence;
mod finding;
mod rules;

pub use evidence::Evidence;
pub use finding::Finding;
pub use rules::{RULES, Rule, examine};
