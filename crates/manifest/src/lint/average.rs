//! Totals divided by replicas, and means that must not be.
//!
//! `AverageValue` wants a total: `ceil(total / threshold)` replicas. `Value` wants what one replica shows:
//! `ceil(value / threshold × ready)`. A query of the one kind under the other type gives a number that
//! looks like a replica count and is none.

use tidegate_metrics::dialect::{Metric, Signal};
use tidegate_metrics::promql::{Aggregation, Query};

use super::Facts;
use super::prometheus::{Asked, Held, gpu_by_name, max_replicas, replicas};
use crate::finding::{Finding, Severity};

/// TG101: what is already a mean, a maximum or a latency is divided as if it were a total.
pub(super) fn averages_twice(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for asked in facts.asked.iter().filter(|asked| asked.held() == Some(Held::PerReplica)) {
        let (Ok(query), Some(threshold)) = (&asked.query, asked.threshold()) else { continue };
        let Some(what) = of_one_replica(asked, query) else { continue };
        let message = format!(
            "the query gives {what}, and AverageValue divides it by {threshold} as if it were the sum over all \
             replicas: {}",
            consequence(asked, query, threshold)
        );
        findings.push(asked.finding("TG101", Severity::Error, message, remedy(asked, query)));
    }
}

/// TG102: a total is multiplied by the replicas it already counts.
pub(super) fn total_under_value(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for asked in facts.asked.iter().filter(|asked| asked.held() == Some(Held::Itself)) {
        let (Ok(query), Some(threshold)) = (&asked.query, asked.threshold()) else { continue };
        if query.aggregation() != Aggregation::Total || is_wish(query) {
            continue;
        }
        let message = format!(
            "the query gives a total, and metricType Value multiplies it by the ready pods: a total of {}, twice \
             the threshold, wants 8 pods while 4 are ready, 16 while 8 are, and so on to maxReplicaCount",
            2.0 * threshold,
        );
        // More replicas do shorten a backlog, so somebody may have meant to steer it; a rate of arrivals
        // or a number of running requests they do not change at all.
        let severity = if is_inflow(asked, query) { Severity::Error } else { Severity::Warning };
        let help = "remove metricType (AverageValue divides the total by the threshold, so much a replica), or \
                    ask for the mean with avg(...)";
        findings.push(asked.finding("TG102", severity, message, help));
    }
}

/// What the query's value is of one replica, where that is certain.
fn of_one_replica(asked: &Asked<'_>, query: &Query) -> Option<&'static str> {
    let aggregation = query.aggregation();
    let own = query.only_seen_from_replicas() || reads_gpus(query);
    match aggregation {
        _ if is_wish(query) => None,
        Aggregation::Mean if own || divides_by_count(asked.text) || only_rates(query) => {
            Some("a mean over replicas")
        }
        Aggregation::Extreme if own => Some("the value of a single replica"),
        Aggregation::Statistic => Some("a latency or a spread, which no number of replicas adds up to"),
        // sum(used) / sum(total) of the replicas' own numbers: both grow with the replicas.
        Aggregation::Ratio if query.only_seen_from_replicas() && sums_alone(asked.text) => {
            Some("a share, which is the same however many replicas there are")
        }
        _ => None,
    }
}

fn consequence(asked: &Asked<'_>, query: &Query, threshold: f64) -> String {
    let max = asked.spec.map_or(100, max_replicas);
    if let Some((_, Some(high))) = query.value_range() {
        let most = replicas(high, threshold).max(1);
        let replicas = if most == 1 { "1 replica".to_owned() } else { format!("{most} replicas") };
        return format!(
            "it never exceeds {high}, so it can never ask for more than {replicas} (maxReplicaCount is {max})"
        );
    }
    let many = max.clamp(2, 10);
    if reads_gpus(query) {
        let value = (threshold * 1100.0).round() / 1000.0;
        return format!(
            "at {value}, a tenth above the threshold, {many} busy replicas become {}",
            replicas(value, threshold)
        );
    }
    let double = 2.0 * threshold;
    format!("at {double}, twice the threshold, {many} busy replicas become {}", replicas(double, threshold))
}

fn remedy(asked: &Asked<'_>, query: &Query) -> String {
    let counts = |metric: &Metric| matches!(metric.signal, None | Some(Signal::Waiting | Signal::Running));
    let simple = matches!(query.aggregation(), Aggregation::Mean | Aggregation::Extreme);
    if simple
        && !reads_gpus(query)
        && query.value_range().is_none_or(|(_, high)| high.is_none())
        && asked.known().all(counts)
    {
        "ask for the total, sum(...), and keep the threshold; or write metricType: Value beside metadata"
            .into()
    } else {
        "write metricType: Value beside metadata: the value is then held against the threshold, and the result \
         multiplied by the ready pods"
            .into()
    }
}

/// A metric that already says how many replicas somebody wants: `wva_desired_replicas`.
fn is_wish(query: &Query) -> bool {
    let words = ["desired", "recommended", "target_replicas", "wanted"];
    query.metric_names().iter().any(|name| words.iter().any(|word| name.contains(word)))
}

/// Whether every series is a GPU's own state.
fn reads_gpus(query: &Query) -> bool {
    let selectors = query.selectors();
    let gpu = |name: &str| name.starts_with("DCGM_FI_") || gpu_by_name(name) || name.contains("gpu_memory");
    !selectors.is_empty() && selectors.iter().all(|selector| selector.metric.as_deref().is_some_and(gpu))
}

/// A mean that was written as `… / count(…)`, so that no one can have meant a total.
fn divides_by_count(text: &str) -> bool {
    !words(text).any(|word| word == "avg")
}

/// Whether `sum` is the only aggregation, so that a ratio is one of two totals.
fn sums_alone(text: &str) -> bool {
    const OTHERS: &[&str] = &["avg", "max", "min", "count", "quantile", "topk", "bottomk", "scalar", "group"];
    words(text).any(|word| word == "sum") && !words(text).any(|word| OTHERS.contains(&word))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
}

/// Whether every series is read as a rate of a counter; the mean of such is never a total.
fn only_rates(query: &Query) -> bool {
    let selectors = query.selectors();
    let rate = |name: Option<&str>| matches!(name, Some("rate" | "irate" | "increase"));
    !selectors.is_empty() && selectors.iter().all(|selector| rate(selector.function.as_deref()))
}

/// Whether more replicas leave the total as it is, or raise it.
fn is_inflow(asked: &Asked<'_>, query: &Query) -> bool {
    let mut known = asked.known().peekable();
    only_rates(query)
        || (known.peek().is_some()
            && known.all(|metric| matches!(metric.signal, Some(Signal::Running | Signal::KvUse))))
}
