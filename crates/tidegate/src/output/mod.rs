//! What people and machines read. Standard output is data, standard error is talk.

pub(crate) mod render;
pub(crate) mod sarif;
pub(crate) mod table;

use std::io::{self, Write};

use tidegate_manifest::{Finding, Source};

use crate::args::Colour;

/// One sentence to standard error. If even that is closed, there is nobody left to tell.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "tidegate: {message}");
}

/// What happens, to standard error.
pub(crate) fn note(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// Findings to standard error.
pub(crate) fn complain_findings(findings: &[Finding], sources: &[Source]) {
    let _ = io::stderr().lock().write_all(render::findings(findings, sources, Colour::Never).as_bytes());
}

/// Whether the reader of our output went away, which is its right (`tidegate … | head`).
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io == Some(io::ErrorKind::BrokenPipe) || json == Some(io::ErrorKind::BrokenPipe)
    })
}
