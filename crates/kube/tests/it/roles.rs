//! The chart's roles are enough and no more: what the API server saw is held against what they grant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Request;
use serde_json::{Value, json};
use tidegate_kube::client::{Connection, Options};
use tidegate_testkit::cluster::Cluster;

use super::real::{Real, deploy};
use super::rig::{Operator, Prometheus, Setup, decisions, deployment, scaled_object, until};
use super::rights::{self, asked, audited, granted, right};

/// Of the operator.
const ACCOUNT: &str = "tidegate-operator";

/// What is granted and never seen as a request, with the reason.
const UNSEEN: &[(&str, &str, &str, &str)] = &[
    // Asked for within the creation of a Job, by an admission plugin that this cluster has on.
    ("keda.sh", "scaledjobs/finalizers", "update", "admission asks for it"),
    // An apply that makes its object is a patch in the log, and the server asks for this right within it.
    ("", "configmaps", "create", "the first page of memory"),
    // Asked for by other tests, of what this walk has not.
    ("", "pods", "patch", "which pod is to go first, before a scale-down"),
    ("metrics.k8s.io", "pods", "list", "triggers cpu and memory"),
    ("discovery.k8s.io", "endpointslices", "list", "a metrics-api trigger over all endpoints of a service"),
    ("discovery.k8s.io", "endpointslices", "watch", "the same"),
    ("autoscaling", "horizontalpodautoscalers", "delete", "the autoscaler that KEDA left behind"),
];

/// A kind of somebody else's that has `/scale`, named as the chart's values have it.
pub(crate) const LEADER_WORKER_SETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: leaderworkersets.leaderworkerset.x-k8s.io}
spec:
  group: leaderworkerset.x-k8s.io
  names: {kind: LeaderWorkerSet, plural: leaderworkersets, singular: leaderworkerset}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
      subresources:
        status: {}
        scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.hpaPodSelector}
"#;

/// Brings that kind to a cluster.
pub(crate) async fn leader_worker_sets(cluster: &Cluster) {
    cluster.apply(LEADER_WORKER_SETS).await.unwrap();
    let definition = "crd/leaderworkersets.leaderworkerset.x-k8s.io";
    let established = ["wait", "--for=condition=Established", "--timeout=60s", definition];
    cluster.succeed(&established, "").await.unwrap();
}

/// A plain autoscaler that is taken over at once; nobody serves its metrics, which are asked for all the same.
async fn autoscaler(real: &Real) {
    real.put(deployment("d", 1)).await;
    let of = |name: &str| json!({"metric": {"name": name}, "target": {"type": "Value", "value": "5"}});
    let mut described = of("rate");
    described["describedObject"] = json!({"apiVersion": "v1", "kind": "Service", "name": "d"});
    real.put(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "d", "annotations": {"tidegate.dev/adopt": "confirmed"}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{"type": "External", "external": of("queue")}, {"type": "Object", "object": described}],
        },
    }))
    .await;
}

/// A Deployment's, a StatefulSet's and a LeaderWorkerSet's objects, a ScaledJob, and authentications of both kinds.
async fn everything(real: &Real, prometheus: &Prometheus) {
    leader_worker_sets(real.cluster).await;
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": "x"}});
    let of_secret =
        json!({"secretTargetRef": [{"parameter": "password", "name": "login", "key": "password"}]});
    real.put(secret("login")).await;
    real.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "names"}, "data": {"user": "me"}})).await;
    real.put(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication", "metadata": {"name": "login"},
        "spec": {"secretTargetRef": of_secret["secretTargetRef"],
                 "configMapTargetRef": [{"parameter": "username", "name": "names", "key": "user"}]},
    }))
    .await;
    let mut shared = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication",
                            "metadata": {"name": "login"}, "spec": of_secret});
    real.cluster.apply(&shared.to_string()).await.unwrap();
    shared = secret("login");
    shared["metadata"]["namespace"] = json!("tidegate");
    real.cluster.apply(&shared.to_string()).await.unwrap();
    let triggers = |kind: &str| {
        json!([{
            "type": "prometheus", "authenticationRef": {"name": "login", "kind": kind},
            "metadata": {"serverAddress": prometheus.url, "query": "sum(waiting)", "threshold": "5"},
        }])
    };
    // Down as fast as up, so that each turn of the numbers is a count to be written.
    let down = json!({"stabilizationWindowSeconds": 0});
    let advanced = json!({"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": down}}});
    real.put(deployment("a", 0)).await;
    let of_a = json!({"triggers": triggers("TriggerAuthentication"), "advanced": &advanced});
    real.put(scaled_object("a", prometheus, of_a)).await;
    let mut set = deployment("b", 0);
    set["kind"] = json!("StatefulSet");
    set["spec"]["serviceName"] = json!("b");
    set["spec"]["template"]["metadata"] = json!({"labels": {"app": "b"}});
    set.as_object_mut().unwrap().remove("status");
    real.put(set).await;
    let target = json!({"kind": "StatefulSet", "name": "b"});
    let triggers_b = triggers("ClusterTriggerAuthentication");
    let of_b = json!({"scaleTargetRef": target, "triggers": triggers_b, "advanced": advanced});
    real.put(scaled_object("b", prometheus, of_b)).await;
    real.put(json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "metadata": {"name": "c"},
                    "spec": {"replicas": 0}})).await;
    let target = json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": "c"});
    real.put(scaled_object("c", prometheus, json!({"scaleTargetRef": target}))).await;
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "w", "image": "x"}]}});
    let metadata = json!({"serverAddress": prometheus.url, "query": "sum(waiting)", "threshold": "5"});
    real.put(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "batch"},
        "spec": {"jobTargetRef": {"template": pod}, "pollingInterval": 1, "maxReplicaCount": 2,
                 "successfulJobsHistoryLimit": 0, "triggers": [{"type": "prometheus", "metadata": metadata}]},
    }))
    .await;
}

