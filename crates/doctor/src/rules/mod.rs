//! The rules by what they look at.

mod capacity;
mod cluster;
mod machine;
mod replicas;
mod signals;

use tidegate_manifest::Severity;

use crate::evidence::Evidence;
use crate::finding::Finding;

/// One known failure.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its code, which stays.
    pub code: &'static str,
    /// Its name.
    pub name: &'static str,
    /// How bad what it finds is.
    pub severity: Severity,
    examine: fn(&Rule, &Evidence, &mut Vec<Finding>),
}

impl Rule {
    /// A finding of this rule.
    fn finding(&self, subject: &str, message: String, evidence: Vec<String>, fix: String) -> Finding {
        Finding {
            code: self.code,
            severity: self.severity,
            subject: subject.to_owned(),
            message,
            evidence,
            fix,
        }
    }
}

const fn rule(
    code: &'static str,
    name: &'static str,
    severity: Severity,
    examine: fn(&Rule, &Evidence, &mut Vec<Finding>),
) -> Rule {
    Rule { code, name, severity, examine }
}

/// Every rule, by code.
pub const RULES: &[Rule] = &[
    rule("TD101", "target-in-trouble", Severity::Error, replicas::in_trouble),
    rule("TD102", "crash-loop", Severity::Error, replicas::crash_loop),
    rule("TD103", "start-is-stuck", Severity::Warning, replicas::stuck),
    rule("TD104", "start-compiles-each-time", Severity::Warning, replicas::compiles),
    rule("TD105", "start-loads-slowly", Severity::Info, replicas::loads),
    rule("TD201", "signal-absent", Severity::Warning, signals::absent),
    rule("TD202", "signal-stale", Severity::Error, signals::stale),
    rule("TD203", "signal-failing", Severity::Error, signals::failing),
    rule("TD204", "signal-not-moving", Severity::Warning, signals::not_moving),
    rule("TD301", "held-at-maximum", Severity::Warning, capacity::at_maximum),
    rule("TD302", "held-longer-than-told", Severity::Warning, capacity::longer_than_told),
    rule("TD303", "flapping", Severity::Warning, capacity::flapping),
    rule("TD304", "kv-cache-full", Severity::Warning, capacity::kv_full),
    rule("TD305", "gpu-used-by-others", Severity::Warning, capacity::used_by_others),
    rule("TD306", "gpu-error", Severity::Warning, capacity::gpu_error),
    rule("TD307", "gpu-idle-under-load", Severity::Warning, capacity::idle_under_load),
    rule("TD401", "edit-refused", Severity::Error, machine::refused),
    rule("TD402", "few-open-files", Severity::Warning, machine::open_files),
    rule("TD403", "disk-nearly-full", Severity::Error, machine::disk),
    rule("TD404", "two-versions", Severity::Info, machine::versions),
    rule("TD501", "pods-wait", Severity::Warning, cluster::pending),
    rule("TD502", "two-owners", Severity::Error, cluster::two_owners),
    rule("TD503", "quota-used-up", Severity::Warning, cluster::quota_used_up),
    rule("TD504", "triggers-without-data", Severity::Error, cluster::no_data),
    rule("TD505", "killed-by-probe", Severity::Warning, cluster::killed_by_probe),
    rule("TD506", "overdue-to-end", Severity::Warning, cluster::overdue),
    rule("TD507", "out-of-memory", Severity::Error, cluster::out_of_memory),
    rule("TD508", "usage-not-served", Severity::Error, cluster::no_usage),
    rule("TD509", "no-room-in-pool", Severity::Warning, cluster::no_room),
    rule("TD510", "cold-start-stuck", Severity::Error, cluster::start_stuck),
    rule("TD511", "nobody-operates", Severity::Error, cluster::nobody),
    rule("TD512", "object-refused", Severity::Error, cluster::refused),
    rule("TD513", "not-everything-seen", Severity::Info, cluster::unseen),
];

/// What all rules find, the worst first, then by code and subject.
#[must_use]
pub fn examine(evidence: &Evidence) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in RULES {
        (rule.examine)(rule, evidence, &mut found);
    }
    found.sort_by(|a, b| (b.severity, a.code, &a.subject).cmp(&(a.severity, b.code, &b.subject)));
    found
}

#[cfg(test)]
mod tests {
    use super::{RULES, examine};
    use crate::evidence::{Evidence, Target};
    use crate::finding::Finding;

    /// A target with which all is well.
    pub(super) fn target() -> Target {
        Target { name: "default/chat".to_owned(), max: 4, wanted: 1, ready: 1, ..Target::default() }
    }

    pub(super) fn of(target: Target) -> Vec<Finding> {
        examine(&Evidence { targets: vec![target], ..Evidence::default() })
    }

    pub(super) fn codes(found: &[Finding]) -> Vec<&str> {
        found.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn nothing_is_found_where_all_is_well_or_nothing_was_seen() {
        assert_eq!(of(target()), []);
        assert_eq!(examine(&Evidence::default()), []);
    }

    #[test]
    fn codes_are_in_order_and_each_stands_once() {
        assert!(RULES.is_sorted_by(|a, b| a.code < b.code));
    }
}
