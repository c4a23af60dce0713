//! Time for a driver: counted by a clock that never jumps, from the wall clock of the beginning.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tidegate_core::time::Time;

/// Microseconds since 1970, so that a run that goes on from a journal goes on in time as well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
    unix_us: i64,
}

impl Clock {
    /// Begins now.
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        Clock { began: Instant::now(), unix_us }
    }

    /// Now.
    pub(crate) fn now(&self) -> Time {
        let passed = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        Time::from_micros(self.unix_us.saturating_add(passed))
    }

    /// Now in Unix seconds, for people's eyes.
    pub(crate) fn unix_s(&self) -> f64 {
        self.now().as_secs_f64()
    }
}
