//! What is written on objects, and who it is said to be from.

use serde_json::{Value, json};

use super::rig::{Operator, Prometheus, condition, decisions, deployment, scaled_object, until};
use super::server::Server;

const OURS: &str = "finalizer.keda.sh";

/// A Deployment of one with its ScaledObject, and what is put on that before an operator sees it.
async fn rig(value: f64, edit: impl FnOnce(&mut Value)) -> (Server, Prometheus) {
    let (server, prometheus) = (Server::start().await, Prometheus::start(value).await);
    server.put("deployments", deployment("llama", 1));
    let mut object = scaled_object("llama", &prometheus, json!({}));
    edit(&mut object);
    server.put("scaledobjects", object);
    (server, prometheus)
}

fn object(server: &Server) -> Value {
    server.get("scaledobjects", "prod", "llama").expect("it is there")
}

fn owners(server: &Server, field: &[&str]) -> Vec<String> {
    server.owners("scaledobjects", "prod", "llama", field)
}

fn is(server: &Server, type_: &str, status: &str) -> bool {
    condition(&object(server), type_).is_some_and(|(is, _)| is == status)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ours_is_applied_under_our_name_and_what_is_others_stays_theirs() {
    let (server, _prometheus) = rig(12.0, |object| {
        object["metadata"]["finalizers"] = json!(["example.com/theirs"]);
        object["metadata"]["labels"] = json!({"team": "search"});
        object["status"] = json!({"conditions": [
            {"type": "Mine", "status": "True", "reason": "Because", "message": ""},
        ]});
    })
    .await;
    let operator = Operator::start(&server, false).await;
    until("three replicas", || server.replicas("llama") == 3).await;
    until("it is active", || is(&server, "Active", "True")).await;
    let object = object(&server);
    assert_eq!(object["metadata"]["finalizers"], json!(["example.com/theirs", OURS]));
    assert_eq!(object["metadata"]["labels"]["team"], "search");
    assert!(condition(&object, "Mine").is_some(), "{object}");
    assert_eq!(owners(&server, &["metadata", "finalizers", OURS]), ["tidegate Apply"]);
    assert_eq!(owners(&server, &["metadata", "finalizers", "example.com/theirs"]), ["somebody Update"]);
    assert_eq!(owners(&server, &["metadata", "labels", "scaledobject.keda.sh/name"]), ["tidegate Apply"]);
    assert_eq!(owners(&server, &["status", "conditions"]), ["tidegate Apply"]);
    assert_eq!(
        server.owners("deployments", "prod", "llama", &["spec", "replicas"]),
        ["tidegate Apply"],
        "the count was somebody's, and is ours with force"
    );
    operator.stop().await;
    let page = server.owners("configmaps", "tidegate", "tidegate-operator-00", &["data", "state.json"]);
    assert_eq!(page, ["tidegate Apply"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_somebody_adds_while_ours_are_under_way_stays() {
    let (server, prometheus) = rig(12.0, |_| {}).await;
    let operator = Operator::start(&server, false).await;
    until("it is active", || is(&server, "Active", "True")).await;
    decisions(&operator, 3).await;
    server.stall(true);
    let before = server.written().len();
    prometheus.set(None);
    until("the query fails", || operator.told.read("Error")).await;
    decisions(&operator, 3).await;
    server.edit("scaledobjects", "prod", "llama", |object| {
        let conditions = object["status"]["conditions"].as_array_mut().unwrap();
        conditions.push(json!({"type": "Mine", "status": "True", "reason": "Meanwhile", "message": ""}));
    });
    server.stall(false);
    until("ours are there", || is(&server, "Ready", "False")).await;
    assert!(is(&server, "Mine", "True"), "{}", object(&server));
    let written = server.written();
    let conflict = |code: u16| {
        let all = written[before..].iter();
        all.filter(|one| one.path.ends_with("/llama/status") && one.code == code).count()
    };
    assert!(conflict(409) >= 1, "it was made of the version before: {written:#?}");
    assert_eq!(conflict(200), 1, "and once anew");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keda_left_of_a_status_that_means_nothing_any_more_goes() {
    let (server, _prometheus) = rig(3.0, |object| {
        object["status"] = json!({
            "pausedReplicaCount": 4, "originalReplicaCount": 9,
            "triggersActivity": {"s0-prometheus": {"isActive": false}, "s1-cron": {"isActive": true}},
        });
    })
    .await;
    let operator = Operator::start(&server, false).await;
    until("nothing is paused", || object(&server)["status"].get("pausedReplicaCount").is_none()).await;
    until("it is active", || is(&server, "Active", "True")).await;
    let activity = json!({"s0-prometheus": {"isActive": true}});
    until("the trigger is active", || object(&server)["status"]["triggersActivity"] == activity).await;
    assert_eq!(object(&server)["status"]["originalReplicaCount"], 9);
    decisions(&operator, 2).await;
    let writes = server.written().len();
    decisions(&operator, 4).await;
    assert_eq!(server.written().len(), writes, "nothing is written while nothing changes");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_refused_says_that_its_activity_is_not_known() {
    let (server, _prometheus) = rig(3.0, |_| {}).await;
    server.delete("deployments", "prod", "llama");
    let operator = Operator::start(&server, false).await;
    until("it is not ready", || is(&server, "Ready", "False")).await;
    let unknown = Some(("Unknown".to_owned(), "UnknownState".to_owned()));
    assert_eq!(condition(&object(&server), "Active"), unknown);
    operator.stop().await;
}

/// A ScaledJob whose work is done when `prometheus` says zero.
fn scaled_job(prometheus: &Prometheus) -> Value {
    let metadata = json!({"serverAddress": prometheus.url, "query": "sum(waiting)", "threshold": "5"});
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "w", "image": "x"}]}});
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
        "metadata": {"namespace": "prod", "name": "batch", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"jobTargetRef": {"template": pod}, "pollingInterval": 1, "maxReplicaCount": 1,
                 "triggers": [{"type": "prometheus", "metadata": metadata}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scaled_job_says_whether_there_is_work_when_there_last_was_and_that_it_is_paused() {
    let (server, prometheus) = (Server::start().await, Prometheus::start(5.0).await);
    server.put("scaledjobs", scaled_job(&prometheus));
    let operator = Operator::start(&server, false).await;
    let job = || server.get("scaledjobs", "prod", "batch").unwrap();
    let active = |status: &str| condition(&job(), "Active").is_some_and(|(is, _)| is == status);
    until("there is work", || active("True")).await;
    assert_eq!(job()["status"].get("lastActiveTime"), None, "it still is");
    prometheus.set(Some(0.0));
    until("there is none", || active("False")).await;
    until("when there was", || job()["status"].get("lastActiveTime").is_some()).await;
    assert_eq!(job()["status"]["Paused"], "false");
    server.edit("scaledjobs", "prod", "batch", |job| {
        job["metadata"]["annotations"] = json!({"autoscaling.keda.sh/paused": "true"});
    });
    until("it is paused", || job()["status"]["Paused"] == "true").await;
    assert_eq!(condition(&job(), "Paused").unwrap().0, "True");
    operator.stop().await;
}

/// The Events about an object, oldest first: their reasons.
fn reasons(server: &Server, name: &str) -> Vec<String> {
    let mut events = server.all("events");
    events.retain(|event| event["involvedObject"]["name"] == name);
    events.sort_by_key(|event| event["metadata"]["name"].as_str().unwrap().to_owned());
    events.iter().map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
}

fn has(server: &Server, name: &str, reason: &str) -> bool {
    reasons(server, name).iter().any(|one| one == reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_an_objects_life_in_kedas_words_and_not_twice() {
    let (server, prometheus) = rig(12.0, |_| {}).await;
    let operator = Operator::start(&server, false).await;
    for reason in ["KEDAScalersStarted", "ScaledObjectReady"] {
        until(reason, || has(&server, "llama", reason)).await;
    }
    prometheus.set(None);
    until("the query fails", || has(&server, "llama", "KEDAMetricSourceFailed")).await;
    prometheus.set(Some(12.0));
    until("it is read again", || is(&server, "Ready", "True")).await;
    decisions(&operator, 2).await;
    operator.stop().await;
    let before = reasons(&server, "llama");
    let again = Operator::start(&server, false).await;
    decisions(&again, 5).await;
    assert_eq!(reasons(&server, "llama"), before, "whoever comes after does not tell it again");
    server.delete("scaledobjects", "prod", "llama");
    for reason in ["KEDAScalersStopped", "ScaledObjectDeleted"] {
        until(reason, || has(&server, "llama", reason)).await;
    }
    until("it is gone", || server.get("scaledobjects", "prod", "llama").is_none()).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_triggers_cannot_be_read_says_so_in_an_event() {
    let (server, _prometheus) = rig(12.0, |object| {
        object["spec"]["triggers"] =
            json!([{"type": "prometheus", "metadata": {"query": "x", "threshold": "5"}}]);
    })
    .await;
    let operator = Operator::start(&server, false).await;
    for reason in ["ScaledObjectCheckFailed", "KEDAScalerFailed"] {
        until(reason, || has(&server, "llama", reason)).await;
    }
    assert!(!has(&server, "llama", "KEDAScalersStarted"));
    operator.stop().await;
}

/// An authentication of a kind, with a password of nobody's.
fn authentication(kind: &str) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": kind, "metadata": {"namespace": "prod", "name": "login"},
        "spec": {"env": [{"parameter": "password", "name": "PASSWORD"}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn authentications_say_who_uses_them_and_that_they_come_and_go() {
    let (server, _prometheus) = rig(12.0, |object| {
        object["spec"]["triggers"][0]["authenticationRef"] = json!({"name": "login"});
    })
    .await;
    server.put("triggerauthentications", authentication("TriggerAuthentication"));
    let operator = Operator::start(&server, false).await;
    let login = || server.get("triggerauthentications", "prod", "login").unwrap();
    until("it is used", || login()["status"]["scaledobjects"] == "llama").await;
    assert!(!has(&server, "login", "TriggerAuthenticationAdded"), "it was there before");
    let users = server.owners("triggerauthentications", "prod", "login", &["status", "scaledobjects"]);
    assert_eq!(users, ["tidegate Apply"]);
    server.edit("scaledobjects", "prod", "llama", |object| {
        object["spec"]["triggers"][0].as_object_mut().unwrap().remove("authenticationRef");
    });
    until("it is not", || login()["status"].get("scaledobjects").is_none()).await;
    let mut other = authentication("TriggerAuthentication");
    other["metadata"]["name"] = json!("other");
    server.put("triggerauthentications", other);
    until("it came", || has(&server, "other", "TriggerAuthenticationAdded")).await;
    server.delete("triggerauthentications", "prod", "other");
    until("it went", || has(&server, "other", "TriggerAuthenticationDeleted")).await;
    operator.stop().await;
}
