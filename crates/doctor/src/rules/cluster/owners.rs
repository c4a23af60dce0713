//! Who scales: two, or nobody.

use std::collections::BTreeMap;

use super::few;
use crate::cluster::Scaler;
use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::rules::Rule;

pub(in crate::rules) fn two_owners(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    let mut owners: BTreeMap<&str, Vec<&Scaler>> = BTreeMap::new();
    for scaler in cluster.scalers.iter().filter(|scaler| !scaler.idle) {
        // What KEDA made is the hand of its ScaledObject: one owner while KEDA runs, and two once we do.
        let of_keda = scaler.owner.is_some() && cluster.operators.keda.is_some();
        if let Some(workload) = scaler.workload.as_deref().filter(|_| !of_keda) {
            owners.entry(workload).or_default().push(scaler);
        }
    }
    for (workload, scalers) in owners.into_iter().filter(|(_, scalers)| scalers.len() > 1) {
        let message =
            format!("{} objects ask for its replicas, and each undoes what the other does", scalers.len());
        let mine = scalers.iter().find_map(|scaler| Some((scaler, scaler.owner.as_ref()?)));
        let fix = match mine {
            Some((hpa, owner)) => {
                format!("take it over from KEDA: `tidegate adopt -n {} {owner}`", hpa.namespace)
            }
            None => {
                let last = scalers.last().map_or_else(String::new, |scaler| super::kubectl(&scaler.title()));
                format!("keep one: `kubectl delete {last}`")
            }
        };
        let seen = few(scalers.iter().map(|scaler| scaler.title()));
        out.push(rule.finding(workload, message, seen, fix));
    }
}

pub(in crate::rules) fn nobody(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    let asks = |scaler: &&Scaler| scaler.kind.starts_with("Scaled");
    let asking: Vec<&Scaler> = cluster.scalers.iter().filter(asks).collect();
    let Some(tidegate) = &cluster.operators.tidegate else { return };
    if asking.is_empty() || !tidegate.is_empty() || cluster.operators.keda.is_some() {
        return;
    }
    let message =
        format!("{} objects ask for replicas, and no operator is at work: nothing is scaled", asking.len());
    let seen = few(asking.iter().map(|scaler| scaler.title()));
    let fix = "start one: `tidegate operator`, or see why its pods do not run".to_owned();
    out.push(rule.finding("operator", message, seen, fix));
}

pub(in crate::rules) fn refused(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    for scaler in &cluster.scalers {
        let Some(("False", reason, said)) = scaler.condition("Ready") else { continue };
        // Signals that fail have a rule of their own.
        if reason.ends_with("TriggerError") {
            continue;
        }
        let message = format!("it is not run: {said}");
        let fix = format!(
            "mend what the message names; `tidegate why {}/{}` says more",
            scaler.namespace, scaler.name
        );
        out.push(rule.finding(&scaler.title(), message, vec![format!("Ready is False: {reason}")], fix));
    }
}
