//! What `tidegate doctor` looks at in a cluster: everything is listed once, in bounded pages, and only read.
//!
//! What may not be listed is named, and nothing is concluded from its absence.

mod nodes;
mod pods;
mod scalers;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use kube::Client;
use serde_json::Value;
use tidegate_core::time::Time;
use tidegate_doctor::cluster::{Cluster, METRICS, Operators, Quota};
use tidegate_manifest::lint::lint;
use tidegate_manifest::{Finding, Source, live};

use crate::ask::{self, renewed};
use crate::migrate;
use crate::object::Gvk;
use crate::watch::{resource, said};

/// Kinds of workloads that are listed beside Deployments and StatefulSets: a cluster has a handful.
const KINDS_MAX: usize = 16;

/// What was seen.
#[derive(Debug, Default)]
pub struct Survey {
    /// For the rules.
    pub cluster: Cluster,
    /// What `lint` finds in the objects as they are; the file of each is the object's name.
    pub findings: Vec<Finding>,
}

/// Everything that is listed, as JSON.
#[derive(Debug, Default)]
struct Listed {
    scaled_objects: Vec<Value>,
    scaled_jobs: Vec<Value>,
    authentications: Vec<Value>,
    cluster_authentications: Vec<Value>,
    autoscalers: Vec<Value>,
    deployments: Vec<Value>,
    stateful_sets: Vec<Value>,
    /// Workloads of other kinds that somebody scales.
    others: Vec<(Gvk, Vec<Value>)>,
    budgets: Vec<Value>,
    quotas: Vec<Value>,
    /// What asks for CloudEvents, by kind.
    event_sources: Vec<(&'static str, Vec<Value>)>,
    pods: Vec<Value>,
    events: Vec<Value>,
    /// `None` where they cannot be listed, as the next.
    nodes: Option<Vec<Value>>,
    /// All pods of all namespaces.
    pods_everywhere: Option<Vec<Value>>,
    unseen: Vec<String>,
}

/// Looks at a namespace, or at all of them. Takes some seconds, since a lease that is held by nobody is only known from
/// its standing still.
pub async fn survey(client: &Client, namespace: Option<&str>, now: Time) -> Survey {
    let listed = list(client, namespace);
    let leases = renewed(client, "&labelSelector=app.kubernetes.io/managed-by%3Dtidegate");
    let (mut listed, leases, keda, usage) =
        tokio::join!(listed, leases, migrate::alive(client), metrics_served(client));
    let mut operators = Operators::default();
    match leases {
        Ok(leases) => operators.tidegate = Some(leases),
        Err(why) => listed.unseen.push(why.to_string()),
    }
    match keda {
        Ok(keda) => operators.keda = keda,
        Err(why) => {
            // A KEDA that cannot be seen may be at work.
            listed.unseen.push(why.to_string());
            operators.tidegate = None;
        }
    }
    let mut survey = read(listed, now);
    survey.cluster.namespace = namespace.map(str::to_owned);
    survey.cluster.operators = operators;
    survey.cluster.served = usage;
    survey
}

async fn list(client: &Client, namespace: Option<&str>) -> Listed {
    let mut unseen = BTreeSet::new();
    let place = namespace.map_or_else(String::new, |name| format!("/namespaces/{name}"));
    let mut all = Vec::new();
    for (root, plural) in [
        ("/apis/keda.sh/v1alpha1", "scaledobjects"),
        ("/apis/keda.sh/v1alpha1", "scaledjobs"),
        ("/apis/keda.sh/v1alpha1", "triggerauthentications"),
        ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
        ("/apis/apps/v1", "deployments"),
        ("/apis/apps/v1", "statefulsets"),
        ("/apis/policy/v1", "poddisruptionbudgets"),
        ("/api/v1", "resourcequotas"),
        ("/api/v1", "pods"),
        ("/api/v1", "events"),
    ] {
        // Of events only what a kubelet says of probes; there may be a hundred thousand others.
        let query = if plural == "events" { "&fieldSelector=reason%3DUnhealthy" } else { "" };
        all.push(seen(client, &format!("{root}{place}/{plural}"), query, &mut unseen).await);
    }
    let clusters = "/apis/keda.sh/v1alpha1/clustertriggerauthentications";
    let cluster_authentications = seen(client, clusters, "", &mut unseen).await.unwrap_or_default();
    let nodes = seen(client, "/api/v1/nodes", "", &mut unseen).await;
    let mut next = all.into_iter();
    let mut take = || next.next().flatten();
    let mut listed = Listed {
        scaled_objects: take().unwrap_or_default(),
        scaled_jobs: take().unwrap_or_default(),
        authentications: take().unwrap_or_default(),
        autoscalers: take().unwrap_or_default(),
        deployments: take().unwrap_or_default(),
        stateful_sets: take().unwrap_or_default(),
        budgets: take().unwrap_or_default(),
        quotas: take().unwrap_or_default(),
        ..Listed::default()
    };
    listed.event_sources = event_sources(client, &place).await;
    listed.others = others(client, &place, &listed, &mut unseen).await;
    let pods = take();
    listed.events = take().unwrap_or_default();
    (listed.nodes, listed.cluster_authentications) = (nodes, cluster_authentications);
    listed.pods_everywhere = match (namespace, &listed.nodes) {
        (None, _) => pods.clone(),
        (Some(_), Some(_)) => seen(client, "/api/v1/pods", "", &mut unseen).await,
        (Some(_), None) => None,
    };
    listed.pods = pods.unwrap_or_default();
    listed.unseen = unseen.into_iter().collect();
    listed
}

/// What asks for CloudEvents. Most clusters have no definition of it, so what cannot be listed is not named.
async fn event_sources(client: &Client, place: &str) -> Vec<(&'static str, Vec<Value>)> {
    let root = "/apis/eventing.keda.sh/v1alpha1";
    let (some, all) =
        (format!("{root}{place}/cloudeventsources"), format!("{root}/clustercloudeventsources"));
    let (some, all) = tokio::join!(ask::pages(client, &some, ""), ask::pages(client, &all, ""));
    vec![("CloudEventSource", some.unwrap_or_default()), ("ClusterCloudEventSource", all.unwrap_or_default())]
}

/// Workloads of kinds that scalers name, beside those that are listed anyhow.
async fn others(
    client: &Client,
    place: &str,
    listed: &Listed,
    unseen: &mut BTreeSet<String>,
) -> Vec<(Gvk, Vec<Value>)> {
    let mut all = Vec::new();
    let kinds = scalers::others(&[&listed.scaled_objects, &listed.autoscalers]);
    for gvk in kinds.into_iter().take(KINDS_MAX) {
        match resource(client, &gvk).await {
            Ok(resource) => {
                let root = if gvk.group.is_empty() { "/api" } else { "/apis" };
                let path = format!("{root}/{}{place}/{}", gvk.api_version(), resource.plural);
                all.extend(seen(client, &path, "", unseen).await.map(|items| (gvk, items)));
            }
            Err(error) => {
                unseen.insert(format!("{}: {}", gvk.keda(), said(&error)));
            }
        }
    }
    all
}

async fn seen(client: &Client, path: &str, query: &str, unseen: &mut BTreeSet<String>) -> Option<Vec<Value>> {
    match ask::pages(client, path, query).await {
        Ok(items) => Some(items),
        Err(why) => {
            unseen.insert(why.to_string());
            None
        }
    }
}

/// Which groups of metrics are served; `None` where the API server does not say.
async fn metrics_served(client: &Client) -> Option<BTreeSet<&'static str>> {
    let groups = client.list_api_groups().await.ok()?;
    let served = |name: &&str| groups.groups.iter().any(|group| group.name == **name);
    Some(METRICS.into_iter().filter(served).collect())
}

