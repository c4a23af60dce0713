//! Who scales what: two for one, none for another, and what cannot be scaled.

use std::collections::BTreeMap;

use super::facts::Facts;
use crate::finding::{Finding, Severity};
use crate::kinds::vertical_pod_autoscaler::VerticalPodAutoscaler;
use crate::load::Document;
use crate::nearest::nearest;
use crate::node::Segment;
use crate::object::Object;
use crate::path;
use crate::workload::TargetRef;

fn scales(document: &Document) -> bool {
    matches!(document.object, Object::ScaledObject(_) | Object::HorizontalPodAutoscaler(_))
}

/// Every ScaledObject and HorizontalPodAutoscaler with its target.
fn scalers<'a>(facts: &Facts<'a>) -> impl Iterator<Item = (&'a Document, TargetRef)> {
    let documents = facts.manifests.documents.iter();
    documents
        .filter(|document| scales(document))
        .filter_map(|it| TargetRef::of(it).map(|target| (it, target)))
}

/// TG205: two that write the same number, or one that moves what the other measures.
pub(super) fn two_scalers(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let mut by_target: BTreeMap<TargetRef, Vec<&Document>> = BTreeMap::new();
    for (document, target) in scalers(facts).filter(|(document, _)| !stands_back(document)) {
        by_target.entry(target).or_default().push(document);
    }
    for (target, rivals) in &by_target {
        let Some((first, others)) = rivals.split_first() else { continue };
        for rival in others.iter().filter(|rival| !hands_over(first, rival)) {
            let message = format!(
                "{} {} is scaled by {} too ({}:{}): each undoes what the other decided",
                target.kind,
                target.name,
                first.title(),
                first.file,
                first.root.mark.line
            );
            let help = "keep one of them, with the triggers of both";
            let at = path!["spec", "scaleTargetRef", "name"];
            findings.push(rival.finding("TG205", Severity::Error, at, message, help));
        }
    }
    taken_names(facts, findings);
    for document in &facts.manifests.documents {
        if let Object::VerticalPodAutoscaler(vertical) = &document.object {
            vertical_against(document, vertical, &by_target, findings);
        }
    }
}

/// Paused, KEDA's own, or told to be left alone.
fn stands_back(document: &Document) -> bool {
    let set = |name: &str| document.annotation(name).is_some_and(|text| !is_false(&text));
    let owners =
        document.root.at(path!["metadata", "ownerReferences"]).map(|node| node.items()).unwrap_or_default();
    let owned =
        owners.iter().any(|owner| owner.get("kind").and_then(|kind| kind.as_str()) == Some("ScaledObject"));
    let managed = document.root.at(path!["metadata", "labels", "app.kubernetes.io/managed-by"]);
    owned
        || managed.and_then(|node| node.as_str()) == Some("keda-operator")
        || set("autoscaling.keda.sh/paused")
        || document.annotation("validations.keda.sh/hpa-ownership").is_some_and(|text| is_false(&text))
}

fn is_false(text: &str) -> bool {
    matches!(text, "0" | "f" | "F" | "FALSE" | "false" | "False")
}

/// Whether one of two is a ScaledObject told to take the other's HorizontalPodAutoscaler over.
fn hands_over(a: &Document, b: &Document) -> bool {
    let takes = |keda: &Document, hpa: &Document| match &keda.object {
        Object::ScaledObject(_) => {
            keda.annotation("scaledobject.keda.sh/transfer-hpa-ownership").as_deref() == Some("true")
                && hpa_name(keda).as_deref() == Some(&hpa.name)
        }
        _ => false,
    };
    takes(a, b) || takes(b, a)
}

/// The name of the HorizontalPodAutoscaler that KEDA makes for a ScaledObject.
fn hpa_name(document: &Document) -> Option<String> {
    let Object::ScaledObject(object) = &document.object else { return None };
    let config = object.spec.advanced.as_ref().and_then(|it| it.horizontal_pod_autoscaler_config.as_ref());
    let given = config.and_then(|config| config.name.clone()).filter(|name| !name.is_empty());
    Some(given.unwrap_or_else(|| format!("keda-hpa-{}", document.name)))
}

