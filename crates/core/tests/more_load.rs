//! More load never gives fewer replicas, all else equal.

mod common;

use std::collections::BTreeMap;

use common::random::{
    Round, Run, World, any_goal, any_reading, any_rounds, any_rules, any_spec, average_goal, ready_pods,
    rounds_of,
};
use common::{Rig, fleet, secs, spec, value};
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_core::scale::spec::{Behavior, Goal, Kind, Metric, ResourceGoal};
use tidegate_core::scale::{Decision, Event, Fleet, Reading, Rule, Sample, Spec};
use tidegate_core::time::Time;
use tidegate_core::units::Milli;

/// A load in units of what the current count would carry: often near it, where the tolerance is.
fn any_load() -> impl Strategy<Value = f64> {
    prop_oneof![1 => Just(0.0), 4 => 0.6..1.5_f64, 2 => 0.0..30.0_f64]
}

fn any_more() -> impl Strategy<Value = f64> {
    prop_oneof![3 => 0.0..0.4_f64, 1 => 0.0..30.0_f64]
}

/// Two runs of one history whose last round differs only in one reading, by `more`.
fn with_and_without(
    spec: &Spec,
    count: u32,
    rounds: &[Round],
    loads: &[f64],
    more: (usize, f64),
) -> [Decision; 2] {
    [0.0, more.1].map(|more_of_it| {
        let mut run = Run::new(spec.clone(), count);
        for round in rounds {
            run.round(round);
        }
        let which = more.0 % spec.signals.len();
        let count = f64::from(run.count.max(1));
        let readings = spec.signals.iter().zip(loads).enumerate().map(|(index, (signal, load))| {
            let carried = match signal.metric {
                Metric::External(Goal::AverageValue(target)) => target.as_f64() * count,
                Metric::External(Goal::Value(target)) => target.as_f64(),
                _ => 1.0,
            };
            let load = if index == which { load + more_of_it } else { *load };
            (index, Reading::Value { value: load * carried, active: None })
        });
        run.round(&Round { gap_ms: 1000, readings: readings.collect(), then: World::Lag })
    })
}

/// A target with paused ascent is left out: KEDA raises an inactive one to its minimum, and does not start
/// an active one.
fn without_paused_ascent(mut spec: Spec) -> Spec {
    if let Kind::ScaledObject(keda) = &mut spec.kind {
        keda.pause.scale_out = false;
    }
    spec
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn more_of_an_average_value_never_gives_fewer_replicas(
        spec in any_spec(average_goal()).prop_map(without_paused_ascent),
        start in 0..70_u32,
        rounds in any_rounds(0..30),
        loads in vec(any_load(), 3),
        more in (0..3_usize, any_more()),
    ) {
        let [less, more] = with_and_without(&spec, start, &rounds, &loads, more);
        prop_assert!(more.replicas >= less.replicas, "{less:#?}\n{more:#?}");
    }

    #[test]
    fn more_of_a_value_never_gives_fewer_replicas_while_every_replica_is_ready(
        spec in any_spec(any_goal()).prop_map(without_paused_ascent),
        start in 0..70_u32,
        rounds in rounds_of(any_reading(), Just(World::Follow(0)), 0..30),
        loads in vec(any_load(), 3),
        more in (0..3_usize, any_more()),
    ) {
        let [less, more] = with_and_without(&spec, start, &rounds, &loads, more);
        prop_assert!(more.replicas >= less.replicas, "{less:#?}\n{more:#?}");
    }

    #[test]
    fn more_used_by_a_pod_never_gives_fewer_replicas_while_every_pod_is_ready(
        history in vec((1..20_usize, 0..3000_i64), 0..10),
        usage in prop_oneof![vec(600..1100_i64, 1..20), vec(0..3000_i64, 1..20)],
        more in (0..20_usize, prop_oneof![0..600_i64, 0..3000_i64]),
        behavior in prop::option::of((any_rules(60), any_rules(60)).prop_map(|(up, down)| Behavior { up, down })),
        metric in prop_oneof![
            prop_oneof![70..100_u32, 1..150_u32].prop_map(ResourceGoal::Utilization).prop_map(Some),
            prop_oneof![700..1000_i64, 1..2000_i64].prop_map(|mean| Some(ResourceGoal::AverageValue(Milli(mean)))),
            Just(None),
        ],
    ) {
        let metric = match metric {
            Some(goal) => Metric::Resource { resource: "cpu".into(), container: None, goal },
            None => Metric::Pods { average: Milli(850) },
        };
        let spec = Spec { min: 1, max: 60, behavior, ..spec(Kind::Autoscaler, vec![common::signal("m", metric)]) };
        let [less, more] = [0, more.1].map(|more_of_it| {
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
            last[more.0 % usage.len()] += more_of_it;
            observe(&mut rig, &last)
        });
        prop_assert!(more >= less, "{less} and with more {more}");
    }
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
