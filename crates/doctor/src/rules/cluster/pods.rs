//! Pods that wait, start for ever, or are ended.

use std::collections::BTreeMap;

use super::{few, kubectl};
use crate::cluster::{Cause, Cluster, Pod};
use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::rules::Rule;

/// A pod may wait so long for a node that is being made: providers take one to five minutes.
const NODE_S: f64 = 300.0;
/// For everything else a minute is long.
const WAIT_S: f64 = 60.0;
/// The slowest published starts of large models take five minutes; three times that is none any more.
const START_S: f64 = 900.0;
/// Restarts that are no accident any more.
const RESTARTS: u64 = 3;
/// The kubelet may take so long after a pod's time is over.
const OVERDUE_S: f64 = 30.0;

/// By workload, what is wrong with its pods.
fn grouped<'e, K: Ord>(
    cluster: &'e Cluster,
    wrong: impl Fn(&'e Pod) -> Option<K>,
) -> BTreeMap<(K, &'e str), Vec<&'e Pod>> {
    let mut groups: BTreeMap<(K, &str), Vec<&Pod>> = BTreeMap::new();
    for pod in &cluster.pods {
        if let Some(kind) = wrong(pod) {
            let subject = pod.workload.as_deref().unwrap_or(&pod.name);
            groups.entry((kind, subject)).or_default().push(pod);
        }
    }
    groups
}

pub(in crate::rules) fn pending(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    let waits = |pod: &'_ Pod| {
        let (cause, _) = pod.waits.as_ref()?;
        let patience_s = if *cause <= Cause::Taint { NODE_S } else { WAIT_S };
        // What a quota or an image keeps does not pass by itself, and what is gated is meant to wait.
        let long = pod.age_s > patience_s || matches!(cause, Cause::Quota | Cause::Image | Cause::Config);
        (long && *cause != Cause::Gated && *cause != Cause::Crash).then_some(*cause)
    };
    for ((cause, subject), pods) in grouped(cluster, waits) {
        let (why, fix) = said(cause, subject);
        let message = format!("{} of its pods wait: {why}", pods.len());
        let seen = pods.iter().map(|pod| {
            let words = pod.waits.as_ref().map(|(_, words)| words.as_str()).unwrap_or_default();
            format!("{} for {:.0} s: {words}", pod.name, pod.age_s)
        });
        out.push(rule.finding(subject, message, few(seen), fix));
    }
}

fn said(cause: Cause, subject: &str) -> (&'static str, String) {
    let at = kubectl(subject);
    let (why, fix) = match cause {
        Cause::Gpu => (
            "no node has a device left",
            "add nodes to the pool, or lower maxReplicaCount to what there is; `kubectl describe nodes | grep -A8 \
             Allocated` shows who holds them"
                .to_owned(),
        ),
        Cause::Resources => (
            "no node has the cpu or the memory they ask for",
            format!("lower their requests with `kubectl edit {at}`, or add nodes"),
        ),
        Cause::Quota => {
            ("the namespace's quota is used up", "raise it, or lower maxReplicaCount: `kubectl describe quota`".to_owned())
        }
        Cause::Taint => (
            "the nodes with room refuse them by a taint",
            format!("add the toleration to the pod template: `kubectl edit {at}`"),
        ),
        Cause::Affinity => (
            "no node is where they must be",
            format!("compare nodeSelector and affinity with `kubectl get nodes --show-labels`, then `kubectl edit {at}`"),
        ),
        Cause::Volume => (
            "their volume cannot be had where there is room",
            "use volumeBindingMode: WaitForFirstConsumer, or one volume a zone; see `kubectl get pvc,pv`".to_owned(),
        ),
        Cause::Image => (
            "their image cannot be pulled",
            format!("check its name, its registry and imagePullSecrets: `kubectl edit {at}`"),
        ),
        Cause::Config => (
            "a Secret or ConfigMap they name is not there",
            "make it, or name another; `kubectl get events` says which".to_owned(),
        ),
        Cause::Crash | Cause::Gated | Cause::Other => {
            ("see what is said", "`kubectl describe pod` shows all of it".to_owned())
        }
    };
    (why, fix)
}

