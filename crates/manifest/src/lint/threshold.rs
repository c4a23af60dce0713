//! Thresholds that a metric can never reach.

use k8s_openapi::api::core::v1::Container;
use tidegate_metrics::dialect::{Engine, Kind, Metric, Range, lookup};
use tidegate_metrics::promql::{Aggregation, Query};

use super::facts::{Facts, engine};
use super::prometheus::{Asked, Held};
use crate::finding::{Finding, Severity};
use crate::load::Document;
use crate::node::Segment;
use crate::object::Object;
use crate::{path, quantity};

/// TG110: a threshold outside the values there can be.
pub(super) fn threshold_out_of_range(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for asked in &facts.asked {
        let (Some(held), Ok(query), Some(threshold)) = (asked.held(), &asked.query, asked.threshold()) else {
            continue;
        };
        let found = beyond_ends(asked, query, held, threshold)
            .or_else(|| beyond_slots(asked, query, held, threshold));
        if let Some((severity, message, help)) = found {
            let at = asked.at("threshold");
            findings.push(asked.document.finding("TG110", severity, &at, message, help));
        }
    }
    for document in &facts.manifests.documents {
        pods_metrics(document, findings);
    }
}

type Found = (Severity, String, String);

/// Whether the value is one metric's own, at most divided by the replicas: not `> bool`, not a formula.
fn plain(query: &Query) -> bool {
    matches!(query.aggregation(), Aggregation::Mean | Aggregation::Extreme | Aggregation::PerSeries)
}

fn beyond_ends(asked: &Asked<'_>, query: &Query, held: Held, threshold: f64) -> Option<Found> {
    let name = query.metric_names().first().copied().unwrap_or_default();
    let bounded = |metric: &Metric| matches!(metric.range, Range::ZeroToOne | Range::ZeroToHundred);
    if asked.known().count() < query.selectors().len() || !asked.known().any(bounded) {
        return None;
    }
    if query.aggregation() == Aggregation::Total {
        // A sum grows by at most the end with each replica.
        let metric = alone(asked, query).filter(|metric| bounded(metric))?;
        let high = if metric.range == Range::ZeroToOne { 1.0 } else { 100.0 };
        return (held == Held::PerReplica && threshold >= high).then(|| {
            let message = format!(
                "a replica adds at most {high} to the sum of {name}, so a threshold of {threshold} a replica never \
                 asks for one more"
            );
            (Severity::Error, message, smaller(high, threshold))
        });
    }
    let (_, high) = query.value_range().filter(|_| plain(query))?;
    let high = high.filter(|high| *high > 0.0)?;
    if threshold >= high {
        let message =
            format!("the query never exceeds {high}, so a threshold of {threshold} is never passed");
        return Some((Severity::Error, message, smaller(high, threshold)));
    }
    (high >= 100.0 && threshold <= 1.0).then(|| {
        let message = format!(
            "the query goes from 0 to {high}, and a threshold of {threshold} is {threshold} per cent: passed almost \
             always"
        );
        (Severity::Warning, message, format!("write {} if a fraction is meant", threshold * 100.0))
    })
}

fn smaller(high: f64, threshold: f64) -> String {
    match threshold / 100.0 * high {
        meant if meant < high => format!("write \"{meant}\" if {threshold} per cent are meant"),
        _ => format!("write a threshold below {high}"),
    }
}

