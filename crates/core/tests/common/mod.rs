//! What the tests of this crate share: specs with every default filled in, and a driver in miniature.

// Each test binary compiles all of this and uses a part of it.
#![allow(dead_code)]

pub(crate) mod data;
pub(crate) mod random;
pub(crate) mod work;

use std::sync::Arc;

use tidegate_core::formula::{Compiler, Error, Formula, NoFormulas, Variable};
use tidegate_core::scale::spec::{
    Absent, Activation, Amount, Behavior, Fallback, FallbackBehavior, Goal, Jobs, Keda, Kind, Metric,
    OnAbsent, RatePolicy, Rules, Select, Series, Signal, Strategy, Tuning,
};
use tidegate_core::scale::{
    Action, Because, Decision, Event, Fleet, Reading, Rule, Scaler, Spec, State, Step,
};
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;

/// A language whose every formula is its first variable.
#[derive(Debug)]
pub(crate) struct First;

impl Compiler for First {
    fn compile(&self, _source: &str, _variables: &[Arc<str>]) -> Result<Box<dyn Formula>, Error> {
        Ok(Box::new(First))
    }
}

impl Formula for First {
    fn evaluate(&self, variables: &[Variable<'_>]) -> Result<Option<f64>, Error> {
        Ok(variables[0].1)
    }
}

pub(crate) fn secs(seconds: i64) -> Span {
    Span::from_secs(seconds)
}

pub(crate) fn at(seconds: i64) -> Time {
    Time::from_secs(seconds)
}

/// `10.0` is `Milli(10_000)`.
pub(crate) fn milli(value: f64) -> Milli {
    Milli((value * 1000.0).round() as i64)
}

/// A signal as the manifest crate would lower it: active above 0, an empty result is 0.
pub(crate) fn signal(name: &str, metric: Metric) -> Signal {
    Signal {
        name: name.into(),
        metric,
        activation: Activation::Above(0.0),
        absent: Absent::Zero,
        series: Series::Sum,
        stale_after: secs(60),
        in_formula: true,
        scheduled: false,
    }
}

/// `ceil(total / target)`.
pub(crate) fn average(name: &str, target: f64) -> Signal {
    signal(name, Metric::External(Goal::AverageValue(milli(target))))
}

/// `ceil(value / target × ready)`.
pub(crate) fn value(name: &str, target: f64) -> Signal {
    signal(name, Metric::External(Goal::Value(milli(target))))
}

/// A target of this kind with 0 to 100 replicas.
pub(crate) fn spec(kind: Kind, signals: Vec<Signal>) -> Spec {
    Spec {
        target: "default/llm".into(),
        kind,
        min: 0,
        max: 100,
        signals,
        on_absent: OnAbsent::Manifest,
        polling_interval: secs(30),
        behavior: None,
        tuning: Tuning::default(),
    }
}

/// KEDA's defaults: 300 s of cooldown and nothing else.
pub(crate) fn keda() -> Keda {
    Keda { cooldown: secs(300), ..Keda::default() }
}

/// A ScaledObject over one AverageValue signal `q` with target 10.
pub(crate) fn scaled_object(keda: Keda) -> Spec {
    spec(Kind::ScaledObject(keda), vec![average("q", 10.0)])
}

/// An HPA of 1 to 100 replicas over one AverageValue signal `q` with target 10.
pub(crate) fn autoscaler() -> Spec {
    Spec { min: 1, ..spec(Kind::Autoscaler, vec![average("q", 10.0)]) }
}

/// A ScaledJob over one signal `q`, one job for each thing that waits.
pub(crate) fn scaled_job(strategy: Strategy) -> Spec {
    spec(Kind::ScaledJob(jobs(strategy)), vec![average("q", 1.0)])
}

pub(crate) fn jobs(strategy: Strategy) -> Jobs {
    Jobs {
        strategy,
        combine: tidegate_core::scale::spec::Combine::Max,
        pending_pod_conditions: Vec::new(),
        paused: false,
    }
}

/// Both directions as the API fills them in.
pub(crate) fn default_behavior() -> Behavior {
    Behavior { up: Rules::up_defaults(), down: Rules::down_defaults(secs(300)) }
}

/// Windows, and no limit on the speed of either direction that a test would notice.
pub(crate) fn windows(up_s: i64, down_s: i64) -> Behavior {
    Behavior { up: rules(up_s, vec![pods(1000, 1)]), down: rules(down_s, vec![pods(1000, 1)]) }
}

pub(crate) fn rules(window_s: i64, policies: Vec<RatePolicy>) -> Rules {
    Rules { window: secs(window_s), select: Select::Max, policies, tolerance: None }
}

pub(crate) fn pods(count: u32, period_s: i64) -> RatePolicy {
    RatePolicy { amount: Amount::Pods(count), period: secs(period_s) }
}

pub(crate) fn percent(percent: u32, period_s: i64) -> RatePolicy {
    RatePolicy { amount: Amount::Percent(percent), period: secs(period_s) }
}

pub(crate) fn fallback(
    failure_threshold: u32,
    replicas: u32,
    behavior: FallbackBehavior,
) -> Option<Fallback> {
    Some(Fallback { failure_threshold, replicas, behavior })
}

/// All of `count` replicas exist and are ready.
pub(crate) fn fleet(count: u32) -> Fleet {
    Fleet { spec: count, status: count, ready: count, starting: 0 }
}

/// What one tick gave.
#[derive(Debug)]
pub(crate) struct Ticked {
    pub(crate) decision: Decision,
    /// The change to write.
    pub(crate) scale: Option<(u32, u32)>,
    /// Jobs to create.
    pub(crate) create: u32,
}

impl Ticked {
    pub(crate) fn replicas(&self) -> u32 {
        self.decision.replicas
    }

