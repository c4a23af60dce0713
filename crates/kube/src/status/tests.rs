use serde_json::json;

use super::*;
use crate::object::Kind;

fn object(status: Value) -> Object {
    let json = json!({
        "metadata": {"namespace": "prod", "name": "llama"},
        "spec": {"triggers": [{"type": "redis"}, {"type": "cron"}, {"type": "redis",
            "authenticationRef": {"name": "a"}}]},
        "status": status,
    });
    Object::new(Kind::ScaledObject, json).unwrap()
}

fn decision(active: (Status, &'static str)) -> Decision {
    Decision {
        target: "prod/llama".into(),
        replicas: 1,
        rule: tidegate_core::scale::Rule::Steady,
        steps: Vec::new(),
        conditions: Conditions { active: Some(active), ..Conditions::default() },
    }
}

fn facts<'a>(object: &'a Object, decision: &'a Decision, gvk: &'a Gvk) -> Facts<'a> {
    Facts {
        object,
        asks: Asks::ScaledObject,
        spec: None,
        decision: Some(decision),
        trouble: None,
        workload: Some((gvk, "deployments")),
        found: Some(3),
        was_active: None,
        limited: None,
    }
}

#[test]
fn a_status_that_stands_is_not_written_again() {
    let (gvk, decision) = (Gvk::of(None, None), decision((Status::True, "ScalerActive")));
    let fresh = object(json!({}));
    let patch = status(&facts(&fresh, &decision, &gvk)).unwrap();
    assert_eq!(patch["status"]["hpaName"], "keda-hpa-llama");
    assert_eq!(patch["status"]["triggersTypes"], "cron,redis");
    assert_eq!(patch["status"]["authenticationsTypes"], "TriggerAuthentication");
    assert_eq!(patch["status"]["scaleTargetKind"], "apps/v1.Deployment");
    assert_eq!(patch["status"]["originalReplicaCount"], 3);
    let written = object(patch["status"].clone());
    let mut later = facts(&written, &decision, &gvk);
    // Other counts later do not change what it was found with.
    later.found = Some(7);
    assert_eq!(status(&later), None);
}

#[test]
fn activity_is_a_condition_and_its_end_a_time() {
    let (gvk, decision) = (Gvk::of(None, None), decision((Status::False, "ScalerCooldown")));
    let stands =
        json!({"conditions": [{"type": "Active", "status": "True"}, {"type": "Mine", "status": "True"}]});
    let object = object(stands);
    let mut facts = facts(&object, &decision, &gvk);
    facts.was_active = Some(Time::from_secs(1_767_225_600));
    let patch = status(&facts).unwrap();
    assert_eq!(patch["status"]["lastActiveTime"], "2026-01-01T00:00:00Z");
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    let active = conditions.iter().find(|one| one["type"] == "Active").unwrap();
    assert_eq!((&active["status"], &active["reason"]), (&json!("False"), &json!("ScalerCooldown")));
    assert!(conditions.iter().any(|one| one["type"] == "Mine"), "what others wrote stays");
    let ready = conditions.iter().find(|one| one["type"] == "Ready").unwrap();
    assert_eq!(ready["reason"], "ScaledObjectReady");
}

#[test]
fn trouble_is_told_in_the_ready_condition() {
    let (gvk, decision) = (Gvk::of(None, None), decision((Status::True, "ScalerActive")));
    let object = object(json!({}));
    let mut facts = facts(&object, &decision, &gvk);
    facts.trouble = Some("the HorizontalPodAutoscaler x scales this workload");
    let patch = status(&facts).unwrap();
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|one| one["type"] == "Ready").unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ScaledObjectCheckFailed")));
}

#[test]
fn a_patch_changes_only_what_differs() {
    let stands = json!({"a": 1, "b": {"c": [1, 2]}});
    assert!(!changes(&stands, &json!({"a": 1, "b": {"c": [1, 2]}, "d": null, "e": [], "f": ""})));
    assert!(changes(&stands, &json!({"a": 2})));
    assert!(changes(&stands, &json!({"b": {"c": [2, 1]}})));
    assert!(changes(&stands, &json!({"a": null})));
}
