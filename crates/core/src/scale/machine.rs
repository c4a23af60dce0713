//! The machine itself: events in, actions out.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::decision::{Because, Conditions, Decision, Rule, Status, Trace};
use super::hpa::{self, Memory, Pass, Tolerance};
use super::jobs;
use super::keda::{self, Facts, Verdict};
use super::observe::{Fleet, Job, Phase, Pod, Reading, Room};
use super::propose::Proposer;
use super::signals::{self, Resolved, SignalState};
use super::slo;
use super::spec::{Behavior, Keda, Kind, Life, Metric, Spec};
use crate::formula::{Compiler, Formula};
use crate::slo::{Load, Plan, Planner};
use crate::time::{Span, Time};

/// What happened in the driver's world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The manifest changed. What is remembered of signals that keep their names is kept.
    Spec(Box<Spec>),
    /// The replicas that exist. A target whose replicas were never seen is not decided.
    Fleet(Fleet),
    /// The pods that exist; at most one list an instant.
    Pods(Vec<Pod>),
    /// More replicas would only wait; `None` when there is room again.
    Room(Option<Room>),
    /// The jobs that exist; at most one list an instant.
    Jobs(Vec<Job>),
    /// A signal was read.
    Reading {
        /// Its name in the spec; an unknown one is ignored.
        signal: Arc<str>,
        /// What it gave.
        reading: Reading,
    },
    /// What the object's own metadata and status tell of its life.
    Life(Life),
    /// What came and what was done, for policy `slo`; at most one an instant.
    Load(Load),
    /// A replica became ready, and took so long from being asked for.
    Started(Span),
    /// The last [`Action::Scale`] or [`Action::CreateJobs`] could not be carried out.
    ScaleFailed,
    /// Another target has requests waiting and nothing to run on, and this one is idle: it gives up
    /// replicas now, its cooldown and its windows notwithstanding, but never below its minimum. Answered
    /// with a decision of its own.
    Yield {
        /// To whom.
        to: Arc<str>,
        /// How many replicas would do.
        replicas: u32,
        /// Since when nothing waits or runs here.
        idle: Span,
    },
    /// Time to decide.
    Tick,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are decisions: a box would cost each tick an allocation"
)]
pub enum Action {
    /// What was decided, changed or not; one for each tick.
    Decided(Decision),
    /// Write this count. Counted as done at once, so that ticks before the next [`Event::Fleet`] do not
    /// ask again; [`Event::ScaleFailed`] takes it back.
    Scale {
        /// The count found.
        from: u32,
        /// The count wanted.
        to: u32,
    },
    /// Create so many jobs. Counted as running and pending at once, until the next [`Event::Jobs`].
    CreateJobs {
        /// How many.
        count: u32,
    },
    /// A new manifest could not be taken; the old one goes on.
    Refused {
        /// Why.
        message: String,
    },
}

/// Why a spec cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("formula of {target}: {message}")]
pub struct SpecError {
    /// The target.
    pub target: Arc<str>,
    /// The compiler's sentence.
    pub message: String,
}

/// Everything one target remembers between events. At most 2 KiB with `maxReplicaCount` ≤ 100 and two
/// external signals: 125 recommendations (1,000 bytes), 2 × 32 events (512 bytes), the two signals, and
/// this struct. Pods, a sample of each, and the text of an error come on top.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    fleet: Option<Fleet>,
    /// When `fleet` was observed; `None` while it is what was asked for last.
    fleet_at: Option<Time>,
    /// Whether it was observed since the last tick: only then is a second count at one instant merged.
    fleet_fresh: bool,
    pub(super) pods: Option<Vec<Pod>>,
    /// When they were observed: a later count of replicas knows better how many are ready.
    pub(super) pods_at: Option<Time>,
    /// What the object's status told.
    life: Life,
    /// When a tick last found the target active.
    last_active: Option<Time>,
    first_seen: Option<Time>,
    pub(super) signals: Vec<SignalState>,
    pub(super) memory: Memory,
    undo: Option<Undo>,
    /// Requests alone brought it from zero, and no replica has been ready since.
    woken: bool,
    /// What there is no more room for. Boxed: few targets ever wait for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<Box<Room>>,
    /// What policy `slo` has learned: 3 KiB more.
    #[serde(skip_serializing_if = "Option::is_none")]
    slo: Option<Box<Planner>>,
}

/// How things stood before the last change, to take it back if it could not be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Undo {
    fleet: Fleet,
    last_active: Option<Time>,
    scaled_to_zero: bool,
    by: By,
    /// Whether the replicas were observed at a tick since.
    seen: bool,
}

