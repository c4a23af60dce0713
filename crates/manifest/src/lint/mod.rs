//! What is legal and will hurt.
//!
//! A rule is a pure function over everything that was read. Each has a code, a page that explains it
//! (`lint/pages/<code>.md`, shown by `tidegate lint --explain`), and in that page a manifest on which it
//! fires and one on which it does not: the pages are the tests. A rule that cannot tell says nothing;
//! what is right must never be called wrong.

mod annotations;
mod average;
mod catalogue;
mod disruption;
mod events;
mod expander;
mod facts;
mod image;
mod inference;
mod metrics;
mod pace;
mod probes;
mod prometheus;
mod quota;
mod resources;
mod rollout;
mod series;
mod serving;
mod shutdown;
mod targets;
mod threshold;
mod utilisation;
mod vertical;
mod zero;

use crate::finding::Finding;
use crate::load::Manifests;
use crate::lower::lower;

pub use catalogue::{RULES, Rule, rule};
pub use facts::Facts;

/// Findings one lint shows at the most; the rest is counted in one more.
const FINDINGS_MAX: usize = 10_000;

/// Everything wrong with what was read: reading, validation, and every rule. In the order of places.
#[must_use]
pub fn lint(manifests: &Manifests) -> Vec<Finding> {
    let lowered = lower(manifests);
    let facts = Facts::new(manifests, &lowered);
    let mut findings = manifests.findings.clone();
    findings.extend(lowered.findings.iter().cloned());
    for rule in RULES {
        if let Some(check) = rule.check {
            check(&facts, &mut findings);
        }
    }
    findings.sort_by(|a, b| a.order().cmp(&b.order()));
    findings.dedup();
    findings.truncate(FINDINGS_MAX);
    findings
}

/// A rule's function.
pub type Check = fn(&Facts<'_>, &mut Vec<Finding>);