/// The metric of a sum over one selector and nothing else.
fn alone(asked: &Asked<'_>, query: &Query) -> Option<&'static Metric> {
    let [selector] = query.selectors() else { return None };
    let level = selector.function.as_deref().is_none_or(|function| function.ends_with("_over_time"));
    let metric = lookup(selector.metric.as_deref()?)?;
    (level && metric.kind == Kind::Gauge && !calculates(asked.text)).then_some(metric)
}

/// Whether there is arithmetic or a comparison outside braces and brackets.
fn calculates(text: &str) -> bool {
    let mut depth = 0_usize;
    text.chars().any(|c| {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && "+-*/%^<>=!".contains(c)
    })
}

fn beyond_slots(asked: &Asked<'_>, query: &Query, held: Held, threshold: f64) -> Option<Found> {
    let capped = |metric: &Metric| metric.range == Range::CappedBySlots;
    let total = query.aggregation() == Aggregation::Total;
    let metric = if total && held == Held::PerReplica {
        alone(asked, query).filter(|metric| capped(metric))?
    } else {
        asked.known().find(|metric| capped(metric)).filter(|_| query.capped_by_slots() && plain(query))?
    };
    let pods = asked.pods.as_ref()?;
    let (_, container) = pods.containers().find(|(_, container)| engine(container) == Some(metric.engine))?;
    let (slots, from) = slots(metric.engine, container)?;
    (threshold >= f64::from(slots)).then(|| {
        let name = metric.name;
        let message = format!(
            "{name} never exceeds the slots of a replica, {slots} ({from}), so a threshold of {threshold} is never \
             passed"
        );
        let help = match metric.engine {
            Engine::LlamaCpp => "scale on llamacpp:requests_deferred, or write a threshold below the slots",
            _ => "scale on the requests that wait, or write a threshold below the slots",
        };
        (Severity::Error, message, help.to_owned())
    })
}

/// Requests a replica works on at once, where its arguments say; llama.cpp has a small default.
fn slots(engine: Engine, container: &Container) -> Option<(u32, String)> {
    let flags: &[&str] = match engine {
        Engine::Vllm => &["--max-num-seqs"],
        Engine::Sglang => &["--max-running-requests"],
        Engine::LlamaCpp => &["--parallel", "-np"],
        _ => return None,
    };
    let words: Vec<&str> = container
        .command
        .iter()
        .chain(&container.args)
        .flatten()
        .flat_map(|argument| argument.split_whitespace())
        .collect();
    let given = words.iter().enumerate().find_map(|(index, word)| {
        let (name, value) = word.split_once('=').map_or((*word, None), |(name, value)| (name, Some(value)));
        let value = value.or_else(|| words.get(index + 1).copied());
        flags.contains(&name).then_some((name, value?.parse::<u32>().ok()))
    });
    match given {
        Some((name, Some(slots))) if slots > 0 => Some((slots, format!("{name} {slots}"))),
        // Four is the largest default there has been.
        None if engine == Engine::LlamaCpp && !by_environment(container) => {
            Some((4, "the default of --parallel".into()))
        }
        _ => None,
    }
}

fn by_environment(container: &Container) -> bool {
    container.env.iter().flatten().any(|variable| variable.name == "LLAMA_ARG_N_PARALLEL")
        || container.env_from.as_ref().is_some_and(|sources| !sources.is_empty())
}

/// The same for the means that a HorizontalPodAutoscaler reads through an adapter.
fn pods_metrics(document: &Document, findings: &mut Vec<Finding>) {
    let Object::HorizontalPodAutoscaler(object) = &document.object else { return };
    let metrics = object.spec.iter().flat_map(|spec| spec.metrics.iter().flatten());
    for (index, metric) in metrics.enumerate() {
        let Some(pods) = &metric.pods else { continue };
        let Some(known) = lookup(&pods.metric.name) else { continue };
        let high = match known.range {
            Range::ZeroToOne => 1.0,
            Range::ZeroToHundred => 100.0,
            Range::Unbounded | Range::CappedBySlots => continue,
        };
        let average = pods.target.average_value.as_ref().and_then(|amount| quantity::parse(&amount.0).ok());
        let Some(average) = average.filter(|average| average.as_f64() >= high) else { continue };
        let at: &[Segment] = path!["spec", "metrics", index, "pods", "target", "averageValue"];
        let message =
            format!("{} never exceeds {high}, so a mean of {average} is never passed", pods.metric.name);
        let help = smaller(high, average.as_f64());
        findings.push(document.finding("TG110", Severity::Error, at, message, help));
    }
}
