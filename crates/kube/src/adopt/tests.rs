//! Plans and patches, without a cluster.

use super::*;
use crate::owner::Other;

fn scaled_object(annotations: &Value) -> Object {
    let json = json!({
        "metadata": {"namespace": "prod", "name": "llama", "resourceVersion": "7", "annotations": annotations},
        "spec": {"scaleTargetRef": {"name": "llama"}},
    });
    Object::new(Kind::ScaledObject, json).unwrap()
}

fn autoscaler(annotations: &Value, behavior: &Value) -> Object {
    let json = json!({
        "metadata": {"namespace": "prod", "name": "web", "resourceVersion": "7", "annotations": annotations},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "behavior": behavior},
    });
    Object::new(Kind::HorizontalPodAutoscaler, json).unwrap()
}

fn of_keda(uid: &str) -> Option<Other> {
    Some(Other::Autoscaler {
        name: "keda-hpa-llama".to_owned(),
        uid: uid.to_owned(),
        owner: Some("llama".to_owned()),
    })
}

/// What an API server makes of a merge patch.
fn merged(object: &Object, patch: &Value) -> Object {
    fn merge(target: &mut Value, patch: &Value) {
        let Value::Object(fields) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (name, value) in fields {
            if value.is_null() {
                target.as_object_mut().unwrap().remove(name);
            } else {
                merge(&mut target[name], value);
            }
        }
    }
    let mut json = object.json.clone();
    merge(&mut json, patch);
    Object::new(object.id.kind.clone(), json).unwrap()
}

#[test]
fn without_a_wish_whoever_has_an_object_keeps_it() {
    assert_eq!(plan(&scaled_object(&json!({})), None), Plan::Write);
    assert!(
        matches!(plan(&scaled_object(&json!({})), of_keda("1")), Plan::Leave(why) if why.contains("keda-hpa"))
    );
}

#[test]
fn kedas_autoscaler_goes_in_two_steps_and_one_made_anew_is_not_fought() {
    let wished = scaled_object(&json!({WISH: "true"}));
    let Plan::Watch(step) = plan(&wished, of_keda("1")) else { panic!("not watched") };
    assert_eq!(step, Step::Take { hpa: Some("1".to_owned()), at_once: false });
    let taken = merged(&wished, &step.patch(&wished).unwrap());
    let Plan::Watch(Step::Remove { hpa, uid }) = plan(&taken, of_keda("1")) else { panic!("not removed") };
    assert_eq!((&*hpa.name, &*uid), ("keda-hpa-llama", "1"));
    assert_eq!(plan(&taken, None), Plan::Write);
    assert!(matches!(plan(&taken, of_keda("2")), Plan::Leave(why) if why.contains("at work again")));
}

#[test]
fn a_keda_that_stays_is_paused_and_what_it_was_told_before_comes_back() {
    for before in [None, Some("false")] {
        let mut annotations = json!({WISH: "confirmed", PAUSE_KEDA: "true"});
        if let Some(before) = before {
            annotations[PAUSED] = json!(before);
        }
        let wished = scaled_object(&annotations);
        let taken = merged(&wished, &take(&wished, None));
        assert_eq!(taken.annotation(PAUSED), Some("true"), "what KEDA reads");
        let read = as_before(&taken);
        assert_eq!(
            read.pointer("/metadata/annotations").unwrap().get(PAUSED),
            before.map(Value::from).as_ref()
        );
        // Told twice, it still knows what was there first.
        let twice = merged(&taken, &take(&taken, None));
        let leaving = merged(&twice, &json!({"metadata": {"annotations": {WISH: "false"}}}));
        assert!(!ours(&leaving) && to_give_back(&leaving));
        let given = merged(&leaving, &give(&leaving));
        assert_eq!(given.annotation(PAUSED), before);
        assert_eq!((given.annotation(PAUSE_KEDA), Stands::of(&given)), (None, Stands::GivenBack));
        assert!(!to_give_back(&given), "once is enough");
    }
}

