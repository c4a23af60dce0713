//! The time that all operators share: the API server's.
//!
//! Cooldowns and windows outlive an operator as points in time. Were they written by one machine's clock and
//! read by another's, a clock ten minutes ahead would end a cooldown of five at once. So what differs between
//! the two is measured when an operator starts, and each minute while it runs: a machine that was suspended for an
//! hour is an hour behind when it goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;
use http::header::DATE;
use kube::client::Body;
use tidegate_core::time::{Span, Time};
use tidegate_signals::Clock;

use crate::client::Connection;

/// Less is not told from none: the server tells whole seconds, and its answer takes some time.
const TELLS: Span = Span::from_secs(2);

/// Until an answer. What takes longer says nothing about the time.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(3);

/// How far the API server's clock is ahead of `clock`; nothing where they agree, an error where it does not
/// answer with its time.
///
/// # Errors
/// In words, when the server does not answer, or without its time.
pub async fn ahead(connection: &Connection, clock: &Clock) -> Result<Option<Span>, String> {
    let request = Request::get("/version").body(Body::empty()).map_err(|error| error.to_string())?;
    let asked = clock.now();
    let answer = tokio::time::timeout(ANSWER, connection.client.send(request)).await;
    let answer = answer.map_err(|_| format!("no answer in {} s", ANSWER.as_secs()))?;
    let answer = answer.map_err(|error| crate::watch::said(&error))?;
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let since_epoch = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let seconds = since_epoch.and_then(|since| i64::try_from(since.as_secs()).ok());
    Ok(difference(asked, clock.now(), seconds.ok_or("an answer without a date")?))
}

/// The server said `server_s` at some moment between two of ours. Its second is cut: half of one is added.
fn difference(asked: Time, answered: Time, server_s: i64) -> Option<Span> {
    let middle = asked + Span::from_micros(answered.since(asked).as_micros() / 2);
    let server = Time::from_micros(server_s.checked_mul(1_000_000)?.checked_add(500_000)?);
    let ahead = server.since(middle);
    (ahead.as_micros().abs() >= TELLS.as_micros()).then_some(ahead)
}

/// `clock`, so far ahead.
#[must_use]
pub fn shifted(clock: Clock, ahead: Span) -> Clock {
    Clock::new(move || clock.now() + ahead)
}

const fn less(one: Span, other: Span) -> Span {
    Span::from_micros(one.as_micros().saturating_sub(other.as_micros()))
}

/// A clock that is set right while it runs. It never goes backwards: it jumps ahead, and where it is ahead it goes
/// slower by a tenth until it is right, so that ten seconds of it are never more than eleven of the server's.
#[derive(Clone, Debug)]
pub struct Steered {
    base: Clock,
    course: Arc<Mutex<Course>>,
}

#[derive(Clone, Copy, Debug)]
struct Course {
    /// When it was set, by the base.
    since: Time,
    /// How far it was ahead of the base then, and how far it is to be.
    ahead: Span,
    wanted: Span,
}

impl Course {
    fn ahead(&self, base: Time) -> Span {
        if self.wanted >= self.ahead {
            return self.wanted;
        }
        let slower = Span::from_micros(base.since(self.since).as_micros() / 10);
        self.wanted.max(less(self.ahead, slower))
    }
}

impl Steered {
    /// One that goes as `base` does.
    #[must_use]
    pub fn new(base: Clock) -> Self {
        let course = Course { since: base.now(), ahead: Span::ZERO, wanted: Span::ZERO };
        Steered { base, course: Arc::new(Mutex::new(course)) }
    }

    /// As a clock like any other.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let steered = self.clone();
        Clock::new(move || {
            let course = *steered.course();
            let base = steered.base.now();
            base + course.ahead(base)
        })
    }

    /// The server's clock was found to be so far ahead of this one; how much more that is than was known, where it can
    /// be told from none.
    pub fn steer(&self, ahead: Span) -> Option<Span> {
        let base = self.base.now();
        let mut course = self.course();
        let now = course.ahead(base);
        let known = course.wanted;
        *course = Course { since: base, ahead: now, wanted: now + ahead };
        let moved = less(course.wanted, known);
        (moved.as_micros().abs() >= TELLS.as_micros()).then_some(moved)
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// A clock, and the machine's own seconds that it goes by.
    fn steered() -> (Steered, Clock, impl Fn(i64)) {
        let seconds = Arc::new(AtomicI64::new(1000));
        let shown = Arc::clone(&seconds);
        let steered = Steered::new(Clock::new(move || Time::from_secs(shown.load(Ordering::SeqCst))));
        let clock = steered.clock();
        (steered, clock, move |at| seconds.store(at, Ordering::SeqCst))
    }

    #[test]
    fn a_clock_that_was_suspended_jumps_to_the_right_time() {
        let (steered, clock, set) = steered();
        assert_eq!(clock.now(), Time::from_secs(1000));
        set(1060);
        assert_eq!(steered.steer(Span::from_secs(3600)), Some(Span::from_secs(3600)));
        assert_eq!(clock.now(), Time::from_secs(4660));
        set(1061);
        assert_eq!(clock.now(), Time::from_secs(4661));
    }

    #[test]
    fn a_clock_that_is_ahead_goes_slower_until_it_is_right_and_never_back() {
        let (steered, clock, set) = steered();
        assert_eq!(steered.steer(Span::from_secs(-20)), Some(Span::from_secs(-20)));
        let mut last = clock.now();
        for at in 1001..1200 {
            set(at);
            let now = clock.now();
            let passed = now.since(last);
            assert!(passed >= Span::from_micros(900_000), "{passed:?} in a second");
            last = now;
        }
        // A tenth of 199 s is not yet all.
        assert!(clock.now() > Time::from_secs(1179));
        set(1210);
        assert_eq!(clock.now(), Time::from_secs(1190));
    }

    #[test]
    fn what_is_being_set_right_is_told_once() {
        let (steered, clock, set) = steered();
        assert!(steered.steer(Span::from_secs(-100)).is_some());
        for minute in 1..=5 {
            set(1000 + minute * 60);
            let right = Time::from_secs(900 + minute * 60);
            assert_eq!(steered.steer(right.since(clock.now())), None);
        }
    }

    #[test]
    fn a_clock_that_is_right_within_what_can_be_told_is_left_alone() {
        let at = |ms: i64| Time::from_micros(1_000_000_000 + ms * 1000);
        assert_eq!(difference(at(0), at(10), 1000), None);
        assert_eq!(difference(at(2_400), at(2_400), 1000), None);
    }

    #[test]
    fn a_clock_that_is_wrong_is_set_right_in_both_directions() {
        let at = |seconds: i64| Time::from_secs(seconds);
        assert_eq!(difference(at(1600), at(1600), 1000), Some(Span::from_micros(-599_500_000)));
        assert_eq!(difference(at(400), at(402), 1000), Some(Span::from_micros(599_500_000)));
        let clock = shifted(Clock::new(move || at(1600)), Span::from_secs(-600));
        assert_eq!(clock.now(), at(1000));
    }
}
