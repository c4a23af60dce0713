//! Laws that hold for every spec and every run of it.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::random::{
    Round, Run, World, any_goal, any_reading, any_rounds, any_spec, any_world, ready_pods, rounds_of,
};
use common::{average, keda, scaled_job, secs, spec};
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::formula::NoFormulas;
use tidegate_core::journal::{Entry, FORMAT, Header, Snapshot, Written};
use tidegate_core::scale::decision::Status;
use tidegate_core::scale::spec::{Behavior, Keda, Kind, Life, Pause, Select, Strategy as JobStrategy};
use tidegate_core::scale::{Action, Decision, Event, Fleet, Job, JobPod, Phase, Reading, Rule, Scaler, Spec};
use tidegate_core::time::Span;

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

/// Every signal reads this much, and all that is asked for is carried out.
fn all_read(spec: &Spec, value: f64, gap_ms: i64) -> Round {
    let reading = |index| (index, Reading::Value { value, active: None });
    Round { gap_ms, readings: (0..spec.signals.len()).map(reading).collect(), then: World::Follow(0) }
}

fn unpaused(mut spec: Spec) -> Spec {
    if let Kind::ScaledObject(keda) = &mut spec.kind {
        keda.pause = Pause::default();
        keda.force_activation = false;
    }
    if let Some(behavior) = &mut spec.behavior {
        behavior.up.select = Select::Max;
        behavior.down.select = Select::Max;
    }
    spec
}

/// A ScaledObject with an idle count, or down to zero.
fn that_can_sleep(spec: Spec) -> Spec {
    let keda = rules_of(&spec);
    let min = if keda.idle.is_some() { spec.min } else { 0 };
    Spec { min, kind: Kind::ScaledObject(keda), ..spec }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_idle_target_ends_at_zero_or_its_idle_count_once_the_cooldown_is_over(
        spec in any_spec(any_goal()).prop_map(unpaused).prop_map(that_can_sleep),
        start in 0..70_u32,
        rounds in any_rounds(0..20),
    ) {
        let keda = rules_of(&spec);
        let mut run = Run::new(spec.clone(), start);
        for round in &rounds {
            run.round(round);
        }
        let patience = (keda.cooldown.as_micros() + keda.initial_cooldown.as_micros()) / 1000;
        run.round(&all_read(&spec, 0.0, 1000));
        let decision = run.round(&all_read(&spec, 0.0, patience + 1));
        // Found below its idle count, it is left as found.
        let idle = keda.idle.unwrap_or(0);
        prop_assert!(decision.replicas <= idle, "{decision:#?}");
    }

    #[test]
    fn a_load_that_stays_is_reached(
        spec in any_spec(any_goal()).prop_map(unpaused),
        start in 1..70_u32,
        rounds in any_rounds(0..20),
    ) {
        let mut run = Run::new(spec.clone(), start);
        for round in &rounds {
            run.round(round);
        }
        run.after(World::Meddle(start), None);
        // The longest period is 120 s, and each permits at least one more.
        for _ in 0..75 {
            run.round(&all_read(&spec, 1e9, 121_000));
        }
        prop_assert_eq!(run.round(&all_read(&spec, 1e9, 121_000)).replicas, spec.max);
    }

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
                    anew: false,
                    joined: BTreeSet::new(),
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
