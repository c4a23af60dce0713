//! `tidegate doctor` at a real `tidegate up`.

use std::convert::Infallible;
use std::process::{Command, Output};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::fleet::{Model, manifests};
use crate::rig::{Rig, of};

fn doctor(rig: &Rig, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["doctor", "--admin-addr", rig.admin.trim_start_matches("http://")])
        .args(more)
        .output()
        .unwrap()
}

fn codes(report: &Value) -> Vec<&str> {
    report["live"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_fleet_that_is_well_has_no_error_and_one_that_is_not_is_told_with_its_fix() {
    let well = Model { min: 1, ..Model::new("tide") };
    let rig = Rig::up(&manifests(std::slice::from_ref(&well)), &["--gpus", "1"]);
    rig.until_ready("default/tide", 1).await;
    let output = doctor(&rig, &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("0 errors"), "{text}");

    let crashing = manifests(&[Model { min: 1, ..Model::new("crashing") }])
        .replace("tidegate engine", "sh -c 'echo the weights are gone >&2; exit 3' engine");
    let starved = manifests(&[Model { min: 1, gpus: 3, ..Model::new("starved") }]);
    rig.edit(&format!("{}{crashing}{starved}", manifests(&[well])));
    rig.until("a second crash", |fleet| {
        of(fleet, "default/crashing")["replicas"][0]["restarts"].as_u64() >= Some(1)
            && of(fleet, "default/starved")["trouble"].is_string()
    })
    .await;
    rig.edit("kind: Deployment\n  bad: [");
    rig.until("the edit is refused", |fleet| fleet["notes"].to_string().contains("refused")).await;
    let output = doctor(&rig, &["--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(codes(&report), ["TD101", "TD101", "TD401"], "{report:#}");
    let starved = &report["live"][1];
    assert_eq!(starved["subject"], "default/starved");
    assert!(starved["message"].as_str().unwrap().contains("3 GPUs"), "{starved:#}");
    assert!(starved["fix"].as_str().unwrap().contains("tidegate why default/starved"), "{starved:#}");
}

#[tokio::test]
async fn what_a_dcgm_exporter_says_of_the_gpus_is_shown_and_decides_nothing() {
    const PAGE: &str = include_str!("../../../metrics/tests/data/expositions/dcgm-4.txt");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let exporter = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let page = service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(PAGE)))));
            let mut server = http1::Builder::new();
            let _ = server.keep_alive(false).serve_connection(TokioIo::new(socket), page).await;
        }
    });
    let well = manifests(&[Model { min: 1, ..Model::new("tide") }]);
    let rig = Rig::up(&well, &["--gpus", "2", "--dcgm-exporter", &url]);
    let gpu = |fleet: &Value, index: usize| fleet["gpus"][index].clone();
    rig.until("the exporter is read", |fleet| gpu(fleet, 1)["last_xid"] == 79).await;
    rig.until_ready("default/tide", 1).await;
    rig.until("both are shown", |fleet| {
        let (first, second) = (gpu(fleet, 0), gpu(fleet, 1));
        first["active"] == 0.875
            && first["used_mib"] == 70_000
            && first["memory_mib"] == 80_000
            && first["last_xid"].is_null()
            && second["active"] == 0.0
            && of(fleet, "default/tide")["wanted"] == 1
    })
    .await;
    let report: Value = serde_json::from_slice(&doctor(&rig, &["--format", "json"]).stdout).unwrap();
    assert!(codes(&report).contains(&"TD306"), "{report:#}");
    exporter.abort();
    let _ = exporter.await;
    rig.until("what is old is forgotten", |fleet| {
        gpu(fleet, 0)["active"].is_null()
            && fleet["notes"].to_string().contains("nothing is known of the GPUs")
    })
    .await;
}

#[test]
fn where_nobody_answers_it_says_how_to_start_and_its_rules_are_listed_all_the_same() {
    let nobody = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["doctor", "--admin-addr", "127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("tidegate up -f FILE"));
    let rules = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["doctor", "--rules"]).output().unwrap();
    assert!(String::from_utf8_lossy(&rules.stdout).contains("TD204  warning  signal-not-moving"));
}
