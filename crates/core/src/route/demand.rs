//! When a target's demand is told: an edge at once, because a wake-up waits for it or can be taken back;
//! everything else at most ten times a second, because nobody scales faster and a journal keeps it.
//!
//! *Worked*: 1,000 requests a second come and go at a busy target. Their 2,000 changes make ten samples,
//! of 80 bytes or so: 3 MB of journal an hour instead of 576.

use crate::time::{Span, Time};

use super::types::Demand;

/// Between two samples.
const SAMPLE_EVERY: Span = Span::from_micros(100_000);
/// Before every instant.
const LONG_AGO: Time = Time::from_micros(i64::MIN);
/// The longest promise that is kept for a client that was told when to come again.
const PROMISE_MAX: Span = Span::from_secs(600);

/// What was told of a target, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    last: Demand,
    at: Option<Time>,
}

impl Told {
    /// The demand, if it is to be told now.
    pub(super) fn tell(&mut self, now: Time, demand: Demand) -> Option<Demand> {
        if self.due(demand)? > now {
            return None;
        }
        self.last = demand;
        self.at = Some(now);
        Some(demand)
    }

    /// When this demand is to be told; `None` if it was.
    pub(super) fn due(&self, demand: Demand) -> Option<Time> {
        if demand == self.last {
            return None;
        }
        let edge = anything(demand) != anything(self.last);
        Some(self.at.filter(|_| !edge).map_or(LONG_AGO, |at| at + SAMPLE_EVERY))
    }
}

fn anything(demand: Demand) -> bool {
    demand.waiting > 0 || demand.in_flight > 0
}

/// A client was refused because no replica comes in time for it, and was told when one will be there.
/// If nobody else waited, nothing would start, and the time told would be a lie. So the promise counts
/// as one request that waits, until the client is due back. A target has one, the latest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    pub(super) until: Time,
    pub(super) tokens: u64,
}

impl Promise {
    pub(super) fn new(now: Time, retry_after: Span, tokens: u64) -> Self {
        Promise { until: now + retry_after.min(PROMISE_MAX), tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_told_at_once_and_the_rest_ten_times_a_second() {
        let mut told = Told::default();
        let demand = |waiting| Demand { waiting, ..Demand::default() };
        let at = Time::from_micros;
        assert_eq!(told.tell(at(0), demand(0)), None);
        assert_eq!(told.tell(at(1), demand(1)), Some(demand(1)));
        assert_eq!(told.tell(at(2), demand(2)), None);
        assert_eq!(told.due(demand(2)), Some(at(100_001)));
        assert_eq!(told.tell(at(100_001), demand(2)), Some(demand(2)));
        assert_eq!(told.tell(at(100_002), demand(0)), Some(demand(0)));
        assert_eq!(told.tell(at(100_003), demand(5)), Some(demand(5)));
    }
}
