//! Streams that run while replicas come and go.

use std::time::Duration;

use serde_json::Value;
use tidegate_load::schedule::{Arrivals, Tokens};
use tidegate_load::{Mix, Options, Plan, Schedule};

use crate::fleet::{Model, manifests};
use crate::rig::{Rig, of};

/// A minute of one token every tenth of a second: 600 tokens.
const STREAM_TOKENS: u32 = 600;

#[tokio::test]
async fn two_hundred_streams_of_a_minute_stay_whole_while_the_fleet_goes_up_and_down() {
    // As vLLM does by default: SIGTERM cuts what runs. So only a drain keeps streams whole.
    let engine = "--profile DIR/slow.json --start-s 0.5 --max-num-seqs 256 --abort-on-sigterm".to_owned();
    let model = Model { min: 2, max: 6, per_replica: 1_000, engine, ..Model::new("long") };
    let rig = Rig::up(&manifests(std::slice::from_ref(&model)), &[]);
    rig.until_ready("default/long", 2).await;

    let options = Options::to(&rig.gateway).unwrap();
    let mut mix = Mix::of("long");
    mix.stream_share = 1.0;
    mix.output_tokens = Tokens::fixed(STREAM_TOKENS);
    let plan = Plan::parse("0s:20rps 10s:20rps").unwrap();
    let schedule = Schedule::from_plan(plan, Arrivals::Uniform, 3, mix).limited(200);
    let mut nothing = ();
    let load = tidegate_load::run(options, schedule, &mut nothing);
    // The minimum is edited every few seconds, so that replicas come and go all the while.
    let changes = async {
        let mut every = tokio::time::interval(Duration::from_secs(4));
        // After a stall two edits at once would be one.
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for round in 0.. {
            every.tick().await;
            let min = if round % 2 == 0 { 5 } else { 2 };
            rig.edit(&manifests(&[Model { min, max: 6, ..model.clone() }]));
        }
    };
    let report = tokio::select! {
        report = load => serde_json::to_value(report.unwrap()).unwrap(),
        () = changes => unreachable!("the changes never end"),
    };
    assert_eq!((&report["requests"], &report["ok"]), (&200.into(), &200.into()), "{report:#}");
    assert_eq!(report["tokens"]["output"], u64::from(STREAM_TOKENS) * 200, "{report:#}");
    assert_eq!(report["tokens"]["asked_differs"], 0, "{report:#}");
    let fleet = rig.fleet().await;
    let changes = of(&fleet, "default/long")["decisions"].as_array().unwrap().len();
    assert!(changes >= 8, "the fleet moved {changes} times only");
}

#[tokio::test]
async fn the_replica_with_the_least_left_to_do_leaves_first() {
    let engine = "--profile DIR/slow.json --start-s 0.2".to_owned();
    let model = Model { min: 2, max: 2, engine, ..Model::new("pair") };
    let rig = Rig::up(&manifests(std::slice::from_ref(&model)), &[]);
    rig.until_ready("default/pair", 2).await;
    // Five minutes of tokens: longer than anything here waits.
    let long = rig.chat("pair", 3_000, true);
    let busy = async {
        let fleet = rig
            .until("one busy", |fleet| {
                let replicas = of(fleet, "default/pair")["replicas"].as_array().unwrap();
                replicas.iter().any(|replica| replica["in_flight"] == 1)
            })
            .await;
        let replicas = of(&fleet, "default/pair")["replicas"].as_array().unwrap().clone();
        let busy = replicas.iter().find(|replica| replica["in_flight"] == 1).unwrap()["id"].clone();
        rig.edit(&manifests(&[Model { min: 1, max: 1, ..model.clone() }]));
        let fleet = rig.until_ready("default/pair", 1).await;
        let left: Vec<Value> = of(&fleet, "default/pair")["replicas"].as_array().unwrap().clone();
        assert!(left.iter().all(|replica| replica["id"] == busy), "{busy} was to stay: {left:?}");
    };
    tokio::select! {
        answer = long => panic!("it ended while its replica was to be busy: {answer:?}"),
        () = busy => {}
    }
}
