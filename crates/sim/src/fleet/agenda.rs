//! What happens when: a heap of events.
//!
//! Events of one instant come in the order they were put in, so a run does not depend on how a heap breaks
//! ties. It holds one entry for each engine, start and timer: some hundred, whatever the trace's length.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tidegate_core::time::Time;

/// Something that will happen. Numbers are replicas or nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// An engine has something to tell, or has got something to do.
    Engine(u32),
    /// A replica's phase of start ends.
    Phase(u32),
    /// A node's next load ends; void if the loads have changed since (their count of changes).
    Loaded(u32, u32),
    /// A node is there.
    Node(u32),
    /// A spot node is told that it will go.
    Notice(u32),
    /// It goes.
    NodeLost(u32),
    /// One node of a pool is told that it will go at this time.
    Taken(u32, Time),
    /// A replica's process dies.
    Crash(u32),
    /// A draining replica is ended whatever it still has.
    DrainOver(u32),
    /// The router wants a tick.
    Route,
    /// The gateway reads the engines' loads.
    Load,
    /// The policy looks.
    Look,
}

/// The heap.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(Time, u64, What)>>,
    put: u64,
}

impl Agenda {
    pub(super) fn put(&mut self, at: Time, what: What) {
        self.put += 1;
        self.heap.push(Reverse((at, self.put, what)));
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn take(&mut self) -> Option<(Time, What)> {
        self.heap.pop().map(|Reverse((at, _, what))| (at, what))
    }
}
