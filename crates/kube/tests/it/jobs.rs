//! ScaledJobs: what is made of a backlog, once, and what is said of it.

use http::Method;
use serde_json::{Value, json};

use super::link::Link;
use super::rig::{Operator, Prometheus, Setup, decisions, until};
use super::server::Server;

/// One Job for five that wait, decided each second.
pub(crate) fn scaled_job(prometheus: &Prometheus, spec: Value) -> Value {
    let metadata = json!({"serverAddress": prometheus.url, "query": "sum(waiting)", "threshold": "5"});
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "w", "image": "x"}]}});
    let mut whole = json!({
        "jobTargetRef": {"template": pod}, "pollingInterval": 1, "maxReplicaCount": 10,
        "triggers": [{"type": "prometheus", "metadata": metadata}],
    });
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
        "metadata": {"namespace": "prod", "name": "batch", "generation": 1}, "spec": whole,
    })
}

async fn one(waiting: f64, spec: Value) -> (Server, Prometheus) {
    let (server, prometheus) = (Server::start().await, Prometheus::start(waiting).await);
    server.put("scaledjobs", scaled_job(&prometheus, spec));
    (server, prometheus)
}

fn said(server: &Server, reason: &str) -> Vec<String> {
    let all = server.all("events").into_iter().filter(|event| event["reason"] == reason);
    all.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_makes_jobs_once_and_not_again() {
    let (server, _prometheus) = one(12.0, json!({})).await;
    let operator = Operator::start(&server, false).await;
    until("three jobs", || server.all("jobs").len() == 3).await;
    decisions(&operator, 5).await;
    let jobs = server.all("jobs");
    assert_eq!(jobs.len(), 3, "12 waiting at 5 a job are three, and they run");
    assert!(jobs.iter().all(|job| job["metadata"]["labels"]["scaledjob.keda.sh/name"] == "batch"));
    assert_eq!(said(&server, "KEDAJobsCreated"), ["Created 3 jobs"]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_refused_costs_a_request_a_poll_and_one_event() {
    let (server, _prometheus) = one(40.0, json!({})).await;
    server.refuse(Method::POST, "/jobs", Some(422));
    let operator = Operator::start(&server, false).await;
    until("it is said", || !said(&server, "KEDAJobCreateFailed").is_empty()).await;
    let posts = || server.written().iter().filter(|one| one.path.ends_with("/jobs")).count() as u64;
    let (asked, before) = (posts(), operator.told.decisions());
    decisions(&operator, 4).await;
    // One beside what was decided while they were counted.
    let (asked, polls) = (posts() - asked, operator.told.decisions() - before);
    assert!(asked <= polls + 1, "{asked} requests in {polls} polls, of eight jobs each");
    assert_eq!(said(&server, "KEDAJobCreateFailed").len(), 1);
    assert_eq!(said(&server, "KEDAJobsCreated"), Vec::<String>::new());
    server.refuse(Method::POST, "/jobs", None);
    until("all eight are made", || server.all("jobs").len() == 8).await;
    until("it is said what was made", || said(&server, "KEDAJobsCreated") == ["Created 8 jobs"]).await;
    decisions(&operator, 3).await;
    assert_eq!(server.all("jobs").len(), 8);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_go_in_the_background_and_outdated_ones_as_the_rollout_says() {
    let rollout = json!({"propagationPolicy": "foreground"});
    let (server, prometheus) = one(8.0, json!({"rollout": rollout, "successfulJobsHistoryLimit": 0})).await;
    let operator = Operator::start(&server, false).await;
    until("two jobs", || server.all("jobs").len() == 2).await;
    prometheus.set(Some(0.0));
    let names: Vec<String> =
        server.all("jobs").iter().map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    server.edit("jobs", "prod", &names[0], |job| {
        job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    });
    until("the finished one goes", || server.get("jobs", "prod", &names[0]).is_none()).await;
    server.edit("scaledjobs", "prod", "batch", |object| object["metadata"]["generation"] = json!(2));
    // The generation alone is nothing to read it for.
    server.edit("scaledjobs", "prod", "batch", |object| object["spec"]["maxReplicaCount"] = json!(9));
    until("the outdated one goes", || server.get("jobs", "prod", &names[1]).is_none()).await;
    until("its end is told", || said(&server, "ScaledJobRolloutCleanupCompleted").len() == 1).await;
    let told = ["ScaledJobRolloutCleanupStarted", "ScaledJobRolloutCleanupCompleted"]
        .map(|reason| said(&server, reason));
    assert_eq!(told[0], ["Ending 1 Jobs of an older version of the ScaledJob"]);
    assert_eq!(told[1], ["1 Jobs of an older version of the ScaledJob have ended"]);
    let written = server.written();
    let policy = |name: &str| {
        let found = written.iter().find(|one| one.method == Method::DELETE && one.path.ends_with(name));
        found.unwrap().body["propagationPolicy"].clone()
    };
    assert_eq!((policy(&names[0]), policy(&names[1])), (json!("Background"), json!("Foreground")));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outdated_job_that_may_not_be_ended_is_told_and_ended_once_it_may() {
    let (server, prometheus) = one(8.0, json!({})).await;
    let operator = Operator::start(&server, false).await;
    until("two jobs", || server.all("jobs").len() == 2).await;
    prometheus.set(Some(0.0));
    server.refuse(Method::DELETE, "/jobs", Some(403));
    server.edit("scaledjobs", "prod", "batch", |object| {
        object["metadata"]["generation"] = json!(2);
        object["spec"]["maxReplicaCount"] = json!(9);
    });
    let failed = || said(&server, "ScaledJobRolloutCleanupFailed");
    until("the refusal is told", || !failed().is_empty()).await;
    assert!(failed()[0].starts_with("The Job "), "{:?}", failed());
    assert_eq!(said(&server, "ScaledJobRolloutCleanupCompleted"), [""; 0]);
    server.refuse(Method::DELETE, "/jobs", None);
    // Whatever comes of them is looked at anew.
    for job in server.all("jobs") {
        server.edit("jobs", "prod", job["metadata"]["name"].as_str().unwrap(), |job| {
            job["metadata"]["labels"]["seen"] = json!("again");
        });
    }
    until("they are gone", || server.all("jobs").is_empty()).await;
    until("which is told", || said(&server, "ScaledJobRolloutCleanupCompleted").len() == 1).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_jobs_that_a_rollout_lets_run_after_all_no_end_is_told() {
    let (server, prometheus) = one(8.0, json!({})).await;
    let operator = Operator::start(&server, false).await;
    until("two jobs", || server.all("jobs").len() == 2).await;
    prometheus.set(Some(0.0));
    server.refuse(Method::DELETE, "/jobs", Some(403));
    let rollout = |generation: u32, strategy: &str| {
        server.edit("scaledjobs", "prod", "batch", |object| {
            object["metadata"]["generation"] = json!(generation);
            object["spec"]["rollout"] = json!({"strategy": strategy});
            // The generation alone is nothing to read it for.
            object["spec"]["maxReplicaCount"] = json!(10 + generation);
        });
    };
    let told = || ["Started", "Completed"].map(|end| said(&server, &format!("ScaledJobRolloutCleanup{end}")));
    rollout(2, "immediate");
    until("they are to go", || told()[0].len() == 1).await;
    rollout(3, "gradual");
    decisions(&operator, 3).await;
    assert_eq!(told()[1], [""; 0], "they run");
    rollout(4, "immediate");
    until("they are to go once more", || told()[0].len() == 2).await;
    server.refuse(Method::DELETE, "/jobs", None);
    rollout(5, "immediate");
    until("their end is told", || told()[1] == ["2 Jobs of an older version of the ScaledJob have ended"])
        .await;
    operator.stop().await;
}

fn finish_all(server: &Server) {
    for job in server.all("jobs") {
        server.edit("jobs", "prod", job["metadata"]["name"].as_str().unwrap(), |job| {
            job["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_was_read_at_the_last_poll_is_not_decided_on_again() {
    let accurate = json!({"scalingStrategy": {"strategy": "accurate"}});
    let (server, prometheus) = one(10.0, accurate).await;
    let operator = Operator::start(&server, false).await;
    until("two jobs", || server.all("jobs").len() == 2).await;
    prometheus.hold(true);
    let asked = prometheus.asked();
    until("a poll waits for its answer", || prometheus.asked() > asked).await;
    finish_all(&server);
    // Its work is done; ten are only what was said before.
    decisions(&operator, 3).await;
    assert_eq!(server.all("jobs").len(), 2);
    prometheus.set(Some(5.0));
    prometheus.hold(false);
    until("one for what waits now", || server.all("jobs").len() == 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_after_a_second_is_decided_on_and_not_left_for_the_next_poll() {
    let (server, prometheus) = one(12.0, json!({"pollingInterval": 600})).await;
    prometheus.hold(true);
    let operator = Operator::start(&server, false).await;
    // It is decided once without it, since another source might have work.
    decisions(&operator, 1).await;
    assert_eq!(server.all("jobs").len(), 0);
    prometheus.hold(false);
    until("three jobs", || server.all("jobs").len() == 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changes_while_it_is_asked_does_not_lose_its_poll() {
    let (server, prometheus) = one(0.0, json!({"pollingInterval": 600})).await;
    prometheus.hold(true);
    let operator = Operator::start(&server, false).await;
    until("it is asked", || prometheus.asked() > 0).await;
    // Another question, so that the answer to the first is nobody's.
    server.edit("scaledjobs", "prod", "batch", |object| {
        object["spec"]["triggers"][0]["metadata"]["query"] = json!("sum(others)");
    });
    until("the other is asked", || prometheus.asked() > 1).await;
    prometheus.set(Some(12.0));
    prometheus.hold(false);
    until("three jobs", || server.all("jobs").len() == 3).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_leaders_that_a_parted_network_makes_each_job_is_made_once() {
    let (server, prometheus) = one(0.0, json!({})).await;
    let link = Link::to(server.addr).await;
    let parted = Operator::at(link.addr, "parted", Setup::default()).await;
    until("it leads", || parted.told.leads()).await;
    decisions(&parted, 2).await;
    let other = Operator::at(server.addr, "other", Setup::default()).await;
    link.hold(true);
    // It leads as far as it knows; its Jobs are on their way for as long as the link is held.
    prometheus.set(Some(12.0));
    until("the other leads", || other.told.leads()).await;
    until("three jobs", || server.all("jobs").len() == 3).await;
    decisions(&other, 2).await;
    link.hold(false);
    let late = || {
        let written = server.written().into_iter();
        written.filter(|one| one.who == "parted" && one.path.ends_with("/jobs")).collect::<Vec<_>>()
    };
    until("its Jobs arrive", || !late().is_empty()).await;
    until("it knows that it does not lead", || parted.told.says("another operator leads")).await;
    decisions(&other, 3).await;
    assert!(late().iter().all(|written| written.code == 409), "{:#?}", late());
    assert_eq!(server.all("jobs").len(), 3);
    other.stop().await;
    parted.stop().await;
}

/// The lease of a KEDA, as its leader renews it.
fn lease(holder: &str, second: u32) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "keda", "name": "operator.keda.sh"},
        "spec": {"holderIdentity": holder, "renewTime": format!("2026-01-01T00:00:{second:02}.000000Z")},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_keda_is_at_work_a_scaled_job_is_left_to_it() {
    let (server, prometheus) = one(0.0, json!({})).await;
    server.put("leases", lease("keda-1", 1));
    let operator = Operator::start(&server, false).await;
    // One that was left behind long ago is nobody's.
    decisions(&operator, 1).await;
    server.put("leases", lease("keda-1", 3));
    until("it is seen to be at work", || {
        operator.told.says("a KEDA is at work (lease keda/operator.keda.sh)")
    })
    .await;
    let ready = || {
        let object = server.get("scaledjobs", "prod", "batch").unwrap();
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = all.iter().find(|one| one["type"] == "Ready");
        ready.and_then(|one| one["message"].as_str()).unwrap_or_default().to_owned()
    };
    until("the object says so", || ready().contains("lease keda/operator.keda.sh")).await;
    prometheus.set(Some(12.0));
    // Another is decided meanwhile, which is ours by its word.
    let mut adopted = scaled_job(&prometheus, json!({}));
    adopted["metadata"]["name"] = json!("ours");
    adopted["metadata"]["annotations"] = json!({"tidegate.dev/adopt": "confirmed"});
    server.put("scaledjobs", adopted);
    until("the one that was adopted has its three", || server.all("jobs").len() == 3).await;
    let of = |name: &str| {
        let jobs = server.all("jobs").into_iter();
        jobs.filter(|job| job["metadata"]["labels"]["scaledjob.keda.sh/name"] == name).count()
    };
    assert_eq!((of("ours"), of("batch")), (3, 0));
    server.put("leases", lease("", 5));
    until("once it has gone, the other has its own", || of("batch") == 3).await;
    operator.stop().await;
}
