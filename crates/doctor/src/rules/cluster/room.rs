//! Room for more: quotas and node pools.

use std::collections::BTreeSet;

use super::few;
use crate::cluster::{Cause, Workload};
use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::rules::Rule;

pub(in crate::rules) fn quota_used_up(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    for quota in cluster.quotas.iter().filter(|quota| quota.full) {
        // A quota that is just full is what it is for; it hurts once somebody wants more.
        let wants = |workload: &&Workload| {
            workload.namespace == quota.namespace
                && workload.ready < workload.wanted
                && workload.refused.is_some()
        };
        let wanting: Vec<&Workload> = cluster.workloads.iter().filter(wants).collect();
        if wanting.is_empty() {
            continue;
        }
        let message = format!("all of {} is used, and {} workloads want more", quota.resource, wanting.len());
        let mut seen = vec![format!("{} of {} {}", quota.used, quota.hard, quota.resource)];
        seen.extend(few(wanting.iter().map(|workload| {
            let said = workload.refused.as_deref().unwrap_or_default();
            format!("{}: {} of {} ready: {said}", workload.title, workload.ready, workload.wanted)
        })));
        let fix = format!(
            "raise it with `kubectl -n {} edit resourcequota {}`, or lower maxReplicaCount to what it allows",
            quota.namespace,
            quota.name.rsplit('/').next().unwrap_or_default()
        );
        out.push(rule.finding(&format!("ResourceQuota {}", quota.name), message, seen, fix));
    }
}

pub(in crate::rules) fn no_room(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    let waiting: BTreeSet<&str> = cluster
        .pods
        .iter()
        .filter(|pod| matches!(pod.waits, Some((Cause::Gpu, _))))
        .map(|pod| pod.workload.as_deref().unwrap_or(&pod.name))
        .collect();
    if waiting.is_empty() {
        return;
    }
    for pool in cluster.pools.iter().flatten() {
        let said = |more: &str| format!("{} {} on {} nodes{more}", pool.devices, pool.device, pool.nodes);
        let (message, fix) = if pool.away > 0 && pool.away == pool.nodes {
            (
                "none of its nodes takes pods, and pods wait for its devices".to_owned(),
                "see why with `kubectl get nodes`; `kubectl uncordon NODE` lets pods on again".to_owned(),
            )
        } else if pool.taken.is_some_and(|taken| taken >= pool.devices) {
            (
                "all of its devices are taken, and pods wait for one".to_owned(),
                "add nodes to it, let its autoscaler grow it, or lower maxReplicaCount of who needs it least"
                    .to_owned(),
            )
        } else {
            continue;
        };
        let taken = pool.taken.map_or_else(String::new, |taken| format!(", {taken} taken"));
        let mut seen = vec![said(&taken)];
        if pool.away > 0 {
            seen.push(format!("{} nodes are cordoned or not ready", pool.away));
        }
        seen.extend(few(waiting.iter().map(|workload| format!("{workload} waits"))));
        out.push(rule.finding(&format!("nodes {}", pool.name), message, seen, fix));
    }
}
