//! `TriggerAuthentication` and `ClusterTriggerAuthentication`: where a trigger's credentials come from.
//!
//! Every source yields named parameters; where two yield the same name, the later one wins. All of
//! KEDA's sources parse, whether or not this implementation can read them, so that a manifest is
//! refused with a sentence and not with a parse error.

#![expect(clippy::duplicated_attributes, reason = "two columns may have the same type")]

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where credentials come from.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    crates(kube_core = "::kube_core"),
    group = "keda.sh",
    version = "v1alpha1",
    kind = "TriggerAuthentication",
    namespaced,
    status = "TriggerAuthenticationStatus",
    derive = "PartialEq",
    shortname = "ta",
    shortname = "triggerauth",
    doc = "A TriggerAuthentication says where the credentials of triggers in its namespace come from.",
    printcolumn(name = "PodIdentity", type_ = "string", json_path = ".spec.podIdentity.provider"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretTargetRef[*].name"),
    printcolumn(name = "Env", type_ = "string", json_path = ".spec.env[*].name"),
    printcolumn(name = "VaultAddress", type_ = "string", json_path = ".spec.hashiCorpVault.address"),
    printcolumn(name = "ScaledObjects", type_ = "string", json_path = ".status.scaledobjects", priority = 1),
    printcolumn(name = "ScaledJobs", type_ = "string", json_path = ".status.scaledjobs", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct TriggerAuthenticationSpec {
    /// A cloud identity bound to a pod, in place of stored credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<AuthPodIdentity>,
    /// Keys of Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_target_ref: Vec<AuthTargetRef>,
    /// Keys of ConfigMaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_map_target_ref: Vec<AuthTargetRef>,
    /// Environment variables of the target's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<AuthEnvironment>,
    /// Secrets kept in HashiCorp Vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hashi_corp_vault: Option<HashiCorpVault>,
    /// Secrets kept in Azure Key Vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_key_vault: Option<AzureKeyVault>,
    /// Secrets kept in Google Cloud's Secret Manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcp_secret_manager: Option<GcpSecretManager>,
    /// Secrets kept in AWS Secrets Manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_secret_manager: Option<AwsSecretManager>,
    /// Tokens requested for service accounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bound_service_account_token: Vec<BoundServiceAccountToken>,
    /// Access tokens from an OAuth 2.0 token endpoint.
    #[serde(rename = "oauth2", skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2>,
    /// A JSON object of parameters in a file below the directory the operator is given; relative,
    /// without "..". Replaces all other parameters. Only in a ClusterTriggerAuthentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_path: Option<String>,
}

/// The same sources, for the whole cluster. Secrets are read in the operator's namespace.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    crates(kube_core = "::kube_core"),
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ClusterTriggerAuthentication",
    status = "TriggerAuthenticationStatus",
    derive = "PartialEq",
    shortname = "cta",
    shortname = "clustertriggerauth",
    doc = "A ClusterTriggerAuthentication says where the credentials of triggers in any namespace come from.",
    printcolumn(name = "PodIdentity", type_ = "string", json_path = ".spec.podIdentity.provider"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretTargetRef[*].name"),
    printcolumn(name = "Env", type_ = "string", json_path = ".spec.env[*].name"),
    printcolumn(name = "FilePath", type_ = "string", json_path = ".spec.filePath"),
    printcolumn(name = "VaultAddress", type_ = "string", json_path = ".spec.hashiCorpVault.address"),
    printcolumn(name = "ScaledObjects", type_ = "string", json_path = ".status.scaledobjects", priority = 1),
    printcolumn(name = "ScaledJobs", type_ = "string", json_path = ".status.scaledjobs", priority = 1)
)]
#[serde(transparent)]
pub struct ClusterTriggerAuthenticationSpec(pub TriggerAuthenticationSpec);

/// A cloud identity bound to a pod.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuthPodIdentity {
    /// Who vouches for the pod.
    pub provider: PodIdentityProvider,
    /// azure-workload, gcp: the identity to take. Must not be empty where it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_id: Option<String>,
    /// azure-workload: the tenant to take instead of the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_tenant_id: Option<String>,
    /// azure-workload: the authority to ask instead of the operator's. Needs identityTenantId.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_authority_host: Option<String>,
    /// aws: the role to assume. Excludes the identityOwner workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// aws: the external ID sent when the role is assumed. Needs roleArn.
    #[serde(rename = "externalID", skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// aws: whose role is taken. Default keda.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_owner: Option<IdentityOwner>,
}

