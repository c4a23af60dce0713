//! From readings to values: absent, stale and zero are three different things.

mod common;

use common::{Rig, autoscaler, average, keda, scaled_object, secs, spec};
use tidegate_core::scale::decision::{AbsentAs, Lost, Status};
use tidegate_core::scale::spec::{
    Absent, Activation, Goal, Keda, Kind, Metric, OnAbsent, Pause, Series, Signal,
};
use tidegate_core::scale::{Because, Event, Fleet, Phase, Pod, Reading, Requests, Rule, Spec};
use tidegate_core::units::Milli;

/// Five replicas, a cooldown of 60 s, and ten minutes of the same reading once a second.
fn ten_minutes_of(reading: Option<&Reading>, signal: Signal, on_absent: OnAbsent) -> common::Ticked {
    let keda = Keda { cooldown: secs(60), ..keda() };
    let mut rig = Rig::new(Spec { on_absent, ..spec(Kind::ScaledObject(keda), vec![signal]) });
    rig.fleet(5);
    rig.value("q", 50.0);
    rig.settle();
    let mut last = None;
    for _ in 0..600 {
        rig.pass(1);
        if let Some(reading) = reading {
            rig.read("q", reading.clone());
        }
        last = Some(rig.settle());
    }
    last.expect("600 ticks")
}

fn absent_is(absent: Absent) -> Signal {
    Signal { absent, ..average("q", 10.0) }
}

#[test]
fn a_reading_of_zero_is_idle_and_goes_to_zero() {
    let zero = Reading::Value { value: 0.0, active: None };
    assert_eq!(ten_minutes_of(Some(&zero), average("q", 10.0), OnAbsent::Manifest).replicas(), 0);
}

#[test]
fn an_empty_result_is_zero_where_the_manifest_says_so() {
    let ticked = ten_minutes_of(Some(&Reading::Absent), absent_is(Absent::Zero), OnAbsent::Manifest);
    assert_eq!(ticked.replicas(), 0);
    let taken = Because::Absent { signal: "q".into(), taken: AbsentAs::Zero };
    assert_eq!(*ticked.because(Rule::Absent), taken);
}

#[test]
fn an_empty_result_is_a_failure_where_the_manifest_says_so_and_holds() {
    let ticked = ten_minutes_of(Some(&Reading::Absent), absent_is(Absent::Error), OnAbsent::Manifest);
    assert_eq!(ticked.replicas(), 5);
    assert_eq!(ticked.decision.rule, Rule::Hold);
    assert!(matches!(ticked.because(Rule::SignalLost), Because::Lost { why: Lost::Absent, .. }));
}

#[test]
fn on_absent_zero_and_error_overrule_the_manifest() {
    let zero = ten_minutes_of(Some(&Reading::Absent), absent_is(Absent::Error), OnAbsent::Zero);
    assert_eq!(zero.replicas(), 0);
    let error = ten_minutes_of(Some(&Reading::Absent), absent_is(Absent::Zero), OnAbsent::Error);
    assert_eq!(error.replicas(), 5);
    assert_eq!(error.decision.rule, Rule::Hold);
}

#[test]
fn on_absent_keep_goes_on_with_the_last_value() {
    for absent in [Absent::Zero, Absent::Error] {
        let ticked = ten_minutes_of(Some(&Reading::Absent), absent_is(absent), OnAbsent::Keep);
        assert_eq!(ticked.replicas(), 5);
        let taken = Because::Absent { signal: "q".into(), taken: AbsentAs::Kept(50.0) };
        assert_eq!(*ticked.because(Rule::Absent), taken);
        let active = Because::Active { signal: "q".into(), value: 50.0, above: 0.0 };
        assert_eq!(*ticked.because(Rule::Activity), active);
    }
}

#[test]
fn on_absent_keep_with_nothing_to_keep_is_a_failure() {
    let mut rig = Rig::new(Spec { on_absent: OnAbsent::Keep, ..scaled_object(keda()) });
    rig.fleet(5);
    rig.read("q", Reading::Absent);
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (5, Rule::Hold));
}