pub(in crate::rules) fn start_stuck(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    let stuck = |pod: &'_ Pod| pod.starting_s.is_some_and(|for_s| for_s > START_S).then_some(());
    for (((), subject), pods) in grouped(cluster, stuck) {
        let message = format!(
            "{} of its pods have a node and have not become ready in {:.0} minutes",
            pods.len(),
            START_S / 60.0
        );
        let seen = pods.iter().map(|pod| {
            let ended = pod
                .ended
                .as_ref()
                .map_or_else(String::new, |(why, code)| format!(", ended last with {why} ({code})"));
            format!(
                "{} for {:.0} s, {} restarts{ended}",
                pod.name,
                pod.starting_s.unwrap_or_default(),
                pod.restarts
            )
        });
        let first = pods.first().map_or("", |pod| pod.name.as_str());
        let (namespace, name) = first.split_once('/').unwrap_or(("default", first));
        let fix = format!(
            "`kubectl -n {namespace} logs {name} --tail=50`; a startupProbe with a failureThreshold ends such a start"
        );
        out.push(rule.finding(subject, message, few(seen), fix));
    }
}

pub(in crate::rules) fn out_of_memory(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    let killed = |pod: &'_ Pod| pod.ended.as_ref().is_some_and(|(why, _)| why == "OOMKilled").then_some(());
    for (((), subject), pods) in grouped(cluster, killed) {
        let message = format!("containers of {} of its pods were ended for want of memory", pods.len());
        let seen = pods.iter().map(|pod| format!("{}: OOMKilled, {} restarts", pod.name, pod.restarts));
        let fix = format!(
            "raise limits.memory with `kubectl edit {}`; loading weights takes their size in memory unless they are \
             mapped, and /dev/shm counts as well",
            kubectl(subject)
        );
        out.push(rule.finding(subject, message, few(seen), fix));
    }
}

pub(in crate::rules) fn killed_by_probe(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    let killed = |pod: &'_ Pod| (pod.probe.is_some() && pod.restarts >= 1).then_some(());
    for (((), subject), pods) in grouped(cluster, killed) {
        let often = pods.iter().map(|pod| pod.restarts).max().unwrap_or_default();
        let message = if often >= RESTARTS {
            "a probe ends its containers again and again, most likely before the model is loaded".to_owned()
        } else {
            "a probe has ended one of its containers".to_owned()
        };
        let seen = pods.iter().map(|pod| {
            format!("{}, {} restarts: {}", pod.name, pod.restarts, pod.probe.as_deref().unwrap_or_default())
        });
        let fix = format!(
            "give it a startupProbe whose failureThreshold × periodSeconds is longer than its slowest start, so that \
             the livenessProbe waits: `kubectl edit {}`",
            kubectl(subject)
        );
        out.push(rule.finding(subject, message, few(seen), fix));
    }
}

pub(in crate::rules) fn overdue(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    let late = |pod: &'_ Pod| pod.overdue_s.is_some_and(|late_s| late_s > OVERDUE_S).then_some(());
    for (((), subject), pods) in grouped(cluster, late) {
        let message = format!("{} of its pods should have ended and hold their devices still", pods.len());
        let seen = pods.iter().map(|pod| {
            format!(
                "{}: {:.0} s over its grace of {} s",
                pod.name,
                pod.overdue_s.unwrap_or_default(),
                pod.grace_s
            )
        });
        let first = pods.first().map_or("", |pod| pod.name.as_str());
        let (namespace, name) = first.split_once('/').unwrap_or(("default", first));
        let fix = format!(
            "see whether its node answers (`kubectl get nodes`) and whether a finalizer holds it; \
             `kubectl -n {namespace} delete pod {name} --force --grace-period=0` gives the device back"
        );
        out.push(rule.finding(subject, message, few(seen), fix));
    }
}
