//! What one driver leaves for the next, and what the next must not believe of it.
//!
//! A journal has every event, so what resumes from one has seen everything. A driver that comes back to a cluster
//! has not: it is told what was kept, and the world has gone on since.

use super::machine::State;
use super::signals::{SignalState, Slot};
use super::spec::Spec;
use crate::time::Span;

/// A gap in what was seen that needs no caution: two passes of the autoscaler's own controller, 15 s each. A window
/// of 300 s that lost so much still holds for 270 s.
const GAP: Span = Span::from_secs(30);

impl State {
    /// Nobody has looked for so long. What would have been recommended meanwhile is not known, and what was
    /// recommended before may be too old to hold anything: the next pass enters the count that it finds as a
    /// recommendation, as the autoscaler's controller does at each of its own starts. Ten replicas that were proposed
    /// all along stay for a whole window, though the first reading asks for two.
    pub fn unwatched(&mut self, spec: &Spec, over: Span) {
        let down = spec.behavior.as_ref().map(|behavior| behavior.down.window);
        if over > GAP.min(down.unwrap_or(spec.tuning.downscale_stabilization)) {
            self.memory.seeded = false;
        }
    }

    /// What is worth keeping where nobody decides for a while: all but pods and what each of them used, which are
    /// told again before anything is decided on them.
    #[must_use]
    pub fn kept(&self) -> State {
        let mut kept = self.clone();
        (kept.pods, kept.pods_at) = (None, None);
        for signal in kept.signals.iter_mut().filter(|signal| is_of_pods(signal)) {
            signal.slot = Slot::Unread;
        }
        kept
    }

    /// Bytes of [`State::kept`] in memory.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let pods = self.signals.iter().filter(|signal| is_of_pods(signal));
        self.bytes() - pods.map(SignalState::heap_bytes).sum::<usize>()
    }
}

const fn is_of_pods(signal: &SignalState) -> bool {
    matches!(signal.slot, Slot::Samples(_))
}