fn read(listed: Listed, now: Time) -> Survey {
    let mut cluster = Cluster {
        scalers: scalers::all(&listed),
        workloads: scalers::workloads(&listed),
        quotas: quotas(&listed.quotas),
        ..Cluster::default()
    };
    let known: BTreeSet<String> =
        cluster.scalers.iter().filter_map(|scaler| scaler.workload.clone()).collect();
    cluster.pods = pods::all(&listed, &known, now);
    cluster.pools =
        listed.nodes.as_deref().map(|nodes| nodes::pools(nodes, listed.pods_everywhere.as_deref()));
    let findings = linted(&listed, &known);
    cluster.unseen = listed.unseen;
    Survey { cluster, findings }
}

/// Each resource of each quota.
fn quotas(all: &[Value]) -> Vec<Quota> {
    let mut quotas = Vec::new();
    for quota in all {
        let text = |at: &str| quota.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let hard = quota.pointer("/status/hard").and_then(Value::as_object);
        for (resource, hard) in hard.into_iter().flatten() {
            let used = quota.pointer("/status/used").and_then(|used| used.get(resource));
            let (Some(hard), Some(used)) = (hard.as_str(), used.and_then(Value::as_str)) else { continue };
            let amount = |text: &str| tidegate_manifest::quantity::parse(text).ok();
            let full = amount(used).zip(amount(hard)).is_some_and(|(used, hard)| used >= hard);
            quotas.push(Quota {
                name: format!("{}/{}", text("/metadata/namespace"), text("/metadata/name")),
                namespace: text("/metadata/namespace").to_owned(),
                resource: resource.clone(),
                used: used.to_owned(),
                hard: hard.to_owned(),
                full,
            });
        }
    }
    quotas
}

