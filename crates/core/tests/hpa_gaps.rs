//! What the upstream table does not pin down: mutations of the algorithm that pass all of its cases, the
//! worked numbers of the rules, and that deciding each second climbs no faster than deciding each 15 s.

mod common;

use std::collections::BTreeMap;

use common::{
    Rig, autoscaler, average, default_behavior, fleet, percent, rules, secs, signal, spec, value, windows,
};
use serde_json::json;
use tidegate_core::scale::decision::Status;
use tidegate_core::scale::hpa::behavior::{Done, down_limit};
use tidegate_core::scale::spec::{Behavior, Goal, Kind, Metric, ResourceGoal, Signal, Tuning};
use tidegate_core::scale::{Because, Event, Fleet, Phase, Pod, Reading, Requests, Rule, Sample, Spec};
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;
use tidegate_core::window::ScaleEvents;

/// The first decision on one signal's value, with nothing remembered.
fn first(signal: Signal, reading: f64, found: Fleet) -> common::Ticked {
    let mut rig = Rig::new(Spec { min: 1, ..spec(Kind::Autoscaler, vec![signal]) });
    rig.send(&Event::Fleet(found));
    rig.value("q", reading);
    rig.tick()
}

fn asks_for(ticked: &common::Ticked) -> u32 {
    let step = ticked.step(Rule::Signal).or(ticked.step(Rule::Tolerance));
    step.unwrap_or_else(|| panic!("no proposal: {}", ticked.text())).to
}

#[test]
fn a_percentage_taken_away_is_cut_so_that_ten_percent_of_five_still_takes_one() {
    let none = ScaleEvents::default();
    let done = Done { up: &none, down: &none };
    for (current, off, limit) in [(5, 10, 4), (15, 50, 7), (1, 10, 0), (100, 10, 90), (3, 100, 0)] {
        let found = down_limit(Time::ORIGIN, current, done, &rules(0, vec![percent(off, 60)]));
        assert_eq!(found.replicas, limit, "{off} % off {current}");
    }
}

#[test]
fn a_slow_descent_in_percent_takes_one_replica_a_period_until_the_minimum() {
    let down = rules(0, vec![percent(10, 60)]);
    let behavior = Behavior { down, ..default_behavior() };
    let mut rig = Rig::new(Spec { behavior: Some(behavior), ..autoscaler() });
    rig.fleet(5);
    let mut counts = Vec::new();
    for _ in 0..6 {
        rig.value("q", 1.0);
        counts.push(rig.settle().replicas());
        rig.pass(60);
    }
    assert_eq!(counts, [4, 3, 2, 1, 1, 1]);
}

#[test]
fn leaving_zero_by_the_autoscaler_reaches_the_minimum_at_once() {
    let tuning = Tuning { scale_to_zero: true, ..Tuning::default() };
    for behavior in [Some(default_behavior()), None] {
        let spec = Spec { min: 3, tuning, behavior, ..autoscaler() };
        let state = json!({
            "life": { "created": null, "last_active": null },
            "signals": [],
            "memory": {
                "recommendations": { "epoch": 0, "entries": [], "compact_at": 0 },
                "ups": { "epoch": 0, "entries": [], "joined": false },
                "downs": { "epoch": 0, "entries": [], "joined": false },
                "scaled_to_zero": true,
                "seeded": true,
            },
        });
        let mut rig = Rig::resumed(spec, state);
        rig.fleet(0);
        rig.value("q", 7.0);
        let ticked = rig.tick();
        assert_eq!(asks_for(&ticked), 1);
        assert_eq!(ticked.scale, Some((0, 3)), "{}", ticked.text());
        assert_eq!(ticked.decision.rule, Rule::Min);
        assert_eq!(ticked.decision.conditions.scaling_limited, Some((Status::True, "TooFewReplicas")));
    }
}

#[test]
fn an_average_value_does_not_look_at_how_many_are_ready() {
    let found = Fleet { spec: 8, status: 8, ready: 2, starting: 6 };
    assert_eq!(asks_for(&first(average("q", 10.0), 40.0, found)), 4);
}

#[test]
fn a_value_on_a_total_multiplies_with_the_ready_replicas() {
    for (ready, wanted) in [(2, 8), (3, 12), (8, 32)] {
        let found = Fleet { spec: 8, status: 8, ready, starting: 8 - ready };
        assert_eq!(asks_for(&first(value("q", 10.0), 40.0, found)), wanted, "{ready} ready");
    }
}

#[test]
fn a_value_with_no_replica_ready_asks_for_none_and_the_minimum_stays() {
    let ticked = first(value("q", 10.0), 40.0, Fleet { spec: 1, status: 1, ready: 0, starting: 1 });
    assert_eq!(asks_for(&ticked), 0);
    assert_eq!(ticked.replicas(), 1);
}

#[test]
fn nothing_in_all_over_no_replicas_asks_for_none() {
    let ticked = first(average("q", 10.0), 0.0, Fleet { spec: 2, status: 0, ready: 0, starting: 0 });
    assert_eq!(asks_for(&ticked), 0);
    assert!(matches!(ticked.because(Rule::Signal), Because::AverageValue { .. }));
}

