//! Log lines of a start and a stop, on standard error, in the manner of an engine's own.

use std::io::{self, Write as _};

/// Writes lines, or keeps silent inside a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    pub(crate) on: bool,
}

impl Log {
    pub(crate) fn info(self, line: &str) {
        if self.on {
            // Nobody reads standard error any more: not a reason to stop serving.
            let _ = writeln!(io::stderr().lock(), "INFO: {line}");
        }
    }
}
