//! Typed objects to core specs: defaults filled in, everything validated, nothing guessed.
//!
//! One target is refused whole, with every fault at its place, or lowered whole. The rules are those
//! KEDA's admission webhook and the HPA API enforce at apply time; what is legal and will merely hurt
//! is `lint`'s to say.

mod annotations;
mod authentication;
mod autoscaler;
pub(crate) mod behavior;
mod scaled_job;
mod scaled_object;
mod triggers;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::scale::Spec;
use tidegate_core::time::Span;

use crate::cron::CronWindow;
use crate::finding::{Finding, Severity};
use crate::load::{Document, Manifests};
use crate::node::Segment;
use crate::object::Object;

use authentication::Scope;

pub use annotations::{ANNOTATIONS, Annotation};

/// A target ready to be decided.
#[derive(Clone, Debug)]
pub struct Target {
    /// What the core decides by.
    pub spec: Spec,
    /// Index of its document in [`Manifests::documents`].
    pub document: usize,
    /// Signals that the clock alone gives.
    pub crons: Vec<CronSignal>,
    /// Other names under which observations may name a signal, to its name in the spec.
    pub aliases: BTreeMap<String, String>,
    /// What KEDA's metrics and statuses call each trigger, in the manifest's order; none of an autoscaler.
    pub triggers: Box<[Called]>,
}

/// What KEDA calls a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The name of its signal here.
    pub signal: Arc<str>,
    /// The metric that KEDA gives to the autoscaler, `s<index>-…`, whatever the trigger's own name; `cpu` or `memory`
    /// of those two. What only the source tells (what an `external` server calls its metric, a database's name
    /// that stands in a Secret) is not in it: it is `s<index>-<type>` then.
    pub metric: Arc<str>,
    /// The trigger's own name, else [`crate::trigger::TriggerType::scaler`].
    pub scaler: Arc<str>,
}

impl Called {
    /// The metric of a signal in KEDA's words; the signal's own name where there is none.
    #[must_use]
    pub fn metric<'a>(all: &'a [Called], signal: &'a str) -> &'a str {
        all.iter().find(|called| *called.signal == *signal).map_or(signal, |called| &called.metric)
    }
}

/// A `cron` trigger.
#[derive(Clone, Debug)]
pub struct CronSignal {
    /// The signal's name.
    pub signal: String,
    /// When it is on.
    pub window: CronWindow,
    /// Replicas while it is on.
    pub desired_replicas: u32,
}

impl CronSignal {
    /// Its value at a moment: the desired replicas while on, 0 otherwise.
    #[must_use]
    pub fn value_at(&self, unix_seconds: i64) -> u32 {
        if self.window.active_at(unix_seconds) { self.desired_replicas } else { 0 }
    }
}

/// All targets of a load, and why some are none.
#[derive(Clone, Debug, Default)]
pub struct Lowered {
    /// The targets, in the order of documents.
    pub targets: Vec<Target>,
    /// What keeps others from being targets.
    pub findings: Vec<Finding>,
}

/// Lowers every ScaledObject, ScaledJob and HorizontalPodAutoscaler, and checks every
/// TriggerAuthentication and ClusterTriggerAuthentication.
#[must_use]
pub fn lower(manifests: &Manifests) -> Lowered {
    let mut lowered = Lowered::default();
    for (index, document) in manifests.documents.iter().enumerate() {
        let mut faults = Faults { document, findings: Vec::new() };
        let target = match &document.object {
            Object::ScaledObject(object) => scaled_object::lower(manifests, index, object, &mut faults),
            Object::ScaledJob(object) => scaled_job::lower(manifests, index, object, &mut faults),
            Object::HorizontalPodAutoscaler(object) => autoscaler::lower(index, object, &mut faults),
            Object::TriggerAuthentication(object) => {
                authentication::check(&object.spec, Scope::Namespace, &mut faults);
                None
            }
            Object::ClusterTriggerAuthentication(object) => {
                authentication::check(&object.spec.0, Scope::Cluster, &mut faults);
                None
            }
            _ => continue,
        };
        let refused = faults.findings.iter().any(|finding| finding.severity == Severity::Error);
        lowered.findings.append(&mut faults.findings);
        if let Some(target) = target.filter(|_| !refused) {
            lowered.targets.push(target);
        }
    }
    lowered
}

/// Collects what is wrong with one document.
pub(crate) struct Faults<'a> {
    pub(crate) document: &'a Document,
    pub(crate) findings: Vec<Finding>,
}

impl Faults<'_> {
    /// The object breaks a rule of its API.
    pub(crate) fn invalid(&mut self, path: &[Segment], message: impl Into<String>, help: impl Into<String>) {
        self.error("TG007", path, message, help);
    }

    pub(crate) fn error(
        &mut self,
        code: &'static str,
        path: &[Segment],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.findings.push(self.document.finding(code, Severity::Error, path, message, help));
    }

    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        path: &[Segment],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.findings.push(self.document.finding(code, Severity::Warning, path, message, help));
    }

    /// A count that must not be negative.
    pub(crate) fn count(&mut self, path: &[Segment], value: Option<i32>, default: u32) -> u32 {
        match value {
            None => default,
            Some(value) => u32::try_from(value).unwrap_or_else(|_| {
                self.invalid(path, format!("{value} is negative"), "write a count of 0 or more");
                default
            }),
        }
    }

    /// A time in seconds that must not be negative.
    pub(crate) fn seconds(&mut self, path: &[Segment], value: Option<i32>, default: u32) -> Span {
        Span::from_secs(i64::from(self.count(path, value, default)))
    }
}

/// After this long without a new reading a signal counts as stale: three polls, and no less than a
/// minute, since one slow scrape (30 s) and one missed one must not look like an outage.
pub(crate) fn stale_after(polling_interval: Span) -> Span {
    let three_polls = Span::from_micros(polling_interval.as_micros().saturating_mul(3));
    three_polls.max(Span::from_secs(60))
}
