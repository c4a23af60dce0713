//! What is decided by: queries without data, usage that nobody serves, and what the doctor itself could not see.

use super::few;
use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::rules::Rule;

pub(in crate::rules) fn no_data(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    for scaler in &cluster.scalers {
        // False where all of its triggers fail, Unknown where some do.
        let ready = scaler
            .condition("Ready")
            .filter(|(status, reason, _)| *status != "True" && reason.ends_with("TriggerError"));
        let some = ready.is_some_and(|(status, ..)| status == "Unknown");
        let fallback = scaler.condition("Fallback").filter(|(status, ..)| *status == "True");
        let inactive = scaler
            .condition("ScalingActive")
            .filter(|(status, reason, _)| *status == "False" && *reason != "ScalingDisabled");
        // An answer that has nothing in it is no failure to KEDA, and a zero to its arithmetic.
        let empty = scaler.condition("NoData").filter(|(status, ..)| *status == "True");
        let said = [ready, fallback, inactive, empty];
        if said.iter().all(Option::is_none) && scaler.failing.is_empty() {
            continue;
        }
        let message = match (fallback, scaler.failing.len()) {
            (Some(_), _) => "triggers fail, and its fallback speaks for them".to_owned(),
            (None, 0) if some => "some of its triggers cannot be read, so it is not scaled down".to_owned(),
            (None, 0) if ready.is_none() && inactive.is_none() => {
                "queries answer with nothing, which is not the same as zero".to_owned()
            }
            (None, 0) => "what it is decided by cannot be read, so its count stays as it is".to_owned(),
            (None, count) => format!("{count} of its triggers cannot be read"),
        };
        let conditions = said.into_iter().flatten();
        let mut seen: Vec<String> = conditions.map(|(_, reason, said)| format!("{reason}: {said}")).collect();
        seen.extend(few(scaler
            .failing
            .iter()
            .map(|(signal, times)| format!("{signal} failed {times} times"))));
        let fix = format!(
            "ask its query by hand: it must give one number, also while nothing runs (`or vector(0)`); \
             `tidegate why {}/{}` says what each trigger last gave",
            scaler.namespace, scaler.name
        );
        out.push(rule.finding(&scaler.title(), message, seen, fix));
    }
}

pub(in crate::rules) fn no_usage(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    if cluster.usage_served != Some(false) {
        return;
    }
    let reads: Vec<String> = cluster
        .scalers
        .iter()
        .filter(|scaler| scaler.reads_usage && !scaler.idle)
        .map(|one| one.title())
        .collect();
    if reads.is_empty() {
        return;
    }
    let message = format!("metrics.k8s.io is not served, and {} objects scale on cpu or memory", reads.len());
    let fix = "install the metrics server, or scale on what the engine exports: `kubectl get apiservice v1beta1.metrics.k8s.io`";
    out.push(rule.finding("metrics.k8s.io", message, few(reads), fix.to_owned()));
}

pub(in crate::rules) fn unseen(rule: &Rule, evidence: &Evidence, out: &mut Vec<Finding>) {
    let Some(cluster) = &evidence.cluster else { return };
    if cluster.unseen.is_empty() {
        return;
    }
    let message = "not everything could be looked at, and what was not is not judged".to_owned();
    let fix = "look with an account that may list these: `kubectl auth can-i --list`".to_owned();
    out.push(rule.finding("the doctor", message, few(cluster.unseen.iter().cloned()), fix));
}
