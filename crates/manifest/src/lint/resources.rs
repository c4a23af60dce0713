//! GPUs: asked for the way the API takes them, on nodes that take the pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::facts::{self, Facts, Pods};
use crate::finding::{Finding, Severity};
use crate::node::Segment;
use crate::path;
use crate::quantity;

/// TG301: pods that ask for a GPU and tolerate no GPU pool's taint.
pub(super) fn gpu_without_toleration(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for pods in facts.pods() {
        let Some(spec) = &pods.template.spec else { continue };
        let tolerated = spec.tolerations.iter().flatten().any(may_be_for_gpus);
        if spec.node_name.is_some() || tolerated {
            continue;
        }
        let Some((container, resource)) = pods.containers().find_map(|(index, container)| {
            asked(container).into_iter().next().map(|resource| (index, resource))
        }) else {
            continue;
        };
        let taint = taint_of(resource);
        let list = gpu_list(&pods, container, resource);
        findings.push(pods.document.finding(
            "TG301",
            Severity::Warning,
            &pods.path(path!["spec", "containers", container, "resources", list, resource]),
            format!(
                "the pods ask for {resource} and tolerate no taint; where GPU nodes carry the usual \
                 taint {taint}, they stay Pending"
            ),
            format!("add to the pod's tolerations: {{key: {taint}, operator: Exists, effect: NoSchedule}}"),
        ));
    }
}

/// Keys of taints that have nothing to do with GPUs: what Kubernetes sets itself, and interruptible capacity.
const OTHER_TAINTS: &[&str] = &[
    "node.kubernetes.io/",
    "node-role.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "cloud.google.com/gke-spot",
    "cloud.google.com/gke-preemptible",
    "cloud.google.com/gke-provisioning",
    "kubernetes.azure.com/scalesetpriority",
    "karpenter.sh/",
    "spot",
];

/// A pool may be tainted with any key its owner likes, so any key not known for another purpose counts.
fn may_be_for_gpus(toleration: &Toleration) -> bool {
    let schedules = toleration.effect.as_deref().is_none_or(|effect| matches!(effect, "" | "NoSchedule"));
    let key = toleration.key.as_deref().unwrap_or_default();
    schedules && !OTHER_TAINTS.iter().any(|prefix| key.starts_with(prefix))
}

/// Vendors taint by the name of the whole device.
fn taint_of(resource: &str) -> &str {
    if resource.starts_with("nvidia.com/") { "nvidia.com/gpu" } else { resource }
}

/// Which list of a container names a resource.
fn gpu_list(pods: &Pods<'_>, container: usize, resource: &str) -> &'static str {
    let limits = pods.path(path!["spec", "containers", container, "resources", "limits", resource]);
    if pods.document.root.at(&limits).is_some() { "limits" } else { "requests" }
}

/// The GPU resources a container names, with an amount above none.
fn asked(container: &Container) -> Vec<&str> {
    let resources = container.resources.as_ref();
    let lists = resources.map(|resources| [resources.limits.as_ref(), resources.requests.as_ref()]);
    lists
        .into_iter()
        .flatten()
        .flatten()
        .flatten()
        .filter(|(name, amount)| {
            facts::is_gpu(name) && quantity::parse(&amount.0).is_ok_and(|amount| amount.0 > 0)
        })
        .map(|(name, _)| name.as_str())
        .collect()
}

/// TG302: a GPU in requests that limits lack, or have another number of.
pub(super) fn gpu_request_without_limit(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for_each_container(facts, |pods, at, container| {
        let Some(resources) = &container.resources else { return };
        let empty = BTreeMap::new();
        let limits = resources.limits.as_ref().unwrap_or(&empty);
        for (name, request) in resources.requests.iter().flatten().filter(|(name, _)| facts::is_gpu(name)) {
            let message = match limits.get(name) {
                None => format!("{name} is {} in requests and missing in limits", request.0),
                Some(limit) if differ(request, limit) => {
                    format!("{name} is {} in requests and {} in limits", request.0, limit.0)
                }
                Some(_) => continue,
            };
            let path = pods.path(&[at, path!["resources", "requests", name]].concat());
            let amount = limits.get(name).unwrap_or(request);
            findings.push(pods.document.finding(
                "TG302",
                Severity::Error,
                &path,
                format!("{message}: the API server refuses the pod"),
                format!(
                    "write {name}: \"{}\" under limits, and the same or nothing under requests",
                    amount.0
                ),
            ));
        }
    });
}

fn differ(a: &Quantity, b: &Quantity) -> bool {
    matches!((quantity::parse(&a.0), quantity::parse(&b.0)), (Ok(a), Ok(b)) if a != b)
}

/// TG311: half a GPU.
pub(super) fn fractional_gpu(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for_each_container(facts, |pods, at, container| {
        let Some(resources) = &container.resources else { return };
        for (list, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
            for (name, amount) in amounts.iter().flatten().filter(|(name, _)| facts::is_gpu(name)) {
                if quantity::parse(&amount.0).is_ok_and(|milli| milli.0 % 1000 != 0) {
                    findings.push(pods.document.finding(
                        "TG311",
                        Severity::Error,
                        &pods.path(&[at, path!["resources", list, name]].concat()),
                        format!(
                            "{name} is {}: devices are counted whole, and the API server refuses the \
                             pod",
                            amount.0
                        ),
                        "write a whole number; to share a device, use a MIG slice such as \
                         nvidia.com/mig-1g.10gb, or time-slicing set up on the node",
                    ));
                    return;
                }
            }
        }
    });
}

/// Every container, those that only prepare included, with its path below the template.
fn for_each_container<'a>(facts: &Facts<'a>, mut visit: impl FnMut(&Pods<'a>, &[Segment], &Container)) {
    for pods in facts.pods() {
        let Some(spec) = &pods.template.spec else { continue };
        for (index, container) in spec.containers.iter().enumerate() {
            visit(&pods, path!["spec", "containers", index], container);
        }
        for (index, container) in spec.init_containers.iter().flatten().enumerate() {
            visit(&pods, path!["spec", "initContainers", index], container);
        }
    }
}
