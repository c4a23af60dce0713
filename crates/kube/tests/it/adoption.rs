//! Taking over from KEDA and from the controller manager, and giving back.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_kube::adopt::{PAUSED, Stands, WISH};
use tidegate_kube::migrate::{Asked, Error, Keda, Outcome, adopt, release};
use tidegate_kube::object::{Kind, Object};

use super::rig::{Operator, Prometheus, connect, decisions, deployment, pod, scaled_object, until};
use super::server::Server;
use super::sight::Page;

pub(crate) fn asked(targets: &[&str]) -> Asked {
    Asked {
        targets: targets.iter().map(|name| (*name).to_owned()).collect(),
        all: targets.is_empty(),
        namespace: "prod".to_owned(),
        keda: Keda::Stopped,
        at_once: false,
        dry_run: false,
        patience: Duration::from_secs(180),
    }
}

/// What KEDA leaves when it is stopped: its autoscaler, with the object's annotations.
fn of_keda(uid: &str) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "namespace": "prod", "name": "keda-hpa-llama", "uid": uid,
            "ownerReferences": [{"kind": "ScaledObject", "name": "llama", "uid": "so-llama"}],
        },
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}, "maxReplicas": 5},
    })
}

fn keda(replicas: u32) -> Value {
    json!({
        "metadata": {"namespace": "keda", "name": "keda-operator"},
        "spec": {"replicas": replicas}, "status": {"replicas": replicas},
    })
}

/// A ScaledObject that a KEDA has run until now, with this many replicas.
async fn inherited(replicas: u32, waiting: f64) -> (Server, Prometheus) {
    let (server, prometheus) = (Server::start().await, Prometheus::start(waiting).await);
    server.put("deployments", deployment("llama", replicas));
    server.put("horizontalpodautoscalers", of_keda("hpa-1"));
    let mut object = scaled_object("llama", &prometheus, json!({}));
    object["metadata"]["uid"] = json!("so-llama");
    object["metadata"]["finalizers"] = json!(["finalizer.keda.sh"]);
    object["metadata"]["labels"] = json!({"scaledobject.keda.sh/name": "llama"});
    server.put("scaledobjects", object);
    (server, prometheus)
}

fn object(server: &Server) -> Object {
    Object::new(Kind::ScaledObject, server.get("scaledobjects", "prod", "llama").unwrap()).unwrap()
}

fn hpas(server: &Server) -> usize {
    server.all("horizontalpodautoscalers").len()
}

