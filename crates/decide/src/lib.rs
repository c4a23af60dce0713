//! Observations as JSON lines in, explained decisions out.
//!
//! The smallest of the drivers: its world is a text. `tidegate decide`, the scenarios and the fuzzers
//! all go through [`Session`], so what they show is what the machine does.
//!
//! - [`observation`]: one line, read and checked;
//! - [`session`]: targets, and what one line does to them;
//! - [`control`]: the targets' machines and their record, for this driver and every other.
#![forbid(unsafe_code)]

pub mod control;
pub mod observation;
pub mod session;

pub use control::{Control, Recorder};
pub use observation::{LineError, Observation};
pub use session::{Decided, Error, Session};
