//! Random specs and random runs of them, for the laws that hold for every one.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidegate_core::formula::NoFormulas;
use tidegate_core::scale::spec::{
    Absent, Activation, Amount, Behavior, Fallback, FallbackBehavior, Goal, Keda, Kind, Metric, OnAbsent,
    Pause, RatePolicy, Rules, Select, Series, Signal, Tuning,
};
use tidegate_core::scale::{Action, Decision, Event, Fleet, Phase, Pod, Reading, Requests, Scaler, Spec};
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;

use super::{secs, spec};

pub(crate) fn any_rules(longest_window: i64) -> impl Strategy<Value = Rules> {
    let policy =
        (prop_oneof![(1..10_u32).prop_map(Amount::Pods), (1..200_u32).prop_map(Amount::Percent)], 1..120_i64)
            .prop_map(|(amount, period)| RatePolicy { amount, period: secs(period) });
    let select = prop_oneof![5 => Just(Select::Max), 3 => Just(Select::Min), 1 => Just(Select::Disabled)];
    let window = prop_oneof![Just(0), 0..=longest_window];
    (window, select, vec(policy, 1..4), option::of(0.0..0.5)).prop_map(
        |(window, select, policies, tolerance)| Rules { window: secs(window), select, policies, tolerance },
    )
}

pub(crate) fn any_behavior() -> impl Strategy<Value = Behavior> {
    (any_rules(120), any_rules(120)).prop_map(|(up, down)| Behavior { up, down })
}

pub(crate) fn average_goal() -> impl Strategy<Value = Goal> {
    (200..20_000_i64).prop_map(|target| Goal::AverageValue(Milli(target)))
}

pub(crate) fn any_goal() -> impl Strategy<Value = Goal> {
    prop_oneof![average_goal(), (200..20_000_i64).prop_map(|target| Goal::Value(Milli(target)))]
}

fn any_signal(goal: impl Strategy<Value = Goal>) -> impl Strategy<Value = Signal> {
    let absent = prop_oneof![Just(Absent::Zero), Just(Absent::Error)];
    let series = prop_oneof![Just(Series::Sum), Just(Series::One)];
    (goal, 0..5_u32, absent, series, 2..90_i64).prop_map(|(goal, above, absent, series, stale)| Signal {
        activation: Activation::Above(f64::from(above)),
        absent,
        series,
        stale_after: secs(stale),
        ..super::signal("", Metric::External(goal))
    })
}

fn any_pause() -> impl Strategy<Value = Pause> {
    let directions = (any::<bool>(), any::<bool>()).prop_map(|(scale_in, scale_out)| Pause {
        scale_in,
        scale_out,
        ..Pause::default()
    });
    prop_oneof![
        8 => Just(Pause::default()),
        2 => directions,
        1 => Just(Pause { all: true, ..Pause::default() }),
        1 => (0..20_u32).prop_map(|at| Pause { at: Some(at), ..Pause::default() }),
    ]
}

pub(crate) fn any_fallback() -> impl Strategy<Value = Fallback> {
    let behavior = prop_oneof![
        Just(FallbackBehavior::Static),
        Just(FallbackBehavior::CurrentReplicas),
        Just(FallbackBehavior::CurrentReplicasIfHigher),
        Just(FallbackBehavior::CurrentReplicasIfLower),
    ];
    (0..3_u32, 0..20_u32, behavior).prop_map(|(failure_threshold, replicas, behavior)| Fallback {
        failure_threshold,
        replicas,
        behavior,
    })
}

fn any_keda() -> impl Strategy<Value = Keda> {
    (0..60_i64, 0..30_i64, option::weighted(0.5, any_fallback()), any_pause(), prop::bool::weighted(0.1))
        .prop_map(|(cooldown, initial, fallback, pause, force_activation)| Keda {
            cooldown: secs(cooldown),
            initial_cooldown: secs(initial),
            fallback,
            pause,
            force_activation,
            ..Keda::default()
        })
}

/// A ScaledObject or an HPA over one to three external signals.
pub(crate) fn any_spec(goal: impl Strategy<Value = Goal>) -> impl Strategy<Value = Spec> {
    let bounds = (prop_oneof![Just(0_u32), 0..6_u32], 0..60_u32, option::weighted(0.3, 0..6_u32));
    let on_absent = prop_oneof![
        3 => Just(OnAbsent::Manifest), 1 => Just(OnAbsent::Keep), 1 => Just(OnAbsent::Zero), 1 => Just(OnAbsent::Error),
    ];
    let rest = (on_absent, 1..30_i64, option::of(any_behavior()), 0..120_i64);
    (bounds, vec(any_signal(goal), 1..4), option::weighted(0.8, any_keda()), rest).prop_map(
        |((low, above, idle), mut signals, keda, (on_absent, polling, behavior, stabilization))| {
            for (index, signal) in signals.iter_mut().enumerate() {
                signal.name = format!("q{index}").into();
            }
            let min = if keda.is_some() { low } else { low.max(1) };
            let idle = idle.filter(|idle| *idle < min);
            let kind = keda.map_or(Kind::Autoscaler, |keda| Kind::ScaledObject(Keda { idle, ..keda }));
            Spec {
                min,
                max: (min + above).max(1),
                on_absent,
                polling_interval: secs(polling),
                behavior,
                tuning: Tuning { downscale_stabilization: secs(stabilization), ..Tuning::default() },
                ..spec(kind, signals)
            }
        },
    )
}

