//! A driver that was away: what it may believe of what it left.

mod common;

use std::collections::BTreeMap;

use common::{Rig, at, autoscaler, default_behavior, secs, windows};
use tidegate_core::scale::spec::{Metric, Spec};
use tidegate_core::scale::{Event, Phase, Pod, Reading, Requests, Rule, Sample, State};
use tidegate_core::units::Milli;

/// A target whose signal asks for ten replicas, at this second.
fn steady(spec: Spec, second: i64) -> State {
    let mut rig = Rig::new(spec);
    rig.now = at(second);
    rig.fleet(10);
    rig.value("q", 100.0);
    assert_eq!(rig.tick().replicas(), 10);
    rig.scaler.state().kept()
}

/// Goes on from it so many seconds later, with a signal that asks for two.
fn back(spec: Spec, mut state: State, at_s: i64, gap_s: i64) -> Rig {
    state.unwatched(&spec, secs(gap_s));
    let mut rig = Rig::resumed(spec, serde_json::to_value(state).expect("a state is JSON"));
    rig.now = at(at_s + gap_s);
    rig.fleet(10);
    rig.value("q", 20.0);
    rig
}

fn specs() -> [Spec; 2] {
    [autoscaler(), Spec { behavior: Some(default_behavior()), ..autoscaler() }]
}

#[test]
fn who_comes_back_after_an_hour_holds_the_count_it_finds_for_a_whole_window() {
    for spec in specs() {
        let mut rig = back(spec.clone(), steady(spec, 100), 100, 3600);
        let ticked = rig.tick();
        assert_eq!((ticked.replicas(), ticked.decision.rule), (10, Rule::StabiliseDown));
        rig.pass(299);
        rig.value("q", 20.0);
        assert_eq!(rig.tick().replicas(), 10);
        rig.pass(2);
        rig.value("q", 20.0);
        assert!(rig.tick().replicas() < 10, "the window is over");
    }
}

#[test]
fn a_quick_restart_prolongs_no_window() {
    for spec in specs() {
        let mut rig = back(spec.clone(), steady(spec, 100), 100, 20);
        assert_eq!(rig.tick().replicas(), 10);
        rig.pass(281);
        rig.value("q", 20.0);
        assert!(rig.tick().replicas() < 10, "301 s after ten were last recommended");
    }
}

#[test]
fn a_gap_longer_than_a_short_window_begins_that_window_anew() {
    let spec = Spec { behavior: Some(windows(0, 10)), ..autoscaler() };
    let mut rig = back(spec.clone(), steady(spec, 100), 100, 12);
    assert_eq!(rig.tick().replicas(), 10);
    rig.pass(11);
    rig.value("q", 20.0);
    assert_eq!(rig.tick().replicas(), 2);
}

#[test]
fn pods_and_what_each_uses_are_not_kept_and_everything_else_is() {
    let metric = Metric::Pods { average: Milli(1000) };
    let spec = Spec { signals: vec![common::signal("q", metric)], ..autoscaler() };
    let mut rig = Rig::new(spec);
    rig.now = at(100);
    rig.fleet(200);
    let name = |number: u32| format!("llama-7d9c5b5f8-{number:05}");
    let pod = |number| Pod {
        name: name(number),
        phase: Phase::Running,
        ready: Some(true),
        started: Some(at(0)),
        ready_changed: Some(at(1)),
        deleting: false,
        requests: Requests::default(),
    };
    let sample = |number| Sample {
        pod: name(number),
        containers: BTreeMap::from([(String::new(), Some(Milli(900)))]),
        at: at(100),
        window: secs(60),
    };
    rig.send(&Event::Pods((0..200).map(pod).collect()));
    rig.read("q", Reading::Samples((0..200).map(sample).collect()));
    rig.tick();
    let (whole, kept) = (rig.scaler.state(), rig.scaler.state().kept());
    let long = |state: &State| serde_json::to_string(state).unwrap().len();
    assert!(long(whole) > 20_000 && long(&kept) < 2_000, "{} and {}", long(whole), long(&kept));
    assert!(long(&kept) < 2 * whole.kept_bytes() + 512);
    assert!(kept.bytes() <= whole.kept_bytes(), "what grew has room to grow");
    assert_eq!(
        (kept.replicas(), whole.replicas()),
        (Some(100), Some(100)),
        "more than the maximum were found"
    );
}