#[test]
fn a_plain_autoscaler_is_stopped_and_comes_back_as_it_was() {
    let rules = json!({
        "scaleUp": {"selectPolicy": "Max", "stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]},
        "scaleDown": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
    });
    for behavior in [Value::Null, rules] {
        let mut hpa = autoscaler(&json!({WISH: "true"}), &behavior);
        if behavior.is_null() {
            hpa.json["spec"].as_object_mut().unwrap().remove("behavior");
        }
        assert!(ours(&hpa) && !stopped(&hpa));
        let taken = merged(&hpa, &take_autoscaler(&hpa));
        assert!(stopped(&taken));
        assert_eq!(plan(&taken, None), Plan::Write);
        assert_eq!(as_before(&taken)["spec"], hpa.json["spec"], "its own rules are what is run");
        let leaving = merged(&taken, &json!({"metadata": {"annotations": {WISH: null}}}));
        assert!(!ours(&leaving) && to_give_back(&leaving));
        let given = merged(&leaving, &give(&leaving));
        assert_eq!(given.json["spec"], hpa.json["spec"]);
        assert_eq!(given.annotation(STANDS), None);
    }
}

#[test]
fn rules_that_were_applied_anew_over_a_stopped_autoscaler_are_taken_over_anew() {
    let hpa = autoscaler(
        &json!({WISH: "true"}),
        &json!({"scaleUp": {"selectPolicy": "Max"}, "scaleDown": {"selectPolicy": "Max"}}),
    );
    let taken = merged(&hpa, &take_autoscaler(&hpa));
    let edit = json!({"spec": {"behavior": {"scaleUp": {"selectPolicy": "Min"}, "scaleDown": {"selectPolicy": "Max"}}}});
    let edited = merged(&taken, &edit);
    let Plan::Watch(step) = plan(&edited, None) else { panic!("not taken over") };
    let again = merged(&edited, &step.patch(&edited).unwrap());
    assert_eq!(as_before(&again)["spec"]["behavior"]["scaleUp"]["selectPolicy"], "Min");
}

#[test]
fn a_wish_that_keda_copied_to_its_autoscaler_is_no_wish() {
    let mut copy = autoscaler(&json!({WISH: "true"}), &json!({}));
    copy.json["metadata"]["ownerReferences"] = json!([{"kind": "ScaledObject", "name": "llama"}]);
    assert!(!ours(&copy) && !to_give_back(&copy));
}

/// An autoscaler within 3 and 5 that was handed over, and what somebody has made of it then.
fn handed(edit: &Value) -> Object {
    let behavior = json!({"scaleUp": {"selectPolicy": "Min"}, "scaleDown": {"selectPolicy": "Max"}});
    let mut hpa = autoscaler(&json!({}), &behavior);
    (hpa.json["spec"]["minReplicas"], hpa.json["spec"]["maxReplicas"]) = (json!(3), json!(5));
    let taken = merged(&hpa, &hand_over(&hpa, "llama", "tidegate/operator"));
    assert!(rests(&taken));
    merged(&taken, &json!({"spec": edit}))
}

#[test]
fn one_that_was_handed_over_and_is_then_adopted_itself_goes_by_the_bounds_it_had() {
    let before = Object { json: as_before(&handed(&json!({}))), ..handed(&json!({})) };
    assert_eq!(bounds_of(&before), (json!(3), json!(5)));
    assert_eq!(before.json["spec"]["behavior"]["scaleUp"], json!({"selectPolicy": "Min"}));
}

fn bounds_of(hpa: &Object) -> (Value, Value) {
    (hpa.json["spec"]["minReplicas"].clone(), hpa.json["spec"]["maxReplicas"].clone())
}

#[test]
fn bounds_that_were_put_back_are_no_rest_and_what_was_put_away_is_kept() {
    let edited = handed(&json!({"minReplicas": 3, "maxReplicas": 5}));
    assert!(stopped(&edited) && !rests(&edited));
    assert_eq!(handed_to(&edited).as_deref(), Some("llama"));
    let again = merged(&edited, &hand_over(&edited, "llama", "tidegate/operator"));
    assert!(rests(&again));
    let given = merged(&again, &give(&again));
    assert_eq!(given.json["spec"]["behavior"]["scaleUp"]["selectPolicy"], "Min");
    assert_eq!(bounds_of(&given), (json!(3), json!(5)));
}

#[test]
fn other_rules_lose_no_bounds() {
    let edited = handed(&json!({"behavior": null}));
    assert!(!stopped(&edited));
    let given = merged(&edited, &give(&edited));
    assert_eq!((bounds_of(&given), given.json["spec"].get("behavior")), ((json!(3), json!(5)), None));
    let again = merged(&edited, &hand_over(&edited, "llama", "tidegate/operator"));
    let given = merged(&again, &give(&again));
    assert_eq!((bounds_of(&given), given.json["spec"].get("behavior")), ((json!(3), json!(5)), None));
}

#[test]
fn of_one_direction_that_was_written_anew_the_other_is_what_was_put_away() {
    let edited = handed(&json!({"behavior": {"scaleUp": {"selectPolicy": "Max"}}}));
    let again = merged(&edited, &hand_over(&edited, "llama", "tidegate/operator"));
    let given = merged(&again, &give(&again));
    assert_eq!(given.json["spec"]["behavior"]["scaleUp"]["selectPolicy"], "Max");
    assert_eq!(given.json["spec"]["behavior"]["scaleDown"]["selectPolicy"], "Max");
}

#[test]
fn a_bound_that_was_written_since_counts_and_the_pair_stays_a_pair() {
    let given = |edit: Value| bounds_of(&merged(&handed(&edit), &give(&handed(&edit))));
    assert_eq!(given(json!({"maxReplicas": 9})), (json!(3), json!(9)));
    assert_eq!(given(json!({"maxReplicas": 2})), (json!(2), json!(2)));
    assert_eq!(given(json!({"minReplicas": 7})), (json!(7), json!(7)));
}

#[test]
fn the_first_count_is_one_at_the_least() {
    assert_eq!(first_count(&handed(&json!({}))), Some(3));
    let mut plain = autoscaler(&json!({}), &Value::Null);
    plain.json["spec"]["maxReplicas"] = json!(5);
    assert_eq!(first_count(&plain), None, "nobody has taken it over");
    let taken = merged(&plain, &hand_over(&plain, "llama", "tidegate/operator"));
    assert_eq!(first_count(&taken), Some(1));
}