#[test]
fn an_empty_series_is_absent_and_not_zero() {
    let ticked =
        ten_minutes_of(Some(&Reading::Series(Vec::new())), absent_is(Absent::Error), OnAbsent::Manifest);
    assert_eq!(ticked.replicas(), 5);
}

#[test]
fn a_source_that_stopped_answering_is_stale_and_never_looks_idle() {
    let ticked = ten_minutes_of(None, average("q", 10.0), OnAbsent::Manifest);
    assert_eq!((ticked.replicas(), ticked.decision.rule), (5, Rule::Hold));
    assert!(matches!(ticked.because(Rule::SignalLost), Because::Lost { why: Lost::Stale(_), .. }));
}

#[test]
fn a_value_that_the_source_itself_calls_stale_is_not_believed() {
    let stale = Reading::Stale { value: 0.0, age: secs(90) };
    let ticked = ten_minutes_of(Some(&stale), average("q", 10.0), OnAbsent::Zero);
    assert_eq!(ticked.replicas(), 5);
    assert!(ticked.text().contains("q: stale for 90 s"), "{}", ticked.text());
}

#[test]
fn a_reading_exactly_as_old_as_allowed_still_counts() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(5);
    rig.value("q", 80.0);
    rig.pass(60);
    assert_eq!(rig.tick().step(Rule::Signal).map(|step| step.to), Some(8));
    rig.fleet(5);
    rig.now = rig.now + tidegate_core::time::Span::from_micros(1);
    let ticked = rig.tick();
    assert_eq!((ticked.step(Rule::Signal), ticked.replicas()), (None, 5));
}

#[test]
fn a_signal_that_was_never_read_holds() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(5);
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (5, Rule::Hold));
    assert!(ticked.text().contains("q: not read yet"));
    assert_eq!(ticked.decision.conditions.ready, Some((Status::False, "TriggerError")));
}

#[test]
fn activity_is_strictly_above_the_threshold() {
    for (reading, active) in [(4.999, false), (5.0, false), (5.001, true)] {
        let signal = Signal { activation: Activation::Above(5.0), ..average("q", 10.0) };
        let mut rig = Rig::new(spec(Kind::ScaledObject(keda()), vec![signal]));
        rig.fleet(0);
        rig.value("q", reading);
        assert_eq!(rig.tick().replicas(), u32::from(active), "{reading}");
    }
}

#[test]
fn a_source_that_knows_whether_it_is_active_is_believed_over_the_threshold() {
    for (value, active, replicas) in [(100.0, false, 0), (0.0, true, 1)] {
        let mut rig = Rig::new(scaled_object(keda()));
        rig.fleet(0);
        rig.read("q", Reading::Value { value, active: Some(active) });
        assert_eq!(rig.tick().replicas(), replicas);
    }
}

#[test]
fn several_series_are_summed_or_refused_as_the_signal_says() {
    for (series, proposal) in [(Series::Sum, Some(6)), (Series::One, None)] {
        let signal = Signal { series, ..average("q", 10.0) };
        let mut rig = Rig::new(spec(Kind::ScaledObject(keda()), vec![signal]));
        rig.fleet(5);
        rig.read("q", Reading::Series(vec![40.0, 20.0]));
        let ticked = rig.tick();
        assert_eq!(ticked.step(Rule::Signal).map(|step| step.to), proposal);
        if proposal.is_none() {
            assert!(matches!(ticked.because(Rule::SignalLost), Because::Lost { why: Lost::Several(2), .. }));
        }
    }
}

#[test]
fn a_lone_series_is_one_number_whatever_the_signal_says() {
    let signal = Signal { series: Series::One, ..average("q", 10.0) };
    let mut rig = Rig::new(spec(Kind::ScaledObject(keda()), vec![signal]));
    rig.fleet(5);
    rig.read("q", Reading::Series(vec![60.0]));
    assert_eq!(rig.tick().replicas(), 6);
}

#[test]
fn series_that_add_up_to_infinity_are_still_written_and_read_again() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(5);
    rig.read("q", Reading::Series(vec![f64::MAX, f64::MAX]));
    rig.tick();
    let state = serde_json::to_string(rig.scaler.state()).unwrap();
    let read: tidegate_core::scale::State = serde_json::from_str(&state).unwrap();
    assert_eq!(read, *rig.scaler.state());
}