/// Who asked for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    Activation,
    AutoscalerUp,
    AutoscalerDown,
    Jobs,
}

impl State {
    /// Bytes on the heap and in the struct, without the pods.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let signals = self.signals.capacity() * size_of::<SignalState>();
        let readings: usize = self.signals.iter().map(SignalState::heap_bytes).sum();
        let slo = self.slo.as_ref().map_or(0, |planner| planner.bytes());
        size_of::<State>() + signals + readings + self.memory.heap_bytes() + slo
    }

    /// Replicas asked for last, or seen: what a driver that comes back is to bring back.
    #[must_use]
    pub fn replicas(&self) -> Option<u32> {
        self.fleet.map(|fleet| fleet.spec)
    }

    /// For a driver that finds an autoscaler's target at zero and cannot know who brought it there: where
    /// the manifest permits zero, the autoscaler did, so it also leaves it again.
    #[must_use]
    pub fn zero_is_ours() -> Self {
        let memory = Memory { scaled_to_zero: true, ..Memory::default() };
        State { memory, ..State::default() }
    }

    /// An object made anew was never active, whatever its namesake was; also after a change is taken back.
    fn forget_before_creation(&mut self) {
        self.last_active = self.last_active.filter(|at| Some(*at) >= self.life.created);
    }

    /// Of two counts at one instant the greater, so that their order cannot matter.
    fn observe(&mut self, now: Time, fleet: Fleet) {
        let merging = self.fleet_fresh && self.fleet_at == Some(now);
        let known = self.fleet.filter(|known| merging && *known > fleet);
        self.fleet = Some(known.unwrap_or(fleet));
        self.fleet_at = Some(now);
        self.fleet_fresh = true;
    }

    /// The world shows the count from before the last change: it was not carried out, whoever refused
    /// it, so it spends no rate. Without this a change that is refused every time would be asked for only
    /// once in a while, with a reason that counts replicas nobody ever saw.
    fn contradict(&mut self, seen: Fleet) {
        let observed = self.fleet_at.is_some();
        let Some(undo) = self.undo.as_mut().filter(|undo| observed && !undo.seen) else { return };
        undo.seen = true;
        if undo.fleet.spec != seen.spec {
            return;
        }
        match undo.by {
            By::AutoscalerUp => self.memory.ups.retract_newest(),
            By::AutoscalerDown => self.memory.downs.retract_newest(),
            By::Activation | By::Jobs => return,
        }
        self.undo = None;
    }

    /// The pods, unless the replicas were counted after they were listed.
    fn pods_now(&self) -> Option<&[Pod]> {
        let current = self.fleet_at.is_none() || self.pods_at >= self.fleet_at;
        self.pods.as_deref().filter(|_| current)
    }

    /// The fleet to decide on: where the pods are known, they tell how many are ready.
    fn fleet_now(&self) -> Option<Fleet> {
        let serving = |pod: &&Pod| pod.phase == Phase::Running && pod.ready == Some(true);
        let ready = self.pods_now().map(|pods| pods.iter().filter(serving).count() as u32);
        self.fleet.map(|fleet| Fleet { ready: ready.unwrap_or(fleet.ready), ..fleet })
    }

    /// Takes a change for done, and remembers how it was before.
    fn ask(&mut self, wanted: Fleet, before: (Fleet, Option<Time>, bool), by: By) {
        let (fleet, last_active, scaled_to_zero) = before;
        self.fleet = Some(wanted);
        self.fleet_at = None;
        self.undo = Some(Undo { fleet, last_active, scaled_to_zero, by, seen: false });
    }
}

/// Decides one target.
#[derive(Debug)]
pub struct Scaler {
    spec: Box<Spec>,
    formula: Option<Box<dyn Formula>>,
    /// `behavior` as the paused annotations leave it; `None` where they change nothing.
    paused_behavior: Option<Behavior>,
    compiler: Arc<dyn Compiler>,
    state: State,
}

fn compile(spec: &Spec, compiler: &dyn Compiler) -> Result<Option<Box<dyn Formula>>, SpecError> {
    let Kind::ScaledObject(Keda { modifiers: Some(modifiers), .. }) = &spec.kind else { return Ok(None) };
    let variables: Vec<Arc<str>> = spec
        .signals
        .iter()
        .filter(|signal| signal.in_formula)
        .map(|signal| Arc::clone(&signal.name))
        .collect();
    let formula = compiler
        .compile(&modifiers.formula, &variables)
        .map_err(|error| SpecError { target: Arc::clone(&spec.target), message: error.message })?;
    Ok(Some(formula))
}

