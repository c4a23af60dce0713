//! Everything that is written to the API server.
//!
//! The loop puts [`Write`]s into a [`Queue`]; each goes through [`Gate::send`], the one place from which
//! anything is written. It asks whether writing is allowed (`--advise` never is; else the lease must be
//! held, by our own clock) right before each request.
//!
//! # Which way a change is said
//! What is ours is said by server-side apply, as the field manager [`MANAGER`], with force: a target's status, its
//! finalizer and label (finalizers are a set there, so others' stay), a pod's deletion cost, pages of memory, and the
//! count of a Deployment or a StatefulSet through `/scale`. Conditions are one list that has to be said whole, also those
//! of others; so a status names the version that it was made of, and after a conflict it is made anew of what is there
//! then.
//!
//! A JSON merge patch it is where apply cannot say it:
//! - a count of a custom resource: API servers do not take an apply of its `/scale`. Version and uid are said all the
//!   same.
//! - a finalizer that goes. KEDA writes the same one, and so did operators before: apply takes away only what nobody
//!   else has said. The list is written whole, over the version that was read.
//! - adoption. `autoscaling.keda.sh/paused`, `spec.behavior` and the record of both are the user's or KEDA's before and
//!   after; what was there comes back, also when it was nothing.
//! - what apply has left: a field of a status that is ours by its meaning, and that KEDA had written as well.

mod applied;
mod gate;
pub mod queue;

pub(crate) use gate::stamp;
pub use gate::{Error, Gate, Hold, Permit, Sent};
pub use queue::{How, NewJob, Note, Patch, Queue, Scale, Write};

/// How long what is under way may take at the end: a little longer than one write may.
pub const PART: std::time::Duration = std::time::Duration::from_secs(5);

/// What the API server records as the writer of our fields.
pub const MANAGER: &str = "tidegate";
