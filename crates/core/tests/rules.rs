//! Every rule of the closed list is one that some run is decided or explained by.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::work::{World, load, slo};
use common::{
    First, Rig, Ticked, autoscaler, average, default_behavior, fallback, keda, scaled_job, scaled_object,
    spec, windows,
};
use tidegate_core::scale::spec::{FallbackBehavior, Keda, Kind, Modifiers, Pause, Strategy};
use tidegate_core::scale::{Event, Reading, Room, Rule, Spec};
use tidegate_core::slo::Load;
use tidegate_core::units::Milli;

/// One tick for each reading of `q`, a second apart, every change carried out.
fn run(spec: Spec, count: u32, readings: &[Reading]) -> Vec<Ticked> {
    let mut rig = Rig::compiled(spec, Arc::new(First));
    rig.fleet(count);
    readings
        .iter()
        .map(|reading| {
            rig.read("q", reading.clone());
            let ticked = rig.settle();
            rig.pass(1);
            ticked
        })
        .collect()
}

fn of(value: f64) -> Reading {
    Reading::Value { value, active: None }
}

fn lost() -> Reading {
    Reading::Error("connection refused".into())
}

fn paused(pause: Pause) -> Spec {
    scaled_object(Keda { pause, ..keda() })
}

fn with_windows(up_s: i64, down_s: i64) -> Spec {
    Spec { behavior: Some(windows(up_s, down_s)), ..autoscaler() }
}

/// Five minutes of so many requests a second under policy `slo`, and then these seconds.
fn worked(requests: u32, then: &[Load]) -> Vec<Ticked> {
    let mut world = World::new(slo(0, None), if requests > 2 { 4 } else { 1 });
    let before = (requests > 0).then(|| world.run(300, requests));
    before.into_iter().chain(then.iter().map(|load| world.second(load))).collect()
}

/// A run for each rule, whose last decision the rule names; `false` where a rule only explains.
fn runs() -> Vec<(Rule, bool, Vec<Ticked>)> {
    let two = vec![average("q", 10.0), average("r", 10.0)];
    let formula =
        Modifiers { formula: "q".into(), target: Milli(10_000), activation_target: 0.0, value: false };
    let serving = Keda { fallback: fallback(0, 4, FallbackBehavior::Static), ..keda() };
    let direction = |scale_in| Pause { scale_in, scale_out: !scale_in, ..Pause::default() };
    let idle = Spec { min: 3, ..scaled_object(Keda { idle: Some(1), ..keda() }) };
    let limited = |behavior| Spec { behavior: Some(behavior), ..autoscaler() };
    let mut slow_down = default_behavior();
    slow_down.down = common::rules(0, vec![common::pods(1, 60)]);
    let mut highest = Rig::new(spec(Kind::Autoscaler, two));
    highest.fleet(4);
    highest.value("q", 50.0);
    highest.value("r", 60.0);
    let mut full = Rig::new(autoscaler());
    full.fleet(4);
    full.value("q", 60.0);
    full.send(&Event::Room(Some(Room { replicas: 4, waiting: 1, lacks: "no node has room".into() })));
    let mut giver = Rig::new(scaled_object(keda()));
    giver.fleet(1);
    vec![
        (Rule::Paused, true, run(paused(Pause { all: true, ..Pause::default() }), 2, &[of(90.0)])),
        (Rule::Absent, false, run(scaled_object(keda()), 2, &[Reading::Absent])),
        (Rule::SignalLost, false, run(autoscaler(), 2, &[lost()])),
        (Rule::Fallback, false, run(scaled_object(serving), 2, &[lost()])),
        (
            Rule::Formula,
            false,
            run(scaled_object(Keda { modifiers: Some(formula), ..keda() }), 2, &[of(20.0)]),
        ),
        (Rule::Activity, false, run(scaled_object(keda()), 2, &[of(20.0)])),
        (Rule::Activate, true, run(scaled_object(keda()), 0, &[of(20.0)])),
        (Rule::Deactivate, true, run(scaled_object(keda()), 2, &[of(0.0)])),
        (Rule::Cooldown, true, run(scaled_object(keda()), 1, &[of(5.0), of(0.0)])),
        (Rule::Yield, true, vec![giver.give_up(1)]),
        (Rule::Idle, true, run(idle, 1, &[of(0.0)])),
        (Rule::Hold, true, run(scaled_object(keda()), 2, &[lost()])),
        (Rule::AtZero, false, run(autoscaler(), 0, &[of(90.0)])),
        (Rule::Work, false, worked(20, &[])),
        (Rule::Capacity, false, worked(20, &[])),
        (Rule::Forecast, false, worked(20, &[])),
        (Rule::Standby, false, worked(20, &[])),
        (Rule::Waiting, false, worked(20, &[Load { waiting: 400, ..load(20, 4) }])),
        (Rule::KeepWarm, false, worked(2, &[load(0, 1); 60])),
        (Rule::Unsighted, false, worked(0, &[Load { arrived: 45, ..load(45, 0) }])),
        (Rule::Signal, true, run(autoscaler(), 4, &[of(60.0)])),
        (Rule::Tolerance, true, run(autoscaler(), 4, &[of(41.0)])),
        (Rule::Highest, true, vec![highest.tick()]),
        (Rule::StabiliseUp, true, run(with_windows(60, 0), 2, &[of(20.0), of(50.0)])),
        (Rule::StabiliseDown, true, run(with_windows(0, 60), 5, &[of(50.0), of(20.0)])),
        (Rule::Ladder, true, run(autoscaler(), 1, &[of(900.0)])),
        (Rule::PolicyUp, true, run(limited(default_behavior()), 1, &[of(900.0)])),
        (Rule::PolicyDown, true, run(limited(slow_down), 9, &[of(10.0)])),
        (Rule::PausedScaleOut, true, run(paused(direction(false)), 2, &[of(90.0)])),
        (Rule::PausedScaleIn, true, run(paused(direction(true)), 2, &[of(0.0)])),
        (Rule::Min, true, run(Spec { min: 3, ..autoscaler() }, 2, &[of(20.0)])),
        (Rule::Max, true, run(Spec { max: 6, ..autoscaler() }, 4, &[of(900.0)])),
        (Rule::Room, true, vec![full.tick()]),
        (Rule::Backlog, false, run(scaled_job(Strategy::Default), 0, &[of(0.0)])),
        (Rule::Strategy, true, run(scaled_job(Strategy::Default), 0, &[of(3.0)])),
        (Rule::Steady, true, run(autoscaler(), 1, &[of(1.0)])),
    ]
}

