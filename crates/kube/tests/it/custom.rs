//! Kinds that only their `/scale` says the numbers of.

use http::Method;
use serde_json::{Value, json};

use super::rig::{Operator, Prometheus, decisions, scaled_object, until};
use super::server::Server;

/// One with so many replicas, and pods of its name.
fn engine(size: u32) -> Value {
    json!({
        "apiVersion": "tests.tidegate.dev/v1", "kind": "Engine",
        "metadata": {"namespace": "prod", "name": "llama"},
        "spec": {"size": size}, "status": {"size": size, "selector": "app=llama"},
    })
}

fn asking(prometheus: &Prometheus) -> Value {
    let target = json!({"name": "llama", "kind": "Engine", "apiVersion": "tests.tidegate.dev/v1"});
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    scaled_object(
        "llama",
        prometheus,
        json!({
            "scaleTargetRef": target,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
        }),
    )
}

fn counts(server: &Server) -> Vec<i64> {
    server.scaled().iter().map(|written| written.body["spec"]["replicas"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_scale_cannot_be_read_the_count_that_was_known_stays() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(40.0).await);
    server.put("engines", engine(8));
    server.put("scaledobjects", asking(&prometheus));
    let operator = Operator::start(&server, false).await;
    decisions(&operator, 3).await;
    assert_eq!(counts(&server), Vec::<i64>::new(), "forty at five a replica are the eight that are there");
    server.refuse(Method::GET, "/engines/llama/scale", Some(429));
    // Its controller writes something; who reads the object alone finds no replicas in it.
    server.edit("engines", "prod", "llama", |engine| engine["status"]["phase"] = json!("Serving"));
    until("it says that it cannot see", || operator.told.says("cannot see Engine: its /scale")).await;
    decisions(&operator, 3).await;
    assert_eq!(counts(&server), Vec::<i64>::new());
    server.edit("engines", "prod", "llama", |engine| engine["spec"]["size"] = json!(9));
    server.refuse(Method::GET, "/engines/llama/scale", None);
    until("nine are seen, and eight asked for", || counts(&server) == [8]).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_scale_was_read_once_nothing_is_decided() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(10.0).await);
    server.refuse(Method::GET, "/engines/llama/scale", Some(503));
    server.put("engines", engine(8));
    server.put("scaledobjects", asking(&prometheus));
    let operator = Operator::start(&server, false).await;
    until("it says that it cannot see", || operator.told.says("cannot see Engine: its /scale")).await;
    assert_eq!(operator.told.decisions(), 0);
    server.refuse(Method::GET, "/engines/llama/scale", None);
    until("of eight, ten at five a replica want two", || counts(&server) == [2]).await;
    operator.stop().await;
}