impl Scaler {
    /// A target that remembers nothing yet.
    ///
    /// # Errors
    /// When the spec's formula does not compile.
    pub fn new(spec: Spec, compiler: Arc<dyn Compiler>) -> Result<Self, SpecError> {
        Scaler::resume(spec, State::default(), compiler)
    }

    /// A target that goes on from a snapshot.
    ///
    /// # Errors
    /// When the spec's formula does not compile.
    pub fn resume(spec: Spec, mut state: State, compiler: Arc<dyn Compiler>) -> Result<Self, SpecError> {
        let formula = compile(&spec, &*compiler)?;
        let paused_behavior = keda::behavior_while_paused(&spec);
        // Exactly: growing would make room for four where two are wanted.
        state.signals.reserve_exact(spec.signals.len().saturating_sub(state.signals.len()));
        state.signals.resize_with(spec.signals.len(), SignalState::default);
        Ok(Scaler { spec: Box::new(spec), formula, paused_behavior, compiler, state })
    }

    /// The spec in force.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What is remembered, for a snapshot.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes one event; a tick appends a decision and what follows from it.
    pub fn step(&mut self, now: Time, event: &Event, out: &mut Vec<Action>) {
        match event {
            Event::Spec(spec) => self.replace(spec, out),
            Event::Fleet(fleet) => self.state.observe(now, *fleet),
            Event::Pods(pods) => {
                self.state.pods = Some(pods.clone());
                self.state.pods_at = Some(now);
            }
            Event::Room(room) => self.state.room = room.clone().map(Box::new),
            Event::Jobs(found) => self.count_jobs(now, found),
            Event::Reading { signal, reading } => self.store(now, signal, reading),
            Event::Life(life) => {
                // The later of each: an object made anew is younger, and order cannot matter.
                let known = &mut self.state.life;
                known.created = known.created.max(life.created);
                known.last_active = known.last_active.max(life.last_active);
                self.state.forget_before_creation();
            }
            Event::Load(load) => slo::observe(&self.spec, &mut self.state.slo, now, load),
            Event::Started(took) => slo::started(&self.spec, &mut self.state.slo, *took),
            Event::ScaleFailed => self.take_back(),
            Event::Yield { to, replicas, idle } => self.give_up(*replicas, to, *idle, out),
            Event::Tick => self.decide(now, out),
        }
    }

    fn store(&mut self, now: Time, name: &Arc<str>, reading: &Reading) {
        let known = self.spec.signals.iter().position(|signal| signal.name == *name);
        if let Some(state) = known.and_then(|index| self.state.signals.get_mut(index)) {
            state.store(now, reading);
        }
    }

    fn count_jobs(&mut self, now: Time, found: &[Job]) {
        if let Kind::ScaledJob(spec) = &self.spec.kind {
            let jobs::Counts { running, pending } = jobs::count(found, &spec.pending_pod_conditions);
            let fleet = Fleet { spec: running, status: running, ready: running - pending, starting: pending };
            self.state.observe(now, fleet);
        }
    }

    fn replace(&mut self, spec: &Spec, out: &mut Vec<Action>) {
        let formula = match compile(spec, &*self.compiler) {
            Ok(formula) => formula,
            Err(error) => {
                out.push(Action::Refused { message: alloc::format!("{error}") });
                return;
            }
        };
        let mut old: Vec<Option<SignalState>> = self.state.signals.drain(..).map(Some).collect();
        self.state.signals = spec
            .signals
            .iter()
            .map(|signal| {
                let index = self.spec.signals.iter().position(|known| known.name == signal.name);
                index.and_then(|index| old.get_mut(index)?.take()).unwrap_or_default()
            })
            .collect();
        self.formula = formula;
        self.paused_behavior = keda::behavior_while_paused(spec);
        *self.spec = spec.clone();
    }

    fn take_back(&mut self) {
        let state = &mut self.state;
        let Some(undo) = state.undo.take() else { return };
        if state.fleet_at.is_none() {
            state.fleet = Some(undo.fleet);
        }
        match undo.by {
            By::Activation => state.last_active = undo.last_active,
            By::AutoscalerUp => state.memory.ups.retract_newest(),
            By::AutoscalerDown => state.memory.downs.retract_newest(),
            By::Jobs => {}
        }
        state.memory.scaled_to_zero = undo.scaled_to_zero;
        state.forget_before_creation();
    }

