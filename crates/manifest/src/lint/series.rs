//! Queries that KEDA cannot use: no PromQL, not one series, a window with too few samples.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use tidegate_metrics::dialect::{Writer, lookup};
use tidegate_metrics::eval;
use tidegate_metrics::promql::{Aggregation, Error, Query, Shape};

use super::facts::{Facts, Pods};
use super::prometheus::{Asked, max_replicas};
use crate::duration;
use crate::finding::{Finding, Severity};
use crate::kinds::monitor::{Endpoint, NamespaceSelector};
use crate::load::Document;
use crate::object::Object;

/// TG103: more than one series, or none at all.
pub(super) fn several_series(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for asked in &facts.asked {
        let Ok(query) = &asked.query else { continue };
        let (severity, message, help) = match query.shape() {
            Shape::AtMostOne => continue,
            Shape::Scalar => (
                Severity::Error,
                "the query gives a bare number and not a series, which KEDA cannot decode".to_owned(),
                "wrap it: vector(...)",
            ),
            Shape::String => {
                (Severity::Error, "the query gives a string".to_owned(), "ask for a number: one series")
            }
            Shape::Matrix => (
                Severity::Error,
                "the query gives every sample of a window, not one value".to_owned(),
                "apply a function to the window, such as rate(...[2m]) or max_over_time(...[2m]), and sum it",
            ),
            Shape::Many => match many(asked, query) {
                Some((severity, message)) => {
                    (severity, message, "aggregate it: sum(...) gives one series whatever is behind it")
                }
                None => continue,
            },
        };
        findings.push(asked.finding("TG103", severity, message, help));
    }
}

/// How certain it is that a query without a closing aggregation gives several series.
fn many(asked: &Asked<'_>, query: &Query) -> Option<(Severity, String)> {
    const ONE_PROCESS: &[&str] = &["pod", "instance", "exported_pod", "pod_name", "exported_instance"];
    let selectors = query.selectors();
    if selectors.iter().any(|selector| ONE_PROCESS.iter().any(|label| selector.pins(label))) {
        return None;
    }
    let refused = "and KEDA refuses more than one (\"returned multiple elements\")";
    let max = asked.spec.map_or(100, max_replicas);
    let each = query.aggregation() == Aggregation::PerSeries;
    if each && query.only_seen_from_replicas() {
        let message = format!("the query gives a series for every replica, up to {max} of them, {refused}");
        return (max > 1).then_some((Severity::Error, message));
    }
    let rates = |name: Option<&str>| matches!(name, Some("rate" | "irate" | "increase"));
    let counters = selectors.iter().all(|selector| rates(selector.function.as_deref()));
    if each && counters {
        let message = format!("the query gives a series for every process that counts, {refused}");
        return Some((Severity::Warning, message));
    }
    // Grouped by labels that nothing pins; without groups, an unknown gauge may well be a single series.
    let grouped =
        matches!(query.aggregation(), Aggregation::Total | Aggregation::Mean | Aggregation::Extreme);
    grouped.then(|| {
        (
            Severity::Warning,
            format!("the query groups by labels that no matcher pins to one value, {refused}"),
        )
    })
}

/// TG114: to be evaluated over own scrapes, and more than that evaluator knows.
pub(super) fn not_embedded(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for asked in &facts.asked {
        let embedded = asked.document.annotation("tidegate.dev/prometheus");
        // What is no PromQL at all is TG112's.
        if embedded.as_deref() != Some("embedded") || asked.query.is_err() {
            continue;
        }
        if let Err(error) = eval::compile(asked.text) {
            let help =
                "change the query, or take tidegate.dev/prometheus away and let a Prometheus answer it";
            findings.push(asked.finding("TG114", Severity::Error, error.to_string(), help));
        }
    }
}

/// TG112: not PromQL.
pub(super) fn invalid_query(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for asked in facts.asked.iter().filter(|asked| !speaks_metricsql(asked)) {
        let Err(error) = &asked.query else { continue };
        // Beyond our own limits, but perhaps not beyond the server's.
        let ours = matches!(
            error,
            Error::TooLong { .. }
                | Error::TooDeep { .. }
                | Error::TooManyOperators { .. }
                | Error::TooManyRegexes { .. }
        );
        if ours {
            continue;
        }
        let place = error.position().map_or_else(String::new, |at| place(asked.text, at));
        let message = format!("{error}{place}; the query is {}", asked.shown());
        let help = "try it in Prometheus' own query page, then copy it here";
        findings.push(asked.finding("TG112", Severity::Error, message, help));
    }
}

/// Line and column inside the query, from 1.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    match text.contains('\n') {
        true => format!(" (line {line}, column {column} of the query)"),
        false => format!(" (character {column} of the query)"),
    }
}