#[test]
fn the_tolerance_is_inclusive() {
    for (total, wanted) in [(43.0, 4), (44.0, 4), (44.001, 5), (45.0, 5), (36.0, 4), (35.999, 4), (30.0, 3)] {
        let ticked = first(average("q", 10.0), total, fleet(4));
        assert_eq!(asks_for(&ticked), wanted, "{total}");
        let within = ticked.step(Rule::Tolerance).is_some();
        assert_eq!(within, (36.0..=44.0).contains(&total), "{total}");
    }
}

#[test]
fn the_tolerance_of_an_average_value_is_measured_on_the_pods_that_exist() {
    // A rollout's surge: six pods for four replicas, and 63 is within a tenth of 60.
    let surge = Fleet { spec: 4, status: 6, ready: 4, starting: 2 };
    let ticked = first(average("q", 10.0), 63.0, surge);
    assert_eq!((asks_for(&ticked), ticked.decision.rule), (6, Rule::Tolerance));
    assert_eq!(asks_for(&first(average("q", 10.0), 67.0, surge)), 7);
}

/// A pod that has been ready for long, or is pending, and what it uses of the 1 cpu it asks for.
fn pod(name: &str, phase: Phase, usage: i64) -> (Pod, Sample) {
    let engine = || "engine".to_owned();
    let asked = BTreeMap::from([("cpu".to_owned(), Milli(1000))]);
    let pod = Pod {
        name: name.into(),
        phase,
        ready: Some(phase == Phase::Running),
        started: Some(Time::from_secs(-1000)),
        ready_changed: Some(Time::from_secs(-900)),
        deleting: false,
        requests: Requests { pod: BTreeMap::new(), containers: BTreeMap::from([(engine(), asked)]) },
    };
    let containers = BTreeMap::from([(engine(), Some(Milli(usage)))]);
    (pod, Sample { pod: name.into(), containers, at: Time::ORIGIN, window: secs(15) })
}

#[test]
fn a_pod_that_is_not_ready_yet_is_left_out_on_the_way_down_and_counts_as_idle_on_the_way_up() {
    let goal = ResourceGoal::Utilization(100);
    let metric = Metric::Resource { resource: "cpu".into(), container: None, goal };
    // 95 % of three is within tolerance, and would be 71 % of four. 150 % of three is 112 % of four.
    for (usage, wanted, rule) in
        [(950, 4, Rule::Tolerance), (1500, 5, Rule::Signal), (1400, 4, Rule::Tolerance)]
    {
        let all =
            [("a", Phase::Running), ("b", Phase::Running), ("c", Phase::Running), ("d", Phase::Pending)];
        let (pods, samples) = all.map(|(name, phase)| pod(name, phase, usage)).into_iter().unzip();
        let mut rig =
            Rig::new(Spec { min: 1, ..spec(Kind::Autoscaler, vec![signal("cpu", metric.clone())]) });
        rig.fleet(4);
        rig.send(&Event::Pods(pods));
        rig.read("cpu", Reading::Samples(samples));
        let ticked = rig.tick();
        assert_eq!((ticked.replicas(), ticked.decision.rule), (wanted, rule), "{usage}: {}", ticked.text());
    }
}

/// The first decision on two pods' cpu, at a target of 100 % of what they ask for.
fn on_two_pods(change: impl Fn(&mut Pod, &mut Sample)) -> common::Ticked {
    let metric =
        Metric::Resource { resource: "cpu".into(), container: None, goal: ResourceGoal::Utilization(100) };
    let (mut a, mut b) = (pod("a", Phase::Running, 1500), pod("b", Phase::Running, 1500));
    change(&mut a.0, &mut a.1);
    let mut rig = Rig::new(Spec { min: 1, ..spec(Kind::Autoscaler, vec![signal("cpu", metric)]) });
    rig.fleet(2);
    rig.send(&Event::Pods(vec![a.0, b.0.clone()]));
    b.1.window = secs(30);
    rig.read("cpu", Reading::Samples(vec![b.1, a.1]));
    rig.tick()
}

#[test]
fn a_pod_of_which_a_container_reports_nothing_has_no_sample_at_all() {
    assert_eq!(on_two_pods(|_, _| ()).replicas(), 3);
    let silent = |_: &mut Pod, sample: &mut Sample| {
        sample.containers.insert("sidecar".into(), None);
    };
    // Ascent on what is known, 150 % of one, and against it the pod that is not: 75 % of two.
    let ticked = on_two_pods(silent);
    assert_eq!((ticked.replicas(), ticked.decision.rule), (2, Rule::Tolerance), "{}", ticked.text());
}

#[test]
fn what_a_pod_asks_for_as_a_whole_counts_instead_of_its_containers() {
    let whole = |pod: &mut Pod, _: &mut Sample| {
        pod.requests.pod.insert("cpu".into(), Milli(5000));
    };
    // 3 used of 5 + 1 asked for.
    let ticked = on_two_pods(whole);
    assert_eq!(asks_for(&ticked), 1, "{}", ticked.text());
    assert!(ticked.text().contains("50 % used"), "{}", ticked.text());
}

