//! Policy `slo` in the machine: what its terms say, what still binds it, and what no run may do.

mod common;

use common::work::{World, load, slo};
use common::{Rig, average, keda, pods, rules, scaled_object, secs};
use proptest::prelude::*;
use tidegate_core::scale::spec::{Behavior, Signal};
use tidegate_core::scale::{Event, Rule, Spec};
use tidegate_core::slo::{Engines, Load};
use tidegate_core::time::Span;

#[test]
fn the_decision_reads_as_a_sentence_with_numbers() {
    let mut world = World::new(slo(1, None), 4);
    let ticked = world.run(300, 20);
    let text = ticked.text();
    for term in [
        "work: 20 requests a second of 1000 + 200 tokens, each ",
        "capacity: a replica takes ",
        "forecast: ",
        " in 121 s ",
        "; p90 of 0 starts",
        "standby: times ",
        "slo: ",
    ] {
        assert!(text.contains(term), "no {term:?} in\n{text}");
    }
}

#[test]
fn a_target_is_named_after_its_policy() {
    assert_eq!((slo(1, None).policy(), scaled_object(keda()).policy()), ("slo", "keda"));
}

#[test]
fn twenty_times_the_work_is_answered_in_one_step_and_not_again_while_it_starts() {
    let mut world = World::new(slo(1, None), 2);
    world.run(300, 5);
    let before = world.wanted;
    let mut asked = Vec::new();
    for _ in 0..50 {
        // Twenty times as many come, and the gateway alone says so: engines at their limit are late with their word.
        let burst = Load {
            arrived: 100,
            prompt_tokens: 100_000,
            engines: Engines::default(),
            ..load(5, world.ready)
        };
        if let Some((from, to)) = world.second(&burst).scale {
            asked.push((from, to));
        }
    }
    // 100 a second of 66 ms keep 6.6 replicas busy, times a margin of 1.2, and 7.9 / 0.92 is 8.6.
    assert_eq!((before, world.wanted), (1, 9));
    assert!(asked.iter().all(|(from, to)| to > from), "nothing is given back meanwhile: {asked:?}");
    // The level follows a step within half a minute, in steps of ten seconds.
    assert!(asked.len() <= 5, "{asked:?}");
}

#[test]
fn a_constant_work_moves_nothing_for_an_hour() {
    let mut world = World::new(slo(1, None), 4);
    world.run(1_800, 20);
    let settled = world.wanted;
    for _ in 0..3_600 {
        let ticked = world.second(&load(20, world.ready));
        assert_eq!(ticked.replicas(), settled, "{}", ticked.text());
    }
}

#[test]
fn a_lesser_need_waits_a_start_before_anything_goes() {
    let mut world = World::new(slo(1, None), 6);
    world.rig.send(&Event::Started(secs(90)));
    world.run(600, 90);
    let full = world.wanted;
    world.run(60, 3);
    assert_eq!(world.wanted, full, "a start takes 90 s, and 60 s have passed");
    let ticked = world.run(300, 3);
    assert!(world.wanted < full, "{}", ticked.text());
}

#[test]
fn the_manifests_behaviour_and_bounds_still_bind() {
    let slow = Behavior { up: rules(0, vec![pods(1, 60)]), down: rules(0, vec![pods(1, 60)]) };
    let mut world = World::new(slo(1, Some(slow)), 2);
    world.run(120, 5);
    let before = world.wanted;
    let ticked = world.run(59, 200);
    assert!(world.wanted <= before + 1, "one pod a minute");
    assert!(ticked.step(Rule::PolicyUp).is_some(), "{}", ticked.text());

    let mut world = World::new(Spec { max: 3, ..slo(1, None) }, 2);
    world.run(300, 200);
    assert_eq!(world.wanted, 3);
}

#[test]
fn before_anything_was_measured_the_triggers_decide() {
    let mut world = World::new(slo(1, None), 2);
    // Nobody reports, so nothing is known of any cost; 45 wait where ten are meant for a replica.
    let ticked = world.second(&Load { arrived: 45, ..load(45, 0) });
    assert!(ticked.step(Rule::Unsighted).is_some(), "{}", ticked.text());
    assert_eq!(ticked.replicas(), 5, "{}", ticked.text());
}

#[test]
fn when_word_of_the_work_stops_the_triggers_decide_and_it_says_so() {
    let mut world = World::new(slo(1, None), 4);
    world.run(300, 20);
    world.rig.pass(31);
    world.rig.value("q", 70.0);
    let ticked = world.rig.tick();
    assert!(ticked.text().contains("no word of the work for 31 s"), "{}", ticked.text());
    assert_eq!(ticked.replicas(), 7);
}

#[test]
fn a_schedule_is_a_floor_beside_the_work() {
    let mut spec = slo(1, None);
    spec.signals.push(Signal { scheduled: true, ..average("office-hours", 1.0) });
    let mut world = World::new(spec, 2);
    let mut run = |seconds: i64, replicas: f64| {
        for _ in 0..seconds {
            world.rig.value("office-hours", replicas);
            world.second(&load(5, world.ready));
        }
        world.wanted
    };
    assert_eq!(run(300, 1.0), 1, "the work alone, while the schedule asks for one");
    assert_eq!(run(5, 7.0), 7);
    assert_eq!(run(300, 1.0), 1, "after hours it is the work again");
}