#[test]
fn of_two_readings_at_one_instant_the_better_informed_stays() {
    let value = |value| Reading::Value { value, active: None };
    let pairs = [
        (value(70.0), Reading::Error("timeout".into())),
        (value(70.0), Reading::Absent),
        (value(70.0), Reading::Stale { value: 900.0, age: secs(1) }),
        (value(70.0), value(60.0)),
        (Reading::Series(vec![40.0, 30.0]), Reading::Series(vec![60.0])),
    ];
    for (better, worse) in pairs {
        for order in [[&better, &worse], [&worse, &better]] {
            let mut rig = Rig::new(scaled_object(keda()));
            rig.fleet(5);
            for reading in order {
                rig.read("q", reading.clone());
            }
            assert_eq!(rig.tick().replicas(), 7, "{order:?}");
        }
    }
}

#[test]
fn what_is_remembered_does_not_tell_the_order_of_one_instant() {
    let stale = |value, age| Reading::Stale { value, age: secs(age) };
    let pairs = [
        (stale(1.0, 5), stale(2.0, 5)),
        (stale(1.0, 5), stale(1.0, 6)),
        (Reading::Error("a".into()), Reading::Error("b".into())),
        (Reading::Absent, Reading::Samples(Vec::new())),
        (Reading::Series(vec![1.0, 2.0]), Reading::Series(vec![3.0])),
        // The same sum of as many, and not the same sum of what would be published.
        (Reading::Series(vec![0.25, 0.75]), Reading::Series(vec![0.0005, 0.9995])),
    ];
    for (one, other) in pairs {
        let states = [[&one, &other], [&other, &one]].map(|order| {
            let mut rig = Rig::new(scaled_object(keda()));
            for reading in order {
                rig.read("q", reading.clone());
            }
            rig.state()
        });
        assert_eq!(states[0], states[1], "{one:?} {other:?}");
    }
}

#[test]
fn a_later_reading_replaces_a_better_informed_one() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(5);
    rig.value("q", 70.0);
    rig.pass(1);
    rig.error("q");
    assert_eq!(rig.tick().replicas(), 5);
}

#[test]
fn a_reading_for_a_signal_that_the_spec_does_not_know_is_ignored() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(5);
    rig.value("q", 50.0);
    rig.value("other", 900.0);
    assert_eq!(rig.tick().replicas(), 5);
}

#[test]
fn a_metric_that_cannot_be_reckoned_with_is_named_before_what_the_others_ask_for() {
    let mut rig =
        Rig::new(Spec { signals: vec![average("q", 10.0), common::value("r", 10.0)], ..autoscaler() });
    rig.send(&Event::Fleet(Fleet { spec: 2, status: 0, ready: 0, starting: 0 }));
    rig.value("q", 40.0);
    rig.value("r", 40.0);
    let ticked = rig.tick();
    assert_eq!(ticked.replicas(), 4);
    assert_eq!(ticked.decision.steps.last().map(|step| (step.rule, step.to)), Some((Rule::Signal, 4)));
    assert!(ticked.text().contains("r: no pods returned by selector"), "{}", ticked.text());
}

/// Two AverageValue signals `a` and `b` with target 10, `a` in error, `b` reading so much.
fn one_lost(kind: Kind, b: f64) -> common::Ticked {
    let mut rig = Rig::new(Spec { min: 1, ..spec(kind, vec![average("a", 10.0), average("b", 10.0)]) });
    rig.fleet(5);
    rig.error("a");
    rig.value("b", b);
    rig.tick()
}

#[test]
fn a_lost_signal_blocks_descent_and_not_ascent() {
    for kind in [Kind::Autoscaler, Kind::ScaledObject(keda())] {
        let down = one_lost(kind.clone(), 20.0);
        assert_eq!((down.replicas(), down.decision.rule), (5, Rule::Hold));
        assert_eq!(*down.because(Rule::Hold), Because::SomeLostWouldShrink { best: 2 });
        let down = down.decision.conditions.scaling_active;
        assert_eq!(down, Some((Status::False, "FailedGetExternalMetric")));
        assert_eq!(one_lost(kind.clone(), 80.0).replicas(), 8);
        assert_eq!(one_lost(kind, 50.0).replicas(), 5);
    }
}