    pub(crate) fn step(&self, rule: Rule) -> Option<&Step> {
        self.decision.steps.iter().find(|step| step.rule == rule)
    }

    pub(crate) fn because(&self, rule: Rule) -> &Because {
        &self.step(rule).unwrap_or_else(|| panic!("no step of {rule} in {:?}", self.decision)).because
    }

    /// Every reason as people read it.
    pub(crate) fn text(&self) -> String {
        let lines = self.decision.steps.iter().map(|step| format!("{}: {}", step.rule, step.because));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// A driver in miniature: it keeps the time, and sends what a test says.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) scaler: Scaler,
    pub(crate) now: Time,
}

impl Rig {
    pub(crate) fn new(spec: Spec) -> Self {
        Rig::compiled(spec, Arc::new(NoFormulas))
    }

    pub(crate) fn compiled(spec: Spec, compiler: Arc<dyn Compiler>) -> Self {
        Rig { scaler: Scaler::new(spec, compiler).expect("the spec compiles"), now: Time::ORIGIN }
    }

    pub(crate) fn resumed(spec: Spec, state: serde_json::Value) -> Self {
        let state: State = serde_json::from_value(state).expect("the state reads");
        let scaler = Scaler::resume(spec, state, Arc::new(NoFormulas)).expect("the spec compiles");
        Rig { scaler, now: Time::ORIGIN }
    }

    pub(crate) fn send(&mut self, event: &Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.scaler.step(self.now, event, &mut out);
        out
    }

    pub(crate) fn fleet(&mut self, count: u32) {
        self.send(&Event::Fleet(fleet(count)));
    }

    pub(crate) fn read(&mut self, signal: &str, reading: Reading) {
        self.send(&Event::Reading { signal: signal.into(), reading });
    }

    pub(crate) fn value(&mut self, signal: &str, value: f64) {
        self.read(signal, Reading::Value { value, active: None });
    }

    pub(crate) fn error(&mut self, signal: &str) {
        self.read(signal, Reading::Error("connection refused".into()));
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now = self.now + secs(seconds);
    }

    /// A tick, where a decision is expected.
    pub(crate) fn tick(&mut self) -> Ticked {
        self.try_tick().expect("a decision")
    }

    pub(crate) fn try_tick(&mut self) -> Option<Ticked> {
        self.try_decide(&Event::Tick)
    }

    /// Another target asks for replicas of this one, idle for 40 s.
    pub(crate) fn give_up(&mut self, replicas: u32) -> Ticked {
        let event = Event::Yield { to: "default/other".into(), replicas, idle: secs(40) };
        self.try_decide(&event).expect("a decision")
    }

    fn try_decide(&mut self, event: &Event) -> Option<Ticked> {
        let mut ticked = None;
        let (mut scale, mut create) = (None, 0);
        for action in self.send(event) {
            match action {
                Action::Decided(decision) => ticked = Some(decision),
                Action::Scale { from, to } => scale = Some((from, to)),
                Action::CreateJobs { count } => create = count,
                Action::Refused { message } => panic!("refused: {message}"),
            }
        }
        ticked.map(|decision| Ticked { decision, scale, create })
    }

    /// A tick whose change is carried out at once: all replicas exist and are ready.
    pub(crate) fn settle(&mut self) -> Ticked {
        let ticked = self.tick();
        if let Some((_, to)) = ticked.scale {
            self.fleet(to);
        }
        ticked
    }

    /// What is remembered, as the journal would write it.
    pub(crate) fn state(&self) -> serde_json::Value {
        serde_json::to_value(self.scaler.state()).expect("the state writes")
    }
}
