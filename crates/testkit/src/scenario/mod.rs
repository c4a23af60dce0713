//! Scenarios: Markdown that runs.
//!
//! A ```` ```yaml ```` block is the manifest; it starts a new run. Every table whose first column is `t`
//! is a timeline of that run:
//!
//! ```text
//! | t            | ready | waiting | → replicas | → rule  | → because         |
//! |--------------|-------|---------|------------|---------|-------------------|
//! | 0s           | 1     | 25      | 3          | signal  | 25 in all / 10    |
//! | 15s..1m /15s |       | absent  | 3          | …       |                   |
//! ```
//!
//! - `t` is an instant (`90`, `90s`, `2m30s`) or a range with a step, of which every tick must agree.
//! - `target`, `spec`, `ready`, `starting`, `status`, `created`, `last_active` are what `decide` takes.
//!   Left empty, `spec` is the last decision and all replicas are ready.
//! - `work.arrived` and the like are fields of `decide`'s `work`; each row stands for itself.
//! - Any other column is a signal: a number, `absent`, `error: text`, `stale 45s`, `[1, 2]`, `7 active`,
//!   or `(none)` for no reading. Left empty, it is as in the row above.
//! - Columns that begin with `→` are expected: `replicas`, `rule`, and `because`, a part of any step's
//!   reason. `…` expects anything.

mod run;
mod table;

pub use run::{Outcome, check};

/// Why a scenario fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Failure {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}
