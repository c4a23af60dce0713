//! An admission review: the object in, allowed or not with reasons out.

use crate::finding::{Finding, Severity};
use crate::lint::lint;
use crate::load::{Source, live};
use serde_json::{Value, json};

/// Findings told of one object: a screen of them. `lint` shows all.
const TOLD_MAX: usize = 10;

/// Characters of a warning: an API server cuts longer ones.
const WARNING_MAX: usize = 256;

/// What cannot be reviewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no AdmissionReview of admission.k8s.io/v1: {0}; check the webhook's configuration")]
pub struct NoReview(&'static str);

/// A review that was read.
#[derive(Clone, Debug)]
pub struct Review {
    uid: String,
    request: Value,
}

/// The answer to a review, as JSON.
///
/// # Errors
/// When it is none.
pub fn answer(bytes: &[u8]) -> Result<Vec<u8>, NoReview> {
    Ok(Review::read(bytes)?.answer(&[]).json)
}

/// What refuses an object beside what it shows by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In a word, as KEDA counts it.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// The answer to a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As the API server wants it.
    pub json: Vec<u8>,
    /// Whether a ScaledObject was validated, and how that went.
    pub validated: Option<Validated>,
}

/// A ScaledObject's validation, in the words of KEDA's counters `keda_webhook_scaled_object_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validated {
    /// Its namespace.
    pub namespace: String,
    /// `create` or `update`.
    pub action: &'static str,
    /// Why it was refused, by the first reason, where it was.
    pub reason: Option<&'static str>,
}

/// Why KEDA refuses an object, by the field that a finding is about; the first that fits. What KEDA knows no word for
/// is counted under the finding's own code.
const REASONS: &[(&str, &str)] = &[
    ("spec.advanced.scalingModifiers", "scaling-modifiers"),
    ("spec.advanced.horizontalPodAutoscalerConfig.name", "hpa-name-too-long"),
    ("spec.fallback", "incorrect-fallback"),
    ("spec.idleReplicaCount", "incorrect-replicas"),
    ("spec.maxReplicaCount", "incorrect-replicas"),
    ("spec.minReplicaCount", "incorrect-replicas"),
    ("spec.triggers", "incorrect-triggers"),
    ("metadata.name", "name-too-long"),
];

fn reason(finding: &Finding) -> &'static str {
    let known = REASONS.iter().find(|(field, _)| finding.field.starts_with(field));
    known.map_or(finding.code, |(_, reason)| reason)
}

impl Review {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(bytes: &[u8]) -> Result<Self, NoReview> {
        let mut review: Value = serde_json::from_slice(bytes).map_err(|_| NoReview("no JSON"))?;
        if review.get("apiVersion").and_then(Value::as_str) != Some("admission.k8s.io/v1") {
            return Err(NoReview("another apiVersion"));
        }
        let uid = review.pointer("/request/uid").and_then(Value::as_str).ok_or(NoReview("no request.uid"))?;
        let uid = uid.to_owned();
        let request = review.get_mut("request").map(Value::take).ok_or(NoReview("no request"))?;
        Ok(Review { uid, request })
    }

    /// The object that is to be checked, with the request's namespace; `None` where there is nothing to check. An object
    /// that is ending, and an edit that changes nothing we read (a finalizer's removal above all), must never be kept
    /// from happening.
    #[must_use]
    pub fn object(&self) -> Option<Value> {
        let operation = self.request.get("operation").and_then(Value::as_str)?;
        let ending = self.request.pointer("/object/metadata/deletionTimestamp").is_some();
        if !matches!(operation, "CREATE" | "UPDATE") || ending {
            return None;
        }
        if operation == "UPDATE" && self.same("/spec") && self.same("/metadata/annotations") {
            return None;
        }
        self.part("object")
    }

    /// Whether the object is new, or its `spec` is.
    #[must_use]
    pub fn asks_anew(&self) -> bool {
        !self.same("/spec")
    }

    fn same(&self, at: &str) -> bool {
        let part = |which: &str| self.request.pointer(&format!("/{which}{at}"));
        part("object") == part("oldObject")
    }

    /// What an edit of annotations alone does not answer for: to pause an object that was wrong before, or to give it
    /// back, must be possible.
    fn known(&self) -> Vec<Finding> {
        let update = self.request.get("operation").and_then(Value::as_str) == Some("UPDATE");
        let old = self.part("oldObject").filter(|_| update && self.same("/spec"));
        old.map(findings).unwrap_or_default()
    }

    fn part(&self, which: &str) -> Option<Value> {
        let mut object = self.request.get(which).filter(|object| object.is_object())?.clone();
        let namespace = self.request.get("namespace").filter(|namespace| namespace.is_string());
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
            && let Some(namespace) = namespace
        {
            metadata.insert("namespace".to_owned(), namespace.clone());
        }
        Some(object)
    }

