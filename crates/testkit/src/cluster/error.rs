//! What can go wrong with a test cluster.

use std::io;

use thiserror::Error;

/// Why there is no cluster, or why it did not do what it was told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The cluster would have to be built, and this machine cannot: the tests that need it are left out.
    #[error("the test cluster cannot be built here: {said}")]
    NoGo {
        /// What the build said.
        said: String,
    },
    /// The build began and failed: a mistake in `tests/controlplane`, or no way to fetch its modules.
    #[error("tests/controlplane/build.sh failed: {said}")]
    Build {
        /// What the compiler said.
        said: String,
    },
    /// A component did not come up.
    #[error("the test cluster did not start: {said}")]
    Start {
        /// Which, and the end of its log.
        said: String,
    },
    /// A command to the cluster was not carried out.
    #[error("the test cluster refused: {said}")]
    Refused {
        /// The command and the reason.
        said: String,
    },
    /// A fault was asked of a cluster that is not ours.
    #[error("`{command}` cannot be done to the cluster of KUBECONFIG; unset TIDEGATE_E2E_CLUSTER")]
    NotOurs {
        /// What was asked.
        command: String,
    },
    /// kubectl ended with an error.
    #[error("kubectl {arguments}: {said}")]
    Kubectl {
        /// What it was asked.
        arguments: String,
        /// What it said on stderr.
        said: String,
    },
    /// Something answered with what is not JSON.
    #[error("the answer to {what} is not JSON")]
    NotJson {
        /// What was asked.
        what: String,
        /// Where it stops being JSON.
        source: serde_json::Error,
    },
    /// A program could not be run, or a pipe broke.
    #[error("cannot run {what}")]
    Io {
        /// Which.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}
