//! The roles of what is off by default: the gateway's own, and what listener and webhook add to the operator's.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate_kube::client::{Connection, Options};
use tidegate_kube::routes::{self, Seen};
use tidegate_kube::watch::Sight;
use tidegate_testkit::cluster::{self, Cluster};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::real::{account, complete, deploy, named};
use super::rig::{deployment, until, within};
use super::rights::{Right, asked, compare, granted, right};
use super::{demand, roles, webhook};

/// A ScaledObject of a Deployment and one of a kind that the chart's values name.
async fn objects(cluster: &Cluster) {
    cluster.apply(&named("Namespace", "prod").to_string()).await.unwrap();
    roles::leader_worker_sets(cluster).await;
    let mut plain = deployment("plain", 0);
    plain.as_object_mut().unwrap().remove("status");
    plain["spec"]["template"]["metadata"] = json!({"labels": plain["spec"]["selector"]["matchLabels"]});
    let group = json!({
        "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
        "metadata": {"namespace": "prod", "name": "group"}, "spec": {"replicas": 0},
    });
    let scaled = |name: &str, target: Value| {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"namespace": "prod", "name": name},
            "spec": {"scaleTargetRef": target, "triggers": [{"type": "cpu", "metadata": {"value": "50"}}]},
        })
    };
    let groups =
        json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": "group"});
    for one in [plain, group, scaled("plain", json!({"name": "plain"})), scaled("group", groups)] {
        cluster.apply(&one.to_string()).await.unwrap();
    }
}

/// The keys of a map or a Secret of the installation; `None` where there is none.
async fn data(cluster: &Cluster, kind: &str, name: &str) -> Option<Value> {
    let object = cluster.get(&["-n", "tidegate", kind, name]).await.ok()?;
    object.get("data").cloned()
}

async fn is(cluster: &Cluster, kind: &str, name: &str, key: &str) {
    within(name, async {
        while data(cluster, kind, name).await.is_none_or(|data| data.get(key).is_none()) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Listener and webhook of an operator, until both have certificates and everybody trusts them.
async fn serve(cluster: &Cluster, gateway: &std::path::Path) {
    let stop = CancellationToken::new();
    let listening = demand::listening(cluster, &stop).await;
    let hook = webhook::replica(cluster, &stop).await;
    cluster.apply(&webhook::configuration(hook.addr).to_string()).await.unwrap();
    is(cluster, "secret", "tidegate-webhook-certs", "ca.key").await;
    is(cluster, "secret", "tidegate-demand-certs", "ca.key").await;
    is(cluster, "configmap", "tidegate-demand-ca", "ca.crt").await;
    let ca = data(cluster, "configmap", "tidegate-demand-ca").await.unwrap();
    std::fs::write(gateway.join("ca"), ca["ca.crt"].as_str().unwrap()).unwrap();
    let teller = demand::teller(&listening, "token", gateway, "ca");
    let links = teller.links();
    until("a gateway is heard", || !links.borrow().up.is_empty()).await;
    within("the API server trusts the webhook", async {
        loop {
            let all = cluster.get(&["validatingwebhookconfiguration", "tidegate"]).await.unwrap();
            if all["webhooks"][0]["clientConfig"]["caBundle"].is_string() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    stop.cancel();
    within("the webhook ends", hook.ended()).await;
}

/// What a render of the chart grants the operator, by its lines.
fn base() -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    let text = deploy("manifests/operator.yaml");
    let (mut groups, mut resources) = (Vec::new(), Vec::new());
    let list = |text: &str| -> Vec<String> {
        let text = text.trim_matches(['[', ']']);
        text.split(", ").map(|one| one.trim_matches('"').to_owned()).collect()
    };
    for line in text.lines().map(|line| line.trim().trim_start_matches("- ")) {
        if let Some(rest) = line.strip_prefix("apiGroups: ") {
            groups = list(rest);
        } else if let Some(rest) = line.strip_prefix("resources: [") {
            resources = list(rest);
        } else if let Some(rest) = line.strip_prefix("verbs: ") {
            for group in &groups {
                for resource in &resources {
                    all.extend(list(rest).iter().map(|verb| right(group, resource, verb)));
                }
            }
        }
    }
    assert!(all.contains(&right("apps", "deployments/scale", "patch")), "{all:?}");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_listener_and_webhook_ask_for_what_their_roles_grant_and_nothing_else() {
    let options = cluster::Options { bare: true, ..cluster::Options::default() };
    let Some(cluster) = Cluster::start_or_say("the roles of gateway and webhook", options).await else {
        return;
    };
    complete(&cluster).await;
    objects(&cluster).await;
    let directory = std::env::temp_dir().join(format!("tidegate-parts-{:x}", fastrand::u64(..)));
    std::fs::create_dir_all(&directory).unwrap();
    demand::token(
        &cluster,
        "tidegate-gateway",
        &["--audience", "tidegate-operator"],
        &directory.join("token"),
    )
    .await;
    serve(&cluster, &directory).await;
    // What it reads next is no certificate: it is made anew, and everybody is told.
    for (kind, name) in [
        ("secret", "tidegate-webhook-certs"),
        ("secret", "tidegate-demand-certs"),
        ("configmap", "tidegate-demand-ca"),
    ] {
        let patch = [
            "-n",
            "tidegate",
            "patch",
            kind,
            name,
            "--type=merge",
            "-p",
            r#"{"data": {"ca.key": null, "ca.crt": null}}"#,
        ];
        cluster.succeed(&patch, "").await.unwrap();
    }
    serve(&cluster, &directory).await;
    let kubeconfig = Some(account(&cluster, "tidegate", "tidegate-gateway").await);
    let client = Connection::new(&Options { kubeconfig, ..Options::default() }).await.unwrap().client;
    let (out, mut seen) = watch::channel(Seen::default());
    let routing = tokio::spawn(routes::watch(client, Sight::default(), out));
    let both = |seen: &Seen| seen.complete && seen.table.len() == 2;
    let now = within("both targets", seen.wait_for(both)).await.unwrap();
    assert!(now.blind.is_empty(), "{:?}", now.blind);
    drop(now);
    let everything = granted(&cluster, "tidegate", "gateway").await;
    until("its watches have begun", || {
        asked(&cluster, "tidegate-gateway", 0).is_none_or(|(seen, _)| everything.is_subset(&seen))
    })
    .await;
    routing.abort();
    std::fs::remove_dir_all(&directory).unwrap();
    let Some((seen, refused)) = asked(&cluster, "tidegate-gateway", 0) else { return };
    assert_eq!(refused, Vec::<Value>::new());
    compare(&everything, &seen, &[]);
    let Some((seen, refused)) = asked(&cluster, "tidegate-operator", 0) else { return };
    assert_eq!(refused, Vec::<Value>::new());
    // What the operator itself needs is measured by its own walk.
    let added = &granted(&cluster, "tidegate", "operator").await - &base();
    compare(&added, &seen, &[]);
    assert!(added.contains(&right("authentication.k8s.io", "tokenreviews", "create")), "{added:?}");
}
