//! How the machine treats its events: pauses, activation, cooldown, changes that fail, new specs.

mod common;

use common::{
    Rig, Ticked, autoscaler, average, default_behavior, fleet, keda, pods, scaled_object, secs, spec, windows,
};
use tidegate_core::formula::NoFormulas;
use tidegate_core::scale::decision::Status;
use tidegate_core::scale::spec::{Behavior, Keda, Kind, Life, Modifiers, Pause, Tuning};
use tidegate_core::scale::{Action, Because, Event, Rule, Scaler, Spec};
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;

const MICRO: Span = Span::from_micros(1);

fn paused(pause: Pause) -> Keda {
    Keda { pause, ..keda() }
}

/// One tick of a ScaledObject with these rules, this many replicas and this reading.
fn once(keda: Keda, current: u32, reading: f64) -> Ticked {
    let mut rig = Rig::new(scaled_object(keda));
    rig.fleet(current);
    rig.value("q", reading);
    rig.tick()
}

#[test]
fn a_target_whose_replicas_were_never_seen_is_not_decided() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.value("q", 50.0);
    assert!(rig.try_tick().is_none());
    rig.fleet(2);
    assert_eq!(rig.tick().replicas(), 4);
}

#[test]
fn every_tick_decides_once_and_a_change_names_where_it_starts() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(2);
    rig.value("q", 30.0);
    let out = rig.send(&Event::Tick);
    assert!(matches!(&out[..], [Action::Decided(_), Action::Scale { from: 2, to: 3 }]), "{out:?}");
    rig.fleet(3);
    rig.pass(1);
    assert!(matches!(&rig.send(&Event::Tick)[..], [Action::Decided(_)]));
}

#[test]
fn the_named_rule_is_the_last_one_that_moved_the_count() {
    let mut rig = Rig::new(Spec { max: 6, ..autoscaler() });
    rig.fleet(4);
    for (reading, rule) in [(40.0, Rule::Tolerance), (50.0, Rule::Signal), (900.0, Rule::Max)] {
        rig.fleet(4);
        rig.value("q", reading);
        let ticked = rig.tick();
        assert_eq!(ticked.decision.rule, rule, "{}", ticked.text());
        let last = ticked.decision.steps.last().map(|step| step.to);
        assert_eq!(last, Some(ticked.replicas()));
        rig.pass(60);
    }
}

#[test]
fn paused_nothing_moves_not_even_from_above_the_maximum() {
    for (current, reading) in [(0, 500.0), (3, 0.0), (3, 500.0), (200, 0.0)] {
        let ticked = once(paused(Pause { all: true, ..Pause::default() }), current, reading);
        assert_eq!((ticked.scale, ticked.decision.rule), (None, Rule::Paused));
        assert_eq!(ticked.decision.conditions.paused, Some((Status::True, "ScaledObjectPaused")));
    }
}

#[test]
fn paused_at_a_count_it_goes_there_at_once_and_stays() {
    for current in [0, 3, 200] {
        let mut rig = Rig::new(scaled_object(paused(Pause { at: Some(7), ..Pause::default() })));
        rig.fleet(current);
        rig.value("q", 500.0);
        assert_eq!(rig.settle().scale, Some((current, 7)));
        rig.pass(1);
        assert_eq!(rig.settle().scale, None);
    }
}

#[test]
fn a_pause_forgets_what_was_recommended() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(10);
    rig.value("q", 100.0);
    rig.settle();
    let mut rules = paused(Pause { all: true, ..Pause::default() });
    rig.send(&Event::Spec(Box::new(scaled_object(rules.clone()))));
    rig.pass(1);
    rig.settle();
    rules.pause = Pause::default();
    rig.send(&Event::Spec(Box::new(scaled_object(rules))));
    rig.pass(1);
    rig.fleet(2);
    rig.value("q", 20.0);
    assert_eq!(rig.settle().replicas(), 2);
}

