//! Pods that do not serve as they should.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidegate_core::time::Time;
use tidegate_doctor::cluster::{Cause, Pod};

use super::Listed;
use super::scalers::title;
use crate::index::pending::{self, Kind};
use crate::index::pods::time;

/// Pods that are examined: a page for people ends long before.
const PODS_MAX: usize = 5_000;

/// Characters of a kubelet's sentence.
const SENTENCE_MAX: usize = 200;

/// From a pod to what somebody scales: a worker of a LeaderWorkerSet is a StatefulSet's, that is its leader's, which is
/// another StatefulSet's, which is the set's. Nothing in use is deeper.
const OWNERS_MAX: usize = 6;

/// The pods of workloads that somebody scales, and of ScaledJobs, of which there is anything to tell.
pub(super) fn all(listed: &Listed, known: &BTreeSet<String>, now: Time) -> Vec<Pod> {
    let probes = probes(&listed.events);
    let owners = owners(listed);
    let pods = listed.pods.iter().filter_map(|json| {
        let mut workload = controller(json);
        for _ in 0..OWNERS_MAX {
            let Some(title) = workload.as_ref().filter(|title| !known.contains(*title)) else { break };
            let Some(above) = owners.get(title) else { break };
            workload = Some(above.clone());
        }
        let jobs = json.pointer("/metadata/labels/scaledjob.keda.sh~1name").is_some();
        let ours = jobs || workload.as_ref().is_some_and(|title| known.contains(title));
        let pod = ours.then(|| pod(json, workload, &probes, now))?;
        let wrong = pod.waits.is_some()
            || pod.starting_s.is_some()
            || pod.ended.is_some()
            || pod.probe.is_some()
            || pod.overdue_s.is_some();
        wrong.then_some(pod)
    });
    pods.take(PODS_MAX).collect()
}

fn text<'v>(json: &'v Value, at: &str) -> &'v str {
    json.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// Whose each thing is that owns pods, itself or by others.
fn owners(listed: &Listed) -> BTreeMap<String, String> {
    let kinds =
        [("Deployment", &listed.deployments), ("StatefulSet", &listed.stateful_sets), ("Pod", &listed.pods)];
    let each = kinds.into_iter().flat_map(|(kind, all)| all.iter().map(move |json| (kind, json)));
    each.filter_map(|(kind, json)| Some((title(kind, json), controller(json)?))).collect()
}

/// What controls an object. A Deployment's ReplicaSet has its name and a hash.
fn controller(object: &Value) -> Option<String> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let owner = owners?.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    let (kind, name, namespace) =
        (text(owner, "/kind"), text(owner, "/name"), text(object, "/metadata/namespace"));
    Some(match kind {
        "ReplicaSet" => format!("Deployment {namespace}/{}", name.rsplit_once('-')?.0),
        kind => format!("{kind} {namespace}/{name}"),
    })
}

/// What kubelets said last of probes that failed, by pod. A readiness probe only takes a pod out of service.
fn probes(events: &[Value]) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    for event in events {
        let message = text(event, "/message");
        if text(event, "/involvedObject/kind") == "Pod"
            && (message.starts_with("Liveness probe") || message.starts_with("Startup probe"))
        {
            let pod = format!(
                "{}/{}",
                text(event, "/involvedObject/namespace"),
                text(event, "/involvedObject/name")
            );
            said.insert(pod, message.chars().take(SENTENCE_MAX).collect());
        }
    }
    said
}

fn pod(json: &Value, workload: Option<String>, probes: &BTreeMap<String, String>, now: Time) -> Pod {
    let name = format!("{}/{}", text(json, "/metadata/namespace"), text(json, "/metadata/name"));
    let since = |at: &str| time(text(json, at)).map(|then| now.since(then).as_secs_f64().max(0.0));
    let conditions = json.pointer("/status/conditions").and_then(Value::as_array);
    let condition = |type_: &str| {
        conditions
            .into_iter()
            .flatten()
            .find(|one| text(one, "/type") == type_ && text(one, "/status") == "True")
    };
    let statuses = json.pointer("/status/containerStatuses").and_then(Value::as_array);
    let restarts = |status: &&Value| status.get("restartCount").and_then(Value::as_u64).unwrap_or(0);
    let worst = statuses.into_iter().flatten().max_by_key(restarts);
    let ended = worst.and_then(|status| status.pointer("/lastState/terminated")).map(|ended| {
        let code = ended.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
        (text(ended, "/reason").to_owned(), code)
    });
    let deleting = json.pointer("/metadata/deletionTimestamp").is_some();
    let over = matches!(text(json, "/status/phase"), "Succeeded" | "Failed");
    let live = !deleting && !over;
    let scheduled = condition("PodScheduled").map(|one| text(one, "/lastTransitionTime"));
    let starting = scheduled.and_then(time).filter(|_| live && condition("Ready").is_none());
    let waits = pending::cause(json).filter(|_| live).map(|cause| (kind(cause.kind), cause.said));
    Pod {
        workload,
        waits,
        age_s: since("/metadata/creationTimestamp").unwrap_or(0.0),
        starting_s: starting.map(|then| now.since(then).as_secs_f64().max(0.0)),
        restarts: worst.as_ref().map(restarts).unwrap_or(0),
        ended,
        probe: probes.get(&name).cloned(),
        // The time of deletion is when its grace is over.
        overdue_s: since("/metadata/deletionTimestamp").filter(|_| deleting),
        grace_s: json.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(30),
        name,
    }
}

const fn kind(kind: Kind) -> Cause {
    match kind {
        Kind::Gpu => Cause::Gpu,
        Kind::Resources => Cause::Resources,
        Kind::Quota => Cause::Quota,
        Kind::Taint => Cause::Taint,
        Kind::Affinity => Cause::Affinity,
        Kind::Volume => Cause::Volume,
        Kind::Image => Cause::Image,
        Kind::Crash => Cause::Crash,
        Kind::Config => Cause::Config,
        Kind::Gated => Cause::Gated,
        Kind::Other => Cause::Other,
    }
}
