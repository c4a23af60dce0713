//! PodDisruptionBudgets and the replicas there really are.

use std::collections::BTreeMap;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::facts::{self, Facts, Pods};
use super::serving::all_in;
use crate::finding::{Finding, Severity};
use crate::load::Document;
use crate::object::Object;
use crate::path;
use crate::workload::TargetRef;

/// Between which counts a workload lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// The fewest, 0 included.
    pub(super) min: u32,
    /// The most.
    pub(super) max: u32,
    /// Whether something in the files scales it.
    pub(super) scaled: bool,
}

/// The bounds that ScaledObjects and HorizontalPodAutoscalers put on their targets.
#[derive(Debug)]
pub(super) struct Scales(BTreeMap<TargetRef, (u32, u32)>);

impl Scales {
    /// Of all scalers; two of one target count together.
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let mut bounds = BTreeMap::new();
        for scaler in &facts.manifests.documents {
            let (min, max) = match &scaler.object {
                Object::ScaledObject(object) => {
                    (count(object.spec.min_replica_count, 0), count(object.spec.max_replica_count, 100))
                }
                Object::HorizontalPodAutoscaler(object) => match &object.spec {
                    Some(spec) => (count(spec.min_replicas, 1), count(Some(spec.max_replicas), 1)),
                    None => continue,
                },
                _ => continue,
            };
            let Some(target) = TargetRef::of(scaler) else { continue };
            let both = bounds.entry(target).or_insert((min, max));
            *both = (both.0.min(min), both.1.max(max));
        }
        Scales(bounds)
    }

    /// By what scales a workload, or by its own `replicas`.
    pub(super) fn get(&self, workload: &Document) -> Scale {
        let target = TargetRef {
            group: workload.group().to_owned(),
            kind: workload.kind.clone(),
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
        };
        if let Some((min, max)) = self.0.get(&target) {
            return Scale { min: *min, max: *max, scaled: true };
        }
        let replicas = match &workload.object {
            Object::Deployment(object) => object.spec.as_ref().and_then(|spec| spec.replicas),
            Object::StatefulSet(object) => object.spec.as_ref().and_then(|spec| spec.replicas),
            _ => None,
        };
        let replicas = count(replicas, 1);
        Scale { min: replicas, max: replicas, scaled: false }
    }
}

fn count(value: Option<i32>, default: u32) -> u32 {
    value.map_or(default, |count| u32::try_from(count).unwrap_or(0))
}

/// A count or a percentage as it is written.
pub(super) fn written(value: &IntOrString) -> String {
    match value {
        IntOrString::Int(count) => count.to_string(),
        IntOrString::String(text) => text.clone(),
    }
}

/// What a count or a percentage is of `replicas`; `None` of anything else.
pub(super) fn resolve(text: &str, replicas: u32, up: bool) -> Option<u32> {
    let Some(percent) = text.strip_suffix('%') else { return text.parse().ok() };
    let hundredths = percent.parse::<u32>().ok()?.checked_mul(replicas)?;
    Some(if up { hundredths.div_ceil(100) } else { hundredths / 100 })
}

/// A budget, the one workload it is about, and which of its fields says how much.
struct Budget<'a> {
    document: &'a Document,
    workload: &'a Document,
    field: &'static str,
    amount: String,
    scale: Scale,
}

impl Budget<'_> {
    /// Whether no pod may be evicted while there are `replicas`. Both fields round up.
    fn blocks_at(&self, replicas: u32) -> Option<bool> {
        let count = resolve(&self.amount, replicas, true)?;
        Some(if self.field == "maxUnavailable" { count == 0 } else { count >= replicas })
    }
}

