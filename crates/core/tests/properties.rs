//! Laws that hold for every spec and every run of it.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::random::{
    Round, Run, World, any_goal, any_number, any_reading, any_rounds, any_rules, any_spec, any_world,
    average_goal, rounds_of,
};
use common::{Rig, average, fleet, keda, scaled_job, secs, spec, value};
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::formula::NoFormulas;
use tidegate_core::journal::{Entry, FORMAT, Header, Snapshot, Written};
use tidegate_core::scale::decision::Status;
use tidegate_core::scale::spec::{Behavior, Keda, Kind, Life, Metric, ResourceGoal, Strategy as JobStrategy};
use tidegate_core::scale::{
    Action, Decision, Event, Fleet, Job, JobPod, Phase, Pod, Reading, Requests, Rule, Sample, Scaler, Spec,
};
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;

fn rules_of(spec: &Spec) -> Keda {
    match &spec.kind {
        Kind::ScaledObject(keda) => keda.clone(),
        _ => Keda::default(),
    }
}

/// The bounds of one decision.
///
/// - Paused, the count stays, or is the paused one.
/// - Otherwise it is never above the maximum.
/// - An active target has at least its minimum and at least one, unless ascent is paused, when it has no
///   less than it had.
/// - An inactive one has no less than the least of what it had, its minimum, and its idle count; only one
///   whose signals are lost, or that has an idle count, may be left below its minimum.
/// - Only an inactive target goes to zero.
fn bounds_hold(spec: &Spec, decision: &Decision) -> Result<(), TestCaseError> {
    let keda = rules_of(spec);
    let (from, to) = (decision.steps[0].from, decision.replicas);
    if let Some(at) = keda.pause.at {
        prop_assert_eq!(to, at);
        return Ok(());
    }
    if keda.pause.all {
        prop_assert_eq!(to, from);
        return Ok(());
    }
    prop_assert!(to <= spec.max);
    if matches!(spec.kind, Kind::Autoscaler) {
        prop_assert!(to >= spec.min || from == 0 && to == 0);
        return Ok(());
    }
    let least = spec.min.max(1);
    let active = decision.conditions.active.map(|(status, _)| status) == Some(Status::True);
    if active {
        let least = if keda.pause.scale_out { least.min(from) } else { least };
        prop_assert!(to >= least);
        return Ok(());
    }
    prop_assert!(to >= from.min(spec.min).min(keda.idle.unwrap_or(spec.min)));
    let held = decision.steps.iter().any(|step| step.rule == Rule::Hold);
    if keda.idle.is_none() && !held {
        prop_assert!(to >= spec.min);
    }
    if to == 0 && from > 0 {
        prop_assert_eq!(decision.rule, Rule::Deactivate);
        prop_assert!(!keda.pause.scale_in);
    }
    Ok(())
}

/// The last step gives the count decided, and the rule named is one that was asked.
fn explanation_holds(decision: &Decision) -> Result<(), TestCaseError> {
    let last = decision.steps.last().map(|step| step.to);
    prop_assert_eq!(last, Some(decision.replicas), "{:?}", decision);
    prop_assert!(decision.steps.iter().any(|step| step.rule == decision.rule), "{:?}", decision);
    Ok(())
}

fn serialized(actions: &[Action]) -> String {
    serde_json::to_string(actions).expect("actions are written")
}

fn any_job() -> impl Strategy<Value = Job> {
    let phase = prop_oneof![Just(Phase::Running), Just(Phase::Pending)];
    let pods = vec(phase.prop_map(|phase| JobPod { phase, conditions: Vec::new() }), 0..2);
    (any::<bool>(), pods).prop_map(|(finished, pods)| Job { finished, pods })
}

/// Events that only store what was observed: at most one list of pods and of jobs, any of the others.
fn any_observations() -> impl Strategy<Value = Vec<Event>> {
    let fleet = (0..20_u32, 0..20_u32, 0..20_u32, 0..5_u32)
        .prop_map(|(spec, status, ready, starting)| Event::Fleet(Fleet { spec, status, ready, starting }));
    let instant = || prop::option::of((0..500_i64).prop_map(|second| common::at(second - 300)));
    let life =
        (instant(), instant()).prop_map(|(created, last_active)| Event::Life(Life { created, last_active }));
    let reading = (0..3_u32, any_reading())
        .prop_map(|(number, reading)| Event::Reading { signal: format!("q{number}").into(), reading });
    let many = prop_oneof![3 => fleet, 2 => life, 6 => reading, 2 => Just(Event::ScaleFailed)];
    let pods = prop::option::of((0..4_usize).prop_map(|count| Event::Pods(ready_pods(count, 1000))));
    let jobs = prop::option::of(vec(any_job(), 0..5).prop_map(Event::Jobs));
    (vec(many, 2..10), pods, jobs).prop_map(|(mut events, pods, jobs)| {
        events.extend(pods);
        events.extend(jobs);
        events
    })
}

