//! The time that all operators share: the API server's.
//!
//! Cooldowns and windows outlive an operator as points in time. Were they written by one machine's clock and
//! read by another's, a clock ten minutes ahead would end a cooldown of five at once. So what differs between
//! the two is measured when an operator starts, and its clock is set right for as long as it runs.

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

#[cfg(test)]
mod tests {
    use super::*;

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
