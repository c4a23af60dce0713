//! What cannot be seen, or only by `/scale`: nothing is scaled for lack of sight, and the object says what lacks.

use http::Method;
use serde_json::{Value, json};

use super::rig::{Operator, Prometheus, decisions, deployment, pod, scaled_object, until};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_counts_no_ready_replicas_has_those_of_its_pods() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(5.0).await);
    server.put("engines", engine(2));
    server.put("pods", pod("llama", "llama-a"));
    let mut unready = pod("llama", "llama-b");
    unready["status"]["conditions"][2]["status"] = json!("False");
    server.put("pods", unready);
    let mut object = asking(&prometheus);
    object["spec"]["triggers"][0]["metricType"] = json!("Value");
    server.put("scaledobjects", object);
    let operator = Operator::start(&server, false).await;
    let ready = || operator.told.latest(|decision| decision.replicas);
    until("it is decided", || ready().is_some()).await;
    prometheus.set(Some(20.0));
    // Four times too much for the one that is ready; with none ready, nothing would be asked for.
    until("four", || counts(&server) == [4]).await;
    server.put("pods", pod("llama", "llama-b"));
    until("twice as many once the other is", || counts(&server).last() == Some(&8)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_may_not_be_read_is_not_said_to_be_missing() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(10.0).await);
    server.refuse(Method::GET, "/engines", Some(403));
    server.put("engines", engine(2));
    server.put("scaledobjects", asking(&prometheus));
    let operator = Operator::start(&server, false).await;
    let ready = || ready(&server);
    until("the object says which right is missing", || {
        ready().contains("tests.tidegate.dev/v1.Engine prod/llama: may not be read (403)")
            && ready().ends_with("add it to operator.scales")
    })
    .await;
    server.refuse(Method::GET, "/engines", None);
    until("it is decided once it may", || operator.told.decisions() > 0).await;
    until("the object says so", || !ready().contains("403")).await;
    server.delete("engines", "prod", "llama");
    until("what is not there is missing", || ready().contains("there is no tests.tidegate.dev/v1.Engine"))
        .await;
    operator.stop().await;
}

/// What the object says of itself under Ready.
fn ready(server: &Server) -> String {
    let object = server.get("scaledobjects", "prod", "llama").unwrap();
    let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = all.iter().find(|one| one["type"] == "Ready");
    ready.and_then(|one| one["message"].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_secret_may_not_be_read_says_so_until_it_may() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(12.0).await);
    server.refuse(Method::GET, "/secrets", Some(403));
    server.put("deployments", deployment("llama", 0));
    let mut object = scaled_object("llama", &prometheus, json!({}));
    object["spec"]["triggers"][0]["authenticationRef"] = json!({"name": "login"});
    object["spec"]["triggers"][0]["metadata"]["authModes"] = json!("bearer");
    server.put("scaledobjects", object);
    let reference = json!([{"parameter": "bearerToken", "name": "login", "key": "token"}]);
    server.put(
        "triggerauthentications",
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"namespace": "prod", "name": "login"}, "spec": {"secretTargetRef": reference},
        }),
    );
    server.put(
        "secrets",
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "prod", "name": "login"},
            "data": {"token": "c2VjcmV0"},
        }),
    );
    let operator = Operator::start(&server, false).await;
    until("it says what it cannot read", || {
        ready(&server).starts_with("cannot read Secret prod/login: may not be")
    })
    .await;
    assert_eq!((operator.told.decisions(), server.replicas("llama")), (0, 0));
    server.refuse(Method::GET, "/secrets", None);
    until("three replicas", || server.replicas("llama") == 3).await;
    until("it says no more of it", || !ready(&server).contains("cannot read")).await;
    operator.stop().await;
}
