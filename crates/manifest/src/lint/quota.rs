//! More replicas than the namespace may have GPUs for.

use k8s_openapi::api::core::v1::{Container, ResourceQuota};

use super::facts::{Facts, Pods, is_gpu};
use crate::finding::{Finding, Severity};
use crate::load::Document;
use crate::node::Segment;
use crate::object::{Kind, Object};
use crate::{path, quantity};

/// TG208: the most replicas ask for more GPUs than the quota has.
pub(super) fn max_above_quota(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for document in &facts.manifests.documents {
        let Some((given, key)) = most(document) else { continue };
        let Some(pods) = facts.pods_of(document).filter(|pods| pods.document.kind != "LeaderWorkerSet")
        else {
            continue;
        };
        let quotas = facts.manifests.of_kind(Kind::ResourceQuota);
        for quota in quotas.filter(|quota| quota.namespace == document.namespace) {
            let Object::ResourceQuota(object) = &quota.object else { continue };
            if let Some(finding) = against(document, given, &key, &pods, quota, object) {
                findings.push(finding);
                break;
            }
        }
    }
}

/// The most replicas, `None` where it is KEDA's default, and the path to it.
fn most(document: &Document) -> Option<(Option<i32>, Vec<Segment>)> {
    match &document.object {
        Object::ScaledObject(object) => {
            Some((object.spec.max_replica_count, path!["spec", "maxReplicaCount"].to_vec()))
        }
        Object::HorizontalPodAutoscaler(object) => {
            Some((Some(object.spec.as_ref()?.max_replicas), path!["spec", "maxReplicas"].to_vec()))
        }
        _ => None,
    }
}

fn against(
    document: &Document,
    given: Option<i32>,
    at: &[Segment],
    pods: &Pods<'_>,
    quota: &Document,
    object: &ResourceQuota,
) -> Option<Finding> {
    let spec = object.spec.as_ref()?;
    let scoped =
        spec.scope_selector.is_some() || spec.scopes.as_ref().is_some_and(|scopes| !scopes.is_empty());
    if scoped {
        return None;
    }
    let max = i64::from(given.unwrap_or(100));
    spec.hard.iter().flatten().find_map(|(name, hard)| {
        let resource = ["requests.", "limits."].iter().find_map(|prefix| name.strip_prefix(prefix))?;
        let hard = quantity::parse(&hard.0).ok().filter(|_| is_gpu(resource))?.0 / 1000;
        let each: i64 = pods.containers().map(|(_, container)| amount(container, resource)).sum();
        if each == 0 || max.saturating_mul(each) <= hard {
            return None;
        }
        let fit = hard / each;
        let (severity, default) = match given {
            Some(_) => (Severity::Error, ""),
            None => (Severity::Warning, " (the default)"),
        };
        let message = format!(
            "{max} replicas{default} of {each} {resource} are {}, and {} allows {hard}: from replica {} on the pods \
             are refused while the autoscaler goes on asking",
            max.saturating_mul(each),
            quota.title(),
            fit + 1
        );
        let key = if document.kind == "ScaledObject" { "maxReplicaCount" } else { "maxReplicas" };
        let help = match fit {
            0 => "raise the quota: it has no room for a single replica".to_owned(),
            fit => format!("write {key}: {fit}, or raise the quota"),
        };
        Some(document.finding("TG208", severity, at, message, help))
    })
}

/// How much of a resource a container asks for.
fn amount(container: &Container, resource: &str) -> i64 {
    let Some(resources) = &container.resources else { return 0 };
    let given = |amounts: Option<&std::collections::BTreeMap<String, _>>| -> i64 {
        let amount: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> =
            amounts.and_then(|it| it.get(resource));
        amount.and_then(|amount| quantity::parse(&amount.0).ok()).map_or(0, |amount| amount.0 / 1000)
    };
    given(resources.limits.as_ref()).max(given(resources.requests.as_ref()))
}
