//! Metrics and labels that nobody writes.

use std::collections::BTreeSet;

use tidegate_metrics::dialect::{
    self, Engine, Metric, Status, Writer, lookup, nearest, pod_label_as_scraped, suggest_label, unknown_label,
};
use tidegate_metrics::promql::{MatchOp, Matcher, Selector};

use super::facts::{Facts, engine};
use super::prometheus::Asked;
use crate::finding::{Finding, Severity};
use crate::node::{Node, Value};

/// Selectors of a query with the metric's name, each name once.
fn named<'q>(asked: &'q Asked<'_>) -> impl Iterator<Item = (&'q str, &'q Selector)> {
    let mut seen = BTreeSet::new();
    let selectors = asked.query.iter().flat_map(|query| query.selectors());
    selectors
        .filter_map(|selector| Some((selector.metric.as_deref()?, selector)))
        .filter(move |(name, _)| seen.insert(*name))
}

/// TG105: a metric under the name it had in older releases.
pub(super) fn renamed_metric(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for asked in &facts.asked {
        let names: BTreeSet<&str> = named(asked).map(|(name, _)| name).collect();
        for name in &names {
            let Some(metric) = lookup(name) else { continue };
            let (gone, help) = match metric.status {
                Status::Current => continue,
                Status::Renamed { to } if names.iter().any(|name| current(name, to)) => continue,
                Status::Renamed { to } => {
                    (format!("it is {to} now"), format!("ask for {to}{}", suffix(metric, name)))
                }
                Status::Removed { instead, since } => {
                    (format!("it is gone since {since}"), format!("instead: {instead}"))
                }
            };
            let severity = match still_writes(asked, metric) {
                Some(true) => continue,
                Some(false) => Severity::Error,
                None => Severity::Warning,
            };
            let engine = metric.engine.name();
            let message =
                format!("{engine} no longer writes {name}: {gone}, so the query is empty and reads as 0");
            findings.push(asked.finding("TG105", severity, message, help));
        }
    }
}

fn current(name: &str, to: &str) -> bool {
    lookup(name).is_some_and(|metric| metric.name == to)
}

/// What follows a family's name on the wire.
fn suffix<'n>(metric: &Metric, name: &'n str) -> &'n str {
    name.get(metric.name.len()..).unwrap_or_default()
}

/// Whether the engine in the files is old enough, or told, to write a metric that is gone; `None` when no
/// engine is in the files.
fn still_writes(asked: &Asked<'_>, metric: &Metric) -> Option<bool> {
    let pods = asked.pods.as_ref()?;
    let (_, container) = pods.containers().find(|(_, container)| engine(container) == Some(metric.engine))?;
    let arguments = container.args.iter().flatten().chain(container.command.iter().flatten());
    let told = arguments.into_iter().any(|text| text.contains("--show-hidden-metrics-for-version"));
    let since = match metric.status {
        Status::Removed { since, .. } => version(since),
        // vLLM's renamed ones were hidden with the V0 engine's.
        _ if metric.engine == Engine::Vllm => Some((0, 11)),
        _ => None,
    };
    let runs = container.image.as_deref().and_then(tag).and_then(version);
    match (since, runs) {
        _ if told => Some(true),
        (Some(since), Some(runs)) => Some(runs < since),
        (None, Some(_)) => None,
        (_, None) => Some(false),
    }
}

fn tag(image: &str) -> Option<&str> {
    let image = image.split('@').next()?;
    image.rsplit('/').next()?.split_once(':').map(|(_, tag)| tag)
}

