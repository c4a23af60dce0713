//! Commands that read and write and end, as users run them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod decide;
mod lint;
mod man;
mod simulate;
