//! `ScaledJob`: Jobs started from a template, as many as the triggers have work for.

#![expect(clippy::duplicated_attributes, reason = "two columns may have the same type")]

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::{Condition, TriggerActivity};
use super::trigger::ScaleTrigger;

/// Which Jobs to start, how many at a time, and by which triggers.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    crates(kube_core = "::kube_core"),
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledJob",
    namespaced,
    status = "ScaledJobStatus",
    derive = "PartialEq",
    shortname = "sj",
    doc = "A ScaledJob starts Jobs from a template, as many as its triggers have work for.",
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
        name = "Paused",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Paused\")].status"
    ),
    printcolumn(name = "Triggers", type_ = "string", json_path = ".status.triggersTypes"),
    printcolumn(name = "Authentications", type_ = "string", json_path = ".status.authenticationsTypes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ScaledJobSpec {
    /// The Job to start: the spec of a batch/v1 Job.
    pub job_target_ref: JobSpec,
    /// How often the sources are asked, in seconds. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub polling_interval: Option<i32>,
    /// How many succeeded Jobs are kept; older ones are deleted. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub successful_jobs_history_limit: Option<i32>,
    /// How many failed Jobs are kept; older ones are deleted. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub failed_jobs_history_limit: Option<i32>,
    /// The container whose environment answers FromEnv parameters. Default: the pod's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_source_container_name: Option<String>,
    /// The fewest Jobs to have running. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_replica_count: Option<i32>,
    /// The most Jobs to have running. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_replica_count: Option<i32>,
    /// Deprecated, use rollout.strategy. Wins over it where both are set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_strategy: Option<RolloutStrategy>,
    /// What happens to running Jobs when this object changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// How many Jobs a length of queue is worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling_strategy: Option<ScalingStrategy>,
    /// The sources, at least one.
    #[schemars(length(min = 1))]
    pub triggers: Vec<ScaleTrigger>,
}

/// What happens to running Jobs when a `ScaledJob` changes.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Whether Jobs of the old spec are deleted or run to their end. Default immediate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<RolloutStrategy>,
    /// How the pods of a deleted Job go. Default background.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<PropagationPolicy>,
}

/// What happens to Jobs of an old spec.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum RolloutStrategy {
    /// They run to their end.
    Gradual,
    /// They are deleted, finished or not.
    #[default]
    Immediate,
}

/// How the pods of a deleted Job go.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum PropagationPolicy {
    /// The Job stays until its pods are gone.
    Foreground,
    /// The Job goes at once, its pods afterwards.
    #[default]
    Background,
}

/// How many Jobs a length of queue is worth.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStrategy {
    /// The rule. Default: the rule named default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<ScalingStrategyKind>,
    /// With custom: how much is taken off the queue length. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_scaling_queue_length_deduction: Option<i32>,
    /// With custom: the share of running Jobs taken off the queue length, a fraction of one as a
    /// string, e.g. "0.5". Where it is no number, the default rule is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_scaling_running_job_percentage: Option<String>,
    /// The conditions a Job's pod must have before the Job no longer counts as pending. Default: none,
    /// a Job is pending until one of its pods runs or is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_pod_conditions: Option<Vec<String>>,
    /// How the triggers' wishes become one. Default max.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiple_scalers_calculation: Option<MultipleScalersCalculation>,
}

/// The rule by which a queue length becomes a number of Jobs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum ScalingStrategyKind {
    /// What is queued, less the running Jobs: for sources that count work until it is done.
    #[default]
    Default,
    /// What is queued, less a fixed number and a share of the running Jobs.
    Custom,
    /// What is queued, less the pending Jobs: for sources that stop counting work once it is taken.
    Accurate,
    /// What is queued, as far as the maximum leaves room beside running and pending Jobs.
    Eager,
}

/// How the wishes of several triggers become one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum MultipleScalersCalculation {
    /// The smallest.
    Min,
    /// The mean.
    Avg,
    /// The sum.
    Sum,
    /// The largest.
    #[default]
    Max,
}

/// What the operator reports about a `ScaledJob`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScaledJobStatus {
    /// When a trigger was last active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_active_time: Option<Time>,
    /// Statements about the object: Ready, Active, Paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Whether the object is paused, as KEDA writes it.
    #[serde(rename = "Paused", skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The types of the triggers, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers_types: Option<String>,
    /// The names of the credential objects, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentications_types: Option<String>,
    /// The metrics read from sources, one name each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_metric_names: Vec<String>,
    /// Whether each trigger is active, by metric name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub triggers_activity: BTreeMap<String, TriggerActivity>,
}
