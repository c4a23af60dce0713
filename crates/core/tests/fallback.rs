//! What speaks for a source that has failed for long, and how long "long" is.

mod common;

use common::{Rig, Ticked, average, fallback, keda, milli, scaled_object, secs, spec, value};
use tidegate_core::scale::decision::{Lost, Status, Unusable};
use tidegate_core::scale::signals::fallback_metric;
use tidegate_core::scale::spec::{FallbackBehavior as B, Goal, Keda, Kind};
use tidegate_core::scale::{Because, Event, Fleet, Rule, Spec};
use tidegate_core::units::ceil_replicas;

/// A rig whose only source fails from the first tick on.
fn failing(threshold: u32, replicas: u32, behavior: B, current: u32) -> Rig {
    let mut rig =
        Rig::new(scaled_object(Keda { fallback: fallback(threshold, replicas, behavior), ..keda() }));
    rig.fleet(current);
    rig.error("q");
    rig
}

fn proposal(ticked: &Ticked) -> Option<u32> {
    ticked.step(Rule::Fallback).map(|step| step.to)
}

#[test]
fn failures_are_counted_once_a_polling_interval_however_often_it_ticks() {
    let mut rig = failing(3, 8, B::Static, 2);
    let mut acted_at = None;
    for second in 0..200 {
        rig.error("q");
        let ticked = rig.settle();
        if proposal(&ticked).is_some() && acted_at.is_none() {
            acted_at = Some(second);
        }
        rig.pass(1);
    }
    // The first failure at 0 s, the fourth at 90 s: three intervals of patience.
    assert_eq!(acted_at, Some(90));
    assert_eq!(rig.state()["signals"][0]["failures"], 7);
}

#[test]
fn as_many_failures_as_the_threshold_still_hold() {
    let mut rig = failing(1, 8, B::Static, 2);
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (2, Rule::Hold));
    let lost = ticked.because(Rule::SignalLost);
    assert!(matches!(lost, Because::Lost { failures: Some((1, 1)), .. }), "{lost}");
    assert_eq!(ticked.decision.conditions.ready, Some((Status::True, "ScaledObjectReady")));
    rig.pass(30);
    rig.error("q");
    assert_eq!(proposal(&rig.tick()), Some(8));
}

#[test]
fn one_good_reading_clears_the_count_and_the_next_failure_counts_at_once() {
    let mut rig = failing(1, 8, B::Static, 2);
    rig.tick();
    rig.pass(10);
    rig.value("q", 20.0);
    rig.tick();
    assert_eq!(rig.state()["signals"][0]["failures"], 0);
    rig.pass(1);
    rig.error("q");
    rig.tick();
    assert_eq!(rig.state()["signals"][0]["failures"], 1);
    rig.pass(29);
    rig.error("q");
    assert_eq!(proposal(&rig.tick()), None);
    rig.pass(1);
    rig.error("q");
    assert_eq!(proposal(&rig.tick()), Some(8));
}

#[test]
fn each_behavior_meets_the_current_count_in_its_own_way() {
    let wanted = [
        (B::Static, [8, 8, 8]),
        (B::CurrentReplicas, [3, 8, 12]),
        (B::CurrentReplicasIfHigher, [8, 8, 12]),
        (B::CurrentReplicasIfLower, [3, 8, 8]),
    ];
    for (behavior, proposals) in wanted {
        for (current, wanted) in [3, 8, 12].into_iter().zip(proposals) {
            let ticked = failing(0, 8, behavior, current).tick();
            assert_eq!(proposal(&ticked), Some(wanted), "{behavior:?} at {current}");
            assert_eq!(ticked.decision.conditions.fallback, Some((Status::True, "FallbackExists")));
            // Up at once as far as the ladder goes; down only after the window.
            let now = wanted.max(current).min((2 * current).max(4));
            assert_eq!(ticked.replicas(), now, "{behavior:?} at {current}");
        }
    }
}

#[test]
fn at_zero_replicas_a_fallback_activates_whatever_its_behavior() {
    for behavior in [B::Static, B::CurrentReplicas, B::CurrentReplicasIfHigher, B::CurrentReplicasIfLower] {
        let ticked = failing(0, 8, behavior, 0).tick();
        assert_eq!((ticked.scale, ticked.decision.rule), (Some((0, 1)), Rule::Activate), "{behavior:?}");
        let active = Because::ActiveFallback { signal: "q".into() };
        assert_eq!(*ticked.because(Rule::Activity), active);
    }
}

#[test]
fn from_zero_a_static_fallback_reaches_its_count() {
    let mut rig = failing(0, 8, B::Static, 0);
    for _ in 0..60 {
        rig.error("q");
        rig.settle();
        rig.pass(1);
    }
    assert_eq!(rig.tick().replicas(), 8);
}

#[test]
fn a_fallback_is_activity_so_that_nothing_goes_to_zero_when_the_source_returns_idle() {
    let mut rig = failing(0, 2, B::Static, 2);
    rig.tick();
    rig.pass(300);
    rig.value("q", 0.0);
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (2, Rule::Cooldown));
    rig.pass(1);
    rig.value("q", 0.0);
    assert_eq!(rig.tick().replicas(), 0);
}