#[test]
fn every_rule_decides_or_explains_some_run() {
    let runs = runs();
    for (rule, decides, ticks) in &runs {
        let last = ticks.last().expect("a tick");
        assert!(last.step(*rule).is_some(), "{rule} is not asked in:\n{}", last.text());
        if *decides {
            assert_eq!(last.decision.rule, *rule, "{}", last.text());
        }
    }
    let covered: Vec<Rule> = runs.iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(covered, Rule::ALL, "one run for each rule, in their order");
}

#[test]
fn every_rule_has_a_name_of_its_own_and_a_sentence() {
    let names: BTreeMap<&str, Rule> = Rule::ALL.iter().map(|rule| (rule.name(), *rule)).collect();
    assert_eq!(names.len(), Rule::ALL.len());
    for rule in Rule::ALL {
        assert!(rule.about().ends_with('.') && rule.about().len() > 10, "{rule}: {}", rule.about());
        assert!(rule.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{rule}");
    }
}

#[test]
fn every_reason_reads_as_one_line() {
    for (rule, _, ticks) in runs() {
        for ticked in ticks {
            for step in &ticked.decision.steps {
                let sentence = step.because.to_string();
                assert!(!sentence.is_empty() && !sentence.contains('\n'), "{rule}: {sentence:?}");
            }
        }
    }
}

#[test]
fn a_decision_reads_as_data() {
    let ticked = run(autoscaler(), 1, &[of(900.0)]).pop().unwrap();
    let found = serde_json::to_value(&ticked.decision).unwrap();
    let expected = serde_json::json!({
        "target": "default/llm",
        "replicas": 4,
        "rule": "ladder",
        "steps": [
            { "rule": "signal", "from": 1, "to": 90, "because": "q: 900 in all / 10 a replica" },
            { "rule": "ladder", "from": 90, "to": 4, "because": "from 1 at most 4 in 15 s (double, or 4)" },
        ],
    });
    assert_eq!(found, expected);
}
