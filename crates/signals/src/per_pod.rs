//! A HorizontalPodAutoscaler's metrics of type `Pods`, from own scrapes of the pods.
//!
//! An adapter (prometheus-adapter as it is installed) serves a gauge under its own name and a counter `x_total` as the
//! rate `x_per_second`; many rename the colon of an engine's metric to an underscore. All three are understood. One
//! value a pod is what it makes; the mean over pods, and what a pod without a value counts for, are the core's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tidegate_core::scale::{Reading, Sample};
use tidegate_core::time::{Span, Time};
use tidegate_core::units::Milli;
use tidegate_metrics::eval::{Compiled, compile};
use tidegate_metrics::store::{LabelSet, label};

/// Beginnings of names that engines write with a colon.
const WITH_COLON: [&str; 5] = ["vllm", "sglang", "llamacpp", "lmdeploy", "trtllm"];

/// The ending of a counter's rate.
const RATE: &str = "_per_second";

/// Over which rates are taken: prometheus-adapter's own is two minutes; half of it, for we scrape each second.
const OVER: &str = "1m";

/// The query for a metric with labels that must be as they are given.
///
/// # Errors
/// When the name or a label is none of Prometheus'.
pub fn query(name: &str, labels: &BTreeMap<String, String>) -> Result<Compiled, String> {
    let mut names = vec![name.to_owned()];
    let renamed = name.split_once('_').filter(|(engine, _)| WITH_COLON.contains(engine));
    names.extend(renamed.map(|(engine, rest)| format!("{engine}:{rest}")));
    let mut matchers = String::new();
    for (label, value) in labels {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(matchers, "{label}=\"{value}\",");
    }
    let mut terms: Vec<String> = names.iter().map(|name| format!("{name}{{{matchers}}}")).collect();
    for counter in names.iter().filter_map(|name| name.strip_suffix(RATE)) {
        terms.push(format!("rate({counter}_total{{{matchers}}}[{OVER}])"));
    }
    compile(&format!("sum by (pod) ({})", terms.join(" or "))).map_err(|error| {
        format!("metric {name} of type Pods cannot be read from the pods' own pages: {error}")
    })
}

/// Each pod's value.
pub(crate) fn samples(elements: &[(LabelSet, f64)], now: Time) -> Reading {
    let samples = elements.iter().filter_map(|(labels, value)| {
        let value = Some(Milli::published(*value));
        let containers = BTreeMap::from([(String::new(), value)]);
        Some(Sample {
            pod: label(labels, "pod")?.to_owned(),
            containers,
            at: now,
            window: Span::from_secs(1),
        })
    });
    Reading::Samples(samples.collect())
}

/// The query for the metric of an autoscaler at this place; `None` where it is not of type `Pods`.
pub(crate) fn of(
    object: &tidegate_manifest::object::Object,
    index: usize,
) -> Option<Result<Compiled, String>> {
    let tidegate_manifest::object::Object::HorizontalPodAutoscaler(autoscaler) = object else { return None };
    let metric = autoscaler.spec.as_ref()?.metrics.as_ref()?.get(index)?.pods.as_ref()?;
    let selector = metric.metric.selector.as_ref();
    if selector.is_some_and(|one| one.match_expressions.as_ref().is_some_and(|all| !all.is_empty())) {
        let why = "matchExpressions of a metric of type Pods are not evaluated; use matchLabels".to_owned();
        return Some(Err(why));
    }
    let labels = selector.and_then(|one| one.match_labels.clone()).unwrap_or_default();
    Some(query(&metric.metric.name, &labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_looked_for_under_the_names_adapters_give_it() {
        let text = |name: &str| query(name, &BTreeMap::new()).unwrap().text().to_string();
        assert_eq!(text("queue_depth"), "sum by (pod) (queue_depth{})");
        assert_eq!(
            text("vllm_num_requests_waiting"),
            "sum by (pod) (vllm_num_requests_waiting{} or vllm:num_requests_waiting{})"
        );
        assert!(text("http_requests_per_second").contains("or rate(http_requests_total{}[1m])"));
    }

    #[test]
    fn labels_are_values_and_no_queries() {
        let labels = BTreeMap::from([("model".to_owned(), "a\"} or up{x=\"".to_owned())]);
        let query = query("queue_depth", &labels).unwrap();
        assert_eq!(query.names(), ["queue_depth"]);
        assert!(super::query("queue depth", &BTreeMap::new()).is_err());
        let labels = BTreeMap::from([("bad-label".to_owned(), "x".to_owned())]);
        assert!(super::query("queue_depth", &labels).is_err());
    }
}