    /// The answer: what is found in the object, and `more` that refuses it.
    #[must_use]
    pub fn answer(&self, more: &[Refusal]) -> Answer {
        let object = self.object();
        let mut validated = object.as_ref().and_then(|object| self.validated(object));
        let found = object.map(findings).unwrap_or_default();
        let known = self.known();
        let same = |one: &Finding, other: &Finding| one.code == other.code && one.message == other.message;
        let refuses = |finding: &&Finding| {
            finding.severity == Severity::Error && !known.iter().any(|known| same(known, finding))
        };
        let (errors, others): (Vec<&Finding>, Vec<&Finding>) = found.iter().partition(refuses);
        if let Some(validated) = &mut validated {
            let first = more.iter().map(|refusal| refusal.reason);
            validated.reason = first.chain(errors.iter().map(|error| reason(error))).next();
        }
        let refusals: Vec<String> =
            more.iter().map(|refusal| refusal.message.clone()).chain(told(&errors)).collect();
        let mut response = json!({"uid": self.uid, "allowed": refusals.is_empty()});
        if !refusals.is_empty() {
            let message = refusals.join("\n");
            response["status"] = json!({"code": 422, "reason": "Invalid", "message": message});
        }
        let warnings: Vec<String> = told(&others).into_iter().map(|text| cut(&text)).collect();
        if !warnings.is_empty() {
            response["warnings"] = json!(warnings);
        }
        let answer =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        Answer { json: answer.to_string().into_bytes(), validated }
    }

    fn validated(&self, object: &Value) -> Option<Validated> {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str);
        if text("/kind") != Some("ScaledObject") {
            return None;
        }
        let update = self.request.get("operation").and_then(Value::as_str) == Some("UPDATE");
        Some(Validated {
            namespace: text("/metadata/namespace").unwrap_or_default().to_owned(),
            action: if update { "update" } else { "create" },
            reason: None,
        })
    }
}

fn findings(mut object: Value) -> Vec<Finding> {
    if let Some(fields) = object.as_object_mut() {
        // Statuses are not asked for by anybody, and a webhook sees them in updates.
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let kept = ["name", "generateName", "namespace", "annotations", "labels"];
        metadata.retain(|field, _| kept.contains(&field.as_str()));
    }
    lint(&live(&[Source::new("review", object.to_string())]))
}

fn told(findings: &[&Finding]) -> Vec<String> {
    let mut told: Vec<String> = findings
        .iter()
        .take(TOLD_MAX)
        .map(|finding| format!("{}: {}; {}", finding.code, finding.message, finding.help))
        .collect();
    if findings.len() > TOLD_MAX {
        told.push(format!("and {} more; `tidegate lint` shows all", findings.len() - TOLD_MAX));
    }
    told
}

