//! GPUs that a rollout asks for beside those in use.

use k8s_openapi::api::apps::v1::Deployment;

use super::disruption::{Scales, resolve};
use super::facts::{Facts, Pods};
use crate::finding::{Finding, Severity};
use crate::load::Document;
use crate::object::{Kind, Object};
use crate::{path, quantity};

/// `maxSurge` and `maxUnavailable` where the manifest is silent.
const DEFAULT_PERCENT: &str = "25%";

/// TG309: a rollout that starts new pods before it stops old ones, where no GPU is left for them.
pub(super) fn surge_needs_gpus(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let scales = Scales::of(facts);
    for pods in facts.pods() {
        let Object::Deployment(deployment) = &pods.document.object else { continue };
        let gpus = pods.gpus();
        let Some(rollout) = Rollout::of(deployment).filter(|_| gpus > 0) else { continue };
        let scale = scales.get(pods.document);
        let found = match refused_by_quota(facts, &pods, &rollout, scale.max, gpus) {
            Some(found) => Some(found),
            None => unasked_for(&pods, &rollout, scale.min.max(1), gpus),
        };
        findings.extend(found);
    }
}

/// The pace of a rolling update, fields as they are written.
struct Rollout {
    surge: String,
    unavailable: String,
    surge_given: bool,
}

impl Rollout {
    /// `None` where old pods are stopped first.
    fn of(deployment: &Deployment) -> Option<Self> {
        let strategy = deployment.spec.as_ref()?.strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate") {
            return None;
        }
        let pace = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = pace.and_then(|pace| pace.max_surge.as_ref());
        let unavailable = pace.and_then(|pace| pace.max_unavailable.as_ref());
        let written =
            |value: Option<&_>| value.map_or_else(|| DEFAULT_PERCENT.to_owned(), super::disruption::written);
        Some(Rollout {
            surge: written(surge),
            unavailable: written(unavailable),
            surge_given: surge.is_some(),
        })
    }

    /// Pods above and below the count at `replicas`: the surge is rounded up and what may be missing
    /// down, and when both are none one pod may be missing.
    fn at(&self, replicas: u32) -> Option<(u32, u32)> {
        let surge = resolve(&self.surge, replicas, true)?;
        let unavailable = resolve(&self.unavailable, replicas, false)?;
        Some(if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) })
    }
}

/// A quota that has no room for one pod more, while no pod may be missing: the rollout never moves.
fn refused_by_quota(
    facts: &Facts<'_>,
    pods: &Pods<'_>,
    rollout: &Rollout,
    replicas: u32,
    gpus: u32,
) -> Option<Finding> {
    let (surge, unavailable) = rollout.at(replicas)?;
    let (quota, allowed) = quota(facts, pods.document)?;
    let (used, one_more) = (replicas.checked_mul(gpus)?, replicas.checked_add(1)?.checked_mul(gpus)?);
    // Where the replicas alone do not fit, they are what is wrong, and they never reach that count.
    if surge == 0 || unavailable > 0 || one_more <= allowed || used > allowed {
        return None;
    }
    Some(pods.document.finding(
        "TG309",
        Severity::Error,
        path!["spec", "strategy", "rollingUpdate", "maxSurge"],
        format!(
            "at {replicas} replicas a rollout needs {one_more} GPUs, {} allows {allowed}, and maxUnavailable \
             {} lets no old pod go first: the rollout stands still",
            quota.title(),
            rollout.unavailable
        ),
        "set rollingUpdate: {maxSurge: 0, maxUnavailable: 1}, or raise the quota by one replica's GPUs",
    ))
}

/// The ResourceQuota of the namespace that allows the fewest GPUs.
fn quota<'a>(facts: &Facts<'a>, workload: &Document) -> Option<(&'a Document, u32)> {
    let quotas =
        facts.manifests.of_kind(Kind::ResourceQuota).filter(|quota| quota.namespace == workload.namespace);
    let allowed = quotas.filter_map(|document| {
        let Object::ResourceQuota(quota) = &document.object else { return None };
        let spec =
            quota.spec.as_ref().filter(|spec| spec.scopes.is_none() && spec.scope_selector.is_none())?;
        let gpu = |name: &str| name.strip_prefix("requests.").is_some_and(super::facts::is_gpu);
        let amounts = spec.hard.iter().flatten().filter(|(name, _)| gpu(name));
        let least = amounts.filter_map(|(_, amount)| quantity::parse(&amount.0).ok()).min()?;
        Some((document, u32::try_from(least.0 / 1000).ok()?))
    });
    allowed.min_by_key(|(_, allowed)| *allowed)
}

/// The default pace, which nobody chose with GPUs in mind.
fn unasked_for(pods: &Pods<'_>, rollout: &Rollout, replicas: u32, gpus: u32) -> Option<Finding> {
    let (surge, unavailable) = rollout.at(replicas)?;
    if rollout.surge_given || surge == 0 {
        return None;
    }
    let stuck = if unavailable == 0 { ", and stands still without" } else { "" };
    let at = path!["spec", "strategy"];
    Some(pods.document.finding(
        "TG309",
        Severity::Info,
        at,
        format!(
            "maxSurge is not given, and its default of {DEFAULT_PERCENT} starts {surge} pod(s) beside \
             {replicas}: a rollout needs {} free{stuck}",
            count(surge.saturating_mul(gpus))
        ),
        "write what is meant: {maxSurge: 0, maxUnavailable: 1} takes no GPU more, {maxSurge: 1, \
         maxUnavailable: 0} keeps all replicas and needs one replica's GPUs free",
    ))
}

fn count(gpus: u32) -> String {
    if gpus == 1 { "1 GPU".to_owned() } else { format!("{gpus} GPUs") }
}
