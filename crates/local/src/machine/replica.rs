//! One replica as the machine remembers it, over all its runs.

use std::sync::Arc;

use tidegate_core::time::{Span, Time};
use tokio::sync::watch;
use tokio::time::Instant;

use super::rollout::{Member, Standing};
use super::run::Order;
use crate::ledger::Holder;
use crate::probe::Ports;
use crate::starts::{Phase, Start};
use crate::status::{Exit, ReplicaStatus, State};
use crate::unit::Template;

/// A replica.
pub(super) struct Replica {
    pub(super) holder: Holder,
    pub(super) number: u64,
    pub(super) template: Arc<Template>,
    /// Which template of its target it runs.
    pub(super) generation: u64,
    pub(super) state: State,
    pub(super) since: Time,
    pub(super) leaving: bool,
    pub(super) gpus: Vec<u32>,
    pub(super) gpus_since: Option<Time>,
    pub(super) restarts: u32,
    /// Runs in a row that never became ready.
    pub(super) failed: u32,
    pub(super) last_exit: Option<Exit>,
    /// When the next run is due, and since when it is wanted.
    pub(super) due: Instant,
    pub(super) wanted_at: Time,
    /// Counts its runs.
    pub(super) run: u32,
    /// The run there is.
    pub(super) current: Option<Current>,
}

/// A run, as long as anything of it is left.
pub(super) struct Current {
    pub(super) orders: watch::Sender<Order>,
    pub(super) ports: Ports,
    pub(super) began: Instant,
    pub(super) pid: Option<i32>,
    pub(super) spawned_at: Option<Time>,
    pub(super) open_at: Option<Time>,
    pub(super) ready_at: Option<Time>,
    /// Why a probe had it ended.
    pub(super) dead: Option<String>,
    /// Whether it never was a process.
    pub(super) failed: bool,
}

impl Replica {
    pub(super) fn new(
        holder: Holder,
        number: u64,
        generation: u64,
        template: Arc<Template>,
        now: Time,
    ) -> Self {
        Replica {
            holder,
            number,
            template,
            generation,
            state: State::Pending { why: String::new() },
            since: now,
            leaving: false,
            gpus: Vec::new(),
            gpus_since: None,
            restarts: 0,
            failed: 0,
            last_exit: None,
            due: Instant::now(),
            wanted_at: now,
            run: 0,
            current: None,
        }
    }

    pub(super) fn set(&mut self, state: State, now: Time) {
        if self.state != state {
            // What it waits for may change; how long it has waited does not.
            let still = matches!((&self.state, &state), (State::Pending { .. }, State::Pending { .. }));
            if !still {
                self.since = now;
            }
            self.state = state;
        }
    }

    /// Tells it to leave. Returns whether there is nothing to wait for.
    pub(super) fn leave(&mut self, now: Time) -> bool {
        self.leaving = true;
        let Some(current) = &self.current else { return true };
        // Whoever was told to end now is not told to take its time.
        current.orders.send_if_modified(|order| {
            let first = *order == Order::Run;
            if first {
                *order = Order::Leave;
            }
            first
        });
        let serves = matches!(self.state, State::Ready | State::Unready { .. });
        self.set(if serves { State::Draining } else { State::Stopping }, now);
        false
    }

    pub(super) fn kill(&self) {
        if let Some(current) = &self.current {
            current.orders.send_replace(Order::Kill);
        }
    }

    /// How it stands, for one that is not leaving.
    pub(super) fn member(&self, generation: u64, order: usize) -> Member {
        let standing = match self.state {
            State::Pending { .. } if !self.has_enough() => Standing::Waiting,
            State::BackOff { .. } | State::Failed { .. } => Standing::Down,
            State::Pending { .. } | State::Starting { .. } => Standing::Starting,
            State::Unready { .. } => Standing::Unready,
            State::Ready | State::Draining | State::Stopping => Standing::Ready,
        };
        Member {
            replica: Arc::clone(&self.holder.replica),
            standing,
            fresh: self.generation == generation,
            number: self.number,
            order,
        }
    }

    fn has_enough(&self) -> bool {
        self.gpus.len() >= self.template.gpus as usize
    }

    /// The start that has just led to a ready replica.
    pub(super) fn start(&self, warm: bool) -> Option<Start> {
        let current = self.current.as_ref()?;
        let (spawned, ready) = (current.spawned_at?, current.ready_at?);
        let open = current.open_at.unwrap_or(ready).min(ready);
        let span = |to: Time, from: Time| to.since(from).max(Span::ZERO);
        Some(Start {
            target: Arc::clone(&self.holder.target),
            replica: Arc::clone(&self.holder.replica),
            at: self.wanted_at,
            phases: [
                (Phase::Schedule, span(spawned, self.wanted_at)),
                (Phase::Load, span(open, spawned)),
                (Phase::Warm, span(ready, open)),
            ],
            total: span(ready, self.wanted_at),
            warm,
        })
    }

    pub(super) fn status(&self, generation: u64) -> ReplicaStatus {
        let current = self.current.as_ref();
        ReplicaStatus {
            replica: Arc::clone(&self.holder.replica),
            state: self.state.clone(),
            since: self.since,
            pid: current.and_then(|run| run.pid),
            port: current.and_then(|run| run.ports.get(&self.template.serving)).copied(),
            gpus: self.gpus.clone(),
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            current: self.generation == generation,
        }
    }
}
