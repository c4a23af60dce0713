//! Annotations that look like ours or KEDA's and are neither.

use super::facts::{Facts, Pods};
use crate::finding::{Finding, Severity};
use crate::load::Document;
use crate::lower::ANNOTATIONS;
use crate::nearest::nearest;
use crate::node::{Segment, Written};
use crate::path;

const OURS: &str = "tidegate.dev/";
const KEDAS: &str = "autoscaling.keda.sh/";

/// What KEDA reads under its prefix.
const KNOWN_TO_KEDA: &[&str] =
    &["paused", "paused-replicas", "paused-scale-in", "paused-scale-out", "force-activation"];

/// TG011: an annotation that nobody reads.
pub(super) fn unknown_annotation(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for document in &facts.manifests.documents {
        check(document, path!["metadata", "annotations"], findings);
        if let Some(pods) = Pods::of(document) {
            check(document, &pods.path(path!["metadata", "annotations"]), findings);
        }
    }
}

/// TG209: an objective that no policy reads.
pub(super) fn objective_not_held(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for document in &facts.manifests.documents {
        if document.annotation("tidegate.dev/policy").as_deref() == Some("slo") {
            continue;
        }
        for name in ["tidegate.dev/slo-ttft", "tidegate.dev/slo-itl"] {
            if document.annotation(name).is_none() {
                continue;
            }
            let path = path!["metadata", "annotations", name];
            let message = format!("{name} is only read by policy slo, and this object has another");
            let help = "add tidegate.dev/policy: slo, or remove it";
            findings.push(document.finding("TG209", Severity::Warning, path, message, help));
        }
    }
}

fn check(document: &Document, at: &[Segment], findings: &mut Vec<Finding>) {
    let entries = document.root.at(at).map(|node| node.entries()).unwrap_or_default();
    for (key, _) in entries {
        let name = key.text.as_str();
        let (prefix, near) = if let Some(rest) = name.strip_prefix(OURS) {
            let mut ours = ANNOTATIONS.iter().filter_map(|known| known.name.strip_prefix(OURS));
            if ours.clone().any(|known| known == rest) {
                continue;
            }
            (OURS, nearest(rest, &mut ours))
        } else if let Some(rest) = name.strip_prefix(KEDAS) {
            if KNOWN_TO_KEDA.contains(&rest) {
                continue;
            }
            (KEDAS, nearest(rest, KNOWN_TO_KEDA.iter().copied()))
        } else {
            continue;
        };
        let help = match near {
            Some(near) => format!("did you mean {prefix}{near}?"),
            None => format!("remove it; known under {prefix}: {}", known(prefix)),
        };
        let path: Vec<Segment> = at.iter().cloned().chain([Segment::from(name)]).collect();
        let message = format!("nobody reads the annotation {name}, at {}", Written(at));
        findings.push(document.finding("TG011", Severity::Warning, &path, message, help));
    }
}

fn known(prefix: &str) -> String {
    if prefix == KEDAS {
        return KNOWN_TO_KEDA.join(", ");
    }
    ANNOTATIONS.iter().filter_map(|known| known.name.strip_prefix(OURS)).collect::<Vec<_>>().join(", ")
}
