//! The connections to replicas that one thread keeps open.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate_core::route::EndpointId;

use crate::upstream::Upstream;

/// Idle connections kept to one endpoint by one thread. Each is about 5 KB: 256 are 1.3 MB, and more than an
/// engine batches.
const IDLE_MAX: usize = 256;
/// How long one is kept. uvicorn, which vLLM and SGLang stand on, closes an idle connection after 5 s.
const IDLE_AGE_MAX: Duration = Duration::from_secs(4);

/// The idle connections of one thread.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "a connection goes in and out with every request: 200 bytes each time")]
pub(crate) struct Pool {
    idle: BTreeMap<EndpointId, Vec<Box<Upstream>>>,
}

impl Pool {
    /// The connection used last, if it is still good.
    pub(crate) fn take(&mut self, endpoint: EndpointId, now: Instant) -> Option<Box<Upstream>> {
        let idle = self.idle.get_mut(&endpoint)?;
        while let Some(mut upstream) = idle.pop() {
            if now.saturating_duration_since(upstream.idle_since) < IDLE_AGE_MAX && upstream.is_reusable() {
                upstream.reused = true;
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end; any other is closed.
    pub(crate) fn put(&mut self, endpoint: EndpointId, mut upstream: Box<Upstream>, now: Instant) {
        if upstream.is_over() {
            let idle = self.idle.entry(endpoint).or_default();
            if idle.len() < IDLE_MAX {
                upstream.idle_since = now;
                idle.push(upstream);
            }
        }
    }

    /// Closes what is too old, and what belongs to endpoints that are no more.
    pub(crate) fn sweep(&mut self, now: Instant, known: impl Fn(EndpointId) -> bool) {
        self.idle.retain(|endpoint, idle| {
            idle.retain(|upstream| now.saturating_duration_since(upstream.idle_since) < IDLE_AGE_MAX);
            !idle.is_empty() && known(*endpoint)
        });
    }
}
