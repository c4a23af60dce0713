//! Replicas that die, and Tidegate that dies.

use std::sync::Arc;
use std::time::Duration;

use tidegate_load::schedule::Arrivals;
use tidegate_load::{Mix, Options, Plan, Schedule};

use crate::fleet::{Model, manifests};
use crate::rig::{Rig, of, processes, signal};

#[tokio::test]
async fn after_a_kill_no_orphan_is_left_the_replicas_are_back_and_the_journal_replays() {
    let model =
        Model { min: 2, engine: "--profile instant --start-s 0.1".to_owned(), ..Model::new("orphan-test") };
    let mut rig = Rig::up(&manifests(&[model]), &[]);
    rig.until_ready("default/orphan-test", 2).await;
    assert_eq!(rig.chat("orphan-test", 4, false).await.status, 200);
    let before = engines(&rig);
    assert_eq!(before.len(), 2);
    rig.kill();
    let directory = Arc::clone(&rig.directory);
    drop(rig);
    let rig = Rig::again(directory, &[]);
    rig.until_ready("default/orphan-test", 2).await;
    let after = engines(&rig);
    assert_eq!(after.len(), 2, "{before:?} {after:?}");
    assert!(before.iter().all(|pid| !after.contains(pid)), "nothing is adopted: {before:?} {after:?}");
    assert_eq!(rig.chat("orphan-test", 4, false).await.status, 200);
    let journal = rig.state_dir().join("journal");
    let directory = Arc::clone(&rig.directory);
    rig.stop();
    let replay =
        std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("replay").arg(journal).output();
    let replay = replay.unwrap();
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    assert!(processes(&directory.path().display().to_string()).is_empty());
}

/// Engines of this rig, by the state directory in their environment.
fn engines(rig: &Rig) -> Vec<u32> {
    let state = rig.state_dir().canonicalize().unwrap().display().to_string();
    let of_rig = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let ours = String::from_utf8_lossy(&environment).contains(&state);
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        ours && String::from_utf8_lossy(&line).contains("\0engine\0")
    };
    processes("tidegate").into_iter().filter(of_rig).collect()
}

/// Kills the process of a random replica each second for `seconds` while load runs.
#[tokio::test]
async fn replicas_killed_each_second_break_only_streams_that_run_and_each_says_so() {
    const SECONDS: u64 = 120;
    let engine = "--profile h100-llama-3.1-8b --speed 4 --start-s 1 --max-num-seqs 32".to_owned();
    let model = Model { min: 4, max: 6, per_replica: 24, engine, ..Model::new("chaos") };
    let rig = Rig::up(&manifests(&[model]), &[]);
    rig.until_ready("default/chaos", 4).await;

    let options = Options::to(&rig.gateway).unwrap();
    let mut mix = Mix::of("chaos");
    mix.stream_share = 0.5;
    let plan = Plan::parse(&format!("0s:8rps {SECONDS}s:8rps")).unwrap();
    let schedule = Schedule::from_plan(plan, Arrivals::Poisson, 11, mix);
    let mut nothing = ();
    let load = tidegate_load::run(options, schedule, &mut nothing);
    let kills = async {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut killed = 0;
        for number in 0..SECONDS {
            second.tick().await;
            let fleet = rig.fleet().await;
            let replicas = of(&fleet, "default/chaos")["replicas"].as_array().unwrap().clone();
            let pids: Vec<u64> = replicas.iter().filter_map(|replica| replica["pid"].as_u64()).collect();
            if let Some(pid) = pids.get(number as usize * 7919 % pids.len().max(1)) {
                signal(u32::try_from(*pid).unwrap(), "KILL");
                killed += 1;
            }
        }
        killed
    };
    let (report, killed) = tokio::join!(load, kills);
    let report = serde_json::to_value(report.unwrap()).unwrap();
    let of_report = |name: &str| report[name].as_u64().unwrap();
    assert!(killed > SECONDS / 2, "{killed} kills");
    assert!(of_report("requests") > 4 * SECONDS, "{report}");
    // Whoever had no byte yet was answered by another replica; whoever had was told so in the stream.
    let told = report["errors"]["error event"].as_u64().unwrap_or(0);
    assert_eq!(told, of_report("failed"), "{report}");
    rig.until("healed", |fleet| of(fleet, "default/chaos")["ready"].as_u64() >= Some(4)).await;
    let answer = rig.chat("chaos", 4, false).await;
    assert_eq!(answer.status, 200);
}
