//! Writes that the API server refuses: asked for again, but not each second.
//!
//! A right that is missing or a policy that forbids is nothing a second mends. Without a pause one refused target would
//! be 86,400 requests and as many Events a day.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::time::{Span, Time};

/// The first pause; each further one is twice as long.
const FIRST: Span = Span::from_secs(1);

/// The longest: as long as somebody who has just given a right waits to see it work.
const LONGEST: Span = Span::from_secs(30);

/// What was refused of a target last; nothing where the last was taken.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    why: String,
    pause: Span,
    until: Option<Time>,
}

impl Refusal {
    /// It was refused again. Whether that is news.
    pub(super) fn again(&mut self, why: &str, now: Time) -> bool {
        let news = self.until.is_none() || self.why != why;
        self.pause = if news { FIRST } else { (self.pause + self.pause).min(LONGEST) };
        self.until = Some(now + self.pause);
        why.clone_into(&mut self.why);
        news
    }

    /// It was taken.
    pub(super) fn over(&mut self) {
        *self = Refusal::default();
    }

    /// When it may be asked for again, where it was refused.
    pub(super) const fn until(&self) -> Option<Time> {
        self.until
    }

    /// Whether it is not to be asked for yet.
    pub(super) fn rests(&self, now: Time) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// What was refused of several objects of one purpose, each by its name: one that is taken says nothing of another that
/// is not. There are at most as many as these objects.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Arc<str>, Refusal>);

impl Refusals {
    /// One was refused again. Whether that is news.
    pub(super) fn again(&mut self, name: &Arc<str>, why: &str, now: Time) -> bool {
        self.0.entry(Arc::clone(name)).or_default().again(why, now)
    }

    /// One was taken.
    pub(super) fn over(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Whether one of them is not to be asked for yet.
    pub(super) fn rests(&self, now: Time) -> bool {
        self.0.values().any(|refusal| refusal.rests(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_taken_makes_no_news_of_another_that_is_refused_as_before() {
        let (mut pages, now) = (Refusals::default(), Time::ORIGIN);
        let (first, third): (Arc<str>, Arc<str>) = ("page-00".into(), "page-03".into());
        assert!(pages.again(&third, "forbidden", now));
        pages.over(&first);
        assert!(pages.rests(now) && !pages.again(&third, "forbidden", now), "it was said already");
        assert!(pages.again(&first, "forbidden", now), "of the other it was not");
        pages.over(&third);
        pages.over(&first);
        assert!(!pages.rests(now) && pages.again(&third, "forbidden", now), "it was taken meanwhile");
    }

    #[test]
    fn the_same_refusal_is_news_once_and_its_pauses_grow() {
        let (mut refusal, mut now, mut pauses) = (Refusal::default(), Time::ORIGIN, Vec::new());
        assert!(!refusal.rests(now));
        for round in 0..7 {
            assert_eq!(refusal.again("forbidden", now), round == 0);
            let until = refusal.until().unwrap();
            assert!(refusal.rests(now) && !refusal.rests(until));
            pauses.push(until.since(now).as_micros() / 1_000_000);
            now = until;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert!(refusal.again("of another kind", now), "another reason is news");
        assert_eq!(refusal.until(), Some(now + FIRST));
    }
}
