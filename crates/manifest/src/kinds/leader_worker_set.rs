//! `LeaderWorkerSet` (`leaderworkerset.x-k8s.io/v1`): groups of pods that serve one model together.
//!
//! One replica is a whole group, so a group's size multiplies every replica count, price and quota.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// The API group.
pub const GROUP: &str = "leaderworkerset.x-k8s.io";

/// The kind.
pub const KIND: &str = "LeaderWorkerSet";

/// A set of equal pod groups.
#[derive(Clone, Debug, Deserialize)]
pub struct LeaderWorkerSet {
    /// Name, namespace, labels, annotations.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: LeaderWorkerSetSpec,
}

/// How many groups, and of what.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderWorkerSetSpec {
    /// How many groups. Default 1.
    pub replicas: Option<i32>,
    /// One group.
    pub leader_worker_template: LeaderWorkerTemplate,
}

/// One group: a leader and its workers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderWorkerTemplate {
    /// The leader's pod. Default: the workers' template.
    pub leader_template: Option<PodTemplateSpec>,
    /// A worker's pod.
    pub worker_template: PodTemplateSpec,
    /// Pods in a group, the leader counted. Default 1.
    pub size: Option<i32>,
}

impl LeaderWorkerTemplate {
    /// Pods in a group, the leader counted, with the default applied.
    #[must_use]
    pub fn size(&self) -> i32 {
        self.size.unwrap_or(1)
    }

    /// The leader's pod, with the default applied.
    #[must_use]
    pub fn leader(&self) -> &PodTemplateSpec {
        self.leader_template.as_ref().unwrap_or(&self.worker_template)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_a_worker_unless_it_has_its_own_template() {
        let set: LeaderWorkerSet = serde_saphyr::from_str(
            "{metadata: {name: m}, spec: {replicas: 2, rolloutStrategy: {type: RollingUpdate}, \
             leaderWorkerTemplate: {size: 4, workerTemplate: {spec: {containers: [{name: w}]}}}}}",
        )
        .unwrap();
        let group = &set.spec.leader_worker_template;
        assert_eq!((set.spec.replicas, group.size()), (Some(2), 4));
        assert_eq!(group.leader().spec.as_ref().unwrap().containers[0].name, "w");
    }
}
