//! KEDA's `keda.sh/v1alpha1`, field for field.
//!
//! A field is an `Option` exactly where its absence differs from any value: the meaning of an absent
//! field is in its documentation and is applied when the object is lowered, never by serde, so that
//! writing an object back does not add lines its author left out. Two fields have a default in KEDA's
//! schema itself (`fallback.behavior`, `oauth2.type`) and therefore here.
//!
//! The documentation of the fields is also what `kubectl explain` prints.

pub mod authentication;
pub mod scaled_job;
pub mod scaled_object;
pub mod status;
pub mod trigger;

pub use authentication::{
    AuthEnvironment, AuthPodIdentity, AuthTargetRef, AwsCredentials, AwsSecret, AwsSecretManager,
    AzureKeyVault, AzureKeyVaultCloud, AzureKeyVaultCredentials, AzureKeyVaultSecret,
    BoundServiceAccountToken, ClusterTriggerAuthentication, ClusterTriggerAuthenticationSpec, GcpCredentials,
    GcpSecret, GcpSecretManager, HashiCorpVault, IdentityOwner, OAuth2, OAuth2GrantType, PodIdentityProvider,
    SecretKeyRef, SecretValue, SecretValueSource, TriggerAuthentication, TriggerAuthenticationSpec,
    TriggerAuthenticationStatus, VaultAuthentication, VaultCredential, VaultPkiData, VaultSecret,
    VaultSecretType,
};
pub use scaled_job::{
    MultipleScalersCalculation, PropagationPolicy, Rollout, RolloutStrategy, ScaledJob, ScaledJobSpec,
    ScaledJobStatus, ScalingStrategy, ScalingStrategyKind,
};
pub use scaled_object::{
    Advanced, FallbackBehavior, FallbackSpec, HpaConfig, ModifierMetricType, ScaleTargetRef, ScaledObject,
    ScaledObjectSpec, ScaledObjectStatus, ScalingModifiers,
};
pub use status::{Condition, HealthStatus, ScaleTargetGvkr, TriggerActivity};
pub use trigger::{AuthenticationKind, AuthenticationRef, ScaleTrigger};

/// The API group of KEDA's resources.
pub const GROUP: &str = "keda.sh";

/// The only version of that group.
pub const VERSION: &str = "v1alpha1";

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use serde_json::{Value, json};

    use super::*;

    const OBJECT: &str = r#"
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: llama-70b}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: llama-70b}
  pollingInterval: 5
  minReplicaCount: 0
  maxReplicaCount: 8
  fallback: {failureThreshold: 3, replicas: 2, behavior: currentReplicasIfHigher}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown: {stabilizationWindowSeconds: 600, tolerance: "0.2"}
    scalingModifiers: {formula: "max(queue / 10, kv)", target: "1", metricType: AverageValue}
  triggers:
  - {type: prometheus, name: queue, metadata: {threshold: "1"}}
  - {type: redis, metadata: {}, authenticationRef: {name: redis}, metricType: Value, useCachedMetrics: true}
"#;

    #[test]
    fn a_scaled_object_is_read() {
        let object: ScaledObject = serde_saphyr::from_str(OBJECT).unwrap();
        let spec = &object.spec;
        assert_eq!(object.metadata.name.as_deref(), Some("llama-70b"));
        assert_eq!(spec.scale_target_ref.kind.as_deref(), Some("Deployment"));
        assert_eq!((spec.min_replica_count, spec.idle_replica_count), (Some(0), None));
        let fallback = spec.fallback.as_ref().unwrap();
        assert_eq!(fallback.behavior, FallbackBehavior::CurrentReplicasIfHigher);
        let advanced = spec.advanced.as_ref().unwrap();
        let behavior = advanced.horizontal_pod_autoscaler_config.as_ref().unwrap().behavior.as_ref().unwrap();
        assert_eq!(behavior.scale_down.as_ref().unwrap().tolerance, Some(Quantity("0.2".to_owned())));
        let modifiers = advanced.scaling_modifiers.as_ref().unwrap();
        assert_eq!(modifiers.metric_type, Some(ModifierMetricType::AverageValue));
        let reference = spec.triggers[1].authentication_ref.as_ref().unwrap();
        assert_eq!(reference.kind(), AuthenticationKind::TriggerAuthentication);
    }

    #[test]
    fn writing_adds_nothing_the_author_left_out() {
        let read: Value = serde_saphyr::from_str(OBJECT).unwrap();
        let object: ScaledObject = serde_json::from_value(read.clone()).unwrap();
        assert_eq!(serde_json::to_value(&object).unwrap(), read);

        let job = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "batch"},
            "spec": {
                "jobTargetRef": {"template": {"spec": {"containers": [{"name": "w"}], "restartPolicy": "Never"}}},
                "rollout": {"strategy": "gradual", "propagationPolicy": "foreground"},
                "scalingStrategy": {"strategy": "accurate", "multipleScalersCalculation": "sum"},
                "triggers": [{"type": "redis-streams", "metadata": {"lagCount": "1"}}],
            },
            "status": {"Paused": "True", "triggersActivity": {"s0-redis": {"isActive": false}}},
        });
        let read: ScaledJob = serde_json::from_value(job.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), job);
    }

    #[test]
    fn the_defaults_of_the_schema_are_applied() {
        let fallback: FallbackSpec =
            serde_json::from_value(json!({"failureThreshold": 3, "replicas": 1})).unwrap();
        assert_eq!(fallback.behavior, FallbackBehavior::Static);
        let oauth2: OAuth2 =
            serde_json::from_value(json!({"clientId": "c", "tokenUrl": "https://t"})).unwrap();
        assert_eq!(oauth2.type_, OAuth2GrantType::ClientCredentials);
    }

    #[test]
    fn both_kinds_of_authentication_have_the_same_spec() {
        let spec = json!({
            "podIdentity": {"provider": "aws-eks", "externalID": "e", "identityOwner": "workload"},
            "secretTargetRef": [{"parameter": "password", "name": "redis", "key": "password"}],
            "hashiCorpVault": {
                "address": "https://vault", "authentication": "kubernetes",
                "secrets": [
                    {"parameter": "a", "path": "p", "key": "k", "type": ""},
                    {"parameter": "b", "path": "p", "key": "k", "type": "secretV2"},
                ],
            },
            "azureKeyVault": {
                "vaultUri": "https://v", "secrets": [{"parameter": "a", "name": "n"}],
                "cloud": {"type": "Private", "keyVaultResourceURL": "https://r"},
            },
            "filePath": "creds.json",
        });
        let one: TriggerAuthenticationSpec = serde_json::from_value(spec.clone()).unwrap();
        let all: ClusterTriggerAuthenticationSpec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(all.0, one);
        assert_eq!(serde_json::to_value(&all).unwrap(), spec);
        assert_eq!(one.hashi_corp_vault.unwrap().secrets[0].type_, Some(VaultSecretType::Generic));
    }
}