/// `v0.10.2-cu128` as (0, 10).
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split(['.', '-', '_']);
    let major = numbers.next()?.parse().ok()?;
    Some((major, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

/// TG107: a metric with an engine's prefix that the engine does not write.
pub(super) fn unknown_metric(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for asked in &facts.asked {
        for (name, _) in named(asked) {
            let Some(engine) = Engine::of_metric(name) else { continue };
            let known = lookup(name);
            if known.is_some_and(|metric| metric.is_series(name)) {
                continue;
            }
            let title = engine.name();
            if let Some(histogram) = known {
                let message = format!(
                    "{name} is a histogram of {title}: only {name}_bucket, _sum and _count are on the wire"
                );
                let base = histogram.name;
                let help = format!(
                    "for a quantile: histogram_quantile(0.95, sum by (le) (rate({base}_bucket[5m])))"
                );
                findings.push(asked.finding("TG107", Severity::Error, message, help));
                continue;
            }
            let near = nearest(engine, name);
            let Some(severity) = strangeness(engine, name, near) else { continue };
            let message = format!("{title} writes no {name}, so the query is empty and reads as 0");
            let help = match near {
                Some(near) => format!("perhaps {near} is meant"),
                None => format!("compare with what the engine serves at {}", engine.metrics_path()),
            };
            findings.push(asked.finding("TG107", severity, message, help));
        }
    }
}

/// How sure it is that nobody writes the name. Exporters are configured at will, and names without the
/// engine's colon may be somebody's own.
fn strangeness(engine: Engine, name: &str, near: Option<&str>) -> Option<Severity> {
    let own_colon = dialect::metrics(engine).iter().any(|metric| metric.name.contains(':'));
    match engine {
        Engine::Dcgm => None,
        Engine::Dynamo | Engine::Triton | Engine::TensorRtLlm => near.map(|_| Severity::Warning),
        _ if own_colon && !name.contains(':') => near.map(|_| Severity::Warning),
        _ if near.is_some() => Some(Severity::Error),
        _ => Some(Severity::Warning),
    }
}

/// TG106: a matcher on a label that neither the engine nor scraping writes.
pub(super) fn unknown_label_matched(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for asked in &facts.asked {
        let mut seen = BTreeSet::new();
        let selectors = asked.query.iter().flat_map(|query| query.selectors());
        for selector in selectors {
            let Some(metric) = selector.metric.as_deref().and_then(lookup) else { continue };
            for matcher in selector.matchers.iter().filter(|matcher| must_be_there(matcher)) {
                let label = matcher.label.as_str();
                if !unknown_label(metric, label) || !seen.insert((metric.name, label)) {
                    continue;
                }
                if of_pod(asked, label) || relabelled(facts, label) {
                    continue;
                }
                findings.push(strange_label(asked, metric, matcher));
            }
        }
    }
}

fn strange_label(asked: &Asked<'_>, metric: &Metric, matcher: &Matcher) -> Finding {
    let label = &matcher.label;
    let at_hand = metric.writer == Writer::Replica && asked.pods.is_some();
    let severity = if at_hand { Severity::Error } else { Severity::Warning };
    let engine = metric.engine.name();
    let pods = if at_hand { ", and the pods have no such label to copy" } else { "" };
    let message = format!(
        "{label}={:?} matches nothing: neither {engine} nor Kubernetes discovery writes the label {label} on \
         {}{pods}; the query is empty and reads as 0",
        matcher.value, metric.name
    );
    let help = match suggest_label(metric, label) {
        Some("pod") => {
            let name = matcher.value.trim_end_matches(".*").trim_end_matches('-');
            format!("match the pods by name, pod=~\"{name}-.*\", or by namespace=\"…\"")
        }
        Some(other) => format!("match {other} instead"),
        None if metric.labels.is_empty() => {
            format!("{engine} writes no labels of its own; match namespace or pod")
        }
        None => format!("{engine} writes {}; scraping adds namespace, pod, job", metric.labels.join(", ")),
    };
    asked.finding("TG106", severity, message, help)
}

/// Whether a series without the label cannot match.
fn must_be_there(matcher: &Matcher) -> bool {
    match matcher.op {
        MatchOp::Equal => !matcher.value.is_empty(),
        MatchOp::Regex => {
            let mut first = matcher.value.chars();
            let literal = first.next().is_some_and(char::is_alphanumeric);
            literal && !first.next().is_some_and(|c| "*?{|".contains(c)) && !matcher.value.contains('|')
        }
        MatchOp::NotEqual | MatchOp::NotRegex => false,
    }
}

/// Whether the pods carry the label, which stock set-ups copy.
fn of_pod(asked: &Asked<'_>, label: &str) -> bool {
    let Some(pods) = &asked.pods else { return false };
    let labels = pods.template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    labels.into_iter().flatten().any(|(key, _)| {
        let scraped = pod_label_as_scraped(key);
        scraped == label || label.strip_prefix("label_") == Some(scraped.as_str())
    })
}

/// Whether anything in the files writes the label while it scrapes: a relabelling with it as its target.
fn relabelled(facts: &Facts<'_>, label: &str) -> bool {
    let monitors =
        ["ServiceMonitor", "PodMonitor", "PodMonitoring", "ScrapeConfig", "Prometheus", "ConfigMap"];
    let documents = facts.manifests.documents.iter();
    documents
        .filter(|document| monitors.contains(&document.kind.as_str()))
        .any(|document| writes(&document.root, label))
}

fn writes(node: &Node, label: &str) -> bool {
    match &node.value {
        Value::Text(text) => {
            text == label
                || text.contains(&format!("target_label: {label}"))
                || text.contains(&format!("target_label: \"{label}\""))
        }
        Value::List(items) => items.iter().any(|item| writes(item, label)),
        Value::Map(entries) => entries.iter().any(|(_, value)| writes(value, label)),
        _ => false,
    }
}
