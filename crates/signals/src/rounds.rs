//! Whose questions are answered: what a driver of many targets waits for in their place.
//!
//! With each tick a target begins a round of questions. When the last of them is answered the round's key
//! is told, in a batch with all others that came meanwhile: one wake-up for a hundred targets with one
//! question, and no task for each.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Somebody who is told once for each question that was begun.
pub(crate) trait Waiter: Send + Sync {
    /// One more is answered.
    fn answered(&self);
}

/// Rounds of one driver; `K` says whose a round is. Clones are the same.
pub struct Rounds<K>(Arc<Over<K>>);

struct Over<K> {
    /// Rounds that are over and were not taken yet: a target has one of a tick at the most.
    keys: Mutex<Vec<K>>,
    more: Notify,
}

impl<K> Clone for Rounds<K> {
    fn clone(&self) -> Self {
        Rounds(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for Rounds<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rounds").field("over", &self.0.lock().len()).finish()
    }
}

impl<K> Default for Rounds<K> {
    fn default() -> Self {
        Rounds(Arc::new(Over { keys: Mutex::default(), more: Notify::new() }))
    }
}

impl<K> Over<K> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Send + Sync + 'static> Rounds<K> {
    /// Those whose rounds are over; waits until there is one. Nothing is lost when this is dropped.
    pub async fn over(&self) -> Vec<K> {
        loop {
            let keys = mem::take(&mut *self.0.lock());
            if !keys.is_empty() {
                return keys;
            }
            self.0.more.notified().await;
        }
    }

    /// A round that is not over before [`Round::begun`] says that all questions are asked.
    pub(crate) fn round(&self, key: K) -> Arc<Round<K>> {
        Arc::new(Round { key, left: AtomicUsize::new(1), over: Arc::clone(&self.0) })
    }
}

/// The questions of one target at one tick.
pub(crate) struct Round<K> {
    key: K,
    /// Questions without an answer, and one more while they are being asked.
    left: AtomicUsize,
    over: Arc<Over<K>>,
}

impl<K: Clone + Send + Sync + 'static> Round<K> {
    /// One more question, and who is to be told of its answer.
    pub(crate) fn one_more(self: &Arc<Self>) -> Arc<dyn Waiter> {
        self.left.fetch_add(1, Ordering::Relaxed);
        Arc::clone(self) as Arc<dyn Waiter>
    }

    /// All questions are asked. Whether some answer is awaited; if none is, nobody is told.
    pub(crate) fn begun(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) != 1
    }
}

impl<K: Clone + Send + Sync + 'static> Waiter for Round<K> {
    fn answered(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let mut keys = self.over.lock();
        keys.push(self.key.clone());
        let first = keys.len() == 1;
        drop(keys);
        // Who waits takes them all, so only the first has to wake it.
        if first {
            self.over.more.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_round_is_over_with_the_last_answer_and_is_told_once() {
        let rounds = Rounds::default();
        let round = rounds.round("a");
        let (first, second) = (round.one_more(), round.one_more());
        first.answered();
        assert!(round.begun());
        assert_eq!(rounds.over().now_or_never(), None);
        second.answered();
        assert_eq!(rounds.over().now_or_never(), Some(vec!["a"]));
        assert_eq!(rounds.over().now_or_never(), None);
    }

    #[test]
    fn a_round_without_an_answer_to_wait_for_is_not_told() {
        let rounds = Rounds::default();
        let (none, answered) = (rounds.round("a"), rounds.round("b"));
        assert!(!none.begun());
        answered.one_more().answered();
        assert!(!answered.begun());
        assert_eq!(rounds.over().now_or_never(), None);
    }

    #[test]
    fn rounds_that_end_together_are_told_together() {
        let rounds = Rounds::default();
        for key in ["a", "b"] {
            let round = rounds.round(key);
            let waiter = round.one_more();
            round.begun();
            waiter.answered();
        }
        assert_eq!(rounds.over().now_or_never(), Some(vec!["a", "b"]));
    }
}