#[test]
fn paused_scale_in_stops_every_descent_and_no_ascent() {
    let rules = || paused(Pause { scale_in: true, ..Pause::default() });
    let to_zero = once(rules(), 3, 0.0);
    assert_eq!((to_zero.replicas(), to_zero.decision.rule), (3, Rule::PausedScaleIn));
    assert_eq!(once(rules(), 0, 50.0).replicas(), 1);
    assert_eq!(once(rules(), 3, 50.0).replicas(), 5);
    assert_eq!(once(rules(), 200, 50.0).replicas(), 100, "the maximum holds all the same");

    let behavior = Some(windows(0, 0));
    let mut rig = Rig::new(Spec { behavior, ..scaled_object(rules()) });
    rig.fleet(5);
    rig.value("q", 20.0);
    let less = rig.tick();
    assert_eq!((less.replicas(), less.decision.rule), (5, Rule::PausedScaleIn));
    assert_eq!(*less.because(Rule::PausedScaleIn), Because::PausedDirection { up: false });
}

#[test]
fn paused_scale_out_stops_every_ascent_and_no_descent() {
    let rules = || paused(Pause { scale_out: true, ..Pause::default() });
    let from_zero = once(rules(), 0, 50.0);
    assert_eq!((from_zero.replicas(), from_zero.decision.rule), (0, Rule::PausedScaleOut));
    let more = once(rules(), 3, 50.0);
    assert_eq!((more.replicas(), more.decision.rule), (3, Rule::PausedScaleOut));
    assert_eq!(once(rules(), 3, 0.0).replicas(), 0);
}

#[test]
fn pausing_a_direction_moves_an_object_without_behavior_to_the_default_policies() {
    // The ladder would go to 4.
    let ticked = once(paused(Pause { scale_in: true, ..Pause::default() }), 1, 500.0);
    assert_eq!((ticked.replicas(), ticked.decision.rule), (5, Rule::PolicyUp));
    assert_eq!(once(keda(), 1, 500.0).replicas(), 4);
}

#[test]
fn forced_active_it_starts_and_never_goes_to_zero() {
    let rules = Keda { force_activation: true, cooldown: secs(0), ..keda() };
    let started = once(rules.clone(), 0, 0.0);
    assert_eq!(started.scale, Some((0, 1)));
    assert_eq!(*started.because(Rule::Activity), Because::ActiveForced);
    let mut rig = Rig::new(scaled_object(rules));
    rig.fleet(2);
    for _ in 0..1000 {
        rig.value("q", 0.0);
        assert!(rig.settle().replicas() >= 1);
        rig.pass(1);
    }
    assert_eq!(rig.tick().replicas(), 1);
}

#[test]
fn an_active_target_starts_with_its_minimum() {
    for (min, started) in [(0, 1), (1, 1), (4, 4)] {
        let mut rig = Rig::new(Spec { min, ..scaled_object(keda()) });
        rig.fleet(0);
        rig.value("q", 900.0);
        assert_eq!(rig.tick().scale, Some((0, started)));
    }
}

#[test]
fn an_inactive_target_goes_from_any_count_to_zero_at_once_whatever_behavior_says() {
    let behavior = Some(Behavior { down: common::rules(3600, vec![pods(1, 1800)]), ..default_behavior() });
    let mut rig = Rig::new(Spec { behavior, ..scaled_object(keda()) });
    rig.fleet(50);
    rig.value("q", 0.0);
    assert_eq!(rig.tick().scale, Some((50, 0)));
}

#[test]
fn the_cooldown_is_over_just_after_it_and_counts_from_the_last_active_tick() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(1);
    rig.value("q", 5.0);
    rig.tick();
    rig.pass(7);
    rig.value("q", 5.0);
    rig.tick();
    rig.pass(300);
    rig.value("q", 0.0);
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (1, Rule::Cooldown));
    let cooling = Because::CoolingDown { left: Span::ZERO, cooldown: secs(300) };
    assert_eq!(*ticked.because(Rule::Cooldown), cooling);
    assert_eq!(ticked.decision.conditions.active, Some((Status::False, "ScalerCooldown")));
    rig.now = rig.now + MICRO;
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (0, Rule::Deactivate));
}

