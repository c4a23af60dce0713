//! What is wrong, with what, how one can see it, and what mends it.

use serde::Serialize;
use tidegate_manifest::Severity;

/// One finding. Its JSON form is a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's code.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// The target, replica or part it is about.
    pub subject: String,
    /// What is wrong and why it hurts, in one sentence.
    pub message: String,
    /// What was seen.
    pub evidence: Vec<String>,
    /// What to do.
    pub fix: String,
}