/// Somebody who edits workloads all the time, so that versions are old when counts are written.
pub(crate) async fn editor(real: &Real, plurals: &'static [(&'static str, &'static str)]) -> Arc<AtomicBool> {
    let options = Options { kubeconfig: Some(real.cluster.kubeconfig().to_owned()), ..Options::default() };
    let client = Connection::new(&options).await.unwrap().client;
    let (stop, namespace) = (Arc::new(AtomicBool::new(false)), real.namespace);
    for (plural, name) in plurals {
        let (client, stopped) = (client.clone(), Arc::clone(&stop));
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{plural}/{name}");
        tokio::spawn(async move {
            for number in 0_u64.. {
                let patch = json!({"metadata": {"annotations": {"edited": number.to_string()}}});
                let request = Request::patch(&path).header("content-type", "application/merge-patch+json");
                let request = request.body(patch.to_string().into_bytes()).unwrap();
                let _ = client.request::<Value>(request).await;
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
    }
    stop
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_of_the_chart_grant_what_is_asked_for_and_nothing_else() {
    let prometheus = Prometheus::start(3.0).await;
    let Some(real) = Real::turn("roles").await else { return };
    everything(&real, &prometheus).await;
    autoscaler(&real).await;
    // As in a cluster where no operator was before.
    for left in ["leases", "configmaps"] {
        real.cluster.succeed(&["-n", "tidegate", "delete", left, "--all"], "").await.unwrap();
    }
    let from = audited(real.cluster, 0).map_or(0, |log| log.len());
    let operator = real.operator_of(Setup::default()).await;
    for (kind, name) in [("deployment", "a"), ("statefulset", "b"), ("leaderworkerset", "c")] {
        real.replicas(kind, name, 1).await;
    }
    let label = "scaledjob.keda.sh/name=batch";
    // A Job completes, and is cleared away: others come in its place.
    let first = loop {
        let jobs = real.cluster.get(&["-n", "roles", "jobs", "-l", label]).await.unwrap();
        if let Some(job) = jobs["items"].as_array().unwrap().first() {
            break job["metadata"]["name"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    real.until("the first Job is cleared away", "job", &first, Value::is_null).await;
    // Conflicts: the counts are read again, and written all the same.
    let edits = editor(&real, &[("deployments", "a"), ("statefulsets", "b")]).await;
    let known = || {
        let needed = ["deployments/scale", "statefulsets/scale"];
        asked(real.cluster, ACCOUNT, from)
            .is_some_and(|(seen, _)| needed.iter().all(|one| seen.contains(&right("apps", one, "get"))))
    };
    for value in (0..40).map(|turn| if turn % 2 == 0 { 30.0 } else { 3.0 }) {
        if known() {
            break;
        }
        prometheus.set(Some(value));
        decisions(&operator, 12).await;
    }
    edits.store(true, Ordering::SeqCst);
    until("a conflict was seen", known).await;
    operator.stop().await;
    let pages = real.cluster.get(&["-n", "tidegate", "configmaps"]).await.unwrap();
    let made = |page: &Value| page["data"].get("state.json").is_some();
    assert!(pages["items"].as_array().unwrap().iter().any(made), "a page of memory was made");
    // A second one patches the memory that the first has made.
    let again = real.operator_of(Setup::default()).await;
    decisions(&again, 8).await;
    again.stop().await;

    let Some((seen, refused)) = asked(real.cluster, ACCOUNT, from) else { return };
    assert_eq!(refused, Vec::<Value>::new());
    rights::compare(&granted(real.cluster, "tidegate", "operator").await, &seen, UNSEEN);
}

/// Roles in one namespace, of a release of its own: what the chart makes of `operator.watchNamespaces`.
#[tokio::test(flavor = "multi_thread")]
async fn the_roles_of_one_namespace_are_enough_for_it_and_reach_no_other() {
    let prometheus = Prometheus::start(12.0).await;
    let Some(real) = Real::turn("scoped").await else { return };
    let Some(helm) = super::install::helm() else { return };
    leader_worker_sets(real.cluster).await;
    let set = "operator.watchNamespaces={scoped},gateway.enabled=true,operator.replicas=0,gateway.replicas=0";
    let arguments = ["template", "scoped", "deploy/helm/tidegate", "-n", "tidegate", "--skip-crds"];
    let arguments = [&arguments[..], &["--kube-version=1.34.0", "--set", set]].concat();
    let rendered = super::install::succeed(&real, &helm, &arguments).await;
    real.cluster.apply(&rendered).await.unwrap();
    real.put(deployment("llama", 1)).await;
    real.put(scaled_object("llama", &prometheus, json!({}))).await;
    let from = audited(real.cluster, 0).map_or(0, |log| log.len());
    let account = super::real::account(real.cluster, "tidegate", "scoped-operator").await;
    let setup = || Setup { namespaces: vec!["scoped"], ..Setup::default() };
    let operator = Operator::of(&account, setup()).await;
    real.replicas("deployment", "llama", 3).await;
    let gateway = super::real::account(real.cluster, "tidegate", "scoped-gateway").await;
    let options = Options { kubeconfig: Some(gateway), ..Options::default() };
    let client = Connection::new(&options).await.unwrap().client;
    let (out, mut seen) = tokio::sync::watch::channel(tidegate_kube::routes::Seen::default());
    let sight = tidegate_kube::watch::Sight { namespaces: vec!["scoped".into()], selector: None };
    let routing = tokio::spawn(tidegate_kube::routes::watch(client, sight, out));
    let listed = seen.wait_for(|seen| seen.complete && seen.table.contains_key("scoped/llama"));
    super::rig::within("the gateway's table", listed).await.unwrap();
    routing.abort();
    decisions(&operator, 4).await;
    operator.stop().await;
    for name in ["scoped-operator", "scoped-gateway"] {
        let Some((seen, refused)) = asked(real.cluster, name, from) else { return };
        assert_eq!((seen.is_empty(), refused), (false, Vec::new()), "{name}");
    }
    // Not vacuous: of another namespace it sees nothing.
    let who = "--as=system:serviceaccount:tidegate:scoped-operator";
    let rights = [
        ("list", "pods", "--subresource="),
        ("patch", "deployments.apps", "--subresource=scale"),
        ("list", "scaledobjects.keda.sh", "--subresource="),
    ];
    for (verb, resource, sub) in rights {
        for (namespace, answer) in [("scoped", "yes"), ("default", "no")] {
            let can = ["auth", "can-i", verb, resource, sub, "-n", namespace, who];
            let said = real.cluster.kubectl(&can, "").await.unwrap();
            let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
            assert_eq!(said, answer, "{verb} {resource} in {namespace}");
        }
    }
    real.cluster.succeed(&["delete", "-f", "-", "--ignore-not-found"], &rendered).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_of_one_that_advises_have_no_verb_that_writes() {
    let rendered = deploy("manifests/operator-advise.yaml");
    let verbs: BTreeMap<&str, usize> = rendered
        .lines()
        .filter_map(|line| line.trim().strip_prefix("verbs: [")?.strip_suffix(']'))
        .flat_map(|verbs| verbs.split(", "))
        .fold(BTreeMap::new(), |mut all, verb| {
            *all.entry(verb).or_default() += 1;
            all
        });
    assert_eq!(verbs.keys().copied().collect::<Vec<_>>(), ["get", "list", "watch"]);
    // And they are enough.
    let prometheus = Prometheus::start(50.0).await;
    let Some(real) = Real::turn("advises").await else { return };
    // Roles of another release, with names and an account of their own.
    let other = rendered.replace("tidegate-operator", "tidegate-adviser");
    let other = other.replace("instance: tidegate", "instance: adviser").replace(
        "name: tidegate\n    app.kubernetes.io/instance: adviser",
        "name: adviser\n    app.kubernetes.io/instance: adviser",
    );
    real.cluster.apply(&other).await.unwrap();
    real.cluster
        .succeed(&["-n", "tidegate", "scale", "deployment/tidegate-adviser", "--replicas=0"], "")
        .await
        .unwrap();
    real.put(deployment("llama", 1)).await;
    real.put(scaled_object("llama", &prometheus, json!({}))).await;
    let account = super::real::account(real.cluster, "tidegate", "tidegate-adviser").await;
    let adviser = Operator::with(&account, true).await;
    until("it says what it would do", || adviser.told.says("advises/llama: would scale from 1 to 4")).await;
    assert!(!adviser.told.says("forbidden"), "{:?}", adviser.told.remarks());
    adviser.stop().await;
}