#[test]
fn the_highest_of_several_signals_wins() {
    let mut rig = Rig::new(spec(Kind::ScaledObject(keda()), vec![average("a", 10.0), average("b", 10.0)]));
    rig.fleet(5);
    rig.value("a", 60.0);
    rig.value("b", 80.0);
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (8, Rule::Highest));
    assert_eq!(*ticked.because(Rule::Highest), Because::HighestOf { signal: "b".into(), proposals: 2 });
}

#[test]
fn cpu_beside_another_trigger_never_makes_a_target_active_and_alone_always() {
    for (activation, replicas) in [(Activation::Never, 0), (Activation::Always, 1)] {
        let goal = tidegate_core::scale::spec::ResourceGoal::Utilization(80);
        let metric = Metric::Resource { resource: "cpu".into(), container: None, goal };
        let cpu = Signal { activation, ..common::signal("cpu", metric) };
        let mut rig = Rig::new(spec(Kind::ScaledObject(keda()), vec![cpu, average("q", 10.0)]));
        rig.fleet(0);
        rig.value("cpu", 100.0);
        rig.value("q", 0.0);
        assert_eq!(rig.tick().replicas(), replicas);
    }
}

#[test]
fn a_metric_a_pod_may_be_read_as_its_mean_or_as_one_number_a_pod() {
    let metric = Metric::Pods { average: Milli(10_000) };
    for (reading, replicas) in
        [(Reading::Value { value: 15.0, active: None }, 6), (Reading::Series(vec![15.0; 6]), 9)]
    {
        let mut rig = Rig::new(Spec { signals: vec![common::signal("q", metric.clone())], ..autoscaler() });
        rig.fleet(4);
        rig.read("q", reading);
        assert_eq!(rig.tick().step(Rule::Signal).map(|step| step.to), Some(replicas));
    }
}

#[test]
fn the_pods_tell_how_many_replicas_are_ready_where_they_are_known() {
    let signals = vec![common::signal("q", Metric::External(Goal::Value(Milli(10_000))))];
    let mut rig = Rig::new(Spec { signals, ..autoscaler() });
    rig.send(&Event::Fleet(Fleet { spec: 4, status: 4, ready: 4, starting: 0 }));
    rig.send(&Event::Pods(Vec::new()));
    rig.value("q", 20.0);
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (4, Rule::Hold), "no pods to multiply with");

    let pod = |name: &str, phase, ready| Pod {
        name: name.into(),
        phase,
        ready,
        started: None,
        ready_changed: None,
        deleting: false,
        requests: Requests::default(),
    };
    rig.send(&Event::Pods(vec![
        pod("a", Phase::Running, Some(true)),
        pod("b", Phase::Running, Some(true)),
        pod("c", Phase::Running, Some(false)),
        pod("d", Phase::Running, None),
        pod("e", Phase::Pending, Some(true)),
    ]));
    assert_eq!(rig.tick().step(Rule::Signal).map(|step| step.to), Some(4));
}

#[test]
fn an_unknown_source_type_is_always_invalid() {
    let signals = vec![common::signal("q", Metric::Unsupported), average("r", 10.0)];
    let mut rig = Rig::new(Spec { signals, ..autoscaler() });
    rig.fleet(5);
    rig.value("q", 20.0);
    rig.value("r", 20.0);
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (5, Rule::Hold));
}

#[test]
fn a_paused_target_does_not_count_failures() {
    let fallback = common::fallback(0, 9, tidegate_core::scale::spec::FallbackBehavior::Static);
    let pause = Pause { all: true, ..Pause::default() };
    let mut rig = Rig::new(scaled_object(Keda { fallback, pause, ..keda() }));
    rig.fleet(2);
    rig.error("q");
    assert_eq!(rig.tick().replicas(), 2);
    assert_eq!(rig.state()["signals"][0]["failures"], 0);
}
