//! What can go wrong in the bench.

use std::io;
use std::path::PathBuf;

/// Why the bench, or one step of it, could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// The step, in words.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The other side sent something that is not HTTP/1.1 as this bench speaks it.
    #[error("bad HTTP: {0}")]
    Http(&'static str),
    /// The connection ended in the middle of an exchange.
    #[error("the connection was closed in the middle of an exchange")]
    Closed,
    /// An answer came, but not the one the back end gives.
    #[error("a wrong answer: status {status}, {bytes} bytes, {events} events")]
    Answer {
        /// The status code.
        status: u16,
        /// Bytes of body.
        bytes: u64,
        /// Whole SSE events in it.
        events: u64,
    },
    /// A process did not begin to answer.
    #[error("{name} did not answer within {seconds} s (its log: {}): {last}", log.display())]
    NotReady {
        /// Which process.
        name: String,
        /// How long was waited.
        seconds: u64,
        /// Where its output went.
        log: PathBuf,
        /// The last failure seen.
        last: String,
    },
    /// An argument is not understood.
    #[error("{0}; see benches/gateway/README.md")]
    Argument(String),
    /// `cargo` could not build the example that is measured.
    #[error("cargo could not build the example `proxy` of tidegate-gateway; see its output above")]
    Build,
    /// A thread of the load generator ended early.
    #[error("a thread of the load generator ended early")]
    Thread,
}

impl Error {
    /// For `map_err`: names the step that failed.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// For `map_err`: names the file that failed.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
