//! `ScaledObject`: a target with a `/scale` subresource, its bounds and its triggers.

#![expect(clippy::duplicated_attributes, reason = "two columns may have the same type")]

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::{Condition, HealthStatus, ScaleTargetGvkr, TriggerActivity};
use super::trigger::ScaleTrigger;

/// What to scale, within which bounds, and by which triggers.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    crates(kube_core = "::kube_core"),
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledObject",
    namespaced,
    status = "ScaledObjectStatus",
    derive = "PartialEq",
    shortname = "so",
    doc = "A ScaledObject says how many replicas a target should have, from what, and within which bounds.",
    printcolumn(name = "ScaleTargetKind", type_ = "string", json_path = ".status.scaleTargetKind"),
    printcolumn(name = "ScaleTargetName", type_ = "string", json_path = ".spec.scaleTargetRef.name"),
    printcolumn(name = "Min", type_ = "integer", json_path = ".spec.minReplicaCount"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxReplicaCount"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Active\")].status"
    ),
    printcolumn(
        name = "Fallback",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Fallback\")].status"
    ),
    printcolumn(
        name = "Paused",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Paused\")].status"
    ),
    printcolumn(name = "Triggers", type_ = "string", json_path = ".status.triggersTypes"),
    printcolumn(name = "Authentications", type_ = "string", json_path = ".status.authenticationsTypes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.minReplicaCount) || self.minReplicaCount <= (has(self.maxReplicaCount) ? self.maxReplicaCount : 100)",
    "message": "minReplicaCount must be less than or equal to maxReplicaCount",
}]))]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectSpec {
    /// What is scaled. It must be in the same namespace and have a scale subresource.
    pub scale_target_ref: ScaleTargetRef,
    /// How often the sources are asked, in seconds. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub polling_interval: Option<i32>,
    /// How long after its creation an object that was never active keeps its replicas, in seconds.
    /// Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub initial_cooldown_period: Option<i32>,
    /// How long after the last activity the target goes to zero (or to idleReplicaCount), in seconds.
    /// Default 300. Does not delay scaling between one and many replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cooldown_period: Option<i32>,
    /// Replicas while no trigger is active. Must be below minReplicaCount. Default: minReplicaCount.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub idle_replica_count: Option<i32>,
    /// The fewest replicas; 0 allows the target to go to zero. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_replica_count: Option<i32>,
    /// The most replicas. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_replica_count: Option<i32>,
    /// Settings few targets need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advanced: Option<Advanced>,
    /// The sources, at least one. The one that asks for the most replicas decides.
    #[schemars(length(min = 1))]
    pub triggers: Vec<ScaleTrigger>,
    /// What to do while sources cannot be read. Default: keep the replicas there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackSpec>,
}

/// Names what is scaled.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// The target's name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The target's API version. Default apps/v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The target's kind. Default Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The container whose environment answers FromEnv parameters. Default: the pod's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_source_container_name: Option<String>,
}

/// Settings few targets need.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Advanced {
    /// Whether deleting this object gives the target back the replicas it had before. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_to_original_replica_count: Option<bool>,
    /// How fast replicas may be added and removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizontal_pod_autoscaler_config: Option<HpaConfig>,
    /// One formula over all triggers, instead of the largest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling_modifiers: Option<ScalingModifiers>,
}

/// How fast replicas may be added and removed, in the words of the HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HpaConfig {
    /// The name KEDA gives the HorizontalPodAutoscaler it creates, at most 63 characters. Default
    /// keda-hpa- followed by the name of this object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Windows and rate limits for scaling up and down. Default: those of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

/// One number computed from all triggers, and the target for it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScalingModifiers {
    /// An expression over trigger names; its result is the number compared with target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// The target for the formula's result: a positive number, as a string. Needed with a formula.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The formula's result must be above this to wake the target: a number, as a string. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_target: Option<String>,
    /// How the result is compared with the target. Default AverageValue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_type: Option<ModifierMetricType>,
}

/// How a formula's result is compared with its target.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub enum ModifierMetricType {
    /// The result divided by the target is the number of replicas.
    #[default]
    AverageValue,
    /// The result divided by the target multiplies the ready replicas.
    Value,
}

/// What to do while sources cannot be read.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FallbackSpec {
    /// How many reads in a row may fail before the fallback counts.
    #[schemars(range(min = 0))]
    pub failure_threshold: i32,
    /// The replicas to have then, as behavior understands them.
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// How the replicas of the fallback combine with those there are. Default static.
    #[serde(default)]
    pub behavior: FallbackBehavior,
}

/// How the replicas of a fallback combine with those there are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum FallbackBehavior {
    /// The fallback's replicas.
    #[default]
    Static,
    /// The replicas there are.
    CurrentReplicas,
    /// The larger of the two.
    CurrentReplicasIfHigher,
    /// The smaller of the two.
    CurrentReplicasIfLower,
    /// The formula is evaluated with the failed triggers as nil.
    ScalingModifiers,
}

/// What the operator reports about a `ScaledObject`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectStatus {
    /// The target's type as group/version.Kind, e.g. apps/v1.Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_target_kind: Option<String>,
    /// The target's type, spelled out.
    #[serde(rename = "scaleTargetGVKR", skip_serializing_if = "Option::is_none")]
    pub scale_target_gvkr: Option<ScaleTargetGvkr>,
    /// The replicas the target had when this object was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_replica_count: Option<i32>,
    /// When a trigger was last active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_active_time: Option<Time>,
    /// The metrics read from sources, one name each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_metric_names: Vec<String>,
    /// The metrics read from the pods' own usage (cpu, memory).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_metric_names: Vec<String>,
    /// The metric a formula yields, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composite_scaler_name: Option<String>,
    /// Statements about the object: Ready, Active, Fallback, Paused, HPAActive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How reliably each metric could be read, by metric name. Kept only with a fallback.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub health: BTreeMap<String, HealthStatus>,
    /// Whether each trigger is active, by metric name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub triggers_activity: BTreeMap<String, TriggerActivity>,
    /// The replicas the target is held at while paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_replica_count: Option<i32>,
    /// The HorizontalPodAutoscaler that belongs to this object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hpa_name: Option<String>,
    /// The types of the triggers, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers_types: Option<String>,
    /// The names of the credential objects, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentications_types: Option<String>,
}
