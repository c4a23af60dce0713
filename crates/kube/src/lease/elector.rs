//! Who leads, decided from what was seen to change, and when, by our own clock.
//!
//! A lease names its holder and is renewed by writing it. Its times are the holder's, whose clock may be
//! minutes off; so they are never compared with ours. What counts is how long *we* have seen the lease
//! unchanged: after [`Terms::duration`] of that it may be taken. A holder stops writing
//! [`Terms::deadline`] after it asked for its last renewal, by its own clock. Others see that renewal later
//! than it was asked for, so with 10 s against 15 s they are 5 s apart, however the clocks are set; only a
//! clock that runs a third too slow could bring two writers together.

use tidegate_core::time::{Span, Time};

/// The three times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// A lease that is unchanged for so long may be taken.
    pub duration: Span,
    /// A holder that could not renew for so long no longer writes.
    pub deadline: Span,
    /// Between two looks.
    pub retry: Span,
}

impl Default for Terms {
    /// What Kubernetes' own controllers have: 15 s, 10 s, 2 s.
    fn default() -> Self {
        Terms { duration: Span::from_secs(15), deadline: Span::from_secs(10), retry: Span::from_secs(2) }
    }
}

/// A lease as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty for nobody.
    pub holder: String,
    /// The version of the object: it changes with every renewal.
    pub version: String,
    /// How often it has changed hands.
    pub transitions: i32,
    /// How long it says it is to be respected.
    pub duration: Option<Span>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no lease: make one.
    Create,
    /// Write ourselves into it.
    Take,
    /// Write it again.
    Renew,
    /// Look again later.
    Wait,
}

/// How we stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Another leads, or nobody is known to.
    #[default]
    Standby,
    /// We lead, and may write.
    Leads,
    /// We led, and cannot renew; nobody else was seen to lead. We go on deciding and do not write.
    Lapsed,
}

/// An election, as one candidate sees it.
#[derive(Clone, Debug)]
pub struct Elector {
    me: String,
    terms: Terms,
    /// The lease, and since when we have seen it so.
    seen: Option<(Option<Record>, Time)>,
    /// When we asked for the renewal that succeeded last; `None` since another leads.
    held: Option<Time>,
}

impl Elector {
    /// A candidate. No two may have one name.
    #[must_use]
    pub fn new(me: String, terms: Terms) -> Self {
        Elector { me, terms, seen: None, held: None }
    }

    /// The lease was read at `now`; `None` if there is none.
    pub fn read(&mut self, now: Time, record: Option<Record>) {
        if record.as_ref().is_some_and(|record| !record.holder.is_empty() && record.holder != self.me) {
            self.held = None;
        }
        let same = self.seen.as_ref().is_some_and(|(known, _)| *known == record);
        if !same {
            self.seen = Some((record, now));
        }
    }

    /// Our write succeeded; it was asked for at `asked`, and left this record.
    pub fn wrote(&mut self, asked: Time, record: Record) {
        self.held = Some(asked);
        self.seen = Some((Some(record), asked));
    }

    /// What to do. After a failed write read the lease, and ask again.
    #[must_use]
    pub fn step(&self, now: Time) -> Step {
        let Some((record, since)) = &self.seen else { return Step::Wait };
        let Some(record) = record else { return Step::Create };
        if record.holder == self.me {
            return Step::Renew;
        }
        // A holder may ask for a longer respect than ours, never for a shorter one.
        let respect = record.duration.unwrap_or_default().max(self.terms.duration);
        if record.holder.is_empty() || now.since(*since) >= respect { Step::Take } else { Step::Wait }
    }

    /// Until when we may write; `None` where we may not at all.
    #[must_use]
    pub fn until(&self) -> Option<Time> {
        self.held.map(|asked| asked + self.terms.deadline)
    }

    /// How we stand.
    #[must_use]
    pub fn standing(&self, now: Time) -> Standing {
        match self.until() {
            Some(until) if now < until => Standing::Leads,
            Some(_) => Standing::Lapsed,
            None => Standing::Standby,
        }
    }

