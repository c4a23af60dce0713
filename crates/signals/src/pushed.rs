//! Numbers that somebody pushes to us, for whatever no trigger reads.
//!
//! A trigger declares a signal, and only then it can be pushed: so there are never more than triggers.
//! What was pushed counts for as long as the trigger says; then it is stale, and before the first push
//! there is nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::future::BoxFuture;
use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};
use tidegate_manifest::trigger::PushedSignal;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::remote::{Question, Remote};

/// Why a push is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No trigger wants it.
    #[error(
        "no trigger of {target} reads a pushed signal called {name}; there are: {known}. Declare it by an \
         external-push trigger with scalerAddress tidegate-gateway.tidegate:9090 and signal: {name}"
    )]
    Undeclared {
        /// `namespace/name`.
        target: String,
        /// The signal.
        name: String,
        /// Those it could be.
        known: String,
    },
    /// Not a number one can count with.
    #[error("value has to be a finite number")]
    NotFinite,
}

/// By target and signal, as long as a trigger reads it.
type Declared = BTreeMap<(String, String), Weak<Slot>>;

/// All signals that can be pushed. Clones are the same one.
#[derive(Clone)]
pub struct Pushed {
    clock: Clock,
    declared: Arc<Mutex<Declared>>,
}

impl fmt::Debug for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pushed").field("declared", &self.declared().len()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Slot {
    last: Mutex<Option<Push>>,
    news: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Push {
    value: f64,
    active: Option<bool>,
    at: Time,
}

impl Pushed {
    /// Nothing is declared yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Pushed { clock, declared: Arc::default() }
    }

    /// Takes a number for a signal of a target, with activity as the pusher sees it, where it does.
    ///
    /// # Errors
    /// When no trigger declares the signal, or the number is not finite.
    pub fn push(&self, target: &str, name: &str, value: f64, active: Option<bool>) -> Result<(), Error> {
        if !value.is_finite() {
            return Err(Error::NotFinite);
        }
        let declared = self.declared();
        let slot = declared.get(&(target.to_owned(), name.to_owned())).and_then(Weak::upgrade);
        let Some(slot) = slot else {
            let its = declared.iter().filter(|((of, _), slot)| of == target && slot.strong_count() > 0);
            let known: Vec<&str> = its.map(|((_, name), _)| name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::Undeclared { target: target.to_owned(), name: name.to_owned(), known });
        };
        let push = Push { value, active, at: self.clock.now() };
        *slot.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(push);
        slot.news.send_modify(|news| *news += 1);
        Ok(())
    }

    /// The reader of a declared signal. What was pushed to an earlier reader of it still counts.
    #[must_use]
    pub fn reader(&self, target: &str, signal: &PushedSignal) -> PushedReader {
        let mut declared = self.declared();
        declared.retain(|_, slot| slot.strong_count() > 0);
        let key = (target.to_owned(), signal.name.clone());
        let slot = declared.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let slot = Arc::new(Slot { last: Mutex::default(), news: watch::Sender::new(0) });
            declared.insert(key, Arc::downgrade(&slot));
            slot
        });
        let question = Question::new("pushed", "this process")
            .with("target", target)
            .with("signal", &signal.name)
            .with("staleAfter", signal.stale_after);
        PushedReader { question, slot, clock: self.clock.clone(), stale_after: signal.stale_after }
    }

    fn declared(&self) -> MutexGuard<'_, Declared> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads one pushed signal.
#[derive(Debug)]
pub struct PushedReader {
    question: Question,
    slot: Arc<Slot>,
    clock: Clock,
    stale_after: Span,
}

impl Remote for PushedReader {
    fn question(&self) -> &Question {
        &self.question
    }

    fn ask(&self) -> BoxFuture<'_, Result<Reading, String>> {
        let last = *self.slot.last.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = match last {
            None => Reading::Absent,
            Some(Push { value, active, at }) => match self.clock.now().since(at) {
                age if age > self.stale_after => Reading::Stale { value, age },
                _ => Reading::Value { value, active },
            },
        };
        Box::pin(std::future::ready(Ok(reading)))
    }

    fn news(&self) -> Option<watch::Receiver<u64>> {
        Some(self.slot.news.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(name: &str) -> PushedSignal {
        PushedSignal { name: name.to_owned(), stale_after: Span::from_secs(60) }
    }

    async fn rig() -> (watch::Sender<Time>, Pushed, PushedReader) {
        let time = watch::Sender::new(Time::ORIGIN);
        let now = time.subscribe();
        let pushed = Pushed::new(Clock::new(move || *now.borrow()));
        let reader = pushed.reader("default/chat", &signal("depth"));
        (time, pushed, reader)
    }

    #[tokio::test]
    async fn a_push_counts_until_it_is_stale() {
        let (time, pushed, reader) = rig().await;
        assert_eq!(reader.ask().await, Ok(Reading::Absent), "nothing was pushed");
        pushed.push("default/chat", "depth", 12.5, Some(true)).expect("it is declared");
        time.send_replace(Time::from_secs(60));
        assert_eq!(reader.ask().await, Ok(Reading::Value { value: 12.5, active: Some(true) }));
        time.send_replace(Time::from_secs(61));
        assert_eq!(reader.ask().await, Ok(Reading::Stale { value: 12.5, age: Span::from_secs(61) }));
    }

    #[tokio::test]
    async fn what_no_trigger_declares_is_refused_with_what_there_is() {
        let (_, pushed, reader) = rig().await;
        let refused = pushed.push("default/chat", "dept", 1.0, None).expect_err("it is misspelt").to_string();
        assert!(refused.contains("there are: depth"), "{refused}");
        assert_eq!(pushed.push("default/chat", "depth", f64::NAN, None), Err(Error::NotFinite));
        drop(reader);
        assert!(pushed.push("default/chat", "depth", 1.0, None).is_err(), "its trigger is gone");
    }

    #[tokio::test]
    async fn a_push_outlives_an_edit_of_the_manifest() {
        let (_, pushed, reader) = rig().await;
        pushed.push("default/chat", "depth", 3.0, None).expect("it is declared");
        let after = pushed.reader("default/chat", &signal("depth"));
        drop(reader);
        assert_eq!(after.ask().await, Ok(Reading::Value { value: 3.0, active: None }));
    }
}
