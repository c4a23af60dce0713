//! Load, cold start, scale-up, drain, back to zero: not a request lost.

use std::io::Write;
use std::time::SystemTime;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::Value;

use super::stage::{Stage, whole};

#[tokio::test(flavor = "multi_thread")]
async fn from_zero_under_load_and_back_to_zero_not_a_request_is_lost() {
    let Some(stage) = Stage::set("the gateway on a cluster", 2).await else { return };
    assert_eq!(stage.replicas().await, 0);
    // At zero: held, a pod is started, and both gateways' clients are answered.
    let asked = SystemTime::now();
    let answers = join_all((0..12).map(|number| stage.chat(4, number % 2 == 0))).await;
    for (number, answer) in answers.iter().enumerate() {
        assert!(whole(answer, number % 2 == 0), "request {number}: {answer:?}\n{}", stage.talk());
    }
    assert!(stage.replicas().await >= 1);
    say_how_long(&stage, asked);
    // More at once than one replica is meant to have: summed over both gateways there are twelve for four each.
    let load = async {
        let mut all = Vec::new();
        for _ in 0..6 {
            all.extend(join_all((0..12).map(|number| stage.chat(100, number % 2 == 0))).await);
        }
        all
    };
    let (answers, most) = tokio::join!(load, stage.until_replicas(|count| count >= 2));
    for (number, answer) in answers.iter().enumerate() {
        assert!(whole(answer, number % 2 == 0), "request {number}: {answer:?}\n{}", stage.talk());
    }
    assert!(most >= 2);
    // Pods leave while requests go on trickling in, one at a time, until the last but one has left.
    stage
        .until("all but one leave", async || {
            let answer = stage.chat(2, true).await;
            assert!(whole(&answer, true), "{answer:?}\n{}", stage.talk());
            (stage.replicas().await <= 1).then_some(())
        })
        .await;
    stage.until_replicas(|count| count == 0).await;
    stage
        .until("nothing is left", async || stage.kubelet.engines.lock().unwrap().is_empty().then_some(()))
        .await;
    // And once more from nothing.
    let answer = stage.chat(2, false).await;
    assert!(whole(&answer, false), "{answer:?}\n{}", stage.talk());
    by_its_work(&stage).await;
    assert_eq!(super::account::refused(&stage.cluster), Vec::<String>::new());
}

/// The same target by policy `slo`: what both gateways and the engines count becomes work, and work replicas.
async fn by_its_work(stage: &Stage) {
    let slo = ["-n", "prod", "annotate", "scaledobject", "llama", "tidegate.dev/policy=slo"];
    stage.cluster.succeed(&slo, "").await.unwrap();
    let why = stage.until("why speaks of work, and of more replicas", async || {
        let why = why(stage).await;
        let terms = ["requests a second of", "a replica takes", "replicas busy now"];
        (terms.iter().all(|term| why.contains(term)) && stage.replicas().await >= 2).then_some(why)
    });
    let why = tokio::select! {
        why = why => why,
        () = forty_a_second(stage) => unreachable!("the load has no end"),
    };
    assert!(why.contains("slo"), "{why}");
    // The gateways ask the same pods themselves.
    for (_, _, admin) in &stage.gateways {
        stage
            .until("a gateway knows an engine's cache", async || {
                let fleet = stage.text(&format!("{admin}/api/fleet")).await?;
                let fleet: Value = serde_json::from_str(&fleet).ok()?;
                let replicas = fleet["targets"][0]["replicas"].as_array()?.clone();
                replicas.iter().any(|one| one["kv_use"].is_number()).then_some(())
            })
            .await;
    }
}

/// Requests of 100 tokens, two replicas' work, whoever is answered.
async fn forty_a_second(stage: &Stage) {
    let mut asked = futures_util::stream::FuturesUnordered::new();
    let mut turn = tokio::time::interval(std::time::Duration::from_millis(25));
    loop {
        tokio::select! {
            _ = turn.tick() => asked.push(stage.chat(100, true)),
            Some(_) = asked.next() => {}
        }
    }
}

/// What `tidegate why` prints of the target.
async fn why(stage: &Stage) -> String {
    let admin = stage.board.trim_start_matches("http://").trim_end_matches('/');
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.args(["why", "prod/llama", "--admin-addr", admin]).output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Prints how long after the first request the API server got the count: a figure, and no judgement.
fn say_how_long(stage: &Stage, asked: SystemTime) {
    let Some(log) = stage.cluster.audit_log() else { return };
    let log = std::fs::read_to_string(log).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut scaled = lines.filter(|line| line["objectRef"]["subresource"] == "scale");
    let at =
        scaled.find_map(|line| line["requestReceivedTimestamp"].as_str()?.parse::<jiff::Timestamp>().ok());
    let Some(at) = at else { return };
    let after = SystemTime::from(at).duration_since(asked).unwrap_or_default();
    let told = format!("request at zero to /scale at the API server: {} ms\n", after.as_millis());
    std::io::stderr().write_all(told.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn routing_goes_on_without_operator_and_api_server() {
    let Some(mut stage) = Stage::set("a gateway on its own", 1).await else { return };
    assert!(whole(&stage.chat(2, false).await, false));
    stage.operator.as_mut().expect("an operator").kill();
    stage.cluster.kill_apiserver().await.unwrap();
    for _ in 0..20 {
        let answer = stage.chat(2, true).await;
        assert!(whole(&answer, true), "{answer:?}\n{}", stage.talk());
    }
    stage.cluster.start_apiserver().await.unwrap();
    stage.operate();
    // Nobody asks for anything any more: the new operator knows it, and takes the pod away.
    stage.until_replicas(|count| count == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_gateway_said_last_counts_and_is_no_zero() {
    let Some(stage) = Stage::set("a silent gateway", 2).await else { return };
    assert!(whole(&stage.chat_at(0, 2, false).await, false));
    // One gateway has a long stream, falls silent, and its stream goes on at the engine.
    let long = async {
        let answer = stage.chat_at(0, 30_000, true);
        tokio::select! {
            answer = answer => panic!("it ended: {answer:?}"),
            () = quiet(&stage) => {}
        }
    };
    long.await;
}

/// The gateway with the stream is held still; the replica stays for longer than the cooldown.
async fn quiet(stage: &Stage) {
    let operator = stage.operator.as_ref().expect("an operator");
    stage
        .until("the operator knows of the stream", async || {
            let metrics = stage.text(&format!("{}/metrics", stage.board)).await?;
            let value = metrics.lines().find(|line| line.starts_with("keda_scaler_metrics_value{"))?;
            value.ends_with(" 1").then_some(())
        })
        .await;
    stage.gateways[0].0.pause(true);
    stage
        .until("the operator notices", async || operator.talk().contains("fallen silent").then_some(()))
        .await;
    for _ in 0..40 {
        assert_eq!(stage.replicas().await, 1, "{}", stage.talk());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    stage.gateways[0].0.pause(false);
}
