//! What can keep a stand-in engine from running.

use std::io;
use std::net::SocketAddr;

/// Why an engine did not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option with a value that cannot be used.
    #[error("--{option} is {value}; it must be {must}")]
    Option {
        /// Which.
        option: &'static str,
        /// What it says.
        value: String,
        /// What is allowed.
        must: &'static str,
    },
    /// The profile cannot be used.
    #[error(transparent)]
    Profile(#[from] tidegate_sim::profile::Error),
    /// The engine model refused the profile.
    #[error(transparent)]
    Model(#[from] tidegate_sim::engine::Error),
    /// The address is taken or not ours.
    #[error("cannot listen on {addr}: {source}; choose another port, or 0 for a free one")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The fault `crash-after` struck.
    #[error("crashed after {0} requests, as told")]
    Crashed(u64),
    /// The server's task was stopped from outside: its runtime is gone.
    #[error("the engine's task was stopped before it was done")]
    Lost,
}

impl Error {
    pub(crate) fn option(option: &'static str, value: impl ToString, must: &'static str) -> Error {
        Error::Option { option, value: value.to_string(), must }
    }
}