    fn decide(&mut self, now: Time, out: &mut Vec<Action>) {
        let Some(fleet) = self.state.fleet_now() else { return };
        self.state.contradict(fleet);
        self.state.fleet_fresh = false;
        self.state.signals.iter_mut().for_each(SignalState::close);
        self.state.first_seen.get_or_insert(now);
        let before =
            (self.state.fleet.unwrap_or(fleet), self.state.last_active, self.state.memory.scaled_to_zero);
        let mut trace = Trace::new();
        let mut conditions = Conditions::default();
        if let Kind::ScaledJob(_) = self.spec.kind {
            let created = self.decide_jobs(now, fleet, &mut trace, &mut conditions);
            let replicas = fleet.spec.saturating_add(created);
            out.push(Action::Decided(trace.finish(&self.spec.target, replicas, conditions)));
            if created > 0 {
                let starting = fleet.starting.saturating_add(created);
                self.state.ask(
                    Fleet { spec: replicas, status: replicas, starting, ..fleet },
                    before,
                    By::Jobs,
                );
                out.push(Action::CreateJobs { count: created });
            }
            return;
        }
        let (replicas, by_autoscaler) = match &self.spec.kind {
            Kind::ScaledObject(_) => self.decide_object(now, fleet, &mut trace, &mut conditions),
            _ => (self.decide_autoscaler(now, fleet, &mut trace, &mut conditions), true),
        };
        out.push(Action::Decided(trace.finish(&self.spec.target, replicas, conditions)));
        if replicas != fleet.spec {
            let by = match (by_autoscaler, replicas > fleet.spec) {
                (false, _) => By::Activation,
                (true, true) => By::AutoscalerUp,
                (true, false) => By::AutoscalerDown,
            };
            self.state.ask(Fleet { spec: replicas, ..before.0 }, before, by);
            out.push(Action::Scale { from: fleet.spec, to: replicas });
        }
    }

    /// Hands replicas over. What was recommended before is forgotten: it was for a fleet that may no longer
    /// stand, and a window of 300 s would bring back at once what was just given away.
    fn give_up(&mut self, replicas: u32, to: &Arc<str>, idle: Span, out: &mut Vec<Action>) {
        let Some(fleet) = self.state.fleet_now() else { return };
        let keda = match &self.spec.kind {
            Kind::ScaledObject(keda) => Some(keda),
            Kind::Autoscaler => None,
            Kind::ScaledJob(_) => return,
        };
        let paused =
            keda.is_some_and(|keda| keda.pause.all || keda.pause.at.is_some() || keda.pause.scale_in);
        let least = keda.and_then(|keda| keda.idle).unwrap_or(self.spec.min);
        let least = if paused { fleet.spec } else { least.min(fleet.spec) };
        let left = fleet.spec.saturating_sub(replicas).max(least);
        let before =
            (self.state.fleet.unwrap_or(fleet), self.state.last_active, self.state.memory.scaled_to_zero);
        let mut trace = Trace::new();
        if left < fleet.spec {
            let because = Because::YieldsTo { target: Arc::clone(to), idle };
            trace.settle(Rule::Yield, fleet.spec, left, because);
        } else {
            trace.note(Rule::Yield, left, Because::YieldsNothing { target: Arc::clone(to), least });
        }
        out.push(Action::Decided(trace.finish(&self.spec.target, left, Conditions::default())));
        if left < fleet.spec {
            self.state.memory.forget();
            self.state.ask(Fleet { spec: left, ..before.0 }, before, By::Activation);
            out.push(Action::Scale { from: fleet.spec, to: left });
        }
    }

    fn decide_jobs(
        &mut self,
        now: Time,
        fleet: Fleet,
        trace: &mut Trace,
        conditions: &mut Conditions,
    ) -> u32 {
        let Scaler { spec, state, .. } = self;
        let Kind::ScaledJob(how) = &spec.kind else { return 0 };
        let resolved = signals::resolve(spec, None, &mut state.signals, None, fleet, now, trace);
        let (created, active) = jobs::decide(spec, how, &resolved, fleet, trace, conditions);
        if active {
            state.last_active = Some(now);
        }
        created
    }

    fn decide_autoscaler(
        &mut self,
        now: Time,
        fleet: Fleet,
        trace: &mut Trace,
        conditions: &mut Conditions,
    ) -> u32 {
        let Scaler { spec, state, .. } = self;
        let resolved = signals::resolve(spec, None, &mut state.signals, None, fleet, now, trace);
        self.autoscale(now, fleet, &resolved, None, trace, conditions)
    }