#[test]
fn what_the_status_tells_of_the_last_activity_counts_as_our_own() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.now = Time::from_secs(1000);
    rig.send(&Event::Life(Life { created: None, last_active: Some(Time::from_secs(900)) }));
    rig.send(&Event::Life(Life { created: None, last_active: Some(Time::from_secs(100)) }));
    rig.fleet(3);
    rig.value("q", 0.0);
    assert_eq!(rig.tick().decision.rule, Rule::Cooldown);
}

#[test]
fn the_initial_cooldown_protects_an_object_that_was_never_active() {
    let rules = || Keda { initial_cooldown: secs(60), ..keda() };
    for (created, wait) in [(Some(Time::from_secs(100)), 60), (None, 110)] {
        let mut rig = Rig::new(scaled_object(rules()));
        rig.now = Time::from_secs(150);
        rig.send(&Event::Life(Life { created, last_active: None }));
        rig.fleet(3);
        // Of unknown age, it is as old as the first tick that saw it.
        rig.value("q", 0.0);
        assert_eq!(rig.tick().decision.rule, Rule::Cooldown);
        rig.now = Time::from_secs(100 + wait);
        rig.value("q", 0.0);
        assert_eq!(rig.tick().decision.rule, Rule::Cooldown, "{created:?}");
        rig.now = rig.now + MICRO;
        assert_eq!(rig.tick().replicas(), 0, "{created:?}");
    }
}

#[test]
fn once_active_only_the_cooldown_counts() {
    let mut rig = Rig::new(scaled_object(Keda { initial_cooldown: secs(3600), cooldown: secs(5), ..keda() }));
    rig.fleet(1);
    rig.value("q", 5.0);
    rig.tick();
    rig.pass(6);
    rig.value("q", 0.0);
    assert_eq!(rig.tick().replicas(), 0);
}

#[test]
fn an_inactive_target_goes_to_its_idle_count_and_stays_there() {
    let rules = Keda { idle: Some(2), cooldown: secs(10), ..keda() };
    let mut rig = Rig::new(Spec { min: 5, ..scaled_object(rules) });
    rig.fleet(8);
    rig.value("q", 80.0);
    rig.settle();
    let mut changes = Vec::new();
    for _ in 0..600 {
        rig.pass(1);
        rig.value("q", 0.0);
        changes.extend(rig.settle().scale);
    }
    assert_eq!(changes, [(8, 2)]);
    let stays = rig.tick();
    assert_eq!((stays.replicas(), stays.decision.rule), (2, Rule::Idle));
    rig.value("q", 1.0);
    rig.pass(1);
    rig.value("q", 1.0);
    assert_eq!(rig.tick().scale, Some((2, 5)));
}

#[test]
fn found_below_its_idle_count_an_inactive_target_stays_as_found() {
    let mut rig = Rig::new(Spec { min: 5, ..scaled_object(Keda { idle: Some(2), ..keda() }) });
    rig.fleet(1);
    rig.value("q", 0.0);
    assert_eq!((rig.tick().scale, rig.tick().decision.rule), (None, Rule::Idle));
}

#[test]
fn without_an_idle_count_an_inactive_target_keeps_its_minimum() {
    let mut rig = Rig::new(Spec { min: 5, ..scaled_object(keda()) });
    rig.fleet(0);
    rig.value("q", 0.0);
    let ticked = rig.tick();
    assert_eq!((ticked.scale, ticked.decision.rule), (Some((0, 5)), Rule::Min));
}

