//! Observations as JSON lines in, explained decisions out.
//!
//! The smallest of the drivers: its world is a text. `tidegate decide`, the scenarios and the fuzzers
//! all go through [`Session`], so what they show is what the machine does.
//!
//! - [`observation`]: one line, read and checked;
//! - [`work`]: what policy `slo` is told;
//! - [`session`]: targets, and what one line does to them.
#![forbid(unsafe_code)]

pub mod observation;
pub mod session;
pub mod work;

pub use observation::{LineError, Observation};
pub use session::{Decided, Error, Session};
pub use tidegate_journal::{Control, Recorder};
