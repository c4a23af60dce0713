//! What a gateway's requests do to a target, and how one target hands its replicas to another.

mod common;

use std::sync::Arc;

use common::{First, Rig, autoscaler, keda, scaled_object};
use tidegate_core::scale::spec::{Keda, Modifiers, Pause, Signal};
use tidegate_core::scale::{Event, Fleet, Rule, Spec};
use tidegate_core::units::Milli;

/// A target whose requests come through a gateway.
fn routed(keda: Keda) -> Spec {
    let mut spec = scaled_object(keda);
    spec.signals.push(Signal::demand());
    spec
}

#[test]
fn one_request_wakes_a_target_at_zero_whose_other_signals_say_nothing() {
    let mut rig = Rig::new(routed(keda()));
    rig.fleet(0);
    rig.error("q");
    rig.value("gateway", 1.0);
    let ticked = rig.settle();
    assert_eq!(ticked.scale, Some((0, 1)), "{}", ticked.text());
    assert!(ticked.text().contains("1 requests wait or are served"), "{}", ticked.text());
}

#[test]
fn how_many_replicas_requests_need_is_the_other_signals_to_say() {
    let mut rig = Rig::new(routed(keda()));
    rig.fleet(1);
    rig.value("q", 5.0);
    rig.value("gateway", 10_000.0);
    assert_eq!(rig.tick().replicas(), 1);
    rig.value("q", 25.0);
    assert_eq!(rig.tick().replicas(), 3);
}

#[test]
fn while_requests_run_the_cooldown_does_not_begin() {
    let mut rig = Rig::new(routed(keda()));
    rig.fleet(1);
    rig.value("q", 0.0);
    rig.value("gateway", 1.0);
    for _ in 0..10 {
        rig.pass(100);
        rig.value("q", 0.0);
        assert_eq!(rig.settle().replicas(), 1);
    }
    rig.value("gateway", 0.0);
    rig.settle();
    rig.pass(301);
    rig.value("q", 0.0);
    assert_eq!(rig.settle().replicas(), 0);
}

#[test]
fn a_formula_that_says_inactive_does_not_lose_the_requests_that_wait() {
    let modifiers =
        Modifiers { formula: "q".into(), target: Milli(10_000), activation_target: 1_000.0, value: false };
    let spec = routed(Keda { modifiers: Some(modifiers), ..keda() });
    let mut rig = Rig::compiled(spec, Arc::new(First));
    rig.fleet(0);
    rig.value("q", 3.0);
    rig.value("gateway", 2.0);
    assert_eq!(rig.settle().scale, Some((0, 1)));
}

#[test]
fn an_idle_target_hands_over_its_replica_before_its_cooldown_is_over_and_says_to_whom() {
    let mut rig = Rig::new(routed(keda()));
    rig.fleet(1);
    rig.value("q", 5.0);
    rig.value("gateway", 1.0);
    rig.settle();
    rig.pass(40);
    rig.value("q", 0.0);
    rig.value("gateway", 0.0);
    assert_eq!(rig.settle().replicas(), 1, "the cooldown of 300 s holds");
    let given = rig.give_up(1);
    assert_eq!((given.scale, given.decision.rule), (Some((1, 0)), Rule::Yield));
    assert!(given.text().contains("default/other") && given.text().contains("40 s"), "{}", given.text());
    rig.fleet(0);
    rig.pass(1);
    assert_eq!(rig.settle().replicas(), 0, "it does not come back by itself");
}

#[test]
fn what_was_handed_over_is_not_taken_back_by_a_window_that_remembers_more() {
    let mut rig = Rig::new(autoscaler());
    rig.fleet(4);
    rig.value("q", 40.0);
    rig.settle();
    rig.pass(15);
    rig.value("q", 0.0);
    assert_eq!(rig.settle().replicas(), 4, "the window of 300 s holds");
    assert_eq!(rig.give_up(2).replicas(), 2);
    rig.fleet(2);
    rig.pass(15);
    rig.value("q", 0.0);
    assert!(rig.settle().replicas() <= 2);
}

#[test]
fn nobody_yields_below_the_minimum_or_while_paused() {
    let mut at_minimum = Rig::new(Spec { min: 2, ..routed(keda()) });
    at_minimum.fleet(3);
    assert_eq!(at_minimum.give_up(5).replicas(), 2);
    at_minimum.fleet(2);
    let asked = at_minimum.give_up(1);
    assert_eq!(asked.scale, None);
    assert!(asked.text().contains("2 replicas are to stay"), "{}", asked.text());
    for pause in [
        Pause { all: true, ..Pause::default() },
        Pause { at: Some(1), ..Pause::default() },
        Pause { scale_in: true, ..Pause::default() },
    ] {
        let mut rig = Rig::new(routed(Keda { pause, ..keda() }));
        rig.fleet(1);
        assert_eq!(rig.give_up(1).scale, None);
    }
}

#[test]
fn a_wake_up_is_taken_back_when_those_who_waited_leave_before_a_replica_is_ready() {
    let mut rig = Rig::new(routed(keda()));
    rig.fleet(0);
    rig.value("q", 0.0);
    rig.value("gateway", 1.0);
    assert_eq!(rig.tick().scale, Some((0, 1)));
    rig.send(&Event::Fleet(Fleet { spec: 1, status: 1, ready: 0, starting: 1 }));
    rig.pass(2);
    rig.value("gateway", 0.0);
    rig.error("q");
    let ticked = rig.tick();
    assert_eq!((ticked.scale, ticked.decision.rule), (Some((1, 0)), Rule::Deactivate), "{}", ticked.text());
    assert!(ticked.text().contains("left before a replica was ready"), "{}", ticked.text());
}

#[test]
fn a_replica_that_was_ready_once_has_its_cooldown_even_if_nobody_waits() {
    let mut rig = Rig::new(routed(keda()));
    rig.fleet(0);
    rig.value("q", 0.0);
    rig.value("gateway", 1.0);
    rig.settle();
    rig.pass(2);
    rig.tick();
    rig.value("gateway", 0.0);
    assert_eq!(rig.tick().decision.rule, Rule::Cooldown);
    rig.send(&Event::Fleet(Fleet { spec: 1, status: 1, ready: 0, starting: 1 }));
    assert_eq!(rig.tick().decision.rule, Rule::Cooldown, "not even when it restarts");
}

#[test]
fn a_gateway_that_cannot_be_heard_may_hold_requests_so_nothing_goes_to_zero() {
    let mut rig = Rig::new(routed(keda()));
    rig.fleet(1);
    rig.value("q", 0.0);
    rig.value("gateway", 1.0);
    rig.settle();
    rig.error("gateway");
    rig.pass(301);
    rig.value("q", 0.0);
    assert_eq!(rig.settle().replicas(), 1);
    // Not for another reason: once it says that nobody asks, the replica goes.
    rig.value("gateway", 0.0);
    assert_eq!(rig.settle().replicas(), 0);
}
