//! The task that owns the machine's state: events in, moves out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::time::Time;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::replica::{Current, Replica};
use super::run::{Launch, Note, Order, What, drive};
use super::target::Target;
use super::{Config, Shared, logs};
use crate::launch::{Given, execs_at, fill};
use crate::ledger::{Ask, Holder, Ledger};
use crate::probe::Ports;
use crate::starts::Phase;
use crate::status::{GpuStatus, State, Status};
use crate::supervisor::protocol::{Exit, Instruction};
use crate::sweep;

/// Notes on their way to us: a few for each of a hundred replicas. A run waits when it is full.
const NOTES_MAX: usize = 1024;
/// Replicas of one target. Each has two processes and some ports; a machine has 32,768 of the one and
/// 28,000 of the other by default.
const REPLICAS_MAX: u32 = 1000;
/// How long after SIGKILL a process counts as stuck in the kernel.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Attempts at a port that no other replica was given.
const PORT_TRIES: usize = 64;

/// The state, its inputs and its outputs.
pub(super) struct Actor {
    config: Arc<Config>,
    shared: Arc<Shared>,
    targets: BTreeMap<Arc<str>, Target>,
    ledger: Ledger,
    status: watch::Sender<Arc<Status>>,
    notes: mpsc::Receiver<Note>,
    note_sender: mpsc::Sender<Note>,
    stop: Option<Instant>,
    killed: bool,
}

impl Actor {
    pub(super) fn new(config: Config, shared: Arc<Shared>) -> (Self, watch::Receiver<Arc<Status>>) {
        let (status, receiver) = watch::channel(Arc::default());
        let (note_sender, notes) = mpsc::channel(NOTES_MAX);
        let ledger = Ledger::new(config.gpus.clone());
        let actor = Actor {
            config: Arc::new(config),
            shared,
            targets: BTreeMap::new(),
            ledger,
            status,
            notes,
            note_sender,
            stop: None,
            killed: false,
        };
        (actor, receiver)
    }

