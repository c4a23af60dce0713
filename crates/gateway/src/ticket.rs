//! A request's standing with the machine: whatever way it ends, the machine hears of it once.

use std::sync::Arc;
use std::time::Instant;

use tidegate_core::route::{Event, Outcome, Refusal};
use tidegate_core::time::Span;
use tokio::sync::oneshot;

use crate::desk::{Claim, Desk, Endpoint, Fate, Verdict};

/// Dropped before its end, it tells the machine that the client left.
pub(crate) struct Ticket {
    desk: Arc<Desk>,
    claim: Claim,
    state: State,
}

enum State {
    Held(oneshot::Receiver<Verdict>),
    Placed(Arc<Endpoint>),
    Refused(Verdict),
    Over,
}

impl Ticket {
    pub(crate) fn new(desk: Arc<Desk>, claim: Claim, fate: Fate) -> Self {
        let mut ticket = Ticket { desk, claim, state: State::Over };
        ticket.set(fate);
        ticket
    }

    fn set(&mut self, fate: Fate) {
        self.state = match fate {
            Fate::Held(hold) => State::Held(hold.verdict),
            Fate::Done(Verdict::Go(endpoint)) => State::Placed(endpoint),
            Fate::Done(refused) => State::Refused(refused),
        };
    }

    /// Waits for a place, or for the word that there is none.
    pub(crate) async fn verdict(&mut self) -> Verdict {
        if let State::Held(verdict) = &mut self.state {
            // A dropped sender would mean the desk is gone, and with it every replica.
            let verdict =
                verdict.await.unwrap_or(Verdict::Refused { refusal: Refusal::TargetGone, retry_after: None });
            self.set(Fate::Done(verdict));
        }
        self.standing()
    }

    /// Where it stands, without waiting.
    pub(crate) fn standing(&self) -> Verdict {
        match &self.state {
            State::Placed(endpoint) => Verdict::Go(endpoint.clone()),
            State::Refused(refused) => refused.clone(),
            State::Held(_) | State::Over => {
                Verdict::Refused { refusal: Refusal::TargetGone, retry_after: None }
            }
        }
    }

    /// The endpoint failed before the first byte. Says whether, and how, it waits again.
    pub(crate) fn retry(&mut self) -> Option<(Option<Span>, bool)> {
        let fate = self.desk.retry(self.claim);
        let hold = match &fate {
            Fate::Held(hold) => Some((hold.expected, hold.cold)),
            Fate::Done(_) => None,
        };
        self.set(fate);
        hold
    }

    /// The first byte of an answer came.
    pub(crate) fn first_byte(&self, now: Instant) {
        self.desk.tell_at(Event::FirstByte(self.claim.request), self.desk.clock().at(now));
    }

    /// It is over.
    pub(crate) fn finish(&mut self, outcome: Outcome, now: Instant) {
        if matches!(self.state, State::Placed(_)) {
            self.state = State::Over;
            let event = Event::Finish { request: self.claim.request, outcome };
            self.desk.tell_at(event, self.desk.clock().at(now));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        match &mut self.state {
            State::Held(verdict) => self.desk.leave(self.claim.request, verdict),
            State::Placed(_) => self.finish(Outcome::Left, Instant::now()),
            State::Refused(_) | State::Over => {}
        }
    }
}
