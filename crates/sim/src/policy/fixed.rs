//! So many replicas, always: what people do who cannot tell what a policy would cost.

use tidegate_core::time::{Span, Time};

use super::{Error, Policy, Seen, Wanted};

/// The same count all the time.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    replicas: u32,
    next: Time,
}

/// Nothing changes, so it hardly ever looks: once a day.
const EVERY: Span = Span::from_secs(86_400);

impl Fixed {
    /// So many.
    #[must_use]
    pub fn new(replicas: u32) -> Fixed {
        Fixed { replicas, next: Time::ORIGIN }
    }
}

impl Policy for Fixed {
    fn name(&self) -> String {
        format!("fixed:{}", self.replicas)
    }

    fn next_look(&self) -> Time {
        self.next
    }

    fn look(&mut self, now: Time, seen: &Seen<'_>) -> Result<Option<Wanted>, Error> {
        self.next = super::next_of(now, EVERY);
        let because = || "the count is fixed".to_owned();
        Ok((seen.wanted != self.replicas).then(|| Wanted { replicas: self.replicas, because: because() }))
    }
}
