//! What is wrong, where, why it hurts and what to do.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::node::Mark;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Works, and will hurt.
    Warning,
    /// Does not work, or works as nobody means it.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// One finding. Its JSON form is a contract: `code`, `severity`, `file`, `line`, `column`, `object`,
/// `message`, `help`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's code, `TG101`; `--explain` tells more.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// The file as it was named.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// `Kind namespace/name`, or empty where no object could be read.
    pub object: String,
    /// The field it is about with the fields around it, as `spec.triggers`; without indexes, and empty where it is
    /// about a place in a text. No part of the JSON form.
    #[serde(skip)]
    pub field: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl Finding {
    /// The order in which findings are shown.
    #[must_use]
    pub fn order(&self) -> (&str, Mark, &'static str) {
        (&self.file, Mark { line: self.line, column: self.column }, self.code)
    }
}
