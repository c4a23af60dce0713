//! Everything that is written to the API server.
//!
//! The loop puts [`Write`]s into a [`Queue`]; each goes through [`Gate::send`], the one place from which
//! anything is written. It asks whether writing is allowed (`--advise` never is; else the lease must be
//! held, by our own clock) right before each request.

mod gate;
pub mod queue;

pub(crate) use gate::stamp;
pub use gate::{Error, Gate, Hold, Permit, Sent};
pub use queue::{NewJob, Note, Patch, Queue, Scale, Write};

/// How long what is under way may take at the end: a little longer than one write may.
pub const PART: std::time::Duration = std::time::Duration::from_secs(5);

/// What the API server records as the writer of our fields.
pub const MANAGER: &str = "tidegate";
