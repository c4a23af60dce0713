//! How much an engine is given.

use tidegate_core::route::{EngineLoad, Limits};

use crate::harness::{Gateway, LIMITS};

fn load(running: u32, waiting: u32) -> EngineLoad {
    EngineLoad { running, waiting, kv_use: None }
}

fn full(slots: u32, requests: u32) -> Gateway {
    let mut gateway = Gateway::with(Limits { slots, ..LIMITS }, 1);
    for _ in 0..requests {
        gateway.plain();
    }
    gateway
}

#[test]
fn an_endpoint_gets_its_slots_and_the_rest_waits_here() {
    let mut gateway = full(4, 6);
    assert_eq!(gateway.in_flight.len(), 4);
    assert_eq!(gateway.demand().waiting, 2);
    let first = *gateway.in_flight.keys().next().expect("four are in flight");
    gateway.answer(first);
    assert_eq!(gateway.dispatched(), [1, 2, 3, 4, 5]);
}

#[test]
fn an_engine_that_queues_gets_what_it_runs_and_an_eighth_more() {
    let mut gateway = full(256, 100);
    gateway.load(1, load(32, 60));
    assert_eq!(gateway.slots(1), 36);
    gateway.load(1, load(32, 4));
    assert_eq!(gateway.slots(1), 36, "what it queues now is the look-ahead itself");
    gateway.load(1, load(3, 1));
    assert_eq!(gateway.slots(1), 4, "one at least");
}

#[test]
fn an_engine_that_runs_nothing_yet_says_nothing_of_its_batch() {
    let mut gateway = full(8, 8);
    gateway.load(1, load(0, 8));
    assert_eq!(gateway.slots(1), 8);
}

#[test]
fn slots_grow_while_the_engine_runs_all_it_has_and_queues_nobody() {
    let mut gateway = full(256, 100);
    gateway.load(1, load(32, 60));
    // 100 went out before that was known; the engine, now larger, runs them all.
    gateway.load(1, load(100, 0));
    assert_eq!(gateway.slots(1), 112);
    gateway.load(1, load(100, 0));
    assert_eq!(gateway.slots(1), 112, "12 are free: nothing is known of more");
}

#[test]
fn slots_stay_where_an_engine_does_not_say_that_it_runs_what_it_has() {
    let mut gateway = full(4, 6);
    gateway.load(1, load(0, 0));
    assert_eq!(gateway.slots(1), 4);
    gateway.load(1, load(4, 0));
    assert_eq!(gateway.slots(1), 5);
}

#[test]
fn new_limits_reach_an_endpoint_of_which_nothing_was_learned() {
    let mut gateway = full(4, 6);
    let event = |slots| tidegate_core::route::Event::Target {
        target: crate::harness::T,
        limits: Limits { slots, ..LIMITS },
    };
    gateway.tell(event(5));
    assert_eq!(gateway.in_flight.len(), 5);
    gateway.load(1, load(3, 1));
    gateway.tell(event(50));
    assert_eq!(gateway.slots(1), 4);
}

#[test]
fn a_new_replica_begins_with_what_another_learned() {
    let mut gateway = full(64, 100);
    gateway.load(1, load(8, 56));
    gateway.ready(2);
    assert_eq!((gateway.slots(1), gateway.slots(2)), (9, 9));
}