#[test]
fn while_a_trigger_fails_activity_is_not_noted() {
    let mut rig = Rig::new(spec(Kind::ScaledObject(keda()), vec![average("a", 10.0), average("b", 10.0)]));
    rig.fleet(1);
    rig.value("a", 5.0);
    rig.error("b");
    let ticked = rig.tick();
    assert_eq!(ticked.decision.conditions.ready, Some((Status::Unknown, "PartialTriggerError")));
    assert!(rig.state()["last_active"].is_null());
}

#[test]
fn a_change_counts_as_done_until_the_fleet_is_seen_again() {
    let mut rig = Rig::new(Spec { behavior: Some(default_behavior()), ..scaled_object(keda()) });
    rig.fleet(1);
    rig.value("q", 90.0);
    assert_eq!(rig.tick().scale, Some((1, 5)));
    rig.pass(1);
    let next = rig.tick();
    assert_eq!((next.scale, next.replicas()), (None, 5));
    // Somebody else set another count in between.
    rig.fleet(3);
    rig.pass(15);
    assert_eq!(rig.tick().scale, Some((3, 7)));
}

#[test]
fn a_change_that_failed_is_taken_back_and_asked_for_again() {
    let mut rig = Rig::new(Spec { behavior: Some(default_behavior()), ..scaled_object(keda()) });
    rig.fleet(1);
    rig.value("q", 90.0);
    rig.tick();
    let rates = |rig: &Rig| rig.state()["memory"]["ups"]["entries"].as_array().map(Vec::len);
    assert_eq!(rates(&rig), Some(1));
    rig.send(&Event::ScaleFailed);
    assert_eq!(rates(&rig), Some(0));
    rig.send(&Event::ScaleFailed);
    rig.pass(1);
    assert_eq!(rig.tick().scale, Some((1, 5)), "the same budget as before");
}

#[test]
fn a_descent_that_failed_gives_its_budget_back() {
    let down = common::rules(0, vec![pods(2, 60)]);
    let mut rig = Rig::new(Spec { behavior: Some(Behavior { down, ..default_behavior() }), ..autoscaler() });
    rig.fleet(9);
    rig.value("q", 10.0);
    assert_eq!(rig.tick().scale, Some((9, 7)));
    rig.send(&Event::ScaleFailed);
    rig.pass(1);
    assert_eq!(rig.tick().scale, Some((9, 7)));
    rig.pass(1);
    assert_eq!(rig.tick().scale, None);
}

#[test]
fn an_activation_that_failed_was_no_activity() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(0);
    rig.value("q", 5.0);
    assert_eq!(rig.tick().scale, Some((0, 1)));
    assert!(!rig.state()["last_active"].is_null());
    rig.send(&Event::ScaleFailed);
    assert!(rig.state()["last_active"].is_null());
    rig.pass(1);
    assert_eq!(rig.tick().scale, Some((0, 1)));
}

#[test]
fn a_failure_leaves_what_was_seen_since_alone() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(2);
    rig.value("q", 40.0);
    rig.tick();
    rig.pass(1);
    rig.fleet(3);
    rig.send(&Event::ScaleFailed);
    assert_eq!(rig.tick().scale, Some((3, 4)));
}

#[test]
fn leaving_zero_that_failed_is_tried_again() {
    let tuning = Tuning { scale_to_zero: true, ..Tuning::default() };
    let mut rig = Rig::new(Spec { min: 0, tuning, behavior: Some(windows(0, 0)), ..autoscaler() });
    rig.fleet(3);
    rig.value("q", 0.0);
    let slept = rig.settle();
    assert_eq!(slept.scale, Some((3, 0)));
    assert_eq!(slept.decision.conditions.scaled_to_zero, Some((Status::True, "ScaledToZero")));
    for _ in 0..3 {
        rig.pass(5);
        rig.value("q", 20.0);
        assert_eq!(rig.tick().scale, Some((0, 2)));
        rig.send(&Event::ScaleFailed);
    }
}

