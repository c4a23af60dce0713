//! Metrics that Kubernetes itself serves to autoscalers: `external.metrics.k8s.io` and `custom.metrics.k8s.io`, behind
//! which an adapter of the cluster's stands.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use kube::Client;
use serde_json::Value;
use tidegate_core::scale::{Reading, Spec};
use tidegate_core::time::{Span, Time};
use tidegate_manifest::quantity;

use crate::watch::said;

/// Between two readings: three times as often as the HPA controller, and an adapter has a Prometheus behind it.
const PACE: Span = Span::from_secs(5);

/// Until an answer.
const ANSWER: Duration = Duration::from_secs(3);

/// One signal, and what it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The signal.
    pub signal: Arc<str>,
    /// The path, with its query.
    pub path: String,
}

/// What an autoscaler asks of adapters, and when it does so next.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    all: Arc<[Question]>,
    next: Option<Time>,
}

impl Questions {
    /// The questions of an autoscaler, whose signals are in the order of its metrics.
    #[must_use]
    pub fn of(hpa: &Value, spec: &Spec) -> Self {
        let metrics = hpa.pointer("/spec/metrics").and_then(Value::as_array);
        let namespace = hpa.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        let paths = metrics.into_iter().flatten().map(|metric| path(metric, namespace));
        let all = spec.signals.iter().zip(paths);
        let all =
            all.filter_map(|(signal, path)| Some(Question { signal: Arc::clone(&signal.name), path: path? }));
        Questions { all: all.collect(), next: None }
    }

    /// Whether an adapter is asked for this signal.
    #[must_use]
    pub fn has(&self, signal: &str) -> bool {
        self.all.iter().any(|question| &*question.signal == signal)
    }

    /// The questions, if it is time; none in between.
    pub fn due(&mut self, now: Time) -> Arc<[Question]> {
        if self.next.is_some_and(|next| now < next) {
            return Arc::default();
        }
        self.next = Some(now + PACE);
        Arc::clone(&self.all)
    }
}

fn path(metric: &Value, namespace: &str) -> Option<String> {
    let text = |at: &str| metric.pointer(at).and_then(Value::as_str);
    match text("/type")? {
        "External" => {
            let name = text("/external/metric/name")?;
            let selector = selector(metric.pointer("/external/metric/selector"));
            let query = if selector.is_empty() { selector } else { format!("?labelSelector={selector}") };
            let name = encoded(name);
            Some(format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{name}{query}"))
        }
        "Object" => {
            let (kind, name) = (text("/object/describedObject/kind")?, text("/object/describedObject/name")?);
            let group =
                text("/object/describedObject/apiVersion").and_then(|version| version.split_once('/'));
            let group = group.map_or_else(String::new, |(group, _)| format!(".{group}"));
            let metric = encoded(text("/object/metric/name")?);
            let plural = plural(kind);
            Some(format!(
                "/apis/custom.metrics.k8s.io/v1beta2/namespaces/{namespace}/{plural}{group}/{name}/{metric}"
            ))
        }
        _ => None,
    }
}

/// A kind's plural as the kinds that are described have it.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    if lower.ends_with('s') { format!("{lower}es") } else { format!("{lower}s") }
}

/// A label selector as text, ready for a query.
fn selector(json: Option<&Value>) -> String {
    let labels = json.and_then(|json| json.get("matchLabels")).and_then(Value::as_object);
    let mut parts: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    let rules = json.and_then(|json| json.get("matchExpressions")).and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        let key = rule.get("key").and_then(Value::as_str).unwrap_or_default();
        let values = rule.get("values").and_then(Value::as_array).into_iter().flatten();
        let values = values.filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        match rule.get("operator").and_then(Value::as_str) {
            Some("In") => parts.push(format!("{key} in ({values})")),
            Some("NotIn") => parts.push(format!("{key} notin ({values})")),
            Some("Exists") => parts.push(key.to_owned()),
            Some("DoesNotExist") => parts.push(format!("!{key}")),
            _ => {}
        }
    }
    encoded(&parts.join(","))
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let each = text
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
    each.collect()
}

/// Asks them all at once.
pub async fn read(client: &Client, questions: &[Question]) -> Vec<(Arc<str>, Reading)> {
    let each = questions.iter().map(|question| async {
        let answer = tokio::time::timeout(ANSWER, ask(client, &question.path)).await;
        let reading = match answer {
            Ok(Ok(value)) => Reading::Value { value, active: None },
            Ok(Err(why)) => Reading::Error(why.into()),
            Err(_) => Reading::Error(format!("no answer within {} s", ANSWER.as_secs()).into()),
        };
        (Arc::clone(&question.signal), reading)
    });
    join_all(each).await
}

async fn ask(client: &Client, path: &str) -> Result<f64, String> {
    let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    let answer: Value = client.request(request).await.map_err(|error| said(&error))?;
    sum(&answer)
}

/// The sum of an answer's values: what several series of one metric are to an autoscaler.
fn sum(answer: &Value) -> Result<f64, String> {
    let items = answer.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return Err("the adapter knows no such metric: it gave no value".to_owned());
    }
    let mut sum = 0.0;
    for item in items {
        let text = item.get("value").and_then(Value::as_str).unwrap_or_default();
        let amount = quantity::parse(text).map_err(|error| format!("{text:?} is no quantity: {error}"))?;
        sum += amount.as_f64();
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_external_metric_is_asked_with_its_selector_and_its_series_are_summed() {
        let selector = json!({"matchLabels": {"queue": "a b"}, "matchExpressions": [{"key": "env", "operator": "In", "values": ["x", "y"]}]});
        let metric =
            json!({"type": "External", "external": {"metric": {"name": "waiting", "selector": selector}}});
        let asked = path(&metric, "prod").unwrap();
        let query = "labelSelector=queue%3Da%20b%2Cenv%20in%20%28x%2Cy%29";
        assert_eq!(asked, format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/prod/waiting?{query}"));
        assert_eq!(sum(&json!({"items": [{"value": "2500m"}, {"value": "1k"}]})), Ok(1002.5));
        assert!(sum(&json!({"items": []})).is_err());
        assert!(sum(&json!({"items": [{"value": "much"}]})).is_err());
    }

    #[test]
    fn an_object_metric_is_asked_of_the_object_it_describes() {
        let described = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "web"});
        let metric =
            json!({"type": "Object", "object": {"describedObject": described, "metric": {"name": "rps"}}});
        let path = path(&metric, "prod").unwrap();
        assert_eq!(
            path,
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/prod/ingresses.networking.k8s.io/web/rps"
        );
    }

    #[test]
    fn between_two_readings_nothing_is_asked() {
        let question = Question { signal: "external-a".into(), path: "/a".to_owned() };
        let mut questions = Questions { all: [question].into(), next: None };
        let at = |s: i64| Time::from_micros(s * 1_000_000);
        let asked: Vec<usize> = (0..10).map(|s| questions.due(at(s)).len()).collect();
        assert_eq!(asked, [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    }
}
