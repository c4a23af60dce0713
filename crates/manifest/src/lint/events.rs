//! Objects that ask for something which nothing here does.

use super::facts::Facts;
use crate::finding::{Finding, Severity};
use crate::load::Document;
use crate::path;

/// The group of KEDA's sources of CloudEvents.
const EVENTING: &str = "eventing.keda.sh";

fn asks_for_events(document: &Document) -> bool {
    let ours = matches!(document.kind.as_str(), "CloudEventSource" | "ClusterCloudEventSource");
    ours && document.group() == EVENTING
}

/// TG014: a source of CloudEvents, which nobody sends.
pub(super) fn events_not_sent(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for document in facts.manifests.documents.iter().filter(|document| asks_for_events(document)) {
        findings.push(document.finding(
            "TG014",
            Severity::Warning,
            path!["kind"],
            format!("no CloudEvents are sent: the {} has no effect", document.kind),
            "the same is told by Kubernetes Events and by the keda_* metrics; send those on, and remove it",
        ));
    }
}
