//! Ray Serve's autoscaling on ongoing requests.
//!
//! Source: Ray, `serve/autoscaling_policy.py` (`replica_queue_length_autoscaling_policy`). Handles push their
//! counts every 10 s; the controller takes the mean of the last 30 s:
//!
//! ```text
//! desired = ceil(current × (ongoing / current) / target_ongoing_requests)     target = 2
//! ```
//!
//! It goes up when that was so for 30 s without a break, down when it was so for 600 s. From zero it goes to
//! `ceil(ongoing / target)` at once. The controller's loop runs ten times a second; here once, for what it
//! reads changes every ten seconds.

use tidegate_core::time::{Span, Time};

use super::window::{Window, ceil};
use super::{Error, Policy, Seen, Wanted, next_of};

const LOOP: Span = Span::from_secs(1);
const PUSH: Span = Span::from_secs(10);
const LOOK_BACK: Span = Span::from_secs(30);
const UP_DELAY: Span = Span::from_secs(30);
const DOWN_DELAY: Span = Span::from_secs(600);
/// `target_ongoing_requests`.
pub(super) const TARGET: f64 = 2.0;

/// The autoscaler.
#[derive(Clone, Debug)]
pub struct Ray {
    target: f64,
    bounds: (u32, u32),
    ongoing: Window,
    pushed: Time,
    /// Since when more, or fewer, were wanted without a break.
    more_since: Option<Time>,
    fewer_since: Option<Time>,
    next: Time,
}

impl Ray {
    /// So many ongoing requests a replica, and these bounds.
    #[must_use]
    pub fn new(target: f64, bounds: (u32, u32)) -> Ray {
        Ray {
            target,
            bounds,
            ongoing: Window::new(LOOK_BACK),
            pushed: Time::ORIGIN,
            more_since: None,
            fewer_since: None,
            next: Time::ORIGIN,
        }
    }
}

impl Policy for Ray {
    fn name(&self) -> String {
        format!("ray:{}", self.target)
    }

    fn next_look(&self) -> Time {
        self.next
    }

    fn look(&mut self, now: Time, seen: &Seen<'_>) -> Result<Option<Wanted>, Error> {
        let ongoing = f64::from(seen.demand.waiting) + f64::from(seen.demand.in_flight);
        self.next = next_of(now, LOOP);
        if now >= self.pushed {
            self.pushed = next_of(now, PUSH);
            self.ongoing.push(now, ongoing);
        }
        let mean = self.ongoing.mean();
        let at_zero = seen.wanted == 0 && ongoing > 0.0;
        let basis = if at_zero { ongoing.max(mean) } else { mean };
        let replicas = ceil(basis / self.target).clamp(self.bounds.0, self.bounds.1);
        let (more, fewer) = (replicas > seen.wanted, replicas < seen.wanted);
        self.more_since = self.more_since.filter(|_| more).or(more.then_some(now));
        self.fewer_since = self.fewer_since.filter(|_| fewer).or(fewer.then_some(now));
        let long = |since: Option<Time>, delay: Span| since.is_some_and(|since| now.since(since) >= delay);
        let act = (at_zero && more) || long(self.more_since, UP_DELAY) || long(self.fewer_since, DOWN_DELAY);
        if !act {
            return Ok(None);
        }
        (self.more_since, self.fewer_since) = (None, None);
        let because = format!("{basis:.1} ongoing over 30 s, {} a replica", self.target);
        Ok(Some(Wanted { replicas, because }))
    }

    fn sees_edges(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{play, seen};

    #[test]
    fn it_goes_up_after_half_a_minute_and_down_after_ten() {
        let mut ray = Ray::new(2.0, (1, 100));
        assert_eq!(play(&mut ray, 0..=60, |_| seen(4, 4, 20)).first(), Some(&(30, 10)));
        let mut ray = Ray::new(2.0, (1, 100));
        assert_eq!(play(&mut ray, 0..=700, |_| seen(10, 10, 8)).first(), Some(&(600, 4)));
    }

    #[test]
    fn a_break_begins_the_delay_anew() {
        let mut ray = Ray::new(2.0, (1, 100));
        let changes = play(&mut ray, 0..=75, |second| seen(4, 4, if second == 20 { 0 } else { 10 }));
        // The push at 20 s takes the mean to 6.7, which 4 replicas can take, until the zero leaves at 50 s.
        assert_eq!(changes, []);
    }

    #[test]
    fn from_zero_it_goes_at_once() {
        let mut ray = Ray::new(2.0, (0, 100));
        assert_eq!(play(&mut ray, 3..=3, |_| seen(0, 0, 5)), [(3, 3)]);
    }
}
