//! Listens to a server that pushes: one stream, kept open, made again when it ends.
//!
//! What is pushed is news, not a state: a `true` makes the target active in the very next ask, which it
//! causes at once, and from then on the server's own answers count. So it is with KEDA, and a server that
//! only ever pushes `true` does not keep its target up for ever.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::link::Link;
use super::proto::ScaledObjectRef;

/// Between two attempts: doubled from the first to the last while nothing is heard. A server that is down
/// for an hour sees 120 attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Whoever listens; it stops when dropped.
pub(super) struct Listener {
    pushed: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("pushed", &self.pushed).finish_non_exhaustive()
    }
}

impl Listener {
    /// Listens to what is pushed for `target`, and tells `news` of it.
    pub(super) fn start(link: Arc<Link>, target: ScaledObjectRef, news: watch::Sender<u64>) -> Self {
        let pushed = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(listen(link, target, Arc::clone(&pushed), news));
        Listener { pushed, _task: AbortOnDropHandle::new(task) }
    }

    /// Whether activity was pushed since the last time this was asked.
    pub(super) fn take(&self) -> bool {
        self.pushed.swap(false, Ordering::AcqRel)
    }
}

async fn listen(link: Arc<Link>, target: ScaledObjectRef, pushed: Arc<AtomicBool>, news: watch::Sender<u64>) {
    let mut pause = PAUSE.0;
    loop {
        if stream(&link, &target, &pushed, &news).await {
            pause = PAUSE.0;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// One stream to its end; whether anything was heard.
async fn stream(
    link: &Link,
    target: &ScaledObjectRef,
    pushed: &AtomicBool,
    news: &watch::Sender<u64>,
) -> bool {
    let channel = link.channel();
    let mut client = Link::client(&channel);
    // No end but the server's, and no time by which it begins: many send nothing at all, not even headers,
    // before there is something to push.
    let Ok(answer) = client.stream_is_active(target.clone()).await else { return false };
    let mut answers = answer.into_inner();
    let mut heard = false;
    while let Ok(Some(answer)) = answers.message().await {
        heard = true;
        if answer.result {
            pushed.store(true, Ordering::Release);
        }
        news.send_modify(|count| *count += 1);
    }
    heard
}
