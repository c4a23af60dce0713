//! What happens at zero replicas: who wakes the target, and who keeps the request meanwhile.

use std::sync::Arc;

use tidegate_core::formula::Compiler;
use tidegate_core::scale::spec::{Activation, Goal, Kind, Metric};
use tidegate_metrics::dialect::{Writer, lookup};
use tidegate_metrics::promql::AtZero;

use super::facts::Facts;
use super::inference::{Serves, serves};
use super::prometheus::{Asked, has_formula, replicas};
use crate::finding::{Finding, Severity};
use crate::formula::ExprLang;
use crate::kinds::keda::{ScaledObject, ScaledObjectSpec};
use crate::load::Document;
use crate::node::Segment;
use crate::object::Object;
use crate::path;

/// Each ScaledObject that may go to zero replicas, and where it says so.
fn to_zero<'a>(facts: &Facts<'a>) -> impl Iterator<Item = (&'a Document, &'a ScaledObject, Vec<Segment>)> {
    let documents = facts.manifests.documents.iter();
    documents.filter_map(|document| {
        let Object::ScaledObject(object) = &document.object else { return None };
        let spec = &object.spec;
        let key = if spec.idle_replica_count == Some(0) {
            "idleReplicaCount"
        } else if spec.idle_replica_count.is_none() && spec.min_replica_count.unwrap_or(0) == 0 {
            "minReplicaCount"
        } else {
            return None;
        };
        let forced = document.annotation("autoscaling.keda.sh/force-activation");
        let forced = forced
            .is_some_and(|text| !matches!(text.as_str(), "0" | "f" | "F" | "FALSE" | "false" | "False"));
        (!forced).then(|| (document, object.as_ref(), path!["spec", key].to_vec()))
    })
}

/// Whether requests reach the target through our gateway, which holds them and wakes it.
fn routed(facts: &Facts<'_>, document: &Document) -> bool {
    const MODEL: &str = "tidegate.dev/model";
    let on_pods = || {
        let annotations = facts.pods_of(document)?.template.metadata.as_ref()?.annotations.as_ref()?;
        annotations.get(MODEL)
    };
    document.annotation(MODEL).is_some() || on_pods().is_some()
}

/// TG108: nothing that is asked can say anything but zero while there are no replicas.
pub(super) fn blind_at_zero(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for (document, object, at) in to_zero(facts) {
        let spec = &object.spec;
        if routed(facts, document) || falls_back(spec) {
            continue;
        }
        let asked = facts.asked_of(document);
        let resources =
            spec.triggers.iter().filter(|trigger| matches!(trigger.type_.as_str(), "cpu" | "memory"));
        if asked.is_empty() || asked.len() + resources.count() < spec.triggers.len() {
            continue;
        }
        let values: Option<Vec<f64>> = asked.iter().map(value_at_zero).collect();
        let Some(values) = values else { continue };
        let wakes = match has_formula(spec) {
            true => formula_wakes(spec, asked, &values),
            false => asked.iter().zip(&values).any(|(asked, value)| *value > activation(asked)),
        };
        if wakes {
            continue;
        }
        let names: Vec<&str> = asked
            .iter()
            .filter_map(|asked| asked.query.as_ref().ok())
            .flat_map(|q| q.metric_names())
            .collect();
        let message = format!(
            "at zero replicas nobody writes {}, every reading is then 0, and nothing ever wakes the target again",
            names.first().copied().unwrap_or("what the triggers read")
        );
        let help = "route requests through the gateway (annotation tidegate.dev/model), add a trigger on what \
                    stays when the replicas go (a queue, a gateway's own metric), or set minReplicaCount: 1";
        findings.push(document.finding("TG108", Severity::Error, &at, message, help));
    }
}

/// A reading that fails for long enough brings the fallback's replicas.
fn falls_back(spec: &ScaledObjectSpec) -> bool {
    let null_fails =
        |value: Option<&String>| value.is_some_and(|text| matches!(text.as_str(), "false" | "0" | "f"));
    spec.fallback.as_ref().is_some_and(|fallback| fallback.replicas > 0)
        && spec.triggers.iter().any(|trigger| null_fails(trigger.metadata.get("ignoreNullValues")))
}

/// What a query reads at zero replicas, where that is certain.
fn value_at_zero(asked: &Asked<'_>) -> Option<f64> {
    let query = asked.query.as_ref().ok().filter(|query| query.only_seen_from_replicas())?;
    // A metric that nobody knows may be somebody else's in spite of its prefix.
    let by_replica = |name: &str| lookup(name).is_none_or(|metric| metric.writer != Writer::Frontend);
    if !query.metric_names().into_iter().all(by_replica) {
        return None;
    }
    match query.at_zero() {
        AtZero::Nothing => Some(0.0),
        AtZero::Value(value) => value,
    }
}