/// An autoscaler of another target that has the name KEDA wants.
fn taken_names(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let mut wanted: BTreeMap<(&str, String), (&Document, TargetRef)> = BTreeMap::new();
    for (document, target) in scalers(facts) {
        if let Some(name) = hpa_name(document) {
            wanted.insert((&document.namespace, name), (document, target));
        }
    }
    for (document, target) in scalers(facts) {
        if !matches!(document.object, Object::HorizontalPodAutoscaler(_)) || stands_back(document) {
            continue;
        }
        let key = (document.namespace.as_str(), document.name.clone());
        if let Some((keda, its)) = wanted.get(&key).filter(|(_, its)| *its != target) {
            let message = format!(
                "{} is the name KEDA gives the autoscaler of {}, which scales {}: one overwrites the other",
                document.name,
                keda.title(),
                its.name
            );
            let at = path!["metadata", "name"];
            findings.push(document.finding("TG205", Severity::Error, at, message, "give it another name"));
        }
    }
}

/// A VerticalPodAutoscaler that sets the requests on which a utilisation is counted.
fn vertical_against(
    document: &Document,
    vertical: &VerticalPodAutoscaler,
    by_target: &BTreeMap<TargetRef, Vec<&Document>>,
    findings: &mut Vec<Finding>,
) {
    let mode = vertical.spec.update_policy.as_ref().and_then(|policy| policy.update_mode.as_deref());
    let Some(rivals) =
        TargetRef::of(document).filter(|_| mode != Some("Off")).and_then(|it| by_target.get(&it))
    else {
        return;
    };
    let controlled = controlled(vertical);
    for rival in rivals {
        for resource in utilisations(rival) {
            let Some((_, at)) = controlled.iter().find(|(name, _)| *name == resource) else { continue };
            let message = format!(
                "it sets the {resource} request of the pods, and {} scales on {resource} as a percentage of that \
                 request: each answers the other's change, without end",
                rival.title()
            );
            let help = format!(
                "let only one of the two act on {resource}: updateMode: \"Off\" here, or another signal there"
            );
            findings.push(document.finding("TG205", Severity::Error, at, message, help));
        }
    }
}

/// The resources a VerticalPodAutoscaler sets, and where it says so.
fn controlled(vertical: &VerticalPodAutoscaler) -> Vec<(String, Vec<Segment>)> {
    let both = || ["cpu", "memory"].map(str::to_owned).to_vec();
    let policies = vertical.spec.resource_policy.as_ref().map(|policy| &policy.container_policies);
    let Some(policies) = policies.filter(|policies| !policies.is_empty()) else {
        return both().into_iter().map(|name| (name, path!["spec", "targetRef"].to_vec())).collect();
    };
    let acting = policies.iter().enumerate().filter(|(_, policy)| policy.mode.as_deref() != Some("Off"));
    acting
        .flat_map(|(index, policy)| {
            let at =
                path!["spec", "resourcePolicy", "containerPolicies", index, "controlledResources"].to_vec();
            let names = policy.controlled_resources.clone().unwrap_or_else(both);
            names.into_iter().map(move |name| (name, at.clone()))
        })
        .collect()
}