/// Pods that have long been ready, each asking for so much cpu.
fn ready_pods(count: usize, request: i64) -> Vec<Pod> {
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

fn samples(usage: &[i64], now: Time) -> Reading {
    let sample = |(index, usage): (usize, &i64)| Sample {
        pod: format!("pod-{index}"),
        containers: BTreeMap::from([("engine".to_owned(), Some(Milli(*usage)))]),
        at: now,
        window: secs(15),
    };
    Reading::Samples(usage.iter().enumerate().map(sample).collect())
}

/// Two runs of one history whose last round differs only in one reading, by `more`.
fn more_load(
    spec: &Spec,
    count: u32,
    rounds: &[Round],
    last: &[f64],
    which: usize,
    more: f64,
) -> (Decision, Decision) {
    let mut decisions = Vec::new();
    for extra in [0.0, more] {
        let mut run = Run::new(spec.clone(), count);
        for round in rounds {
            run.round(round);
        }
        let which = which % spec.signals.len();
        let readings = last.iter().take(spec.signals.len()).enumerate().map(|(index, value)| {
            let value = if index == which { value + extra } else { *value };
            (index, Reading::Value { value, active: None })
        });
        decisions.push(run.round(&Round { gap_ms: 1000, readings: readings.collect(), then: World::Lag }));
    }
    let more = decisions.pop().expect("two runs");
    (decisions.pop().expect("two runs"), more)
}

/// More load takes nothing away. A target with paused ascent is left out: KEDA raises an inactive one to
/// its minimum and does not start an active one.
fn without_paused_ascent(mut spec: Spec) -> Spec {
    if let Kind::ScaledObject(keda) = &mut spec.kind {
        keda.pause.scale_out = false;
    }
    spec
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bounds_always_hold_and_every_decision_explains_itself(
        spec in any_spec(any_goal()),
        start in 0..70_u32,
        rounds in any_rounds(1..60),
    ) {
        let mut run = Run::new(spec.clone(), start);
        for round in &rounds {
            let decision = run.round(round);
            bounds_hold(&spec, &decision)?;
            explanation_holds(&decision)?;
        }
    }

    #[test]
    fn more_of_an_average_value_never_gives_fewer_replicas(
        spec in any_spec(average_goal()).prop_map(without_paused_ascent),
        start in 0..70_u32,
        rounds in any_rounds(0..30),
        last in vec(any_number(), 3),
        which in 0..3_usize,
        more in any_number(),
    ) {
        let (less, more) = more_load(&spec, start, &rounds, &last, which, more);
        prop_assert!(more.replicas >= less.replicas, "{less:#?}\n{more:#?}");
    }

    #[test]
    fn more_of_a_value_never_gives_fewer_replicas_while_every_replica_is_ready(
        spec in any_spec(any_goal()).prop_map(without_paused_ascent),
        start in 0..70_u32,
        rounds in rounds_of(any_reading(), Just(World::Follow(0)), 0..30),
        last in vec(any_number(), 3),
        which in 0..3_usize,
        more in any_number(),
    ) {
        let (less, more) = more_load(&spec, start, &rounds, &last, which, more);
        prop_assert!(more.replicas >= less.replicas, "{less:#?}\n{more:#?}");
    }

    #[test]
    fn more_used_by_a_pod_never_gives_fewer_replicas_while_every_pod_is_ready(
        history in vec((1..20_usize, 0..3000_i64), 0..10),
        usage in vec(0..3000_i64, 1..20),
        which in 0..20_usize,
        more in 0..3000_i64,
        behavior in prop::option::of((any_rules(60), any_rules(60)).prop_map(|(up, down)| Behavior { up, down })),
        goal in prop_oneof![
            (1..150_u32).prop_map(|percent| Some(ResourceGoal::Utilization(percent))),
            (1..2000_i64).prop_map(|average| Some(ResourceGoal::AverageValue(Milli(average)))),
            Just(None),
        ],
    ) {
        let metric = match goal {
            Some(goal) => Metric::Resource { resource: "cpu".into(), container: None, goal },
            None => Metric::Pods { average: Milli(700) },
        };
        let spec = Spec { min: 1, max: 60, behavior, ..spec(Kind::Autoscaler, vec![common::signal("m", metric)]) };
        let mut outcomes = Vec::new();
        for extra in [0, more] {
            let mut rig = Rig::new(spec.clone());
            let observe = |rig: &mut Rig, usage: &[i64]| {
                rig.pass(1);
                rig.fleet(usage.len() as u32);
                rig.send(&Event::Pods(ready_pods(usage.len(), 1000)));
                rig.read("m", samples(usage, rig.now));
                rig.tick().replicas()
            };
            for (count, usage) in &history {
                observe(&mut rig, &vec![*usage; *count]);
            }
            let mut last = usage.clone();
            last[which % usage.len()] += extra;
            outcomes.push(observe(&mut rig, &last));
        }
        prop_assert!(outcomes[1] >= outcomes[0], "{outcomes:?}");
    }

    #[test]
    fn the_order_of_events_at_one_instant_does_not_matter(
        spec in any_spec(any_goal()),
        start in 0..20_u32,
        rounds in any_rounds(1..10),
        (events, shuffled) in any_observations().prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
        gap_ms in prop_oneof![Just(0_i64), 1..100_000_i64],
    ) {
        let mut outcomes = Vec::new();
        for events in [&events, &shuffled] {
            let mut run = Run::new(spec.clone(), start);
            for round in &rounds {
                run.before(round);
                run.tick();
            }
            run.now = run.now + Span::from_micros(gap_ms * 1000);
            for event in events {
                run.send(event.clone());
            }
            let actions = run.send(Event::Tick);
            outcomes.push((serialized(&actions), run.scaler.state().clone()));
        }
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
    }

    #[test]
    fn the_order_of_events_at_one_instant_does_not_matter_to_jobs(
        eager in any::<bool>(),
        (events, shuffled) in any_observations().prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
    ) {
        let strategy = if eager { JobStrategy::Eager } else { JobStrategy::Default };
        let spec = Spec { signals: vec![average("q0", 3.0), average("q1", 1.0)], ..scaled_job(strategy) };
        let mut outcomes = Vec::new();
        for events in [&events, &shuffled] {
            let mut run = Run::new(spec.clone(), 2);
            run.tick();
            run.now = run.now + secs(1);
            for event in events {
                run.send(event.clone());
            }
            let actions = run.send(Event::Tick);
            outcomes.push((serialized(&actions), run.scaler.state().clone()));
        }
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
    }

    #[test]
    fn a_journal_opened_in_the_middle_replays_to_the_same_actions(
        spec in any_spec(any_goal()),
        replacement in any_spec(any_goal()),
        start in 0..70_u32,
        rounds in any_rounds(2..40),
        cut in any::<prop::sample::Index>(),
        swap in any::<prop::sample::Index>(),
    ) {
        let (cut, swap) = (cut.index(rounds.len()), swap.index(rounds.len()));
        let mut run = Run::new(spec, start);
        let (mut header, mut lines) = (String::new(), Vec::new());
        for (index, round) in rounds.iter().enumerate() {
            if index == cut {
                let snapshot = Snapshot { spec: run.scaler.spec().clone(), state: run.scaler.state().clone() };
                let targets = BTreeMap::from([(Arc::from("t"), snapshot)]);
                let opening = Header {
                    tidegate_journal: FORMAT,
                    origin_unix_us: 1_700_000_000_000_000,
                    manifest: "00".into(),
                    targets,
                };
                header = serde_json::to_string(&opening).unwrap();
                run.events.clear();
            }
            if index == swap {
                run.send(Event::Spec(Box::new(replacement.clone())));
            }
            run.round(round);
        }
        // The run again from its start, to have the actions of every event after the cut.
        let opening: Header = serde_json::from_str(&header).unwrap();
        let Snapshot { spec, state } = opening.targets.into_iter().next().unwrap().1;
        let mut first = Scaler::resume(spec.clone(), state.clone(), Arc::new(NoFormulas)).unwrap();
        for (t, event) in &run.events {
            let mut actions = Vec::new();
            first.step(*t, event, &mut actions);
            lines.push(serde_json::to_string(&Written { t: *t, target: "t", event, actions: &actions }).unwrap());
        }
        prop_assert_eq!(first.state(), run.scaler.state());

        let mut again = Scaler::resume(spec, state, Arc::new(NoFormulas)).unwrap();
        for line in &lines {
            let Entry { t, event, .. } = serde_json::from_str(line).unwrap();
            let mut actions = Vec::new();
            again.step(t, &event, &mut actions);
            let rewritten = Written { t, target: "t", event: &event, actions: &actions };
            prop_assert_eq!(&serde_json::to_string(&rewritten).unwrap(), line);
        }
        prop_assert_eq!(again.state(), run.scaler.state());
    }

    #[test]
    fn a_target_remembers_at_most_two_kibibytes(
        up_s in prop_oneof![Just(3600_i64), 0..3600_i64],
        down_s in prop_oneof![Just(3600_i64), 0..3600_i64],
        steps in 1..100_u32,
        rounds in rounds_of(any_reading(), any_world(), 0..20),
        stairs in vec((1..100_u32, 1..60_usize), 1..12),
    ) {
        let rules = |window, periods: [i64; 2]| {
            common::rules(window, vec![common::pods(100, periods[0]), common::percent(900, periods[1])])
        };
        let behavior = Behavior { up: rules(up_s, [1800, 60]), down: rules(down_s, [1800, 15]) };
        let signals = vec![average("q0", 1.0), average("q1", 1.0)];
        let spec = Spec { behavior: Some(behavior), ..spec(Kind::ScaledObject(keda()), signals) };
        let mut run = Run::new(spec, 1);
        let mut largest = 0;
        let mut level = 50_i64;
        for (slope, length) in stairs {
            let slope = i64::from(slope % 7) - 3;
            for _ in 0..length {
                // Down and up by stairs, so that neither window can forget a step of them.
                level = (level + slope + i64::from(steps % 2)).clamp(0, 100);
                let reading = Reading::Value { value: level as f64, active: Some(true) };
                run.round(&Round { gap_ms: 1000, readings: vec![(0, reading.clone()), (1, reading)], then: World::Follow(0) });
                largest = largest.max(run.scaler.state().bytes());
            }
        }
        for round in &rounds {
            run.round(round);
            largest = largest.max(run.scaler.state().bytes());
        }
        prop_assert!(largest <= 2048, "{largest} bytes");
    }
}

#[test]
fn the_worst_stairs_fit_two_kibibytes() {
    let rules = |window| common::rules(window, vec![common::pods(100, 1800)]);
    let behavior = Behavior { up: rules(3600), down: rules(3600) };
    let signals = vec![average("q0", 1.0), average("q1", 1.0)];
    let spec = Spec { behavior: Some(behavior), ..spec(Kind::ScaledObject(keda()), signals) };
    // A full memory beside two signals: 101 recommendations and the room to add 24, and twice 32 events.
    let fresh = Run::new(spec.clone(), 1).scaler.state().bytes();
    assert!(fresh + (101 + 24) * 8 + 2 * 32 * 8 <= 2048, "{fresh} bytes at the start");
    let mut largest = 0;
    // A triangle of every period: down to the newest from above and up to it from below.
    for period in [2, 7, 50, 98, 99, 100, 101, 102, 130, 199, 200, 201, 400] {
        let mut run = Run::new(spec.clone(), 1);
        for tick in 0..2000_i64 {
            let level = (tick % period - period / 2).abs() * 200 / period;
            let reading = Reading::Value { value: level as f64, active: Some(true) };
            run.round(&Round {
                gap_ms: 1000,
                readings: vec![(0, reading.clone()), (1, reading)],
                then: World::Follow(0),
            });
            largest = largest.max(run.scaler.state().bytes());
        }
    }
    assert!(largest <= 2048, "{largest} bytes");
    assert!(largest > 1024, "{largest} bytes: these stairs were meant to be hard");
}

/// The exception to "more load, no fewer replicas": a Value is multiplied with the ready replicas, and
/// with none ready asks for none, however much there is.
#[test]
fn a_value_asks_for_nothing_while_no_replica_is_ready() {
    for reading in [40.0, 4000.0] {
        let mut rig = Rig::new(Spec { min: 1, ..spec(Kind::Autoscaler, vec![value("q", 10.0)]) });
        rig.send(&Event::Fleet(Fleet { spec: 4, status: 4, ready: 0, starting: 4 }));
        rig.value("q", reading);
        assert_eq!(rig.tick().step(Rule::Signal).map(|step| step.to), Some(0));
        rig.send(&Event::Fleet(fleet(4)));
        rig.pass(1);
        let all_ready = rig.tick().step(Rule::Signal).map(|step| step.to);
        assert_eq!(all_ready, Some((reading / 10.0 * 4.0) as u32));
    }
}