fn activation(asked: &Asked<'_>) -> f64 {
    let text = asked.trigger.metadata.get("activationThreshold").map(|text| text.trim());
    text.and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

/// Whether the formula exceeds its activation target on these values; true when that cannot be told.
fn formula_wakes(spec: &ScaledObjectSpec, asked: &[Asked<'_>], values: &[f64]) -> bool {
    let Some(modifiers) = spec.advanced.as_ref().and_then(|advanced| advanced.scaling_modifiers.as_ref())
    else {
        return true;
    };
    let names: Option<Vec<Arc<str>>> =
        asked.iter().map(|asked| asked.trigger.name.as_deref().map(Arc::from)).collect();
    let (Some(names), Some(formula)) = (names, modifiers.formula.as_deref()) else { return true };
    let target = modifiers.activation_target.as_deref().unwrap_or("0").trim();
    let Ok(target) = target.parse::<f64>() else { return true };
    let Ok(compiled) = ExprLang.compile(formula, &names) else { return true };
    let variables: Vec<(&str, Option<f64>)> =
        names.iter().zip(values).map(|(name, value)| (&**name, Some(*value))).collect();
    !matches!(compiled.evaluate(&variables), Ok(Some(value)) if value <= target)
}

/// TG109: active only from where several replicas are due already.
pub(super) fn activation_above_threshold(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for target in &facts.lowered.targets {
        let Kind::ScaledObject(keda) = &target.spec.kind else { continue };
        let keeps_some = keda.idle.is_none() && target.spec.min > 0;
        if keda.modifiers.is_some() {
            continue;
        }
        let document = &facts.manifests.documents[target.document];
        for (index, signal) in target.spec.signals.iter().enumerate() {
            let (Activation::Above(above), Metric::External(goal)) = (signal.activation, &signal.metric)
            else {
                continue;
            };
            let (Goal::AverageValue(threshold) | Goal::Value(threshold)) = goal;
            let threshold = threshold.as_f64();
            if above <= 0.0 || above < threshold {
                continue;
            }
            let key = activation_key(document, index);
            if keeps_some {
                // Without a way to zero the slip costs nothing yet; it will the day somebody allows zero.
                let message = format!(
                    "activation {above} is not below the threshold of {threshold}, and does nothing here"
                );
                let help =
                    "it counts only with minReplicaCount: 0 or idleReplicaCount; remove it or lower it";
                findings.push(document.finding("TG109", Severity::Info, &key, message, help));
                continue;
            }
            let message = format!(
                "active only above {above}, and one replica carries {threshold}: a load of {above} is worth {} \
                 and gets none while the target is at zero",
                count(replicas(above, threshold))
            );
            let help = format!("activate below the threshold of {threshold}; 0 wakes on the first request");
            findings.push(document.finding("TG109", Severity::Warning, &key, message, help));
        }
    }
}

fn count(replicas: u32) -> String {
    if replicas == 1 { "1 replica".into() } else { format!("{replicas} replicas") }
}

fn activation_key(document: &Document, index: usize) -> Vec<Segment> {
    let metadata = path!["spec", "triggers", index, "metadata"].to_vec();
    let entries = document.root.at(&metadata).map(|node| node.entries()).unwrap_or_default();
    let key = entries.iter().find(|(key, _)| key.text.starts_with("activation"));
    metadata.into_iter().chain(key.map(|(key, _)| Segment::from(&key.text))).collect()
}

/// TG204: a request that finds no replica is lost.
pub(super) fn zero_without_hold(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for (document, object, at) in to_zero(facts) {
        let triggers = &object.spec.triggers;
        let only = |types: &[&str]| triggers.iter().all(|trigger| types.contains(&trigger.type_.as_str()));
        let asks = triggers.iter().any(|trigger| trigger.type_ == "prometheus");
        if !asks || !only(&["prometheus", "cpu", "memory", "cron"]) || routed(facts, document) {
            continue;
        }
        let asked = || facts.asked_of(document).iter();
        let answers = match serves(facts, document) {
            Serves::Model => true,
            Serves::Other => false,
            Serves::Unknown => asked().any(|asked| mentions(asked, &["request"])),
        };
        if !answers || asked().any(|asked| mentions(asked, HOLDERS)) || intercepted(facts, document) {
            continue;
        }
        let written = document.root.at(&at).is_some();
        let default = if written { "" } else { " (the default of minReplicaCount)" };
        let message = format!(
            "the target goes to zero{default}, and nothing holds the requests that arrive before a replica is up: \
             each is refused, for as long as a start takes"
        );
        let help = "route requests through the gateway (annotation tidegate.dev/model), take them from a queue, or \
                    set minReplicaCount: 1";
        findings.push(document.finding("TG204", Severity::Warning, &at, message, help));
    }
}

/// Parts of the names of metrics about queues and gateways that keep what they are given.
const HOLDERS: &[&str] = &[
    "rabbitmq",
    "kafka",
    "redis",
    "nats",
    "jetstream",
    "sqs",
    "pubsub",
    "celery",
    "activemq",
    "nsq",
    "pulsar",
    "_lag",
    "interceptor_",
    "activator_",
    "flow_control",
    "dynamo_frontend_queued",
    "tidegate_",
];

fn mentions(asked: &Asked<'_>, parts: &[&str]) -> bool {
    let names = asked.query.iter().flat_map(|query| query.metric_names());
    names.into_iter().any(|name| parts.iter().any(|part| name.to_ascii_lowercase().contains(part)))
}

/// KEDA's HTTP add-on holds requests for what it routes to.
fn intercepted(facts: &Facts<'_>, scaler: &Document) -> bool {
    facts.manifests.documents.iter().any(|document| {
        document.namespace == scaler.namespace
            && matches!(document.kind.as_str(), "HTTPScaledObject" | "InterceptorRoute")
    })
}