/// The budgets of workloads that are scaled or use GPUs. One that covers several workloads counts their
/// pods together, and is left alone.
fn budgets<'a>(facts: &Facts<'a>) -> Vec<Budget<'a>> {
    let mut budgets = Vec::new();
    let scales = Scales::of(facts);
    let workload = |pods: &Pods<'_>| matches!(pods.document.kind.as_str(), "Deployment" | "StatefulSet");
    let workloads: Vec<Pods<'a>> = facts.pods().filter(workload).collect();
    for document in &facts.manifests.documents {
        let Object::PodDisruptionBudget(budget) = &document.object else { continue };
        let Some((field, amount)) = amount(budget) else { continue };
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let covers =
            |pods: &&Pods<'a>| pods.document.namespace == document.namespace && selects(selector, pods);
        let mut covered = workloads.iter().filter(covers);
        let (Some(pods), None) = (covered.next(), covered.next()) else { continue };
        let scale = scales.get(pods.document);
        let concerns =
            pods.gpus() > 0 || pods.containers().any(|(_, container)| facts::engine(container).is_some());
        if scale.scaled || concerns {
            budgets.push(Budget { document, workload: pods.document, field, amount, scale });
        }
    }
    budgets
}

/// The one field that is given; the API refuses both.
fn amount(budget: &PodDisruptionBudget) -> Option<(&'static str, String)> {
    let spec: &PodDisruptionBudgetSpec = budget.spec.as_ref()?;
    match (&spec.min_available, &spec.max_unavailable) {
        (Some(min), None) => Some(("minAvailable", written(min))),
        (None, Some(max)) => Some(("maxUnavailable", written(max))),
        _ => None,
    }
}

/// Whether a selector covers the pods: none covers nothing, an empty one everything.
fn selects(selector: Option<&LabelSelector>, pods: &Pods<'_>) -> bool {
    let Some(selector) = selector else { return false };
    let empty = BTreeMap::new();
    let labels =
        pods.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref()).unwrap_or(&empty);
    let expressions = selector.match_expressions.iter().flatten().all(|expression| {
        let value = labels.get(&expression.key);
        let listed =
            value.is_some_and(|value| expression.values.iter().flatten().any(|known| known == value));
        match expression.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    expressions && selector.match_labels.as_ref().is_none_or(|wanted| all_in(wanted, labels))
}

/// TG401: a budget that lets no pod go at any count.
pub(super) fn pdb_blocks_eviction(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for budget in budgets(facts) {
        let Scale { max, .. } = budget.scale;
        if max == 0 || budget.blocks_at(max) != Some(true) {
            continue;
        }
        let (field, amount) = (budget.field, &budget.amount);
        let wanted = amount.parse::<u32>().ok().filter(|wanted| field == "minAvailable" && *wanted > max);
        let severity = if wanted.is_some() { Severity::Error } else { Severity::Warning };
        let of = if budget.scale.scaled { "at the most" } else { "in all" };
        findings.push(budget.document.finding(
            "TG401",
            severity,
            path!["spec", field],
            format!(
                "{field} {amount} of {max} replicas {of} lets no pod of {} go: its nodes can be neither \
                 drained nor given back",
                budget.workload.title()
            ),
            "write maxUnavailable: 1",
        ));
    }
}

/// TG402: a budget that lets no pod go while few are needed.
pub(super) fn pdb_above_min(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for budget in budgets(facts) {
        let Scale { min, max, scaled } = budget.scale;
        let fewest = min.max(1);
        // What blocks at every count is TG401's.
        if !scaled || budget.blocks_at(max) != Some(false) || budget.blocks_at(fewest) != Some(true) {
            continue;
        }
        let last = (fewest..=max).take_while(|replicas| budget.blocks_at(*replicas) == Some(true)).last();
        let last = last.unwrap_or(fewest);
        let until = match (fewest, last) {
            (1, 1) => "1 replica".to_owned(),
            _ if last == fewest => format!("{fewest} replicas"),
            _ => format!("{fewest} to {last} replicas"),
        };
        findings.push(budget.document.finding(
            "TG402",
            Severity::Warning,
            path!["spec", budget.field],
            format!(
                "{} {} lets no pod go while {} has {until}, and its scaler keeps it there when it is quiet: \
                 drains wait for load",
                budget.field,
                budget.amount,
                budget.workload.title()
            ),
            format!("write maxUnavailable: 1, or raise the scaler's minimum above {last}"),
        ));
    }
}
