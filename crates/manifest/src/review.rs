//! An admission review: the object in, allowed or not with reasons out.

use crate::finding::{Finding, Severity};
use crate::lint::lint;
use crate::load::{Source, load};
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
    Ok(Review::read(bytes)?.answer(&[]))
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

    /// The answer, as JSON: what is found in the object, and `more` that refuses it.
    #[must_use]
    pub fn answer(&self, more: &[String]) -> Vec<u8> {
        let found = self.object().map(findings).unwrap_or_default();
        let known = self.known();
        let same = |one: &Finding, other: &Finding| one.code == other.code && one.message == other.message;
        let refuses = |finding: &&Finding| {
            finding.severity == Severity::Error && !known.iter().any(|known| same(known, finding))
        };
        let (errors, others): (Vec<&Finding>, Vec<&Finding>) = found.iter().partition(refuses);
        let refusals = [more, &told(&errors)].concat();
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
        answer.to_string().into_bytes()
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
    lint(&load(&[Source::new("review", object.to_string())]))
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