    pub(super) async fn run(mut self) {
        self.publish();
        loop {
            let next = self.next_deadline();
            tokio::select! {
                () = self.shared.changed.notified() => self.take_wanted(),
                Some(note) = self.notes.recv() => self.noted(note),
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            while let Ok(note) = self.notes.try_recv() {
                self.noted(note);
            }
            self.step();
            self.publish();
            if self.stop.is_some() && self.targets.is_empty() {
                return;
            }
            if self.stop.is_some_and(|until| until + STUCK_AFTER <= Instant::now()) {
                tracing::error!("some processes do not die; the next start removes them");
                return;
            }
        }
    }

    fn now(&self) -> Time {
        (self.config.clock)()
    }

    /// Takes over what was asked for since.
    fn take_wanted(&mut self) {
        let mut wanted = self.shared.wanted();
        if wanted.stop.is_some() {
            self.stop = wanted.stop;
        }
        let (units, restart) = (wanted.units.take(), std::mem::take(&mut wanted.restart));
        let replicas = wanted.replicas.clone();
        drop(wanted);
        if let Some(units) = units {
            for target in self.targets.values_mut() {
                target.gone = true;
            }
            for unit in units {
                if let Some(target) = self.targets.get_mut(&unit.target) {
                    target.update(unit);
                } else {
                    let next = logs::next_number(&self.config.state_dir, &unit.target, &unit.workload);
                    self.targets.insert(Arc::clone(&unit.target), Target::new(unit, next));
                }
            }
        }
        for (name, target) in &mut self.targets {
            target.wanted = replicas.get(name).copied().unwrap_or(0).min(REPLICAS_MAX);
            if restart.contains(name) {
                target.generation += 1;
            }
        }
    }

    fn noted(&mut self, note: Note) {
        let now = self.now();
        let Some(target) = self.targets.get_mut(&note.holder.target) else { return };
        let warm = target.started == Some(target.generation);
        let Some(replica) = target.replica_mut(&note.holder) else { return };
        if replica.run != note.run {
            return;
        }
        if matches!(note.what, What::Ended) {
            self.ended(&note.holder, now);
            return;
        }
        let Some(current) = &mut replica.current else { return };
        match note.what {
            What::Spawned { pid } => {
                (current.pid, current.spawned_at) = (Some(pid), Some(now));
                replica.advance(State::Starting { phase: Phase::Load }, now);
            }
            What::PortOpen => {
                current.open_at = Some(now);
                if matches!(replica.state, State::Starting { .. }) {
                    replica.advance(State::Starting { phase: Phase::Warm }, now);
                }
            }
            What::Ready => {
                let first = current.ready_at.is_none();
                current.ready_at.get_or_insert(now);
                replica.advance(State::Ready, now);
                if let Some(start) = replica.start(warm).filter(|_| first) {
                    target.started = Some(target.generation);
                    target.starts.push(start);
                }
            }
            What::Unready(why) => replica.advance(State::Unready { why }, now),
            What::Dead(why) => {
                current.dead = Some(why.clone());
                replica.advance(State::Unready { why }, now);
            }
            What::Stopping if replica.leaving => replica.set(State::Stopping, now),
            What::Stopping => {}
            What::Exited { exit, failed } => {
                (current.pid, current.failed) = (None, failed);
                let why = format!("it ended: {exit}");
                replica.last_exit = Some(exit);
                replica.advance(State::Unready { why }, now);
            }
            What::Ended => {}
        }
    }

    /// Nothing of a run is left: its devices are free, and it is over or starts again.
    fn ended(&mut self, holder: &Holder, now: Time) {
        let back_off = self.config.back_off;
        self.ledger.release(holder);
        let Some(target) = self.targets.get_mut(&holder.target) else { return };
        let (name, workload) = (Arc::clone(target.name()), target.unit.workload.clone());
        let Some(replica) = target.replica_mut(holder) else { return };
        (replica.gpus, replica.gpus_since) = (Vec::new(), None);
        let Some(current) = replica.current.take() else { return };
        if replica.leaving {
            let number = replica.number;
            target.replicas.remove(&number);
            logs::prune(&self.config.state_dir, &name, &workload, self.config.log_replicas_max);
            return;
        }
        let was_ready = current.ready_at.is_some();
        let (wait, failed) = back_off.after(replica.failed, current.began.elapsed(), was_ready);
        replica.failed = failed;
        replica.restarts = replica.restarts.saturating_add(1);
        replica.due = Instant::now() + wait;
        let until = now + crate::span(wait);
        replica.wanted_at = until;
        let exit = replica.last_exit.clone().unwrap_or_default();
        let why = crash(&exit, current.dead, replica.failed);
        let state = if current.failed { State::Failed { why, until } } else { State::BackOff { why, until } };
        tracing::warn!("{holder}: {exit}; started again in {} s", wait.as_secs_f64());
        replica.set(state, now);
    }

    /// Everything that follows from what is known now.
    fn step(&mut self) {
        let now = self.now();
        if let Some(until) = self.stop
            && until <= Instant::now()
            && !self.killed
        {
            self.killed = true;
            self.targets.values().flat_map(|target| target.replicas.values()).for_each(Replica::kill);
        }
        let stopping = self.stop.is_some();
        for target in self.targets.values_mut() {
            let wanted = if target.gone || stopping { 0 } else { target.wanted };
            let room = target.unit.template.gpus <= self.ledger.free();
            let moves = target.moves(wanted, room, &*self.config.traffic);
            target.carry_out(&moves, now);
        }
        self.targets.retain(|_, target| !((target.gone || stopping) && target.replicas.is_empty()));
        self.start_due(now);
        for target in self.targets.values_mut() {
            let outlook = target.outlook(now);
            if target.told != Some(outlook) {
                target.told = Some(outlook);
                self.config.traffic.outlook(target.name(), outlook);
            }
        }
    }

    /// Starts what is due and has its devices; the rest learns why not.
    fn start_due(&mut self, now: Time) {
        let clock = Instant::now();
        let mut due: Vec<(bool, Time, Ask)> = Vec::new();
        let mut returning = 0;
        for target in self.targets.values() {
            let up = target.replicas.values().any(|one| one.state.runs() && !one.leaving);
            for replica in target.replicas.values() {
                if replica.leaving {
                    returning += self.ledger.held_by(&replica.holder);
                } else if replica.current.is_none() && replica.due <= clock {
                    let ask = Ask { holder: replica.holder.clone(), gpus: replica.template.gpus };
                    due.push((up, replica.wanted_at, ask));
                }
            }
        }
        // The first replica of a target goes before the second of another; then who waits longest.
        due.sort_by(|a, b| (a.0, a.1, &a.2.holder).cmp(&(b.0, b.1, &b.2.holder)));
        let asks: Vec<Ask> = due.into_iter().map(|(_, _, ask)| ask).collect();
        let start = self.ledger.may_start(&asks, returning);
        for ask in &asks {
            if start.contains(ask) {
                self.launch(ask, now);
            } else {
                let why = self.ledger.why_not(ask.gpus);
                if let Some(target) = self.targets.get_mut(&ask.holder.target)
                    && let Some(replica) = target.replica_mut(&ask.holder)
                {
                    replica.set(State::Pending { why }, now);
                }
            }
        }
    }

    fn launch(&mut self, ask: &Ask, now: Time) {
        let Some(gpus) = self.ledger.grant(&ask.holder, ask.gpus) else { return };
        let taken = self.ports_in_use();
        let Some(target) = self.targets.get_mut(&ask.holder.target) else { return };
        let target_name = Arc::clone(target.name());
        let Some(replica) = target.replica_mut(&ask.holder) else { return };
        let template = Arc::clone(&replica.template);
        let ports = free_ports(&template.ports, &taken);
        replica.run += 1;
        let template = execs_at(&template, &ports);
        let given = Given { replica: &ask.holder.replica, ports: &ports, gpus: &gpus };
        let filled = fill(&template, &given);
        let run = format!("{target_name}/{}.{}", ask.holder.replica, replica.run);
        let state_dir = &self.config.state_dir;
        let mut trampoline = self.config.supervisor.clone();
        trampoline.push("exec".to_owned());
        let grace = template.termination_grace.min(self.config.orphan_grace);
        let instruction = Instruction {
            mark: sweep::mark(state_dir, &run),
            pid_file: sweep::notes_of(state_dir).join(run.replace('/', "_")),
            run,
            trampoline,
            command: filled.command,
            env: filled.env,
            working_dir: template.working_dir.clone(),
            log: logs::file(state_dir, &target_name, &ask.holder.replica),
            log_bytes_max: self.config.log_bytes_max,
            log_files_max: self.config.log_files_max,
            memory_limit_bytes: template.memory_limit_bytes,
            orphan_grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        };
        let (orders, receiver) = watch::channel(Order::Run);
        replica.current = Some(Current {
            orders,
            ports: ports.clone(),
            began: Instant::now(),
            pid: None,
            spawned_at: None,
            open_at: None,
            ready_at: None,
            dead: None,
            failed: false,
        });
        replica.gpus_since = (!gpus.is_empty()).then_some(now);
        replica.gpus = gpus;
        replica.set(State::Starting { phase: Phase::Schedule }, now);
        tokio::spawn(drive(Launch {
            config: Arc::clone(&self.config),
            holder: ask.holder.clone(),
            run: replica.run,
            template,
            ports,
            instruction,
            orders: receiver,
            notes: self.note_sender.clone(),
        }));
    }

    fn ports_in_use(&self) -> BTreeSet<u16> {
        let replicas = self.targets.values().flat_map(|target| target.replicas.values());
        replicas.filter_map(|one| one.current.as_ref()).flat_map(|run| run.ports.values().copied()).collect()
    }

    /// When something is to be done without anything happening.
    fn next_deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        let waiting = self.targets.values().flat_map(|target| target.replicas.values());
        let due = waiting.filter(|one| one.current.is_none() && one.due > now).map(|one| one.due);
        // An expected time that has passed is to be told anew.
        let clock = self.now();
        let outlooks = self.targets.values().filter_map(|target| target.told?.ready_at).map(|at| {
            let left = u64::try_from(at.since(clock).as_micros()).unwrap_or(0);
            // Not more often than ten times a second.
            now + Duration::from_micros(left).max(Duration::from_millis(100))
        });
        let stop = self.stop.map(|until| if self.killed { until + STUCK_AFTER } else { until });
        due.chain(outlooks).chain(stop).min()
    }

