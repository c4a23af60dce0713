//! VerticalPodAutoscalers on model servers.

use super::facts::{self, Facts};
use super::serving::{Server, servers};
use crate::finding::{Finding, Severity};
use crate::kinds::vertical_pod_autoscaler::{ContainerResourcePolicy, VerticalPodAutoscaler};
use crate::load::Document;
use crate::object::Object;
use crate::path;

/// TG406: a VPA that is given GPUs to set, or restarts a model server for a little memory.
pub(super) fn vpa_controls_gpu(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let servers = servers(facts);
    for document in &facts.manifests.documents {
        let Object::VerticalPodAutoscaler(vpa) = &document.object else { continue };
        gpu_amounts(document, vpa, findings);
        restarts(facts, &servers, document, vpa, findings);
    }
}

fn policies(vpa: &VerticalPodAutoscaler) -> &[ContainerResourcePolicy] {
    vpa.spec.resource_policy.as_ref().map_or(&[], |policy| &policy.container_policies)
}

fn gpu_amounts(document: &Document, vpa: &VerticalPodAutoscaler, findings: &mut Vec<Finding>) {
    for (index, policy) in policies(vpa).iter().enumerate() {
        let gpu = |name: &&String| facts::is_gpu(name);
        let controlled = policy.controlled_resources.as_deref().unwrap_or_default();
        let position = controlled.iter().position(|name| facts::is_gpu(name));
        let policy_at = path!["spec", "resourcePolicy", "containerPolicies", index];
        let (at, name) =
            if let Some((position, name)) = position.and_then(|at| Some((at, controlled.get(at)?))) {
                (path!["controlledResources", position].to_vec(), name)
            } else if let Some(name) = policy.max_allowed.keys().find(gpu) {
                (path!["maxAllowed", name].to_vec(), name)
            } else if let Some(name) = policy.min_allowed.keys().find(gpu) {
                (path!["minAllowed", name].to_vec(), name)
            } else {
                continue;
            };
        findings.push(document.finding(
            "TG406",
            Severity::Error,
            &[policy_at, &at].concat(),
            format!(
                "{name} stands under a VerticalPodAutoscaler, which sets cpu and memory and nothing \
                 else: it has no effect"
            ),
            format!(
                "remove {name} here; the pod template's limits say how many GPUs a replica has, and a \
                 ScaledObject how many replicas"
            ),
        ));
    }
}

fn restarts(
    facts: &Facts<'_>,
    servers: &[Server<'_>],
    document: &Document,
    vpa: &VerticalPodAutoscaler,
    findings: &mut Vec<Finding>,
) {
    let mode = vpa.spec.update_policy.as_ref().and_then(|policy| policy.update_mode.as_deref());
    if !matches!(mode, None | Some("Auto" | "Recreate")) {
        return;
    }
    let Some(container) = server_of(facts, servers, document, vpa) else { return };
    let named = policies(vpa).iter().find(|policy| policy.container_name.as_deref() == Some(&container));
    let policy =
        named.or_else(|| policies(vpa).iter().find(|policy| policy.container_name.as_deref() == Some("*")));
    if policy.is_some_and(|policy| policy.mode.as_deref() == Some("Off")) {
        return;
    }
    let mode = match mode {
        Some(mode) => format!("updateMode {mode}"),
        None => "updateMode is not given, and its default".to_owned(),
    };
    findings.push(document.finding(
        "TG406",
        Severity::Warning,
        path!["spec", "updatePolicy", "updateMode"],
        format!(
            "{mode} evicts pods to change their requests: {container} loads its model again, and its \
             streams are cut"
        ),
        "write updateMode: \"Off\" and read the recommendation, or \"Initial\" to apply it to new pods only",
    ));
}

/// The model server among the target's containers: by the workload, or, where that is not in the files,
/// by a policy that speaks of GPUs.
fn server_of(
    facts: &Facts<'_>,
    servers: &[Server<'_>],
    document: &Document,
    vpa: &VerticalPodAutoscaler,
) -> Option<String> {
    if let Some(pods) = facts.pods_of(document) {
        let server = servers.iter().find(|server| std::ptr::eq(server.document(), pods.document));
        return server.map(|server| server.container.name.clone());
    }
    let gpu = |policy: &&ContainerResourcePolicy| {
        policy.min_allowed.keys().chain(policy.max_allowed.keys()).any(|name| facts::is_gpu(name))
    };
    policies(vpa).iter().find(gpu)?.container_name.clone().filter(|name| name != "*")
}