/// What `lint` finds in the objects, and in the workloads that they scale.
fn linted(listed: &Listed, known: &BTreeSet<String>) -> Vec<Finding> {
    let mut sources = Vec::new();
    let mut push = |api_version: &str, kind: &str, object: &Value| {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let name = format!("{kind} {}/{}", text("/metadata/namespace"), text("/metadata/name"));
        let mut json = object.clone();
        json["apiVersion"] = api_version.into();
        json["kind"] = kind.into();
        if let Some(fields) = json.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata
                .retain(|field, _| matches!(field.as_str(), "name" | "namespace" | "annotations" | "labels"));
        }
        sources.push(Source::new(&name, json.to_string()));
    };
    let keda = "keda.sh/v1alpha1";
    listed.scaled_objects.iter().for_each(|one| push(keda, "ScaledObject", one));
    listed.scaled_jobs.iter().for_each(|one| push(keda, "ScaledJob", one));
    listed.authentications.iter().for_each(|one| push(keda, "TriggerAuthentication", one));
    listed.cluster_authentications.iter().for_each(|one| push(keda, "ClusterTriggerAuthentication", one));
    let plain = listed.autoscalers.iter().filter(|hpa| scalers::owner(hpa).is_none());
    plain.for_each(|one| push("autoscaling/v2", "HorizontalPodAutoscaler", one));
    for (kind, all) in [("Deployment", &listed.deployments), ("StatefulSet", &listed.stateful_sets)] {
        let scaled = all.iter().filter(|one| known.contains(&scalers::title(kind, one)));
        scaled.for_each(|one| push("apps/v1", kind, one));
    }
    for (gvk, all) in &listed.others {
        // What lint does not know it has nothing to say of.
        if tidegate_manifest::object::Kind::of(&gvk.group, &gvk.kind).is_some() {
            let scaled = all.iter().filter(|one| known.contains(&scalers::title(&gvk.kind, one)));
            scaled.for_each(|one| push(&gvk.api_version(), &gvk.kind, one));
        }
    }
    for (kind, all) in &listed.event_sources {
        all.iter().for_each(|one| push("eventing.keda.sh/v1alpha1", kind, one));
    }
    listed.budgets.iter().for_each(|one| push("policy/v1", "PodDisruptionBudget", one));
    listed.quotas.iter().for_each(|one| push("v1", "ResourceQuota", one));
    lint(&live(&sources))
}