fn cut(text: &str) -> String {
    if text.chars().count() <= WARNING_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(WARNING_MAX - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(threshold: &str) -> Value {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "llama", "managedFields": [{"manager": "kubectl"}]},
            "spec": {
                "scaleTargetRef": {"name": "llama"}, "minReplicaCount": 1,
                "triggers": [{"type": "prometheus", "metadata": {
                    "serverAddress": "http://prometheus:9090", "query": "sum(waiting)", "threshold": threshold,
                }}],
            },
            "status": {"conditions": []},
        })
    }

    fn ask(request: Value) -> Value {
        let mut request = request;
        request["uid"] = json!("u-1");
        request["namespace"] = json!("prod");
        let review =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
        let answer = answer(review.to_string().as_bytes()).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["response"]["uid"], "u-1");
        answer["response"].clone()
    }

    #[test]
    fn a_good_object_is_allowed_and_a_bad_one_refused_with_the_finding() {
        let good = ask(json!({"operation": "CREATE", "object": object("5")}));
        assert_eq!(good["allowed"], true, "{good}");
        let bad = ask(json!({"operation": "CREATE", "object": object("five")}));
        assert_eq!((&bad["allowed"], &bad["status"]["code"]), (&json!(false), &json!(422)));
        assert!(bad["status"]["message"].as_str().unwrap().contains("threshold"), "{bad}");
    }

    #[test]
    fn what_works_and_will_hurt_is_allowed_with_a_warning() {
        let mut object = object("5");
        object["metadata"]["annotations"] = json!({"tidegate.dev/modell": "x"});
        let answer = ask(json!({"operation": "CREATE", "object": object}));
        assert_eq!(answer["allowed"], true);
        let warnings = answer["warnings"].as_array().unwrap();
        assert!(warnings.iter().any(|text| text.as_str().unwrap().starts_with("TG011")), "{answer}");
        assert!(warnings.iter().all(|text| text.as_str().unwrap().chars().count() <= WARNING_MAX));
    }

    #[test]
    fn a_field_of_a_newer_version_is_allowed_with_a_warning() {
        let mut object = object("5");
        object["spec"]["warmPool"] = json!({"size": 3});
        let answer = ask(json!({"operation": "CREATE", "object": object}));
        assert_eq!(answer["allowed"], true, "{answer}");
        assert!(answer["warnings"].to_string().contains("TG005: spec.warmPool is not a field"), "{answer}");
    }

    #[test]
    fn who_asks_for_cloud_events_is_warned_that_nobody_sends_them() {
        let source = json!({
            "apiVersion": "eventing.keda.sh/v1alpha1", "kind": "CloudEventSource", "metadata": {"name": "audit"},
            "spec": {"destination": {"http": {"uri": "http://audit:8080"}}},
        });
        let answer = ask(json!({"operation": "CREATE", "object": source}));
        assert_eq!(answer["allowed"], true, "{answer}");
        assert!(answer["warnings"].to_string().contains("TG014"), "{answer}");
    }

    #[test]
    fn an_edit_of_what_nobody_reads_is_never_kept_from_happening() {
        let (mut old, mut new) = (object("five"), object("five"));
        old["metadata"]["finalizers"] = json!(["finalizer.keda.sh"]);
        new["metadata"]["labels"] = json!({"team": "a"});
        let edit = ask(json!({"operation": "UPDATE", "object": new, "oldObject": old}));
        assert_eq!(edit["allowed"], true, "{edit}");
        let mut ending = object("six");
        ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let edit = ask(json!({"operation": "UPDATE", "object": ending, "oldObject": object("five")}));
        assert_eq!(edit["allowed"], true, "{edit}");
        let edit = ask(json!({"operation": "UPDATE", "object": object("six"), "oldObject": object("five")}));
        assert_eq!(edit["allowed"], false, "not vacuous");
        assert_eq!(ask(json!({"operation": "DELETE", "oldObject": object("five")}))["allowed"], true);
    }

    #[test]
    fn an_object_that_was_wrong_before_can_be_paused_and_given_back_and_not_be_made_worse() {
        let edit = |annotations: Value| {
            let (old, mut new) = (object("five"), object("five"));
            new["metadata"]["annotations"] = annotations;
            ask(json!({"operation": "UPDATE", "object": new, "oldObject": old}))
        };
        let paused = edit(json!({"autoscaling.keda.sh/paused": "true", "tidegate.dev/adopt": "false"}));
        assert_eq!(paused["allowed"], true, "{paused}");
        assert!(paused["warnings"].to_string().contains("threshold"), "{paused}");
        let worse = edit(json!({"autoscaling.keda.sh/paused-replicas": "some"}));
        assert_eq!(worse["allowed"], false, "{worse}");
    }

    #[test]
    fn a_validation_is_counted_in_the_words_that_keda_counts_it_in() {
        let of = |change: &dyn Fn(&mut Value), more: &[Refusal]| {
            let mut object = object("5");
            change(&mut object);
            let request = json!({"uid": "u", "namespace": "prod", "operation": "CREATE", "object": object});
            let review = json!({"apiVersion": "admission.k8s.io/v1", "request": request});
            Review::read(review.to_string().as_bytes()).unwrap().answer(more).validated
        };
        let reason = |path: &str, value: Value| {
            let change = |object: &mut Value| object["spec"][path] = value.clone();
            of(&change, &[]).unwrap().reason
        };
        let good = Validated { namespace: "prod".to_owned(), action: "create", reason: None };
        assert_eq!(of(&|_| {}, &[]), Some(good));
        assert_eq!(of(&|object| object["kind"] = json!("ScaledJob"), &[]), None, "KEDA counts no other");
        let triggers = json!([{"type": "prometheus", "metadata": {"threshold": "many"}}]);
        for (path, value, wanted) in [
            ("maxReplicaCount", json!(0), "incorrect-replicas"),
            ("minReplicaCount", json!(1000), "incorrect-replicas"),
            ("idleReplicaCount", json!(7), "incorrect-replicas"),
            ("triggers", triggers, "incorrect-triggers"),
            ("advanced", json!({"scalingModifiers": {"formula": "("}}), "scaling-modifiers"),
            ("fallback", json!({"failureThreshold": -1, "replicas": 1}), "incorrect-fallback"),
        ] {
            assert_eq!(reason(path, value), Some(wanted), "{path}");
        }
        let long = |object: &mut Value| object["metadata"]["name"] = json!("a".repeat(64));
        assert_eq!(of(&long, &[]).unwrap().reason, Some("name-too-long"));
        let twin = [Refusal { reason: "other-scaled-object", message: "b scales it".to_owned() }];
        assert_eq!(of(&|_| {}, &twin).unwrap().reason, Some("other-scaled-object"));
    }

    #[test]
    fn what_is_no_review_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"apiVersion": "admission.k8s.io/v1"}"#,
            r#"{"apiVersion": "v1", "request": {"uid": "1"}}"#,
        ] {
            assert!(answer(text.as_bytes()).is_err(), "{text}");
        }
    }
}
