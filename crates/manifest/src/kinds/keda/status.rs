//! What the statuses of a `ScaledObject` and a `ScaledJob` have in common.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One statement about an object: Ready, Active, Fallback, Paused or HPAActive.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the statement is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// Why, in one CamelCase word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How reliably one metric could be read of late.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HealthStatus {
    /// Failed reads since the last good one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_failures: Option<i32>,
    /// Happy or Failing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// Whether one trigger asks for replicas at present.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TriggerActivity {
    /// True while the trigger's value is above its activation threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
}

/// A resource type, spelled out.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetGvkr {
    /// API group, e.g. apps.
    pub group: String,
    /// API version, e.g. v1.
    pub version: String,
    /// Kind, e.g. Deployment.
    pub kind: String,
    /// Plural resource name, e.g. deployments.
    pub resource: String,
}
