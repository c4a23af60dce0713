//! What is decided by: queries without data, usage that nobody serves, and what the doctor itself could not see.

use super::few;
use crate::cluster::{METRICS, Scaler, USAGE};
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
    let Some(served) = &cluster.served else { return };
    for group in METRICS.into_iter().filter(|group| !served.contains(group)) {
        let reads = cluster.scalers.iter().filter(|scaler| scaler.reads.contains(group) && !scaler.idle);
        let reads: Vec<String> = reads.map(Scaler::title).collect();
        if reads.is_empty() {
            continue;
        }
        let (what, install) = match group {
            USAGE => ("cpu or memory", "the metrics server"),
            _ => ("metrics of an adapter", "the adapter that has them"),
        };
        let message = format!("{group} is not served, and {} objects scale on {what}", reads.len());
        let fix = format!(
            "install {install}, or scale on what the engine exports: `kubectl get apiservices | grep {group}`"
        );
        out.push(rule.finding(group, message, few(reads), fix));
    }
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
