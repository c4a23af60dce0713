use serde_json::json;

use tidegate_core::scale::Reading;
use tidegate_core::scale::decision::{Because, Conditions, Lost, Rule, Status, Step};
use tidegate_core::scale::spec::{Fallback, FallbackBehavior};

use super::*;
use crate::object::Kind as ObjectKind;

static NOTHING: Readings = Readings::new();

fn object(status: Value) -> Object {
    let json = json!({
        "metadata": {"namespace": "prod", "name": "llama"},
        "spec": {"triggers": [{"type": "redis"}, {"type": "cron"}, {"type": "redis",
            "authenticationRef": {"name": "a"}}]},
        "status": status,
    });
    Object::new(ObjectKind::ScaledObject, json).unwrap()
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
        called: &[],
        decision: Some(decision),
        readings: &NOTHING,
        trouble: None,
        workload: Some((gvk, "deployments")),
        found: Some(3),
        was_active: None,
        limited: None,
        silent: None,
    }
}

#[test]
fn a_status_that_stands_is_not_written_again() {
    let (gvk, decision) = (Gvk::of(None, None), decision((Status::True, "ScalerActive")));
    let fresh = object(json!({}));
    let patch = status(&facts(&fresh, &decision, &gvk)).unwrap().json;
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
    let patch = status(&facts).unwrap().json;
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
    let patch = status(&facts).unwrap().json;
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|one| one["type"] == "Ready").unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ScaledObjectCheckFailed")));
}

/// What a manifest asks for, with its triggers' names as KEDA makes them.
fn spec(text: &str) -> Spec {
    let manifests = tidegate_manifest::load(&[tidegate_manifest::Source::new("a.yaml", text)]);
    tidegate_manifest::lower(&manifests).targets.into_iter().next().unwrap().spec
}

fn guarded(triggers: usize) -> Spec {
    let trigger = "  - type: external-push\n    metadata: {scalerAddress: 'none:1'}\n";
    let mut spec = spec(&format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{name: llama, namespace: prod}}\nspec:\n  \
         scaleTargetRef: {{name: llama}}\n  triggers:\n{}",
        trigger.repeat(triggers)
    ));
    let Kind::ScaledObject(keda) = &mut spec.kind else { panic!("a ScaledObject") };
    keda.fallback = Some(Fallback { failure_threshold: 3, replicas: 2, behavior: FallbackBehavior::Static });
    spec
}

#[test]
fn each_trigger_says_whether_it_is_active_and_how_often_it_failed() {
    let (gvk, spec) = (Gvk::of(None, None), guarded(2));
    let [first, second] = [0, 1].map(|index: usize| std::sync::Arc::clone(&spec.signals[index].name));
    let mut decision = decision((Status::True, "ScalerActive"));
    let why = Lost::Error("away".into());
    let because = Because::Lost { signal: second.clone(), why, failures: Some((2, 3)) };
    decision.steps = vec![Step { rule: Rule::SignalLost, from: 1, to: 1, because }];
    let readings: Readings = [
        (first.clone(), Reading::Value { value: 3.0, active: Some(true) }),
        (second.clone(), Reading::Error("away".into())),
    ]
    .into();
    let fresh = object(json!({}));
    let mut facts = facts(&fresh, &decision, &gvk);
    (facts.spec, facts.readings) = (Some(&spec), &readings);
    let told = status(&facts).unwrap();
    let status = &told.json["status"];
    assert_eq!(status["triggersActivity"][&*first], json!({"isActive": true}));
    assert_eq!(status["triggersActivity"][&*second], json!({"isActive": false}));
    assert_eq!(status["health"][&*first], json!({"numberOfFailures": 0, "status": "Happy"}));
    assert_eq!(status["health"][&*second], json!({"numberOfFailures": 2, "status": "Failing"}));
    assert!(!told.small, "there was no status at all");
}

#[test]
fn only_what_a_trigger_says_can_wait_and_what_a_trigger_that_is_gone_said_goes() {
    let (gvk, spec) = (Gvk::of(None, None), guarded(1));
    let decision = decision((Status::True, "ScalerActive"));
    let name = std::sync::Arc::clone(&spec.signals[0].name);
    let reading =
        |active| Readings::from([(name.clone(), Reading::Value { value: 3.0, active: Some(active) })]);
    let (yes, no) = (reading(true), reading(false));
    let fresh = object(json!({}));
    let of = |object: &Object, readings: &Readings| {
        let mut facts = facts(object, &decision, &gvk);
        (facts.spec, facts.readings) = (Some(&spec), readings);
        status(&facts)
    };
    let mut written = of(&fresh, &yes).unwrap().json["status"].clone();
    assert_eq!(of(&object(written.clone()), &yes), None);
    let told = of(&object(written.clone()), &no).unwrap();
    assert!(told.small);
    written["triggersActivity"]["s7-gone"] = json!({"isActive": true});
    written["pausedReplicaCount"] = json!(4);
    let told = of(&object(written), &yes).unwrap();
    let gone = json!({"status": {"triggersActivity": {"s7-gone": null}, "pausedReplicaCount": null}});
    assert_eq!((told.gone, told.small), (gone, false));
}

#[test]
fn what_is_not_known_now_is_said_again_as_it_stands() {
    let (gvk, decision) = (Gvk::of(None, None), decision((Status::True, "ScalerActive")));
    let stands = json!({
        "lastActiveTime": "2026-01-01T00:00:00Z", "originalReplicaCount": 7, "scaleTargetKind": "apps/v1.Deployment",
        "externalMetricNames": ["s0-redis"],
    });
    let object = object(stands.clone());
    let mut facts = facts(&object, &decision, &gvk);
    facts.workload = None;
    let told = status(&facts).unwrap().json;
    for (name, value) in stands.as_object().unwrap() {
        assert_eq!(told["status"][name], *value, "apply takes away what it is not told");
    }
}

