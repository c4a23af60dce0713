//! Time as the core counts it, read where the driver says.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tidegate_core::time::{Span, Time};

/// A source of `now`. A driver gives its own, so that readings and events share an origin.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Time + Send + Sync>);

impl Clock {
    /// A clock of the driver's.
    pub fn new(now: impl Fn() -> Time + Send + Sync + 'static) -> Self {
        Clock(Arc::new(now))
    }

    /// Microseconds since the Unix epoch as of now, going on evenly from there: setting the machine's
    /// clock moves nothing.
    #[must_use]
    pub fn unix() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = Time::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX));
        let begin = Instant::now();
        Clock::new(move || {
            origin + Span::from_micros(i64::try_from(begin.elapsed().as_micros()).unwrap_or(i64::MAX))
        })
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
