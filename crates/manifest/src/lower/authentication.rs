//! TriggerAuthentication and ClusterTriggerAuthentication: KEDA's admission rules.
//!
//! Neither is a target, so there is nothing to lower. That two sources give the same parameter is
//! legal: the later one wins.

use super::Faults;
use crate::kinds::keda::{
    AuthPodIdentity, IdentityOwner, OAuth2, PodIdentityProvider, TriggerAuthenticationSpec,
};
use crate::path;

/// Whom the credentials are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Triggers of the same namespace.
    Namespace,
    /// Triggers of the whole cluster.
    Cluster,
}

pub(super) fn check(spec: &TriggerAuthenticationSpec, scope: Scope, faults: &mut Faults<'_>) {
    if let Some(identity) = &spec.pod_identity {
        check_identity(identity, faults);
    }
    if let Some(oauth2) = &spec.oauth2 {
        check_oauth2(oauth2, faults);
    }
    if let Some(file) = spec.file_path.as_deref().filter(|file| !file.is_empty()) {
        check_file(file, scope, faults);
    }
}

fn filled(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

fn check_identity(identity: &AuthPodIdentity, faults: &mut Faults<'_>) {
    if identity.identity_id.as_ref().is_some_and(String::is_empty) {
        faults.invalid(
            path!["spec", "podIdentity", "identityId"],
            "identityId is empty",
            "name the identity to take, or leave the field out",
        );
    }
    if filled(identity.identity_authority_host.as_ref()) && !filled(identity.identity_tenant_id.as_ref()) {
        faults.invalid(
            path!["spec", "podIdentity", "identityAuthorityHost"],
            "identityAuthorityHost is given without identityTenantId",
            "add the tenant that this authority knows",
        );
    }
    if identity.provider != PodIdentityProvider::Aws {
        return;
    }
    let role = filled(identity.role_arn.as_ref());
    if role && identity.identity_owner == Some(IdentityOwner::Workload) {
        faults.invalid(
            path!["spec", "podIdentity", "roleArn"],
            "roleArn is given, and identityOwner workload takes the role of the workload",
            "remove one of the two",
        );
    }
    if filled(identity.external_id.as_ref()) && !role {
        faults.invalid(
            path!["spec", "podIdentity", "externalID"],
            "externalID is given without roleArn",
            "add the role that is assumed with it, or remove it",
        );
    }
}

/// KEDA does not come to this check beside some providers of pod identity; here it is always made.
fn check_oauth2(oauth2: &OAuth2, faults: &mut Faults<'_>) {
    if oauth2.client_id.is_empty() {
        faults.invalid(path!["spec", "oauth2", "clientId"], "clientId is empty", "name the client");
    }
    let url = &oauth2.token_url;
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !http || host.is_empty() {
        faults.invalid(
            path!["spec", "oauth2", "tokenUrl"],
            format!("tokenUrl is {url:?}, not an http or https URL"),
            "write the whole address of the token endpoint, such as https://login.example.com/token",
        );
    }
}

fn check_file(file: &str, scope: Scope, faults: &mut Faults<'_>) {
    let at = path!["spec", "filePath"];
    if scope == Scope::Namespace {
        let help = "use a ClusterTriggerAuthentication, or another source";
        faults.invalid(at, "filePath is only for a ClusterTriggerAuthentication", help);
    }
    if file.starts_with('/') || file.split(['/', '\\']).any(|part| part == "..") {
        let message = format!("filePath is {file:?}, which leaves the directory the operator is given");
        faults.invalid(at, message, "write a path below that directory, without .. and without a leading /");
    }
}
