//! A manifest with another setting.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tidegate_manifest::yaml;
use tidegate_sim::tune::Setting;

use crate::commands::simulate::input::Rules;

/// Where `behavior.scaleDown` stands in a ScaledObject.
const DOWN: [&str; 5] = ["spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown"];

/// All documents, the target's with the setting.
pub(super) fn manifest(rules: &Rules, setting: &Setting) -> Result<String> {
    let documents = rules.manifests.documents.iter().enumerate().map(|(place, document)| {
        let mut value = document.root.to_json();
        if place == rules.target.document {
            set(&mut value, setting);
        }
        value
    });
    let documents: Vec<Value> = documents.collect();
    yaml::write(&documents).context("cannot write the manifest as YAML")
}

fn set(document: &mut Value, setting: &Setting) {
    let triggers = document.pointer_mut("/spec/triggers").and_then(Value::as_array_mut);
    for trigger in triggers.into_iter().flatten() {
        if trigger.get("type").and_then(Value::as_str) == Some("prometheus") {
            scale(trigger.pointer_mut("/metadata/threshold"), setting.threshold);
        }
    }
    scale(document.pointer_mut("/spec/advanced/scalingModifiers/target"), setting.threshold);
    let mut at = document;
    for key in DOWN {
        let Some(object) = at.as_object_mut() else { return };
        at = object.entry(key).or_insert_with(|| Value::Object(Map::new()));
    }
    let seconds = setting.down_window.as_micros() / 1_000_000;
    if let Some(object) = at.as_object_mut() {
        object.insert("stabilizationWindowSeconds".to_owned(), json!(seconds));
    }
}

/// Numbers in trigger metadata are text.
fn scale(value: Option<&mut Value>, factor: f64) {
    let Some(value) = value else { return };
    let number = match &*value {
        Value::String(text) => text.trim().parse::<f64>().ok(),
        other => other.as_f64(),
    };
    if let Some(number) = number {
        // As fine as KEDA publishes its targets.
        let scaled = ((number * factor * 1e3).round() / 1e3).max(0.001);
        *value = Value::String(scaled.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::time::Span;

    #[test]
    fn thresholds_and_the_window_are_set_and_nothing_else() {
        let mut document = json!({
            "kind": "ScaledObject",
            "spec": {"triggers": [
                {"type": "prometheus", "metadata": {"threshold": "8", "query": "up"}},
                {"type": "cron", "metadata": {"desiredReplicas": "3"}}
            ]}
        });
        set(&mut document, &Setting { threshold: 0.625, down_window: Span::from_secs(60) });
        assert_eq!(document["spec"]["triggers"][0]["metadata"]["threshold"], "5");
        assert_eq!(document["spec"]["triggers"][1]["metadata"]["desiredReplicas"], "3");
        let down = document.pointer("/spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown");
        assert_eq!(down, Some(&json!({"stabilizationWindowSeconds": 60})));
    }
}
