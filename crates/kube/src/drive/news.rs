//! Sources that push: a target is asked when one of them has news, and not only with the next tick.
//!
//! A ScaledJob is not: it is decided once a poll, since a Job that has just begun has not taken its work yet. KEDA
//! does not listen for ScaledJobs either.

use std::time::Duration;

use tidegate_signals::Sources;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Error, Mind, Operator};
use crate::index::target::{Asks, Key};

/// The least time between two asks of one target for its news: what pushes a thousand times a second makes ten
/// decisions, as many as `up` makes of it.
const PACE: Duration = Duration::from_millis(100);

/// Targets whose sources have news, on their way to the loop; who tells waits.
pub(super) const KNOCKS_MAX: usize = 1024;

/// What tells the loop of one target's news; it ends when it is dropped. Only targets with a source that pushes have
/// one.
#[derive(Debug)]
pub(super) struct Ear {
    _task: AbortOnDropHandle<()>,
}

impl Ear {
    /// Listens to the sources of a target, if one of them pushes.
    pub(super) fn of(key: &Key, sources: &Sources, out: &mpsc::Sender<Key>) -> Option<Self> {
        if key.asks == Asks::ScaledJob {
            return None;
        }
        let mut news = sources.news()?;
        let (key, out) = (key.clone(), out.clone());
        let task = tokio::spawn(async move {
            while news.next().await && out.send(key.clone()).await.is_ok() {
                tokio::time::sleep(PACE).await;
            }
        });
        Some(Ear { _task: AbortOnDropHandle::new(task) })
    }
}

impl Operator {
    /// A source of a target has news: it is asked now, or as soon as the last ask of it is over and old enough.
    pub(super) fn knocked(&mut self, key: &Key) -> Result<(), Error> {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        entry.knocked = false;
        if self.mind != Mind::Decides || !entry.able() {
            // It is asked with its first tick.
            return Ok(());
        }
        let since = Duration::from_micros(u64::try_from(now.since(entry.asked_at).as_micros()).unwrap_or(0));
        if !entry.asked && since >= PACE {
            self.ask(key)?;
            let grace = Instant::now() + super::GRACE;
            self.patience = Some(self.patience.map_or(grace, |until| until.min(grace)));
            return Ok(());
        }
        // One more knock, however many come meanwhile.
        if !std::mem::replace(&mut entry.knocked, true) {
            let wait = PACE.checked_sub(since).unwrap_or(PACE);
            let (key, out) = (key.clone(), self.knocks.clone());
            self.tasks.spawn(async move {
                tokio::time::sleep(wait).await;
                // The loop has ended when nobody takes it.
                let _ = out.send(key).await;
            });
        }
        Ok(())
    }
}
