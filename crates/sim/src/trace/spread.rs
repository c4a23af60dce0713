//! Arrivals that were written down too coarsely, spread again.
//!
//! Mooncake's times are multiples of three seconds: played as written, forty requests come at once and then
//! none for three seconds. Those of one instant are spread evenly over the three seconds that follow it.
//!
//! *Worked*: three requests at 6 s come at 6.5, 7.5 and 8.5 s.

use std::collections::VecDeque;

use tidegate_core::time::Span;

use super::{Error, TraceRequest};

/// Mooncake's.
const QUANTUM_US: i64 = 3_000_000;
/// Requests of one instant at the most; more come in groups of as many.
const GROUP_MAX: usize = 100_000;

/// A trace whose instants are spread.
#[derive(Debug)]
pub struct Spread<I> {
    source: I,
    ready: VecDeque<TraceRequest>,
    ahead: Option<TraceRequest>,
    failed: Option<Error>,
}

impl<I: Iterator<Item = Result<TraceRequest, Error>>> Spread<I> {
    /// Spreads `source`, whose times are multiples of 3 s.
    #[must_use]
    pub fn new(source: I) -> Spread<I> {
        Spread { source, ready: VecDeque::new(), ahead: None, failed: None }
    }

    fn group(&mut self) {
        let Some(first) = self.ahead.take().or_else(|| self.pull()) else { return };
        let at = first.at;
        self.ready.push_back(first);
        while self.ready.len() < GROUP_MAX {
            match self.pull() {
                Some(next) if next.at == at => self.ready.push_back(next),
                other => {
                    self.ahead = other;
                    break;
                }
            }
        }
        // Never past the next instant: times that are not so coarse stay in order.
        let next_us = self
            .ahead
            .as_ref()
            .map_or(QUANTUM_US, |ahead| ahead.at.as_micros().saturating_sub(at.as_micros()));
        let room_us = QUANTUM_US.min(next_us).max(0);
        let count = self.ready.len() as i64;
        for (place, request) in (0..).zip(&mut self.ready) {
            request.at = at + Span::from_micros(room_us * (2 * place + 1) / (2 * count));
        }
    }

    fn pull(&mut self) -> Option<TraceRequest> {
        if self.failed.is_some() {
            return None;
        }
        match self.source.next()? {
            Ok(request) => Some(request),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

impl<I: Iterator<Item = Result<TraceRequest, Error>>> Iterator for Spread<I> {
    type Item = Result<TraceRequest, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            self.group();
        }
        match self.ready.pop_front() {
            Some(request) => Some(Ok(request)),
            None => self.failed.take().map(Err),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_one_instant_come_one_after_another() {
        let at = |seconds| Ok(TraceRequest { at: Span::from_secs(seconds), ..TraceRequest::default() });
        let broken = Error::Line { line: 5, what: "bad".to_owned() };
        let spread = Spread::new([at(0), at(6), at(6), at(6), Err(broken)].into_iter());
        let found: Vec<_> = spread.map(|one| one.map(|one| one.at.as_secs_f64()).ok()).collect();
        assert_eq!(found, [Some(1.5), Some(6.5), Some(7.5), Some(8.5), None]);
    }
}
