//! More or fewer requests in the same shape.
//!
//! A factor of 2.3 plays each request twice, and three in ten a third time; 0.3 plays three in ten. Which ones
//! is drawn from the seed. The first copy keeps its time; each further one comes up to a second later, as
//! another user would, so that bursts stay bursts and no two come at one microsecond.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tidegate_core::time::Span;

use super::{Error, TraceRequest};
use crate::random::Random;

/// A factor that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a trace is scaled by a number above 0 and at most 100,000, not by {0}")]
pub struct BadFactor(pub f64);

/// How much later a further copy comes at the most.
const LATER_US: f64 = 1_000_000.0;
/// Copies of one request at the most.
const FACTOR_MAX: f64 = 1e5;

/// A trace scaled.
#[derive(Debug)]
pub struct Scaled<I> {
    source: I,
    factor: f64,
    random: Random,
    /// Copies to come, by time and order.
    later: BinaryHeap<Reverse<Copied>>,
    drawn: u64,
    ahead: Option<TraceRequest>,
    ended: bool,
}

#[derive(Debug)]
struct Copied {
    order: u64,
    request: TraceRequest,
}

impl PartialEq for Copied {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Copied {}

impl PartialOrd for Copied {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Copied {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.request.at, self.order).cmp(&(other.request.at, other.order))
    }
}

impl<I: Iterator<Item = Result<TraceRequest, Error>>> Scaled<I> {
    /// Scales `source` by `factor`.
    ///
    /// # Errors
    /// [`BadFactor`].
    pub fn new(source: I, factor: f64, seed: u64) -> Result<Scaled<I>, BadFactor> {
        if !(factor > 0.0 && factor <= FACTOR_MAX) {
            return Err(BadFactor(factor));
        }
        let random = Random::of(seed, 0x7363_616c, 0);
        Ok(Scaled { source, factor, random, later: BinaryHeap::new(), drawn: 0, ahead: None, ended: false })
    }

    fn copies(&mut self) -> u64 {
        let whole = libm::floor(self.factor);
        whole as u64 + u64::from(self.random.happens(self.factor - whole))
    }

    /// Draws the copies of the next request of the source that has any.
    fn draw(&mut self) -> Result<(), Error> {
        while self.ahead.is_none() && !self.ended {
            let Some(request) = self.source.next().transpose()? else {
                self.ended = true;
                return Ok(());
            };
            let copies = self.copies();
            for _ in 1..copies {
                let later = Span::from_micros((self.random.unit() * LATER_US) as i64);
                self.drawn += 1;
                let copy = TraceRequest { at: request.at + later, ..request.clone() };
                self.later.push(Reverse(Copied { order: self.drawn, request: copy }));
            }
            if copies > 0 {
                self.ahead = Some(request);
            }
        }
        Ok(())
    }
}

impl<I: Iterator<Item = Result<TraceRequest, Error>>> Iterator for Scaled<I> {
    type Item = Result<TraceRequest, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.draw() {
            self.ended = true;
            self.later.clear();
            return Some(Err(error));
        }
        let sooner = self
            .later
            .peek()
            .is_some_and(|Reverse(copy)| self.ahead.as_ref().is_none_or(|ahead| copy.request.at < ahead.at));
        if sooner {
            self.later.pop().map(|Reverse(copy)| Ok(copy.request))
        } else {
            self.ahead.take().map(Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(factor: f64) -> Vec<TraceRequest> {
        let source = (0..20_000).map(|n| {
            Ok(TraceRequest {
                at: Span::from_micros(n * 100_000),
                prompt_tokens: 7,
                ..TraceRequest::default()
            })
        });
        Scaled::new(source, factor, 3).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_factor_multiplies_every_part_of_the_trace_alike() {
        for factor in [0.3, 1.0, 2.5] {
            let requests = played(factor);
            assert!(requests.is_sorted_by_key(|request| request.at));
            let early = requests.iter().filter(|request| request.at < Span::from_secs(1_000)).count() as f64;
            let late = requests.len() as f64 - early;
            assert!((early / (10_000.0 * factor) - 1.0).abs() < 0.05, "{factor}: {early}");
            assert!((late / (10_000.0 * factor) - 1.0).abs() < 0.05, "{factor}: {late}");
        }
    }

    #[test]
    fn factors_that_mean_nothing_are_refused() {
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Scaled::new(std::iter::empty(), factor, 1).is_err(), "{factor}");
        }
    }
}
