//! The demo, and a quarter of an hour of a real trace played at it.

use std::process::Command;

use serde_json::Value;
use tidegate_load::{Mix, Options, Schedule};

use crate::rig::{Rig, of};

#[tokio::test]
async fn the_demo_runs_three_models_under_load_without_a_failure() {
    let rig = Rig::demo(&[]);
    rig.until("steady serves", |fleet| of(fleet, "demo/steady")["ready"].as_u64() >= Some(1)).await;
    rig.until("all three were asked", |fleet| {
        ["demo/steady", "demo/swift", "demo/grand"].iter().all(|target| {
            of(fleet, target)["cold_starts"].as_u64() >= Some(u64::from(*target != "demo/steady"))
        })
    })
    .await;
    rig.until("each replica of the large one holds two GPUs", |fleet| {
        let replicas = of(fleet, "demo/grand")["replicas"].as_array().unwrap();
        // One more may wait for GPUs that the others have; it holds none.
        let mut placed = replicas.iter().filter(|replica| replica["state"] != "pending").peekable();
        let two = |replica: &Value| replica["gpus"].as_array().is_some_and(|gpus| gpus.len() == 2);
        placed.peek().is_some() && placed.all(two)
    })
    .await;
    let page = rig.get(&format!("{}/", rig.admin)).await;
    assert!(page.body.contains("steady") && page.body.contains("swift"), "{}", page.body);
}

/// The first quarter of an hour of the Azure conversation trace of 2023, five times as fast, at the demo's
/// fleet with engines that are five times as fast.
#[tokio::test]
async fn a_quarter_of_an_hour_of_a_real_trace_is_held_scaled_and_answered_without_an_error() {
    const SPEED: f64 = 5.0;
    let rig = Rig::demo(&["--no-load", "--demo-speed", "5"]);
    let mut mix = Mix::of("steady");
    mix.models.add("grand", 0.15);
    mix.models.add("swift", 0.15);
    let trace = tidegate_sim::trace::demo_trace().unwrap();
    let schedule = Schedule::from_trace(trace, SPEED, 7, mix).unwrap();
    let report = tidegate_load::run(Options::to(&rig.gateway).unwrap(), schedule, &mut ()).await.unwrap();
    let report = serde_json::to_value(report).unwrap();
    assert!(report["requests"].as_u64() > Some(4_000), "{report:#}");
    assert_eq!((&report["failed"], &report["tokens"]["asked_differs"]), (&0.into(), &0.into()), "{report:#}");
    let fleet = rig.fleet().await;
    for target in ["demo/swift", "demo/steady", "demo/grand"] {
        let decisions = of(&fleet, target)["decisions"].as_array().unwrap();
        assert!(!decisions.is_empty(), "{target} never moved");
    }
    let journal = rig.state_dir().join("journal");
    let directory = rig.directory.clone();
    let (well, talk) = rig.stop();
    assert!(well, "{talk}");
    let replay = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("replay").arg(journal).output().unwrap();
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    drop(directory);
}
