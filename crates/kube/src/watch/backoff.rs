//! How long a watch waits after an error: 0.2 s, doubling to 10 s, with jitter.
//!
//! An API server that restarts is back in seconds, and a fleet of operators must not come back at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// Grows with each error, and begins again after the first success.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Backoff(FIRST)
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.0;
        self.0 = (now * 2).min(LONGEST);
        // From half to the whole of it.
        Some(now.mul_f64(0.5 + fastrand::f64() / 2.0))
    }
}

impl kube::runtime::utils::Backoff for Backoff {
    fn reset(&mut self) {
        self.0 = FIRST;
    }
}
