//! `VerticalPodAutoscaler` (`autoscaling.k8s.io/v1`): changes the requests of a target's pods.
//!
//! It restarts pods, and it moves the base a cpu or memory utilisation is counted on.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v1::CrossVersionObjectReference;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// The API group.
pub const GROUP: &str = "autoscaling.k8s.io";

/// The kind.
pub const KIND: &str = "VerticalPodAutoscaler";

/// Sets the requests of a target's pods from what they used.
#[derive(Clone, Debug, Deserialize)]
pub struct VerticalPodAutoscaler {
    /// Name, namespace, labels, annotations.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: VerticalPodAutoscalerSpec,
}

/// Whose requests, and how they are set.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerticalPodAutoscalerSpec {
    /// The workload whose pods are meant.
    pub target_ref: Option<CrossVersionObjectReference>,
    /// When new requests take effect.
    pub update_policy: Option<PodUpdatePolicy>,
    /// Which resources of which containers.
    pub resource_policy: Option<PodResourcePolicy>,
}

/// When new requests take effect.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodUpdatePolicy {
    /// `Off`, `Initial`, `Recreate`, `InPlaceOrRecreate` or `Auto`. Default `Auto`, which restarts pods.
    pub update_mode: Option<String>,
}

/// Which resources of which containers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodResourcePolicy {
    /// One entry a container; the name `*` stands for all others.
    #[serde(default)]
    pub container_policies: Vec<ContainerResourcePolicy>,
}

/// What may be done to one container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerResourcePolicy {
    /// The container, or `*`.
    pub container_name: Option<String>,
    /// `Auto` or `Off`. Default `Auto`.
    pub mode: Option<String>,
    /// The least that may be requested, by resource.
    #[serde(default)]
    pub min_allowed: BTreeMap<String, Quantity>,
    /// The most that may be requested, by resource.
    #[serde(default)]
    pub max_allowed: BTreeMap<String, Quantity>,
    /// The resources that are set. Default cpu and memory.
    pub controlled_resources: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_autoscaler_is_read() {
        let autoscaler: VerticalPodAutoscaler = serde_saphyr::from_str(
            "{metadata: {name: v}, spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: llama}, \
             updatePolicy: {updateMode: Auto, minReplicas: 1}, resourcePolicy: {containerPolicies: \
             [{containerName: '*', maxAllowed: {memory: 8Gi}, controlledResources: [cpu]}]}}}",
        )
        .unwrap();
        let spec = &autoscaler.spec;
        assert_eq!(spec.target_ref.as_ref().unwrap().name, "llama");
        assert_eq!(spec.update_policy.as_ref().unwrap().update_mode.as_deref(), Some("Auto"));
        let policy = &spec.resource_policy.as_ref().unwrap().container_policies[0];
        assert_eq!(policy.max_allowed["memory"], Quantity("8Gi".to_owned()));
        assert_eq!(policy.controlled_resources.as_deref(), Some(&["cpu".to_owned()][..]));
    }
}
