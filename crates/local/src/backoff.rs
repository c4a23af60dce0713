//! When a replica that ended is started again.

use std::time::Duration;

/// The pace of restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// Before the second restart; doubled with every further one.
    pub base: Duration,
    /// Never longer than this.
    pub max: Duration,
    /// A run of this length is not part of a crash loop.
    pub reset_after: Duration,
    /// Shortest time between two starts of a replica that had been ready.
    pub between_starts: Duration,
}

impl Default for BackOff {
    /// The kubelet's numbers: 10 s, doubling to 300 s, forgotten after 10 minutes.
    fn default() -> Self {
        BackOff {
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
            reset_after: Duration::from_secs(600),
            between_starts: Duration::from_secs(1),
        }
    }
}

impl BackOff {
    /// How long to wait after a run of such a length, given `failed` runs before it that failed in a
    /// row. Returns the new count as well.
    ///
    /// A run that became ready proves that the command works. Whatever ended it (a request that kills
    /// the engine, somebody's `kill -9`), waiting minutes would only lose requests, so it is started
    /// again at once, though not more than once a second. This is where we differ from the kubelet,
    /// which counts such runs too. A run that never became ready counts: the first restart is at once,
    /// the next after 10 s, 20 s, 40 s, 80 s, 160 s, 300 s.
    #[must_use]
    pub fn after(&self, failed: u32, ran: Duration, was_ready: bool) -> (Duration, u32) {
        if was_ready || ran >= self.reset_after {
            return (self.between_starts.saturating_sub(ran), 0);
        }
        // 2^20 × 10 s is beyond any maximum.
        let doubled = self.base.saturating_mul(1 << failed.saturating_sub(1).min(20));
        let wait = if failed == 0 { Duration::ZERO } else { doubled.min(self.max) };
        (wait, failed.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_never_became_ready_wait_ever_longer() {
        let mut failed = 0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let (wait, next) = BackOff::default().after(failed, Duration::from_secs(2), false);
            waits.push(wait.as_secs());
            failed = next;
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_run_that_was_ready_or_long_starts_the_count_anew() {
        let back_off = BackOff::default();
        assert_eq!(back_off.after(5, Duration::from_secs(9), true), (Duration::ZERO, 0));
        assert_eq!(back_off.after(5, Duration::from_millis(400), true), (Duration::from_millis(600), 0));
        assert_eq!(back_off.after(5, Duration::from_secs(600), false), (Duration::ZERO, 0));
    }
}