    /// KEDA around HPA: pauses, activation, then the autoscaler's part. Whether the latter decided is
    /// the second value.
    fn decide_object(
        &mut self,
        now: Time,
        fleet: Fleet,
        trace: &mut Trace,
        conditions: &mut Conditions,
    ) -> (u32, bool) {
        let Scaler { spec, state, formula, .. } = self;
        let Kind::ScaledObject(keda) = &spec.kind else { return (fleet.spec, false) };
        conditions.ready = Some((Status::True, "ScaledObjectReady"));
        if keda.pause.all || keda.pause.at.is_some() {
            // The HPA object is deleted while paused, and its memory with it.
            state.memory.forget();
            conditions.paused = Some((Status::True, "ScaledObjectPaused"));
            let because = keda.pause.at.map_or(Because::Paused, Because::PausedAt);
            let to = keda.pause.at.unwrap_or(fleet.spec);
            return (trace.settle(Rule::Paused, fleet.spec, to, because), false);
        }
        let partly = keda.pause.scale_in || keda.pause.scale_out;
        conditions.paused = Some(if partly {
            (Status::True, "ScaledObjectPaused")
        } else {
            (Status::False, "ScaledObjectUnpaused")
        });
        let resolved =
            signals::resolve(spec, Some(keda), &mut state.signals, formula.as_deref(), fleet, now, trace);
        conditions.fallback = Some(if resolved.fell_back {
            (Status::True, "FallbackExists")
        } else {
            (Status::False, "NoFallbackFound")
        });
        let first_seen = state.first_seen.unwrap_or(now);
        state.woken &= fleet.ready == 0 && fleet.spec > 0;
        let by_requests = matches!(resolved.active, Some(Because::Requests { .. }));
        let plan = slo::plan(keda, &mut state.slo, fleet, now);
        let sighted = plan.as_ref().filter(|plan| plan.is_sighted());
        let cooldown = sighted.map_or(keda.cooldown, |plan| plan.stay.at_most);
        if let Some(plan) = &plan {
            slo::explain(plan, fleet.spec, spec.min, trace);
        }
        let facts =
            Facts { spec, keda, current: fleet.spec, now, first_seen, withdrawn: state.woken, cooldown };
        let last_active = state.last_active.max(state.life.last_active);
        let mut life = Life { last_active, ..state.life };
        let verdict = keda::execute(&facts, &resolved, &mut life, trace, conditions);
        if life.last_active != last_active {
            state.last_active = life.last_active;
        }
        match verdict {
            Verdict::Set(replicas) => {
                state.woken |= by_requests && fleet.spec == 0 && replicas > 0;
                (replicas, false)
            }
            Verdict::Continue => {
                let reason = trace.settled();
                let wanted = self.autoscale(now, fleet, &resolved, plan.as_ref(), trace, conditions);
                // What keeps it from zero is the better answer than what keeps it from less than one.
                if wanted == fleet.spec && matches!(reason, Rule::Cooldown | Rule::Hold | Rule::PausedScaleIn)
                {
                    trace.settled_by(reason);
                }
                (wanted, true)
            }
        }
    }

    fn autoscale(
        &mut self,
        now: Time,
        fleet: Fleet,
        resolved: &Resolved,
        plan: Option<&Plan>,
        trace: &mut Trace,
        conditions: &mut Conditions,
    ) -> u32 {
        let Scaler { spec, state, paused_behavior, .. } = self;
        let State { memory, pods, signals, room, .. } = state;
        let behavior = paused_behavior.as_ref().or(spec.behavior.as_ref());
        let pause = match &spec.kind {
            Kind::ScaledObject(keda) => (keda.pause.scale_out, keda.pause.scale_in),
            _ => (false, false),
        };
        let tolerance = Tolerance::of(behavior, &spec.tuning);
        let proposer = Proposer { spec, fleet, pods: pods.as_deref(), states: signals, now, tolerance };
        let pass = Pass {
            now,
            current: fleet.spec,
            min: spec_min(spec),
            max: spec.max,
            behavior,
            tuning: &spec.tuning,
            readable_at_zero: spec
                .signals
                .iter()
                .any(|signal| matches!(signal.metric, Metric::External(_) | Metric::Object(_))),
            paused: pause,
            room: room.as_deref(),
        };
        let answers = || {
            let all = proposer.answers(resolved);
            match plan.and_then(slo::answer) {
                Some(own) => slo::beside_schedules(own, all, spec),
                None => all,
            }
        };
        hpa::reconcile(&pass, memory, answers, trace, conditions)
    }
}

/// A ScaledObject's HPA never goes below one: zero is activation's.
fn spec_min(spec: &Spec) -> u32 {
    if matches!(spec.kind, Kind::ScaledObject(_)) { spec.min.max(1) } else { spec.min }
}
