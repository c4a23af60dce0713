//! A trigger: one source of a number, and what number is wanted of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One source a target is scaled by.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTrigger {
    /// The kind of source, e.g. prometheus, redis, cron, cpu. Decides which keys metadata may have.
    #[serde(rename = "type")]
    #[schemars(length(min = 1))]
    pub type_: String,
    /// The trigger's name, unique in its object. Needed where a formula or fallback refers to it;
    /// otherwise optional.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The source's parameters. Every value is a string: numbers and booleans must be quoted. A key
    /// that ends in FromEnv names an environment variable of the target's container to read instead.
    pub metadata: BTreeMap<String, String>,
    /// Where credentials come from. Default: the parameters alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<AuthenticationRef>,
    /// How the value is compared with its target. AverageValue (the default of all sources but cpu and
    /// memory) divides the total by the target; Value multiplies the ratio with the ready pods;
    /// Utilization is for cpu and memory, which have no default. Must be absent in a ScaledJob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_type: Option<String>,
    /// Whether a decision may use the value of the last poll instead of asking the source again.
    /// Default false. Not allowed for cpu, memory and cron; ignored in a ScaledJob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_cached_metrics: Option<bool>,
}

/// Names the object that holds a trigger's credentials.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationRef {
    /// The object's name; for a TriggerAuthentication, in the same namespace.
    pub name: String,
    /// The object's kind. Default TriggerAuthentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<AuthenticationKind>,
}

impl AuthenticationRef {
    /// The kind referred to, with the default applied.
    #[must_use]
    pub fn kind(&self) -> AuthenticationKind {
        self.kind.unwrap_or_default()
    }
}

/// Which of the two credential objects is meant.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthenticationKind {
    /// In the namespace of the object that refers to it.
    #[default]
    TriggerAuthentication,
    /// For the whole cluster; its secrets are in the operator's namespace.
    ClusterTriggerAuthentication,
}
