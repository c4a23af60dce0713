//! Sources that push: a target is asked when one of them has news, and not only with the next tick.
//!
//! A ScaledJob is not: it is decided once a poll, since a Job that has just begun has not taken its work yet. KEDA
//! does not listen for ScaledJobs either.

use std::time::Duration;

use tidegate_signals::Sources;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{Error, Mind, Operator};
use crate::index::target::{Asks, Key};

/// The least time between two asks of one target for its news: what pushes a thousand times a second makes ten
/// decisions, as many as `up` makes of it.
const PACE: Duration = Duration::from_millis(100);

/// Targets whose sources have news, on their way to the loop; who tells waits.
pub(super) const KNOCKS_MAX: usize = 1024;

/// That a target is to be asked for its news.
#[derive(Clone, Debug)]
pub(super) enum Knock {
    /// One of its sources has some.
    News(Key),
    /// One had some when the target could not be asked.
    Again(Key),
}

/// What a target that could not be asked for its news owes: one knock more, however many come meanwhile. A source that
/// pushes without end would else leave one behind with each push. It ends with the target.
#[derive(Debug, Default)]
pub(super) struct Owed(Option<AbortOnDropHandle<()>>);

impl Owed {
    /// Whether a knock is to be looked at; one that comes while another is owed is answered by that.
    fn hears(&mut self, knock: &Knock) -> bool {
        if matches!(knock, Knock::Again(_)) {
            self.0 = None;
        }
        self.0.is_none()
    }

    /// Knocks once more after a while.
    fn later(&mut self, key: Key, wait: Duration, out: mpsc::Sender<Knock>, tasks: &TaskTracker) {
        let task = tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            // The loop has ended when nobody takes it.
            let _ = out.send(Knock::Again(key)).await;
        });
        self.0 = Some(AbortOnDropHandle::new(task));
    }
}

/// What tells the loop of one target's news; it ends when it is dropped. Only targets with a source that pushes have
/// one.
#[derive(Debug)]
pub(super) struct Ear {
    _task: AbortOnDropHandle<()>,
}

impl Ear {
    /// Listens to the sources of a target, if one of them pushes.
    pub(super) fn of(key: &Key, sources: &Sources, out: &mpsc::Sender<Knock>) -> Option<Self> {
        if key.asks == Asks::ScaledJob {
            return None;
        }
        let mut news = sources.news()?;
        let (key, out) = (key.clone(), out.clone());
        let task = tokio::spawn(async move {
            while news.next().await && out.send(Knock::News(key.clone())).await.is_ok() {
                tokio::time::sleep(PACE).await;
            }
        });
        Some(Ear { _task: AbortOnDropHandle::new(task) })
    }
}

impl Operator {
    /// A source of a target has news: it is asked now, or as soon as the last ask of it is over and old enough.
    pub(super) fn knocked(&mut self, knock: &Knock) -> Result<(), Error> {
        let now = self.clock.now();
        let (Knock::News(key) | Knock::Again(key)) = knock;
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        if !entry.knocks.hears(knock) || self.mind != Mind::Decides || !entry.able() {
            // It is asked with the knock that is owed, or with its first tick.
            return Ok(());
        }
        let since = Duration::from_micros(u64::try_from(now.since(entry.asked_at).as_micros()).unwrap_or(0));
        if !entry.asked && since >= PACE {
            self.ask(key)?;
            let grace = Instant::now() + super::GRACE;
            self.patience = Some(self.patience.map_or(grace, |until| until.min(grace)));
            return Ok(());
        }
        let wait = PACE.checked_sub(since).unwrap_or(PACE);
        entry.knocks.later(key.clone(), wait, self.knocks.clone(), &self.tasks);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_a_thousand_knocks_that_cannot_be_answered_yet_one_is_owed() {
        let key = Key { asks: Asks::ScaledObject, namespace: "prod".into(), name: "llama".into() };
        let (out, mut knocks) = mpsc::channel(KNOCKS_MAX);
        let (tasks, mut owed) = (TaskTracker::new(), Owed::default());
        for round in 0..3 {
            for _ in 0..1000 {
                if owed.hears(&Knock::News(key.clone())) {
                    owed.later(key.clone(), Duration::from_millis(1), out.clone(), &tasks);
                }
            }
            assert_eq!(tasks.len(), 1, "in round {round}");
            let again = knocks.recv().await.expect("it knocks once more");
            assert!(owed.hears(&again), "the one that was owed is answered");
            // It could not be answered either.
            owed.later(key.clone(), Duration::from_millis(1), out.clone(), &tasks);
            assert!(!owed.hears(&Knock::News(key.clone())), "in its place");
            let again = knocks.recv().await.expect("it knocks once more");
            assert!(owed.hears(&again) && knocks.try_recv().is_err(), "and then nothing is owed");
            tasks.close();
            tasks.wait().await;
        }
    }

    #[tokio::test]
    async fn what_a_target_owes_ends_with_it() {
        let key = Key { asks: Asks::ScaledObject, namespace: "prod".into(), name: "llama".into() };
        let (out, mut knocks) = mpsc::channel(KNOCKS_MAX);
        let (tasks, mut owed) = (TaskTracker::new(), Owed::default());
        owed.later(key, Duration::from_secs(3600), out, &tasks);
        drop(owed);
        tasks.close();
        tasks.wait().await;
        assert!(knocks.recv().await.is_none());
    }
}
