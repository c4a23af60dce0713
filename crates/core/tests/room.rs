//! Where there is no more room a count is not raised, and never lowered for it.

mod common;

use common::{Rig, autoscaler, keda, scaled_object};
use tidegate_core::scale::decision::Because;
use tidegate_core::scale::{Event, Room, Rule, Spec};

fn room(replicas: u32) -> Event {
    Event::Room(Some(Room { replicas, waiting: 2, lacks: "no node has nvidia.com/gpu left".into() }))
}

/// At four replicas, with a load for this many.
fn rig(load: f64) -> Rig {
    let mut rig = Rig::new(Spec { max: 100, ..autoscaler() });
    rig.fleet(4);
    rig.value("q", load * 10.0);
    rig
}

#[test]
fn while_replicas_wait_for_room_no_more_are_asked_for() {
    let mut rig = rig(6.0);
    rig.send(&room(4));
    let ticked = rig.tick();
    assert_eq!((ticked.replicas(), ticked.decision.rule), (4, Rule::Room));
    let Because::NoRoom { waiting, .. } = ticked.because(Rule::Room) else { panic!("{}", ticked.text()) };
    assert_eq!(*waiting, 2);
    assert_eq!(
        ticked.because(Rule::Room).to_string(),
        "2 replicas wait already: no node has nvidia.com/gpu left"
    );
}

#[test]
fn what_was_not_raised_for_lack_of_room_is_raised_at_once_when_there_is_some() {
    let mut rig = rig(6.0);
    rig.send(&room(4));
    rig.tick();
    rig.pass(1);
    rig.send(&Event::Room(None));
    assert_eq!(rig.settle().replicas(), 6, "a raise that never was has spent no rate");
}

#[test]
fn what_waits_for_something_else_than_room_is_told_and_limits_nothing() {
    let mut rig = rig(6.0);
    rig.send(&Event::Room(Some(Room {
        replicas: Room::ANY,
        waiting: 2,
        lacks: "its image cannot be pulled".into(),
    })));
    let ticked = rig.tick();
    assert_eq!(ticked.replicas(), 6);
    assert_ne!(ticked.decision.rule, Rule::Room);
    assert_eq!(ticked.because(Rule::Room).to_string(), "2 replicas wait already: its image cannot be pulled");
}

#[test]
fn a_descent_goes_on_without_room() {
    let mut rig = rig(2.0);
    rig.send(&room(4));
    rig.tick();
    rig.pass(301);
    rig.value("q", 20.0);
    assert_eq!(rig.tick().replicas(), 2);
}

#[test]
fn less_room_than_there_are_replicas_takes_none_away() {
    let mut rig = rig(6.0);
    rig.send(&room(1));
    assert_eq!(rig.tick().replicas(), 4);
}

#[test]
fn a_first_replica_is_asked_for_whatever_room_there_was() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(0);
    rig.send(&room(0));
    rig.value("q", 50.0);
    assert_eq!(rig.tick().decision.rule, Rule::Activate);
}