#[test]
fn before_the_first_decision_conditions_are_unknown_and_a_refused_object_has_no_known_activity() {
    let gvk = Gvk::of(None, None);
    let fresh = object(json!({}));
    let decision = decision((Status::True, "ScalerActive"));
    let mut facts = facts(&fresh, &decision, &gvk);
    facts.decision = None;
    let known = |facts: &Facts<'_>| {
        let told = status(facts).unwrap().json;
        let all = told["status"]["conditions"].as_array().unwrap().clone();
        all.iter().map(|one| format!("{} {}", one["type"], one["status"])).collect::<Vec<_>>().join(", ")
    };
    let all = ["Ready", "Active", "Fallback", "Paused", "HPAActive"];
    let unknown: Vec<String> = all.iter().map(|type_| format!("\"{type_}\" \"Unknown\"")).collect();
    assert_eq!(known(&facts), unknown.join(", "));
    (facts.decision, facts.trouble) = (Some(&decision), Some("no such Deployment"));
    let told = known(&facts);
    assert!(told.starts_with("\"Ready\" \"False\", \"Active\" \"Unknown\""), "{told}");
}

#[test]
fn the_autoscalers_part_has_kedas_word_for_it() {
    let gvk = Gvk::of(None, None);
    let fresh = object(json!({}));
    for (of, wanted) in [
        ((Status::True, "ValidMetricFound"), ("True", "HPAActive")),
        ((Status::False, "ScalingDisabled"), ("True", "ScalingDisabled")),
        ((Status::False, "FailedGetExternalMetric"), ("False", "FailedGetExternalMetric")),
    ] {
        let mut decision = decision((Status::True, "ScalerActive"));
        decision.conditions.scaling_active = Some(of);
        let told = status(&facts(&fresh, &decision, &gvk)).unwrap().json;
        let all = told["status"]["conditions"].as_array().unwrap();
        let one = all.iter().find(|one| one["type"] == "HPAActive").unwrap();
        assert_eq!((one["status"].as_str().unwrap(), one["reason"].as_str().unwrap()), wanted);
    }
}

#[test]
fn a_formula_has_its_metric_named() {
    let gvk = Gvk::of(None, None);
    let (fresh, decision) = (object(json!({})), decision((Status::True, "ScalerActive")));
    let mut spec = guarded(1);
    let Kind::ScaledObject(keda) = &mut spec.kind else { panic!("a ScaledObject") };
    keda.modifiers = Some(tidegate_core::scale::spec::Modifiers {
        formula: "a".to_owned(),
        target: tidegate_core::units::Milli(1000),
        activation_target: 0.0,
        value: false,
    });
    let mut facts = facts(&fresh, &decision, &gvk);
    facts.spec = Some(&spec);
    assert_eq!(status(&facts).unwrap().json["status"]["compositeScalerName"], "composite-metric");
}

#[test]
fn a_query_without_data_is_a_condition_of_its_own_that_others_never_have() {
    let (gvk, decision) = (Gvk::of(None, None), decision((Status::False, "ScalerNotActive")));
    let none = |conditions: &Value| {
        let all = conditions.as_array().unwrap();
        all.iter()
            .find(|one| one["type"] == "NoData")
            .map(|one| (one["status"].clone(), one["message"].clone()))
    };
    let fresh = object(json!({}));
    let mut facts = facts(&fresh, &decision, &gvk);
    assert_eq!(none(&status(&facts).unwrap().json["status"]["conditions"]), None);
    facts.silent = Some("no data from s0-prometheus (counted as 0)");
    let told = status(&facts).unwrap().json["status"].clone();
    assert_eq!(
        none(&told["conditions"]),
        Some((json!("True"), json!("no data from s0-prometheus (counted as 0)")))
    );
    let stands = object(told);
    (facts.object, facts.silent) = (&stands, None);
    assert_eq!(none(&status(&facts).unwrap().json["status"]["conditions"]).unwrap().0, "False");
}

#[test]
fn a_trigger_with_a_name_of_its_own_is_told_of_under_the_metric_that_keda_gives_it() {
    let text = "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: llama, namespace: prod}\n\
                spec:\n  scaleTargetRef: {name: llama}\n  triggers:\n  - type: redis\n    name: backlog\n    \
                metadata: {listName: jobs:new, address: 'none:1'}\n  - type: cron\n    metadata: {timezone: UTC, \
                start: 0 8 * * *, end: 0 18 * * *, desiredReplicas: '2'}\n";
    let manifests = tidegate_manifest::load(&[tidegate_manifest::Source::new("a.yaml", text)]);
    let target = tidegate_manifest::lower(&manifests).targets.into_iter().next().unwrap();
    let readings = Readings::from([("backlog".into(), Reading::Value { value: 3.0, active: None })]);
    let (gvk, decision) = (Gvk::of(None, None), decision((Status::True, "ScalerActive")));
    let fresh = object(json!({}));
    let mut facts = facts(&fresh, &decision, &gvk);
    (facts.spec, facts.called, facts.readings) = (Some(&target.spec), &target.triggers, &readings);
    let told = status(&facts).unwrap().json["status"].clone();
    assert_eq!(told["externalMetricNames"], json!(["s0-redis-jobs-new", "s1-cron-UTC-08xxx-018xxx"]));
    assert_eq!(told["triggersActivity"], json!({"s0-redis-jobs-new": {"isActive": true}}));
    assert_eq!(&*target.triggers[0].scaler, "backlog");
    assert_eq!(&*target.triggers[1].scaler, "cronScaler");
}
