//! What a request is: its path, what its body says, who sends it.

pub(crate) mod asked;
pub mod form;
pub(crate) mod paths;
mod scan;
pub(crate) mod who;

pub use scan::{Scan, ScanError, Scanner, scan};