pub(crate) fn any_number() -> impl Strategy<Value = f64> {
    let thousandths = prop_oneof![4 => Just(0_u32), 5 => 0..600_000_u32, 1 => 0..50_000_000_u32];
    thousandths.prop_map(|value| f64::from(value) / 1000.0)
}

pub(crate) fn any_reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        10 => any_number().prop_map(|value| Reading::Value { value, active: None }),
        1 => (any_number(), any::<bool>()).prop_map(|(value, on)| Reading::Value { value, active: Some(on) }),
        2 => vec(any_number(), 0..4).prop_map(Reading::Series),
        1 => Just(Reading::Absent),
        1 => (any_number(), prop_oneof![0..3_i64, 0..200_i64]).prop_map(|(value, age)| Reading::Stale { value, age: secs(age) }),
        2 => "[a-z ]{0,12}".prop_map(|text| Reading::Error(text.into())),
    ]
}

/// What becomes of the change a tick asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum World {
    /// It is carried out, and so many of the replicas are ready (modulo their number and one).
    Follow(u32),
    /// Nothing is seen of it yet.
    Lag,
    /// It fails.
    Fail,
    /// Somebody else sets the count.
    Meddle(u32),
}

/// One round of a run: time passes, signals are read, and it ticks.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) gap_ms: i64,
    /// Readings of the signals by their number, modulo how many there are.
    pub(crate) readings: Vec<(usize, Reading)>,
    pub(crate) then: World,
}

pub(crate) fn any_world() -> impl Strategy<Value = World> {
    prop_oneof![
        12 => Just(World::Follow(0)),
        3 => any::<u32>().prop_map(World::Follow),
        2 => Just(World::Lag),
        1 => Just(World::Fail),
        1 => (0..70_u32).prop_map(World::Meddle),
    ]
}

pub(crate) fn any_gap() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(1000), 2 => 1..30_000_i64, 1 => 30_000..400_000_i64]
}

pub(crate) fn rounds_of(
    reading: impl Strategy<Value = Reading>,
    world: impl Strategy<Value = World>,
    rounds: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<Round>> {
    let round = (any_gap(), vec((0..3_usize, reading), 0..4), world)
        .prop_map(|(gap_ms, readings, then)| Round { gap_ms, readings, then });
    vec(round, rounds)
}

pub(crate) fn any_rounds(rounds: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Round>> {
    rounds_of(any_reading(), any_world(), rounds)
}

/// A run: everything the machine was told, with its time.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) scaler: Scaler,
    pub(crate) now: Time,
    pub(crate) events: Vec<(Time, Event)>,
    pub(crate) count: u32,
    /// How ready the fleet is; none is not ready when 0.
    unready: u32,
}

impl Run {
    pub(crate) fn new(spec: Spec, count: u32) -> Self {
        let scaler = Scaler::new(spec, Arc::new(NoFormulas)).expect("no formula to compile");
        let mut run = Run { scaler, now: Time::ORIGIN, events: Vec::new(), count, unready: 0 };
        run.observe();
        run
    }

    pub(crate) fn send(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.scaler.step(self.now, &event, &mut out);
        self.events.push((self.now, event));
        out
    }

    fn observe(&mut self) {
        let count = self.count;
        let starting = if count == 0 { 0 } else { self.unready % (count + 1) };
        let fleet = Fleet { spec: count, status: count, ready: count - starting, starting };
        self.send(Event::Fleet(fleet));
    }

    /// Time passes and readings come.
    pub(crate) fn before(&mut self, round: &Round) {
        self.now = self.now + Span::from_micros(round.gap_ms * 1000);
        let names: Vec<Arc<str>> =
            self.scaler.spec().signals.iter().map(|signal| signal.name.clone()).collect();
        for (number, reading) in &round.readings {
            let signal = names[number % names.len()].clone();
            self.send(Event::Reading { signal, reading: reading.clone() });
        }
    }

    /// A tick: the decision, and the change asked for.
    pub(crate) fn tick(&mut self) -> (Decision, Option<(u32, u32)>) {
        let out = self.send(Event::Tick);
        let change = out.iter().find_map(|action| match action {
            Action::Scale { from, to } => Some((*from, *to)),
            _ => None,
        });
        let decision = out.into_iter().find_map(|action| match action {
            Action::Decided(decision) => Some(decision),
            _ => None,
        });
        (decision.expect("the fleet was seen"), change)
    }

    /// What the world makes of the change.
    pub(crate) fn after(&mut self, then: World, change: Option<(u32, u32)>) {
        match then {
            World::Follow(unready) => {
                self.count = change.map_or(self.count, |(_, to)| to);
                self.unready = unready;
                self.observe();
            }
            World::Lag => {}
            World::Fail => {
                self.send(Event::ScaleFailed);
            }
            World::Meddle(count) => {
                self.count = count;
                self.observe();
            }
        }
    }

    pub(crate) fn round(&mut self, round: &Round) -> Decision {
        self.before(round);
        let (decision, change) = self.tick();
        self.after(round.then, change);
        decision
    }
}

/// Pods that have long been ready, each asking for so much cpu.
pub(crate) fn ready_pods(count: usize, request: i64) -> Vec<Pod> {
    let requests = BTreeMap::from([("*".to_owned(), Milli(request))]);
    let pod = |index| Pod {
        name: format!("pod-{index}"),
        phase: Phase::Running,
        ready: Some(true),
        started: Some(Time::from_secs(-10_000)),
        ready_changed: Some(Time::from_secs(-9_000)),
        deleting: false,
        requests: Requests {
            pod: BTreeMap::new(),
            containers: BTreeMap::from([("engine".to_owned(), requests.clone())]),
        },
    };
    (0..count).map(pod).collect()
}