#[test]
fn the_last_replica_stays_while_a_wake_would_cost_more() {
    let mut world = World::new(slo(0, None), 1);
    world.rig.send(&Event::Started(secs(60)));
    world.run(120, 2);
    let mut left_after = None;
    for second in 1..3_600 {
        let ticked = world.second(&load(0, world.ready));
        if world.wanted == 0 {
            left_after = Some((second, ticked.text()));
            break;
        }
    }
    // 60 s of start and somebody who waits as long at ten times the worth: 660 s; the manifest's cooldown is 300 s.
    let (second, text) = left_after.expect("it goes to zero");
    assert!((655..=670).contains(&second), "after {second} s: {text}");
}

#[test]
fn another_policy_remembers_nothing_of_loads() {
    let mut rig = Rig::new(scaled_object(keda()));
    rig.fleet(1);
    rig.send(&Event::Load(load(10, 1)));
    rig.send(&Event::Started(secs(60)));
    rig.value("q", 5.0);
    rig.tick();
    assert_eq!(rig.state().get("slo"), None);
}

#[test]
fn what_is_learned_is_bounded_and_survives_a_restart() {
    let mut world = World::new(slo(1, None), 3);
    world.run(20_000, 20);
    let bytes = world.rig.scaler.state().bytes();
    assert!(bytes <= 2_048 + 4_096, "{bytes} bytes");
    let mut resumed = Rig::resumed(world.rig.scaler.spec().clone(), world.rig.state());
    resumed.now = world.rig.now;
    for rig in [&mut world.rig, &mut resumed] {
        rig.pass(1);
        rig.send(&Event::Load(load(25, 3)));
    }
    assert_eq!(world.rig.tick().decision, resumed.tick().decision);
}

#[test]
fn what_was_learned_a_week_ago_is_not_believed() {
    let mut world = World::new(slo(1, None), 3);
    world.run(300, 20);
    world.rig.pass(8 * 86_400);
    world.rig.send(&Event::Load(Load { over: Span::from_secs(1), ..Load::default() }));
    world.rig.value("q", 20.0);
    let ticked = world.rig.tick();
    assert!(ticked.text().contains("nothing was measured yet"), "{}", ticked.text());
}

/// Loads as any driver may send them, sensible or not.
fn any_load() -> impl Strategy<Value = Load> {
    let engines =
        (0_u32..50, 0_u32..5_000, 0_u64..10_000_000, 0_u64..1_000_000, 0_u32..2_000_000, 0_u64..1 << 30)
            .prop_map(|(reporting, running, prefill_tokens, decode_tokens, itl_us, kv_tokens)| Engines {
                reporting,
                running,
                prefill_tokens,
                decode_tokens,
                itl_us,
                kv_tokens,
            });
    let counts =
        (0_u32..5_000, 0_u64..10_000_000, 0_u32..5_000, 0_u64..1_000_000, 0_u32..5_000, 0_u32..5_000);
    (-1_000_000_i64..30_000_000, counts, 0_u32..100_000, engines).prop_map(
        |(over, counts, waiting, engines)| {
            let (arrived, prompt_tokens, ended, output_tokens, first_tokens, late) = counts;
            let over = Span::from_micros(over);
            Load { over, arrived, prompt_tokens, ended, output_tokens, first_tokens, late, waiting, engines }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_load_whatever_leads_out_of_the_bounds(loads in prop::collection::vec((1_i64..120, any_load()), 1..120)) {
        let mut rig = Rig::new(Spec { min: 1, max: 12, ..slo(1, None) });
        rig.fleet(3);
        for (pass, load) in &loads {
            rig.pass(*pass);
            rig.send(&Event::Load(*load));
            let ticked = rig.settle();
            prop_assert!((1..=12).contains(&ticked.replicas()), "{}", ticked.text());
            prop_assert!(!ticked.text().contains("NaN") && !ticked.text().contains("inf "), "{}", ticked.text());
        }
        prop_assert!(rig.scaler.state().bytes() <= 2_048 + 4_096);
    }

    #[test]
    fn the_same_loads_give_the_same_decisions_from_any_snapshot(
        loads in prop::collection::vec((1_i64..40, any_load()), 2..60), cut in 0_usize..60,
    ) {
        let mut whole = Rig::new(slo(1, None));
        whole.fleet(2);
        let mut resumed: Option<Rig> = None;
        for (place, (pass, load)) in loads.iter().enumerate() {
            if place == cut.min(loads.len() - 1) {
                let mut rig = Rig::resumed(whole.scaler.spec().clone(), whole.state());
                rig.now = whole.now;
                resumed = Some(rig);
            }
            let mut decisions = Vec::new();
            for rig in [Some(&mut whole), resumed.as_mut()].into_iter().flatten() {
                rig.pass(*pass);
                rig.send(&Event::Load(*load));
                decisions.push(rig.settle().decision);
            }
            prop_assert!(decisions.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }

    /// Work that stays within two percent of its mean lies inside the dead band once it has settled.
    #[test]
    fn a_small_noise_flaps_nothing(seed in prop::collection::vec(0_u32..3, 600), base in 3_u32..60) {
        let mut world = World::new(slo(1, None), 2);
        world.run(3_600, base * 10);
        let mut changes = 0;
        for noise in seed {
            let requests = base * 10 + noise * base / 10;
            changes += u32::from(world.second(&load(requests, world.ready)).scale.is_some());
        }
        prop_assert!(changes <= 1, "{changes} changes in ten minutes");
    }
}