    /// The lease as it was seen last.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.seen.as_ref()?.0.as_ref()
    }

    /// Who we are.
    #[must_use]
    pub fn me(&self) -> &str {
        &self.me
    }

    /// The terms.
    #[must_use]
    pub const fn terms(&self) -> Terms {
        self.terms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn record(holder: &str, version: u32) -> Record {
        Record { holder: holder.to_owned(), version: version.to_string(), transitions: 0, duration: None }
    }

    fn elector(me: &str) -> Elector {
        Elector::new(me.to_owned(), Terms::default())
    }

    #[test]
    fn the_first_makes_the_lease_and_leads() {
        let mut a = elector("a");
        assert_eq!(a.step(at(0)), Step::Wait, "nothing is known before the first look");
        a.read(at(0), None);
        assert_eq!(a.step(at(0)), Step::Create);
        a.wrote(at(0), record("a", 1));
        assert_eq!(a.standing(at(9_999)), Standing::Leads);
        assert_eq!(a.step(at(2_000)), Step::Renew);
    }

    #[test]
    fn a_lease_is_taken_only_after_it_was_seen_unchanged_for_its_duration() {
        let mut b = elector("b");
        b.read(at(0), Some(record("a", 1)));
        b.read(at(14_000), Some(record("a", 2)));
        b.read(at(28_900), Some(record("a", 2)));
        assert_eq!(b.step(at(28_900)), Step::Wait);
        b.read(at(29_000), Some(record("a", 2)));
        assert_eq!(b.step(at(29_000)), Step::Take);
    }

    #[test]
    fn a_lease_that_was_given_up_is_taken_at_once() {
        let mut b = elector("b");
        b.read(at(0), Some(record("", 9)));
        assert_eq!(b.step(at(0)), Step::Take);
    }

    #[test]
    fn who_cannot_renew_stops_writing_and_goes_on_deciding_until_another_leads() {
        let mut a = elector("a");
        a.read(at(0), None);
        a.wrote(at(0), record("a", 1));
        assert_eq!(a.standing(at(10_000)), Standing::Lapsed);
        a.read(at(60_000), Some(record("a", 1)));
        assert_eq!((a.standing(at(60_000)), a.step(at(60_000))), (Standing::Lapsed, Step::Renew));
        a.read(at(61_000), Some(record("b", 2)));
        assert_eq!(a.standing(at(61_000)), Standing::Standby);
    }

    #[test]
    fn who_restarts_under_the_same_name_does_not_write_before_it_renewed() {
        let mut a = elector("a");
        a.read(at(0), Some(record("a", 7)));
        assert_eq!((a.standing(at(0)), a.step(at(0))), (Standing::Standby, Step::Renew));
    }

    /// One API server, several candidates whose clocks are off by any amount, requests that take any time
    /// and may fail.
    #[derive(Clone, Debug)]
    struct Turn {
        who: usize,
        wait_ms: i64,
        slow_ms: i64,
        fails: bool,
    }

    fn turns() -> impl Strategy<Value = Vec<Turn>> {
        let turn = (0..3_usize, 0..9_000_i64, 0..4_000_i64, prop::bool::weighted(0.3));
        let turn = turn.prop_map(|(who, wait_ms, slow_ms, fails)| Turn { who, wait_ms, slow_ms, fails });
        prop::collection::vec(turn, 1..200)
    }

    proptest! {
        #[test]
        fn no_two_ever_may_write_however_their_clocks_are_set(
            offsets in prop::array::uniform3(-1_000_000_000_i64..1_000_000_000),
            turns in turns(),
        ) {
            let mut all = [elector("0"), elector("1"), elector("2")];
            let (mut lease, mut version, mut now) = (None::<Record>, 0_u32, 0_i64);
            let mut led = 0;
            for Turn { who, wait_ms, slow_ms, fails } in turns {
                now += wait_ms;
                let clock = |ms: i64| at(ms + offsets[who]);
                let asked = clock(now);
                all[who].read(asked, lease.clone());
                let step = all[who].step(asked);
                if step != Step::Wait {
                    version += 1;
                    // The write lands, then its answer takes a while, or is lost.
                    let written = record(&who.to_string(), version);
                    lease = Some(written.clone());
                    now += slow_ms;
                    if !fails {
                        all[who].wrote(asked, written);
                    }
                }
                let leads = (0..3).filter(|one| all[*one].standing(at(now + offsets[*one])) == Standing::Leads);
                let leads: Vec<usize> = leads.collect();
                prop_assert!(leads.len() <= 1, "{leads:?} at {now}");
                led += leads.len();
            }
            // Not vacuous: whoever came first led, unless every write failed.
            prop_assert!(led > 0 || version <= 200);
        }
    }
}