/// Who vouches for a pod.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum PodIdentityProvider {
    /// Microsoft Entra Workload ID.
    AzureWorkload,
    /// Google Cloud's workload identity.
    Gcp,
    /// AWS, through the service account's role.
    Aws,
    /// AWS, the older form. Deprecated.
    AwsEks,
    /// Nobody: the same as no pod identity.
    #[default]
    None,
}

/// Whose cloud role is taken.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum IdentityOwner {
    /// The operator's.
    #[default]
    Keda,
    /// The scaled workload's.
    Workload,
}

/// One key of a Secret or ConfigMap.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuthTargetRef {
    /// The trigger parameter the value is for.
    pub parameter: String,
    /// The name of the Secret or ConfigMap.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// One environment variable of the target's container.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuthEnvironment {
    /// The trigger parameter the value is for.
    pub parameter: String,
    /// The name of the environment variable.
    pub name: String,
    /// The container that has it. Default: the one the target names, else the pod's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

/// A token requested for a service account, short-lived.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BoundServiceAccountToken {
    /// The trigger parameter the token is for.
    pub parameter: String,
    /// The service account.
    pub service_account_name: String,
}

/// A value kept in a Secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretValue {
    /// Where the value is.
    pub value_from: SecretValueSource,
}

/// Where a value is kept.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretValueSource {
    /// The key of a Secret.
    pub secret_key_ref: SecretKeyRef,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret's name.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// Secrets kept in HashiCorp Vault.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HashiCorpVault {
    /// The server's URL.
    pub address: String,
    /// How to log in.
    pub authentication: VaultAuthentication,
    /// The Vault namespace. Default: the root namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// With kubernetes: the role to log in as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// With kubernetes: where the login method is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// What to log in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<VaultCredential>,
    /// The secrets to read, at least one.
    #[schemars(length(min = 1))]
    pub secrets: Vec<VaultSecret>,
}

/// How to log in to Vault.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum VaultAuthentication {
    /// With a Vault token.
    Token,
    /// With the token of a service account.
    Kubernetes,
}

/// What to log in to Vault with.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VaultCredential {
    /// With token: the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// With kubernetes: the file that holds the service account's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// With kubernetes: the service account a token is requested for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
}

/// One secret in Vault.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VaultSecret {
    /// The trigger parameter the value is for.
    pub parameter: String,
    /// The secret's path.
    pub path: String,
    /// The key in it.
    pub key: String,
    /// Which engine holds it. Default: the empty string.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<VaultSecretType>,
    /// With pki: the certificate to issue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pki_data: Option<VaultPkiData>,
}

/// Which of Vault's engines holds a secret.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum VaultSecretType {
    /// Told from the answer.
    #[default]
    #[serde(rename = "")]
    Generic,
    /// Key-value, version 2.
    SecretV2,
    /// Key-value, version 1.
    Secret,
    /// Certificates, issued on demand.
    Pki,
}