#[test]
fn a_fallback_of_no_replicas_promises_nothing_and_holds_nothing() {
    let ticked = failing(9, 0, B::Static, 3).tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (0, Rule::Deactivate));
}

#[test]
fn without_a_fallback_failures_are_not_counted_and_the_count_holds_for_ever() {
    let mut rig = Rig::new(scaled_object(Keda { cooldown: secs(0), ..keda() }));
    rig.fleet(3);
    for _ in 0..100 {
        rig.error("q");
        assert_eq!(rig.tick().replicas(), 3);
        rig.pass(30);
    }
    assert_eq!(rig.state()["signals"][0]["failures"], 0);
}

#[test]
fn a_value_metric_asks_for_exactly_the_fallbacks_count_whatever_is_ready() {
    for replicas in 1..=40 {
        for ready in 1..=40 {
            let metric = fallback_metric(Goal::Value(milli(10.0)), replicas, ready).unwrap();
            let asked = ceil_replicas(metric.0 as f64 / 10_000.0 * f64::from(ready));
            assert_eq!(asked, replicas, "{replicas} with {ready} ready");
        }
    }
}

#[test]
fn a_value_metric_in_fallback_settles_at_the_fallbacks_count() {
    let keda = Keda { fallback: fallback(0, 5, B::Static), ..keda() };
    let mut rig = Rig::new(spec(Kind::ScaledObject(keda), vec![value("q", 10.0)]));
    rig.fleet(3);
    for _ in 0..60 {
        rig.error("q");
        assert!(rig.settle().replicas() <= 5);
        rig.pass(1);
    }
    assert_eq!(rig.tick().replicas(), 5);
}

#[test]
fn a_value_metric_with_none_ready_cannot_be_served_and_holds() {
    let keda = Keda { fallback: fallback(0, 5, B::Static), ..keda() };
    let mut rig = Rig::new(spec(Kind::ScaledObject(keda), vec![value("q", 10.0)]));
    rig.send(&Event::Fleet(Fleet { spec: 2, status: 2, ready: 0, starting: 2 }));
    rig.error("q");
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (2, Rule::Hold));
    assert!(ticked.text().contains("q: no ready replicas to divide the fallback by"), "{}", ticked.text());
    assert_eq!(fallback_metric(Goal::Value(milli(10.0)), 5, 0), Err(Unusable::NoReadyReplicas));
}

#[test]
fn a_working_signal_beside_a_served_one_can_only_ask_for_more() {
    for (reading, wanted) in [(30.0, 6), (90.0, 9)] {
        let keda = Keda { fallback: fallback(0, 6, B::Static), ..keda() };
        let signals = vec![average("q", 10.0), average("r", 10.0)];
        let mut rig = Rig::new(spec(Kind::ScaledObject(keda), signals));
        rig.fleet(5);
        rig.error("q");
        rig.value("r", reading);
        assert_eq!(rig.tick().replicas(), wanted);
    }
}

#[test]
fn each_signal_has_patience_of_its_own() {
    let keda = Keda { fallback: fallback(1, 6, B::Static), ..keda() };
    let mut rig = Rig::new(spec(Kind::ScaledObject(keda), vec![average("q", 10.0), average("r", 10.0)]));
    rig.fleet(2);
    rig.error("q");
    rig.value("r", 20.0);
    rig.tick();
    rig.pass(30);
    rig.error("q");
    rig.error("r");
    let ticked = rig.tick();
    // `q` is served; `r` failed for the first time, which blocks a descent and not this ascent.
    assert_eq!(proposal(&ticked), Some(6));
    let lost = ticked.because(Rule::SignalLost);
    assert!(
        matches!(lost, Because::Lost { signal, failures: Some((1, 1)), .. } if **signal == *"r"),
        "{lost}"
    );
    assert_eq!(ticked.replicas(), 4);
    assert_eq!(ticked.decision.conditions.ready, Some((Status::Unknown, "PartialTriggerError")));
}

#[test]
fn stale_and_absent_readings_fail_as_errors_do() {
    let mut rig = Rig::new(Spec {
        on_absent: tidegate_core::scale::spec::OnAbsent::Error,
        ..scaled_object(Keda { fallback: fallback(0, 8, B::Static), ..keda() })
    });
    rig.fleet(2);
    rig.read("q", tidegate_core::scale::Reading::Absent);
    assert_eq!(proposal(&rig.tick()), Some(8));
    rig.pass(30);
    rig.value("q", 20.0);
    assert_eq!(proposal(&rig.tick()), None);
    rig.pass(61);
    let ticked = rig.tick();
    assert_eq!(proposal(&ticked), Some(8));
}

#[test]
fn a_lost_signal_says_why_in_one_sentence() {
    let sentences = [
        (Lost::Unread, "not read yet"),
        (Lost::Stale(secs(90)), "stale for 90 s"),
        (Lost::Absent, "empty result"),
        (Lost::Several(3), "3 series where one is expected"),
        (Lost::Error("connection refused".into()), "error: connection refused"),
    ];
    for (lost, sentence) in sentences {
        assert_eq!(lost.to_string(), sentence);
    }
}
