//! Whether a KEDA is at work in the cluster.

use kube::Client;
use serde_json::Value;

use crate::ask::{self, Error, place};

/// The name of KEDA's Deployment and of its lease, in its chart as in its plain manifests.
const DEPLOYMENT: &str = "keda-operator";
pub(crate) const LEASE: &str = "operator.keda.sh";

/// Who is at work; `None` where nobody is. A KEDA started in another way than by a Deployment of its usual name is
/// found by its lease, which is renewed while we look: no clock of another machine is compared with ours.
///
/// # Errors
/// When Deployments or Leases cannot be listed: then nobody can say.
pub async fn alive(client: &Client) -> Result<Option<String>, Error> {
    let named = |name: &str| format!("&fieldSelector=metadata.name%3D{name}");
    let deployments = ask::pages(client, "/apis/apps/v1/deployments", &named(DEPLOYMENT)).await?;
    let wants = |deployment: &&Value| {
        deployment.pointer("/spec/replicas").and_then(Value::as_u64).is_none_or(|count| count > 0)
    };
    if let Some(found) = deployments.iter().find(wants) {
        return Ok(Some(format!("Deployment {}", place(found))));
    }
    // One that is on its way out has pods until they are gone.
    let last = |deployment: &&Value| {
        deployment.pointer("/status/replicas").and_then(Value::as_u64).is_some_and(|count| count > 0)
    };
    if let Some(found) = deployments.iter().find(last) {
        return Ok(Some(format!("Deployment {}, whose pods are still ending", place(found))));
    }
    let leases = ask::renewed(client, &named(LEASE)).await?;
    Ok(leases.into_iter().next().map(|place| format!("lease {place}")))
}