/// Whether an Event says that an adoption waits, with these words.
fn waits(server: &Server, words: &str) -> bool {
    let said =
        |event: &Value| event["reason"] == "AdoptionWaits" && event["message"].to_string().contains(words);
    server.all("events").iter().any(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn kedas_autoscaler_goes_when_decisions_agree_and_not_before() {
    let (server, prometheus) = inherited(2, 20.0).await;
    let operator = Operator::start(&server, false).await;
    let client = connect(&server).await.client;
    let mut said = Vec::new();
    let short = Asked { patience: Duration::from_millis(100), ..asked(&["llama"]) };
    adopt(&client, &short, &mut |_| {}).await.unwrap();
    until("it says what it waits for", || waits(&server, "are decided")).await;
    let outcome = adopt(&client, &short, &mut |line| said.push(line.to_owned())).await.unwrap();
    assert_eq!(outcome, Outcome { done: 0, waiting: 1 }, "{said:#?}");
    // 20 at five a replica are four, and two are there.
    assert!(said.last().unwrap().contains("are decided"), "{said:#?}");
    assert_eq!((server.replicas("llama"), hpas(&server)), (2, 1), "somebody else has it still");
    assert!(server.scaled().is_empty());
    // KEDA's autoscaler comes to the same.
    server.edit("deployments", "prod", "llama", |object| object["spec"]["replicas"] = json!(4));
    let outcome =
        adopt(&client, &asked(&["so/llama"]), &mut |line| said.push(line.to_owned())).await.unwrap();
    assert_eq!((outcome, hpas(&server)), (Outcome { done: 1, waiting: 0 }, 0), "{said:#?}");
    prometheus.set(Some(30.0));
    until("it is ours", || server.replicas("llama") == 6).await;
    // Once more does nothing more.
    let written = server.written().len();
    let again = adopt(&client, &asked(&["llama"]), &mut |_| {}).await.unwrap();
    assert_eq!(again, Outcome { done: 1, waiting: 0 });
    let later = server.written();
    let wishes = later[written..].iter().filter(|one| one.body.pointer("/metadata/annotations").is_some());
    assert_eq!(wishes.count(), 0, "{later:#?}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_it_is_taken_over_whatever_is_decided_and_given_back_as_it_was() {
    let (server, _prometheus) = inherited(2, 20.0).await;
    let operator = Operator::start(&server, false).await;
    let client = connect(&server).await.client;
    let at_once = Asked { at_once: true, ..asked(&[]) };
    let outcome = adopt(&client, &at_once, &mut |_| {}).await.unwrap();
    let all = (outcome, hpas(&server));
    assert_eq!(all, (Outcome { done: 1, waiting: 0 }, 0), "{:#?}", operator.told.remarks());
    until("it is scaled", || server.replicas("llama") == 4).await;

    let outcome = release(&client, &asked(&["llama"]), &mut |_| {}).await.unwrap();
    assert_eq!(outcome, Outcome { done: 1, waiting: 0 });
    let given = object(&server);
    assert_eq!(given.json["metadata"]["finalizers"], json!(["finalizer.keda.sh"]), "KEDA's own");
    assert_eq!(given.json["metadata"]["labels"]["scaledobject.keda.sh/name"], "llama");
    assert_eq!(Stands::of(&given), Stands::GivenBack);
    // It stays away, also from a count that it would never have left.
    server.edit("deployments", "prod", "llama", |object| object["spec"]["replicas"] = json!(9));
    server.put("scaledobjects", {
        let mut other = given.json.clone();
        other["metadata"] = json!({"namespace": "prod", "name": "other", "uid": "so-other"});
        other["spec"]["scaleTargetRef"]["name"] = json!("other");
        other
    });
    server.put("deployments", deployment("other", 1));
    until("the other is decided", || server.replicas("other") > 1).await;
    decisions(&operator, 3).await;
    assert_eq!(server.replicas("llama"), 9);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keda_that_runs_is_named_and_one_that_stays_is_paused_for_the_object() {
    let (server, _prometheus) = inherited(4, 20.0).await;
    server.put("deployments", keda(1));
    let operator = Operator::start(&server, false).await;
    let client = connect(&server).await.client;
    let refused = adopt(&client, &asked(&["llama"]), &mut |_| {}).await.unwrap_err();
    assert!(matches!(&refused, Error::KedaLives(who) if who.contains("keda/keda-operator")), "{refused}");
    assert_eq!(object(&server).annotation(WISH), None, "nothing was written");
    let mut said = Vec::new();
    let dry = Asked { dry_run: true, keda: Keda::Pause, ..asked(&["llama"]) };
    adopt(&client, &dry, &mut |line| said.push(line.to_owned())).await.unwrap();
    assert!(
        said.iter().any(|line| line.contains("paused for KEDA") && line.contains("keda-hpa-llama")),
        "{said:#?}"
    );
    assert_eq!(object(&server).annotation(WISH), None, "nor was it now");

    let stays = Asked { keda: Keda::Pause, ..asked(&["llama"]) };
    let outcome = adopt(&client, &stays, &mut |_| {}).await.unwrap();
    assert_eq!((outcome, hpas(&server)), (Outcome { done: 1, waiting: 0 }, 0));
    assert_eq!(object(&server).annotation(PAUSED), Some("true"));
    // The pause is KEDA's, not ours.
    server.edit("deployments", "prod", "llama", |object| object["spec"]["replicas"] = json!(1));
    until("it is scaled all the same", || server.replicas("llama") == 4).await;
    // A KEDA that does not heed it is named, and not fought.
    server.put("horizontalpodautoscalers", of_keda("hpa-2"));
    let named = || object(&server).json["status"]["conditions"].to_string().contains("KEDA is at work again");
    until("it is named", named).await;
    decisions_pass(&server).await;
    assert_eq!(hpas(&server), 1);
    server.delete("horizontalpodautoscalers", "prod", "keda-hpa-llama");

    let outcome = release(&client, &asked(&["llama"]), &mut |_| {}).await.unwrap();
    assert_eq!(outcome, Outcome { done: 1, waiting: 0 });
    assert_eq!(object(&server).annotation(PAUSED), None, "KEDA goes on at once");
    operator.stop().await;
}

/// Time for an operator without a target to decide to do what it should not.
async fn decisions_pass(server: &Server) {
    let renewals = || server.renewals();
    let from = renewals();
    until("the lease is renewed", || renewals() > from + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_operator_the_wish_stands_and_the_command_says_so() {
    let (server, _prometheus) = inherited(4, 20.0).await;
    let client = connect(&server).await.client;
    let mut said = Vec::new();
    let short = Asked { patience: Duration::from_millis(100), ..asked(&["llama"]) };
    let outcome = adopt(&client, &short, &mut |line| said.push(line.to_owned())).await.unwrap();
    assert_eq!(outcome, Outcome { done: 0, waiting: 1 });
    assert!(said.last().unwrap().contains("is one running?"), "{said:#?}");
    assert_eq!(hpas(&server), 1);
    // An operator that begins later does it.
    let operator = Operator::start(&server, false).await;
    until("the autoscaler is gone", || hpas(&server) == 0).await;
    operator.stop().await;
    let at_once = Asked { at_once: true, patience: Duration::from_millis(100), ..asked(&["llama"]) };
    let outcome = release(&client, &at_once, &mut |_| {}).await.unwrap();
    assert_eq!(outcome, Outcome { done: 1, waiting: 0 }, "given back without an operator");
}

/// A plain autoscaler at five a replica of an external metric.
pub(crate) fn autoscaler() -> Value {
    let metric =
        json!({"metric": {"name": "waiting"}, "target": {"type": "AverageValue", "averageValue": "5"}});
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "prod", "name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 10, "metrics": [{"type": "External", "external": metric}],
        },
    })
}

/// What the cluster's adapter says of the metric.
pub(crate) fn waiting(server: &Server, value: &str) {
    server.put("waiting", json!({"metadata": {"namespace": "prod", "name": "series"}, "value": value}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_autoscaler_is_run_here_while_its_controller_is_stopped_and_goes_back_whole() {
    let server = Server::start().await;
    server.put("deployments", deployment("web", 2));
    server.put("horizontalpodautoscalers", autoscaler());
    waiting(&server, "20");
    let operator = Operator::start(&server, false).await;
    let client = connect(&server).await.client;
    let hpa = || server.get("horizontalpodautoscalers", "prod", "web").unwrap();
    let mut said = Vec::new();
    let short = Asked { patience: Duration::from_millis(100), ..asked(&["hpa/web"]) };
    adopt(&client, &short, &mut |_| {}).await.unwrap();
    until("it says what it waits for", || waits(&server, "4 are decided")).await;
    let outcome = adopt(&client, &short, &mut |line| said.push(line.to_owned())).await.unwrap();
    assert_eq!(outcome, Outcome { done: 0, waiting: 1 }, "{said:#?}");
    assert!(said.last().unwrap().contains("4 are decided"), "{said:#?}");
    assert_eq!((server.replicas("web"), hpa()["spec"].get("behavior")), (2, None));
    server.edit("deployments", "prod", "web", |object| object["spec"]["replicas"] = json!(4));
    let outcome = adopt(&client, &asked(&["hpa/web"]), &mut |_| {}).await.unwrap();
    assert_eq!(outcome, Outcome { done: 1, waiting: 0 });
    for direction in ["scaleUp", "scaleDown"] {
        assert_eq!(hpa()["spec"]["behavior"][direction]["selectPolicy"], "Disabled");
    }
    waiting(&server, "30");
    until("it is scaled here", || server.replicas("web") == 6).await;
    assert_eq!(hpa().get("status"), None, "its status is the controller's");
    assert_eq!(hpa()["metadata"].get("finalizers"), None);

    let outcome = release(&client, &asked(&["hpa/web"]), &mut |_| {}).await.unwrap();
    assert_eq!(outcome, Outcome { done: 1, waiting: 0 });
    assert_eq!(hpa()["spec"], autoscaler()["spec"]);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_of_type_pods_is_read_from_the_pods_own_pages() {
    let server = Server::start().await;
    // Of whatever program: what the metric names is looked for, and nothing else.
    let pages = Page::several(["queue_depth 12\n".to_owned(), "queue_depth 6\n".to_owned()]).await;
    let mut web = deployment("web", 2);
    web["spec"]["template"]["metadata"] =
        json!({"annotations": {"prometheus.io/port": pages[0].port.to_string()}});
    server.put("deployments", web);
    for (number, page) in pages.iter().enumerate() {
        let mut pod = pod("web", &format!("web-{number}"));
        pod["status"]["podIP"] = json!(page.ip.to_string());
        server.put("pods", pod);
    }
    let mut object = autoscaler();
    object["metadata"]["annotations"] = json!({WISH: "true"});
    let metric =
        json!({"metric": {"name": "queue_depth"}, "target": {"type": "AverageValue", "averageValue": "5"}});
    object["spec"]["metrics"] = json!([{"type": "Pods", "pods": metric}]);
    object["spec"]["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    server.put("horizontalpodautoscalers", object);
    let operator = Operator::start(&server, true).await;
    // A mean of 9 for 5 on two pods: four.
    until("it is decided", || operator.told.latest(|decision| decision.replicas) == Some(4)).await;
    // A pod without a value counts for nothing when there are to be more: 12 / 2 for 5 are three.
    pages[1].set("nothing");
    until("the lost page is missed", || operator.told.latest(|decision| decision.replicas) == Some(3)).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_that_nobody_wished_for_is_never_touched() {
    let server = Server::start().await;
    server.put("deployments", deployment("web", 1));
    server.put("horizontalpodautoscalers", autoscaler());
    waiting(&server, "50");
    let operator = Operator::start(&server, false).await;
    let client = connect(&server).await.client;
    decisions_pass(&server).await;
    decisions_pass(&server).await;
    assert_eq!(server.written(), []);
    let mut copy = of_keda("hpa-1");
    copy["metadata"]["annotations"] = json!({WISH: "true"});
    server.put("horizontalpodautoscalers", copy);
    let refused = adopt(&client, &asked(&["hpa/keda-hpa-llama"]), &mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, Error::OfKeda(_)), "{refused}");
    decisions_pass(&server).await;
    assert_eq!(server.written(), [], "also not one that bears the wish because KEDA copied it");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_advises_says_that_it_would_take_over_and_writes_nothing() {
    let (server, _prometheus) = inherited(4, 20.0).await;
    server.edit("scaledobjects", "prod", "llama", |object| {
        object["metadata"]["annotations"] = json!({WISH: "true"});
    });
    let operator = Operator::start(&server, true).await;
    until("it says so", || operator.told.says("would be taken over: now")).await;
    decisions(&operator, 3).await;
    assert_eq!((server.written(), hpas(&server)), (Vec::new(), 1));
    operator.stop().await;
}