#[test]
fn a_target_of_pod_metrics_alone_cannot_wake_itself() {
    let tuning = Tuning { scale_to_zero: true, ..Tuning::default() };
    let goal = ResourceGoal::AverageValue(Milli(1000));
    let cpu = Metric::Resource { resource: "cpu".into(), container: None, goal };
    for (metric, wakes) in [(cpu, false), (Metric::Object(Goal::AverageValue(Milli(1000))), true)] {
        let behavior = Some(windows(0, 0));
        let signals = vec![signal("m", metric)];
        let mut rig = Rig::new(Spec { min: 0, tuning, behavior, ..spec(Kind::Autoscaler, signals) });
        rig.fleet(2);
        rig.value("m", 0.0);
        assert_eq!(rig.settle().scale, Some((2, 0)));
        rig.pass(5);
        rig.value("m", 3.0);
        let ticked = rig.tick();
        assert_eq!(ticked.step(Rule::AtZero).is_none(), wakes);
        assert_eq!(ticked.replicas(), if wakes { 3 } else { 0 });
    }
}

/// Climbs from one replica under a load for a thousand; gives every change with its time.
fn climb(behavior: Option<Behavior>, max: u32, tick: Span, ticks: usize) -> Vec<(f64, u32)> {
    let mut rig = Rig::new(Spec { behavior, max, ..autoscaler() });
    rig.fleet(1);
    let mut changes = Vec::new();
    for _ in 0..ticks {
        rig.value("q", 10_000.0);
        if let Some((_, to)) = rig.settle().scale {
            changes.push((rig.now.as_secs_f64(), to));
        }
        rig.now = rig.now + tick;
    }
    changes
}

fn counts(changes: &[(f64, u32)]) -> Vec<u32> {
    changes.iter().map(|(_, to)| *to).collect()
}

#[test]
fn without_behavior_it_climbs_1_4_8_16() {
    assert_eq!(counts(&climb(None, 16, secs(15), 4)), [4, 8, 16]);
}

#[test]
fn the_ladder_climbs_the_same_at_every_second_as_at_every_sync() {
    let rungs = [(0.0, 4), (15.0, 8), (30.0, 16), (45.0, 32), (60.0, 64), (75.0, 100)];
    assert_eq!(climb(None, 100, secs(15), 10), rungs);
    assert_eq!(climb(None, 100, secs(1), 150), rungs);
    assert_eq!(climb(None, 100, secs(5), 30), rungs);
}

#[test]
fn the_default_policies_climb_the_same_at_every_second_as_at_every_sync() {
    let rungs = [(0.0, 5), (15.0, 10), (30.0, 20), (45.0, 40), (60.0, 80), (75.0, 100)];
    assert_eq!(climb(Some(default_behavior()), 100, secs(15), 10), rungs);
    assert_eq!(climb(Some(default_behavior()), 100, secs(1), 150), rungs);
}

#[test]
fn syncs_a_hair_short_of_the_period_halve_the_speed() {
    let mut rig = Rig::new(Spec { behavior: Some(default_behavior()), ..autoscaler() });
    rig.fleet(1);
    let mut counts = vec![1];
    for _ in 0..7 {
        rig.value("q", 10_000.0);
        counts.push(rig.settle().replicas());
        rig.now = rig.now + Span::from_micros(14_990_000);
    }
    assert_eq!(counts, [1, 5, 5, 10, 10, 20, 20, 40]);
}

/// Ten were asked for two minutes ago, one runs, and one is asked for.
fn after_a_peak(behavior: Option<Behavior>) -> common::Ticked {
    let mut rig = Rig::new(Spec { behavior, ..autoscaler() });
    rig.fleet(10);
    rig.value("q", 100.0);
    rig.settle();
    rig.pass(120);
    rig.fleet(1);
    rig.value("q", 10.0);
    rig.tick()
}

#[test]
fn without_behavior_a_remembered_peak_is_asked_for_again() {
    let ticked = after_a_peak(None);
    let window = ticked.step(Rule::StabiliseDown).expect("the window speaks");
    assert_eq!((window.from, window.to), (1, 10));
    assert_eq!(ticked.scale, Some((1, 4)));
}

#[test]
fn with_behavior_a_remembered_peak_only_holds_a_descent() {
    assert_eq!(after_a_peak(Some(default_behavior())).replicas(), 1);
}

#[test]
fn the_scale_up_window_waits_for_the_least_that_was_asked_for() {
    let mut rig = Rig::new(Spec { behavior: Some(windows(60, 0)), ..autoscaler() });
    rig.fleet(2);
    let mut counts = Vec::new();
    for reading in [20.0, 50.0, 40.0, 60.0, 60.0, 60.0, 60.0] {
        rig.value("q", reading);
        counts.push(rig.settle().replicas());
        rig.pass(20);
    }
    // The 2 of the start holds for 60 s, then the 4 of 40 s after the start.
    assert_eq!(counts, [2, 2, 2, 4, 4, 6, 6]);
}