    fn publish(&self) {
        let since = |holder: &Holder| {
            let target = self.targets.get(&holder.target)?;
            target.replicas.values().find(|replica| replica.holder == *holder)?.gpus_since
        };
        let gpu = |(gpu, holder): (&crate::ledger::Gpu, Option<&Holder>)| GpuStatus {
            gpu: gpu.clone(),
            holder: holder.cloned(),
            since: holder.and_then(since),
        };
        let status = Status {
            targets: self.targets.values().map(Target::status).collect(),
            gpus: self.ledger.entries().into_iter().map(gpu).collect(),
            stopping: self.stop.is_some(),
        };
        self.status.send_if_modified(|known| {
            let changed = **known != status;
            if changed {
                *known = Arc::new(status);
            }
            changed
        });
    }
}

impl Replica {
    /// A new state, unless it is on its way out: then that is what it is.
    fn advance(&mut self, state: State, now: Time) {
        if !self.leaving {
            self.set(state, now);
        }
    }
}

/// Why a replica is down, with its last words.
fn crash(exit: &Exit, dead: Option<String>, failed: u32) -> String {
    let mut why = match dead {
        Some(dead) => format!("{dead} (then {exit})"),
        None => exit.to_string(),
    };
    if failed > 1 {
        why.push_str(&format!(", {failed} times in a row before it was ready"));
    }
    if let Some(line) = exit.last_lines.iter().rev().find(|line| !line.trim().is_empty()) {
        why.push_str(&format!("; its last line: {}", line.trim()));
    }
    why
}

/// A free port for each of a template's. Between being found and being used another program may take
/// one: then the replica ends with "address in use" and gets others at its restart.
fn free_ports(wanted: &[crate::unit::Port], taken: &BTreeSet<u16>) -> Ports {
    let mut ports = Ports::new();
    // All are held until all are found, so that none is found twice.
    let mut held = Vec::new();
    for port in wanted {
        for _ in 0..PORT_TRIES {
            let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else { break };
            let found = listener.local_addr().map(|address| address.port());
            held.push(listener);
            if let Ok(found) = found
                && !taken.contains(&found)
            {
                ports.insert(port.number, found);
                break;
            }
        }
    }
    ports
}
