//! Prometheus triggers, taken apart once for all rules.

use tidegate_core::units::Milli;
use tidegate_metrics::dialect::{Engine, Metric, lookup};
use tidegate_metrics::promql::{self, Query};

use super::facts::{Facts, Pods};
use crate::finding::{Finding, Severity};
use crate::kinds::keda::{ScaleTrigger, ScaledObjectSpec};
use crate::load::Document;
use crate::node::Segment;
use crate::object::Object;
use crate::path;

/// A `prometheus` trigger, its query and the pods it scales.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) document: &'a Document,
    pub(super) index: usize,
    pub(super) trigger: &'a ScaleTrigger,
    /// The query as written.
    pub(super) text: &'a str,
    pub(super) query: Result<Query, promql::Error>,
    /// The pods, when they are in the files.
    pub(super) pods: Option<Pods<'a>>,
    /// The ScaledObject's spec; `None` for a ScaledJob.
    pub(super) spec: Option<&'a ScaledObjectSpec>,
}

/// What the value is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// So much a replica, of the total.
    PerReplica,
    /// The value itself, and the result is multiplied by the ready pods.
    Itself,
}

/// All prometheus triggers that have a query.
pub(super) fn asked<'a>(facts: &Facts<'a>) -> Vec<Asked<'a>> {
    let mut all = Vec::new();
    for document in &facts.manifests.documents {
        let (triggers, spec, pods) = match &document.object {
            Object::ScaledObject(object) => {
                (&object.spec.triggers, Some(&object.spec), facts.pods_of(document))
            }
            Object::ScaledJob(object) => (&object.spec.triggers, None, Pods::of(document)),
            _ => continue,
        };
        for (index, trigger) in
            triggers.iter().enumerate().filter(|(_, trigger)| trigger.type_ == "prometheus")
        {
            let Some(text) = trigger.metadata.get("query").map(|text| text.trim()) else { continue };
            if text.is_empty() {
                continue;
            }
            let query = promql::parse(text);
            all.push(Asked { document, index, trigger, text, query, pods: pods.clone(), spec });
        }
    }
    all
}

/// Whether a formula replaces what each trigger says by itself.
pub(super) fn has_formula(spec: &ScaledObjectSpec) -> bool {
    let modifiers = spec.advanced.as_ref().and_then(|advanced| advanced.scaling_modifiers.as_ref());
    modifiers.and_then(|modifiers| modifiers.formula.as_deref()).is_some_and(|text| !text.trim().is_empty())
}

/// `maxReplicaCount` with its default.
pub(super) fn max_replicas(spec: &ScaledObjectSpec) -> i32 {
    spec.max_replica_count.unwrap_or(100)
}

impl<'a> Asked<'a> {
    /// The path to a metadata key.
    pub(super) fn at(&self, key: &str) -> Vec<Segment> {
        path!["spec", "triggers", self.index, "metadata", key].to_vec()
    }

    /// A finding at the query.
    pub(super) fn finding(
        &self,
        code: &'static str,
        severity: Severity,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        self.document.finding(code, severity, &self.at("query"), message, help)
    }

    /// How the value becomes replicas; `None` where a formula or a job's arithmetic decides, or the type
    /// is not one there is.
    pub(super) fn held(&self) -> Option<Held> {
        let spec = self.spec.filter(|spec| !has_formula(spec))?;
        // One replica at the most: only activity matters.
        if max_replicas(spec) <= 1 {
            return None;
        }
        match self.trigger.metric_type.as_deref() {
            None | Some("" | "AverageValue") => Some(Held::PerReplica),
            Some("Value") => Some(Held::Itself),
            Some(_) => None,
        }
    }

    /// `threshold`, where it is a usable number.
    pub(super) fn threshold(&self) -> Option<f64> {
        let threshold = self.trigger.metadata.get("threshold")?.trim().parse::<f64>().ok()?;
        (threshold.is_finite() && threshold > 0.0).then_some(threshold)
    }

    /// Each known metric the query reads.
    pub(super) fn known(&self) -> impl Iterator<Item = &'static Metric> {
        let selectors = self.query.iter().flat_map(|query| query.selectors());
        selectors.filter_map(|selector| lookup(selector.metric.as_deref()?))
    }

    /// Whether any metric is an inference engine's (DCGM's are the GPU's).
    pub(super) fn reads_engine(&self) -> bool {
        let selectors = self.query.iter().flat_map(|query| query.selectors());
        selectors
            .filter_map(|selector| Engine::of_metric(selector.metric.as_deref()?))
            .any(|engine| engine != Engine::Dcgm)
    }

    /// The query on one line, cut to what fits a message.
    pub(super) fn shown(&self) -> String {
        const CHARS_MAX: usize = 60;
        let line = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(CHARS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// `ceil(value / threshold)`, counted in thousandths as the autoscaler does.
pub(super) fn replicas(value: f64, threshold: f64) -> u32 {
    let (value, threshold) = (Milli::published(value), Milli::published(threshold));
    tidegate_core::units::ceil_replicas(value.0 as f64 / threshold.0 as f64)
}

/// Whether a name is that of a GPU's activity or memory, by an exporter nobody here knows.
pub(super) fn gpu_by_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let about = ["util", "memory_used", "mem_used", "memory_usage", "duty_cycle", "fb_used"];
    (name.contains("gpu") || name.contains("accelerator")) && about.iter().any(|word| name.contains(word))
}