/// Resources whose utilisation an object scales on.
fn utilisations(document: &Document) -> Vec<String> {
    match &document.object {
        Object::ScaledObject(object) => {
            let triggers = object.spec.triggers.iter();
            let resources = triggers.filter(|trigger| matches!(trigger.type_.as_str(), "cpu" | "memory"));
            let of_request =
                resources.filter(|trigger| trigger.metric_type.as_deref() == Some("Utilization"));
            of_request.map(|trigger| trigger.type_.clone()).collect()
        }
        Object::HorizontalPodAutoscaler(object) => {
            let metrics = object.spec.iter().flat_map(|spec| spec.metrics.iter().flatten());
            metrics
                .filter_map(|metric| {
                    let whole = metric.resource.as_ref().map(|source| (&source.name, &source.target));
                    let one = metric.container_resource.as_ref().map(|source| (&source.name, &source.target));
                    let (name, target) = whole.or(one)?;
                    target.average_utilization.map(|_| name.clone())
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Kinds that have replicas to set.
const SCALABLE: &[&str] =
    &["Deployment", "StatefulSet", "ReplicaSet", "ReplicationController", "LeaderWorkerSet"];

/// TG206: the target is not among the objects read.
pub(super) fn target_not_in_files(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let workloads: Vec<&Document> =
        facts.manifests.documents.iter().filter(|it| SCALABLE.contains(&it.kind.as_str())).collect();
    for (document, target) in scalers(facts) {
        // A custom resource may be anything, and may have been rendered elsewhere.
        if !SCALABLE.contains(&target.kind.as_str()) || facts.find(&target).is_some() {
            continue;
        }
        let at = path!["spec", "scaleTargetRef", "name"];
        let wanted = format!("{} {}/{}", target.kind, target.namespace, target.name);
        let (severity, message, help) = match stranger(&workloads, document, &target) {
            Some(told) => told,
            None if workloads.is_empty() => (
                Severity::Info,
                format!("{wanted} is not in the files, so nothing about its pods is checked"),
                "give lint the workload's file too".to_owned(),
            ),
            None => {
                let names =
                    workloads.iter().filter(|it| it.namespace == target.namespace).map(|it| it.name.as_str());
                let help = match nearest(&target.name, names) {
                    Some(near) => format!("did you mean {near}?"),
                    None => "give lint the file that defines it, or correct the reference".to_owned(),
                };
                (Severity::Warning, format!("{wanted} is not in the files, and other workloads are"), help)
            }
        };
        findings.push(document.finding("TG206", severity, at, message, help));
    }
}

/// A workload of that name which is not the one referred to: another kind, group or namespace.
fn stranger(
    workloads: &[&Document],
    document: &Document,
    target: &TargetRef,
) -> Option<(Severity, String, String)> {
    let named = workloads.iter().filter(|it| it.name == target.name);
    let here = named.clone().find(|it| it.namespace == target.namespace);
    if let Some(found) = here {
        let api = found.root.get("apiVersion").and_then(|node| node.as_str()).unwrap_or_default();
        let message =
            format!("{} is a {} ({api}), and the reference says {}", found.title(), found.kind, target.kind);
        let help = format!("write apiVersion: {api} and kind: {} in scaleTargetRef", found.kind);
        return Some((Severity::Error, message, help));
    }
    let elsewhere = named.clone().find(|it| it.kind == target.kind)?;
    let placed = |it: &Document| it.root.at(path!["metadata", "namespace"]).is_some();
    // Who names no namespace gets that of whoever applies it.
    let sure = placed(document) && placed(elsewhere);
    let message = format!(
        "{} is in namespace {}, and this object looks in {}: a reference never leaves its namespace",
        elsewhere.title(),
        elsewhere.namespace,
        target.namespace
    );
    let help = format!("write metadata.namespace: {} here", elsewhere.namespace);
    Some((if sure { Severity::Error } else { Severity::Info }, message, help))
}

/// Kinds without a scale subresource that people name all the same.
const UNSCALABLE: &[&str] =
    &["Pod", "DaemonSet", "Job", "CronJob", "Service", "ConfigMap", "Secret", "Namespace"];

/// TG207: the target has no scale subresource.
pub(super) fn target_cannot_scale(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for (document, target) in scalers(facts) {
        let built_in = matches!(target.group.as_str(), "" | "apps" | "batch");
        if !built_in || !UNSCALABLE.contains(&target.kind.as_str()) {
            continue;
        }
        let message = format!("a {} has no replicas to set: it has no scale subresource", target.kind);
        let help = match target.kind.as_str() {
            "Job" | "CronJob" => "use a ScaledJob, which creates Jobs for a backlog",
            "Service" => "name the Deployment behind the Service",
            _ => "name a Deployment, a StatefulSet, or a custom resource with a scale subresource",
        };
        let at = path!["spec", "scaleTargetRef", "kind"];
        findings.push(document.finding("TG207", Severity::Error, at, message, help));
    }
}
