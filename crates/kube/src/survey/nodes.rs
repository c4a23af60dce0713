//! Nodes with devices, by what they have in common.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_doctor::cluster::Pool;

use crate::index::pending::is_device;

/// Labels that name a node's pool, as the large providers and Karpenter set them; the first that is there counts.
const POOL_LABELS: &[&str] = &[
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
    "nvidia.com/gpu.product",
    "node.kubernetes.io/instance-type",
];

/// The pools of nodes that have devices; how many are taken only where all pods are known.
pub(super) fn pools(nodes: &[Value], pods: Option<&[Value]>) -> Vec<Pool> {
    let taken = pods.map(taken);
    let mut pools: BTreeMap<(String, String), Pool> = BTreeMap::new();
    for node in nodes {
        let name = node.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let allocatable = node.pointer("/status/allocatable").and_then(Value::as_object);
        for (device, amount) in allocatable.into_iter().flatten().filter(|(resource, _)| is_device(resource))
        {
            let count = amount.as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            let key = (pool(node), device.clone());
            let pool = pools.entry(key.clone()).or_insert_with(|| Pool {
                name: key.0,
                device: key.1,
                taken: taken.as_ref().map(|_| 0),
                ..Pool::default()
            });
            pool.nodes += 1;
            if away(node) {
                pool.away += 1;
                continue;
            }
            pool.devices += count;
            let here = taken.as_ref().and_then(|taken| taken.get(&(name.to_owned(), device.clone())));
            if let Some(sum) = &mut pool.taken {
                *sum += here.copied().unwrap_or(0);
            }
        }
    }
    pools.into_values().collect()
}

fn pool(node: &Value) -> String {
    let labels = node.pointer("/metadata/labels");
    let named = POOL_LABELS.iter().find_map(|label| labels?.get(label)?.as_str());
    named.unwrap_or("with devices").to_owned()
}

fn away(node: &Value) -> bool {
    let cordoned = node.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().any(|condition| {
        let text = |at: &str| condition.get(at).and_then(Value::as_str);
        text("type") == Some("Ready") && text("status") == Some("True")
    });
    cordoned || !ready
}

/// Devices that pods on nodes hold, by node and device.
fn taken(pods: &[Value]) -> BTreeMap<(String, String), u64> {
    let mut taken = BTreeMap::new();
    for pod in pods {
        let Some(node) = pod.pointer("/spec/nodeName").and_then(Value::as_str) else { continue };
        let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") {
            continue;
        }
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        for container in containers.into_iter().flatten() {
            // What is asked of a device is its limit and its request alike.
            let limits = container.pointer("/resources/limits").and_then(Value::as_object);
            for (device, amount) in limits.into_iter().flatten().filter(|(resource, _)| is_device(resource)) {
                let count = amount.as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
                *taken.entry((node.to_owned(), device.clone())).or_default() += count;
            }
        }
    }
    taken
}