/// VictoriaMetrics understands more than PromQL.
fn speaks_metricsql(asked: &Asked<'_>) -> bool {
    let address = asked.trigger.metadata.get("serverAddress").map(String::as_str).unwrap_or_default();
    ["victoria", "vmselect", "vmsingle", "vmauth", ":8428", ":8481"].iter().any(|part| address.contains(part))
}

/// Seconds between two scrapes where nothing says otherwise: kube-prometheus' default.
const SCRAPE_S: f64 = 30.0;

/// TG104: a rate over a window with fewer than two samples.
pub(super) fn rate_window_too_short(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for asked in &facts.asked {
        let Ok(query) = &asked.query else { continue };
        let rates = query.rate_windows().iter().filter(|used| needs_two(&used.function) && !used.subquery);
        let mut rates = rates.peekable();
        if rates.peek().is_none() {
            continue;
        }
        let monitored = asked.pods.as_ref().and_then(|pods| scrape_interval(facts, pods));
        for used in rates {
            let metric = query.selectors().get(used.selector).and_then(|selector| selector.metric.as_deref());
            let of_pods = metric.and_then(lookup).is_none_or(|metric| metric.writer == Writer::Replica);
            let known = monitored.as_ref().filter(|_| of_pods);
            let interval = known.map_or(SCRAPE_S, |(interval, _)| *interval);
            if used.window_s >= 2.0 * interval {
                continue;
            }
            let from = match known {
                Some((_, monitor)) => format!("{monitor} scrapes every {interval} s"),
                None => {
                    format!("scrapes are taken to be {interval} s apart, as no monitor in the files says")
                }
            };
            let message = format!(
                "{}(...[{}s]) has fewer than two samples most of the time and then gives nothing: {from}",
                used.function, used.window_s
            );
            let help = format!("use a window of at least four scrapes: [{}s]", 4.0 * interval);
            findings.push(asked.finding("TG104", Severity::Warning, message, help));
        }
    }
}

fn needs_two(function: &str) -> bool {
    matches!(function, "rate" | "irate" | "increase" | "delta" | "idelta" | "deriv")
}

/// How often the pods are scraped, by the monitor in the files that selects them and scrapes most often.
fn scrape_interval(facts: &Facts<'_>, pods: &Pods<'_>) -> Option<(f64, String)> {
    let of_services = service_labels(facts, pods);
    let mut found: Option<(f64, String)> = None;
    for document in &facts.manifests.documents {
        let endpoints = match &document.object {
            Object::PodMonitor(monitor) if in_reach(document, &monitor.spec.namespace_selector, pods) => {
                selects(&monitor.spec.selector, labels(pods)).then_some(&monitor.spec.pod_metrics_endpoints)
            }
            Object::ServiceMonitor(monitor) if in_reach(document, &monitor.spec.namespace_selector, pods) => {
                let selected = of_services.iter().any(|labels| selects(&monitor.spec.selector, *labels));
                selected.then_some(&monitor.spec.endpoints)
            }
            _ => None,
        };
        for interval in endpoints.into_iter().flatten().filter_map(seconds) {
            if found.as_ref().is_none_or(|(least, _)| interval < *least) {
                found = Some((interval, document.title()));
            }
        }
    }
    found
}

fn seconds(endpoint: &Endpoint) -> Option<f64> {
    let span = duration::parse(endpoint.interval.as_deref()?).ok()?;
    (span.as_micros() > 0).then(|| span.as_micros() as f64 / 1e6)
}

fn in_reach(monitor: &Document, namespaces: &NamespaceSelector, pods: &Pods<'_>) -> bool {
    let wanted = &pods.document.namespace;
    namespaces.any
        || namespaces.match_names.contains(wanted)
        || (namespaces.match_names.is_empty() && monitor.namespace == *wanted)
}

fn labels<'a>(pods: &Pods<'a>) -> Option<&'a Labels> {
    pods.template.metadata.as_ref()?.labels.as_ref()
}

type Labels = BTreeMap<String, String>;

/// The labels of the Services before the pods, which is what a ServiceMonitor selects by. Where no such
/// Service is in the files, its labels are taken to be those of its pods, as they mostly are.
fn service_labels<'a>(facts: &Facts<'a>, pods: &Pods<'a>) -> Vec<Option<&'a Labels>> {
    let of_pods = labels(pods);
    let services = facts.manifests.documents.iter().filter_map(|document| match &document.object {
        Object::Service(service) if document.namespace == pods.document.namespace => {
            let selected =
                service.spec.as_ref()?.selector.as_ref().filter(|selected| !selected.is_empty())?;
            let all = selected.iter().all(|(key, value)| of_pods.and_then(|it| it.get(key)) == Some(value));
            all.then_some(service.metadata.labels.as_ref())
        }
        _ => None,
    });
    let services: Vec<_> = services.collect();
    if services.is_empty() { vec![of_pods] } else { services }
}

/// Whether a selector of plain labels selects these; expressions are not judged.
fn selects(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let wanted = selector.match_labels.iter().flatten();
    selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
        && wanted.into_iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}
