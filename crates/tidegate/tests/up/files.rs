//! Files that are edited while it runs, and fleets that cannot run.

use crate::fleet::{Model, manifests};
use crate::rig::{Rig, of};

#[tokio::test]
async fn a_good_edit_is_applied_and_a_bad_one_is_refused_whole() {
    let model = Model { min: 1, ..Model::new("tide") };
    let rig = Rig::up(&manifests(std::slice::from_ref(&model)), &[]);
    rig.until_ready("default/tide", 1).await;
    rig.edit(&manifests(&[Model { min: 2, ..model.clone() }, Model::new("ebb")]));
    rig.until_ready("default/tide", 2).await;
    rig.until("ebb is there", |fleet| of(fleet, "default/ebb")["wanted"] == 0).await;
    assert_eq!(rig.chat("ebb", 2, false).await.status, 200);

    let bad = manifests(&[Model { min: 3, ..model.clone() }])
        .replace("cooldownPeriod: 300", "cooldownPeriod: soon");
    rig.edit(&bad);
    let fleet = rig
        .until("the edit is refused", |fleet| {
            fleet["notes"].as_array().unwrap().iter().any(|note| {
                note["severity"] == "error" && note["text"].as_str().unwrap().contains("cooldownPeriod")
            })
        })
        .await;
    assert_eq!(of(&fleet, "default/tide")["wanted"], 2, "the old files stay in force");
    assert_eq!(rig.chat("tide", 2, false).await.status, 200);

    rig.edit(&manifests(&[model]));
    rig.until("ebb is gone", |fleet| of(fleet, "default/ebb").is_null()).await;
    assert_eq!(rig.chat("ebb", 2, false).await.status, 404);
}

#[tokio::test]
async fn a_target_that_cannot_run_says_why() {
    let missing = manifests(&[Model { min: 1, ..Model::new("missing") }])
        .replace("tidegate engine", "no-such-engine-anywhere serve");
    let crashing = manifests(&[Model { min: 1, ..Model::new("crashing") }])
        .replace("tidegate engine", "sh -c 'echo the weights are gone >&2; exit 3' engine");
    let starved = manifests(&[Model { min: 1, gpus: 3, ..Model::new("starved") }]);
    let rig = Rig::up(&format!("{missing}{crashing}{starved}"), &["--gpus", "2"]);
    let fleet = rig
        .until("all say why", |fleet| {
            let says =
                |target, text| of(fleet, target)["trouble"].as_str().unwrap_or_default().contains(text);
            says("default/missing", "no-such-engine-anywhere")
                && says("default/crashing", "3")
                && says("default/starved", "3 GPUs")
        })
        .await;
    let lines = of(&fleet, "default/crashing")["replicas"][0]["last_lines"].to_string();
    assert!(lines.contains("the weights are gone"), "{fleet:#}");
    let metrics = rig.get(&format!("{}/metrics", rig.admin)).await.body;
    assert!(metrics.contains("tidegate_target_trouble{target=\"default/starved\"} 1"), "{metrics}");
    let why = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["why", "default/starved", "--admin-addr", rig.admin.trim_start_matches("http://")])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(told.contains("3 GPUs"), "{told}\n{}", String::from_utf8_lossy(&why.stderr));
}

#[test]
fn a_second_one_in_the_same_directory_is_refused() {
    let rig = Rig::up(&manifests(&[Model::new("tide")]), &[]);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["up", "--gateway-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "-f"])
        .arg(rig.directory.path().join("fleet.yaml"))
        .arg("--state-dir")
        .arg(rig.state_dir())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another tidegate runs"));
}