#[test]
fn a_new_spec_keeps_what_is_known_of_signals_by_name() {
    let mut rig = Rig::new(spec(Kind::ScaledObject(keda()), vec![average("a", 10.0), average("b", 10.0)]));
    rig.fleet(5);
    rig.value("a", 90.0);
    rig.value("b", 70.0);
    let signals = vec![average("c", 10.0), average("b", 10.0)];
    rig.send(&Event::Spec(Box::new(spec(Kind::ScaledObject(keda()), signals))));
    let ticked = rig.tick();
    assert!(ticked.text().contains("c: not read yet"), "{}", ticked.text());
    assert_eq!(ticked.replicas(), 7);
}

#[test]
fn a_new_spec_keeps_windows_and_rates() {
    let mut rig = Rig::new(Spec { behavior: Some(default_behavior()), ..autoscaler() });
    rig.fleet(10);
    rig.value("q", 100.0);
    rig.settle();
    rig.pass(10);
    let replacement = Spec { behavior: Some(default_behavior()), max: 50, ..autoscaler() };
    rig.send(&Event::Spec(Box::new(replacement)));
    rig.value("q", 10.0);
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (10, Rule::StabiliseDown));
    assert_eq!(rig.scaler.spec().max, 50);
}

#[test]
fn a_new_spec_whose_formula_does_not_compile_is_refused_whole() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(5);
    rig.value("q", 50.0);
    let modifiers = Some(Modifiers {
        formula: "q +".into(),
        target: Milli(10_000),
        activation_target: 0.0,
        value: false,
    });
    let bad = Spec { max: 3, ..scaled_object(Keda { modifiers, ..keda() }) };
    let out = rig.send(&Event::Spec(Box::new(bad.clone())));
    let [Action::Refused { message }] = &out[..] else { panic!("{out:?}") };
    assert!(message.contains("default/llm"), "{message}");
    assert_eq!(rig.scaler.spec(), &scaled_object(keda()));
    assert_eq!(rig.tick().replicas(), 5);
    assert!(Scaler::new(bad, std::sync::Arc::new(NoFormulas)).is_err());
}

#[test]
fn of_two_counts_at_one_instant_the_greater_is_believed_and_later_the_later() {
    for order in [[3, 6], [6, 3]] {
        let mut rig = Rig::new(autoscaler());
        for count in order {
            rig.fleet(count);
        }
        rig.value("q", 60.0);
        assert_eq!(rig.tick().scale, None);
        rig.pass(1);
        rig.send(&Event::Fleet(fleet(2)));
        assert_eq!(rig.tick().scale, Some((2, 4)));
    }
}

#[test]
fn selecting_disabled_stops_a_direction() {
    let mut behavior = windows(0, 0);
    behavior.up.select = tidegate_core::scale::spec::Select::Disabled;
    behavior.down.select = tidegate_core::scale::spec::Select::Disabled;
    for (reading, rule, up) in [(90.0, Rule::PolicyUp, true), (10.0, Rule::PolicyDown, false)] {
        let mut rig = Rig::new(Spec { behavior: Some(behavior.clone()), ..autoscaler() });
        rig.fleet(5);
        rig.value("q", reading);
        let ticked = rig.tick();
        assert_eq!((ticked.replicas(), ticked.decision.rule), (5, rule));
        assert_eq!(*ticked.because(rule), Because::DisabledDirection { up });
    }
}

#[test]
fn the_tolerance_of_a_direction_overrules_the_controllers() {
    let mut behavior = windows(0, 0);
    behavior.up.tolerance = Some(0.5);
    behavior.down.tolerance = Some(0.0);
    for (reading, replicas) in [(150.0, 10), (151.0, 16), (99.0, 10), (90.0, 9)] {
        let mut rig = Rig::new(Spec { behavior: Some(behavior.clone()), ..autoscaler() });
        rig.fleet(10);
        rig.value("q", reading);
        assert_eq!(rig.tick().replicas(), replicas, "{reading}");
    }
}