/// The certificate Vault is asked to issue.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VaultPkiData {
    /// The common name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Further DNS and e-mail names, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alt_names: Option<String>,
    /// Further IP addresses, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_sans: Option<String>,
    /// Further URIs, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri_sans: Option<String>,
    /// Further names of other kinds, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_sans: Option<String>,
    /// How long it is valid, as Vault writes durations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// The encoding Vault answers in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// Secrets kept in Azure Key Vault.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVault {
    /// The vault's URL.
    pub vault_uri: String,
    /// The secrets to read, at least one.
    #[schemars(length(min = 1))]
    pub secrets: Vec<AzureKeyVaultSecret>,
    /// What to log in with, where no pod identity does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AzureKeyVaultCredentials>,
    /// A cloud identity bound to a pod, in place of credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<AuthPodIdentity>,
    /// Which Azure cloud. Default: the public one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<AzureKeyVaultCloud>,
}

/// One secret in Azure Key Vault.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVaultSecret {
    /// The trigger parameter the value is for.
    pub parameter: String,
    /// The secret's name.
    pub name: String,
    /// Its version. Default: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What to log in to Azure with.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVaultCredentials {
    /// The application's client ID.
    pub client_id: String,
    /// The tenant.
    pub tenant_id: String,
    /// The application's client secret.
    pub client_secret: SecretValue,
}

/// Which Azure cloud.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AzureKeyVaultCloud {
    /// The cloud's name, or Private for one that the other fields describe.
    #[serde(rename = "type")]
    pub type_: String,
    /// With Private: the resource asked for.
    #[serde(rename = "keyVaultResourceURL", skip_serializing_if = "Option::is_none")]
    pub key_vault_resource_url: Option<String>,
    /// With Private: where to log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_directory_endpoint: Option<String>,
}

/// Secrets kept in Google Cloud's Secret Manager.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GcpSecretManager {
    /// The secrets to read, at least one.
    #[schemars(length(min = 1))]
    pub secrets: Vec<GcpSecret>,
    /// What to log in with, where no pod identity does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<GcpCredentials>,
    /// A cloud identity bound to a pod, in place of credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<AuthPodIdentity>,
}

/// One secret in Google Cloud.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GcpSecret {
    /// The trigger parameter the value is for.
    pub parameter: String,
    /// The secret's ID.
    pub id: String,
    /// Its version. Default latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What to log in to Google Cloud with.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GcpCredentials {
    /// The key file of a service account.
    pub client_secret: SecretValue,
}

/// Secrets kept in AWS Secrets Manager.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AwsSecretManager {
    /// The secrets to read, at least one.
    #[schemars(length(min = 1))]
    pub secrets: Vec<AwsSecret>,
    /// What to log in with, where no pod identity does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AwsCredentials>,
    /// A cloud identity bound to a pod, in place of credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<AuthPodIdentity>,
    /// The region the secrets are in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// One secret in AWS.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AwsSecret {
    /// The trigger parameter the value is for.
    pub parameter: String,
    /// The secret's name.
    pub name: String,
    /// Its version, by ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// Its version, by staging label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_stage: Option<String>,
    /// The key to take where the secret is a JSON object. Default: the whole secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<String>,
}

/// What to log in to AWS with.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AwsCredentials {
    /// The access key's ID.
    pub access_key: SecretValue,
    /// The access key's secret.
    pub access_secret_key: SecretValue,
    /// The session token of temporary credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<SecretValue>,
}

/// Access tokens from an OAuth 2.0 token endpoint.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// The grant. Default clientCredentials, the only one.
    #[serde(rename = "type", default)]
    pub type_: OAuth2GrantType,
    /// The client's ID.
    pub client_id: String,
    /// The client's secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretValue>,
    /// The token endpoint, an http or https URL.
    pub token_url: String,
    /// The scopes asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Further parameters of the token request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub token_url_params: BTreeMap<String, String>,
}

/// How an access token is obtained.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum OAuth2GrantType {
    /// With the client's own ID and secret.
    #[default]
    ClientCredentials,
}

/// What the operator reports about either kind.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
pub struct TriggerAuthenticationStatus {
    /// The ScaledObjects that use it, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaledobjects: Option<String>,
    /// The ScaledJobs that use it, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaledjobs: Option<String>,
}
