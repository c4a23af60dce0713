//! The gateway's clock: the core's [`Time`] from a steady source.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_core::time::{Span, Time};

/// Turns instants into the core's time. Anchored once, so a step of the wall clock moves nothing.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    origin: Time,
}

impl Clock {
    /// A clock whose times count from the Unix epoch.
    #[must_use]
    pub fn unix() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { start: Instant::now(), origin: Time::ORIGIN + span(since) }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// The time of an instant; before the clock was made it is the clock's first.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Time {
        self.origin + span(instant.saturating_duration_since(self.start))
    }

    /// The instant of a time, for timers; the past becomes the clock's first.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.start + duration(time.since(self.origin))
    }
}

/// A span as long as a duration; saturates.
#[must_use]
pub fn span(duration: Duration) -> Span {
    Span::from_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

/// A duration as long as a span; nothing where the span is negative.
#[must_use]
pub fn duration(span: Span) -> Duration {
    Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(0))
}
