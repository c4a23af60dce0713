use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::object::Gvk;

fn put(routes: &mut Routes, kind: Kind, json: Value) {
    routes.apply(Change::Applied(Box::new(Object::new(kind, json).unwrap())));
}

fn scaled_object(annotations: Value) -> Value {
    json!({
        "metadata": {"name": "llama", "namespace": "prod", "annotations": annotations},
        "spec": {"scaleTargetRef": {"name": "vllm"}},
    })
}

fn deployment(metadata: Value) -> Value {
    let mut metadata = metadata;
    metadata["labels"]["app"] = json!("vllm");
    json!({
        "metadata": {"name": "vllm", "namespace": "prod"},
        "spec": {
            "selector": {"matchLabels": {"app": "vllm"}},
            "template": {"metadata": metadata, "spec": {"containers": [
                {"image": "vllm/vllm-openai", "args": ["--max-num-seqs", "64"]},
            ]}},
        },
    })
}

fn pod(name: &str, ready: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "prod", "labels": {"app": "vllm"}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    })
}

fn slice(service: &str, ports: Value, endpoints: Value) -> Value {
    json!({
        "metadata": {
            "name": format!("{service}-x"), "namespace": "prod",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    })
}

fn endpoint(pod: &str, ip: &str, conditions: Value) -> Value {
    json!({"addresses": [ip], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}})
}

fn workload() -> Kind {
    Kind::Workload(Gvk::of(None, None))
}

fn serving() -> Routes {
    let mut routes = Routes::default();
    put(&mut routes, Kind::ScaledObject, scaled_object(json!({"tidegate.dev/model": "a, b"})));
    put(&mut routes, workload(), deployment(json!({})));
    for name in ["one", "two", "three"] {
        put(&mut routes, Kind::Pod, pod(name, if name == "three" { "False" } else { "True" }));
    }
    let endpoints = json!([
        endpoint("one", "10.0.0.1", json!({"ready": true})),
        endpoint("two", "10.0.0.2", json!({"ready": false, "serving": true, "terminating": true})),
        endpoint("three", "10.0.0.3", json!({})),
        endpoint("else", "10.0.0.4", json!({"ready": true})),
    ]);
    let ports = json!([{"name": "metrics", "port": 9090}, {"name": "http", "port": 8000, "protocol": "TCP"}]);
    put(&mut routes, Kind::EndpointSlice, slice("vllm", ports, endpoints));
    routes
}

#[test]
fn a_target_has_its_own_pods_where_their_service_says_they_serve() {
    let table = serving().turn().unwrap();
    let route = &table["prod/llama"];
    assert_eq!(route.models, ["a", "b"]);
    assert_eq!(route.command, ["--max-num-seqs", "64"]);
    let at = |ip: &str, draining| Endpoint {
        addr: format!("{ip}:8000").parse().unwrap(),
        draining,
        metrics: None,
    };
    let expected = [("one".into(), at("10.0.0.1", false)), ("two".into(), at("10.0.0.2", true))];
    assert_eq!(route.endpoints, BTreeMap::from(expected), "neither an unready pod nor another's");
}

#[test]
fn nothing_new_is_no_new_table_and_a_pod_that_is_gone_is_one() {
    let mut routes = serving();
    assert!(routes.turn().is_some());
    assert!(routes.turn().is_none());
    put(&mut routes, Kind::Pod, pod("one", "True"));
    assert!(routes.turn().is_none(), "the same pod again");
    routes.apply(Change::Gone(Id::new(Kind::Pod, "prod", "one")));
    assert_eq!(routes.turn().unwrap()["prod/llama"].endpoints.len(), 1);
}

#[test]
fn what_a_new_list_does_not_bring_is_gone_only_when_the_list_is_complete() {
    let mut routes = serving();
    routes.turn();
    let scope = Scope { kind: Kind::EndpointSlice, namespace: None, name: None };
    routes.apply(Change::Listing(scope.clone()));
    assert!(routes.turn().is_none());
    routes.apply(Change::Listed(scope));
    assert!(routes.turn().unwrap()["prod/llama"].endpoints.is_empty());
}

#[test]
fn models_are_those_of_the_object_then_of_the_pods_then_of_their_label() {
    let models = |object: Value, metadata: Value| {
        let mut routes = Routes::default();
        put(&mut routes, Kind::ScaledObject, scaled_object(object));
        put(&mut routes, workload(), deployment(metadata));
        routes.turn().unwrap()["prod/llama"].models.clone()
    };
    let pods = json!({"annotations": {"tidegate.dev/model": "pods"}, "labels": {"model": "label"}});
    assert_eq!(models(json!({"tidegate.dev/model": "object"}), pods.clone()), ["object"]);
    assert_eq!(models(json!({}), pods), ["pods"]);
    assert_eq!(models(json!({}), json!({"labels": {"model": "label"}})), ["label"]);
    assert!(models(json!({}), json!({})).is_empty(), "an endpoint is to be asked");
}

#[test]
fn a_workload_that_nothing_scales_is_routed_only_if_its_pods_say_a_model() {
    let routed = |metadata: Value| {
        let mut routes = Routes::default();
        put(&mut routes, workload(), deployment(metadata));
        routes.turn().is_some_and(|table| table.contains_key("prod/vllm"))
    };
    assert!(routed(json!({"annotations": {"tidegate.dev/model": "m"}})));
    assert!(!routed(json!({"labels": {"model": "m"}})));
}

#[test]
fn of_several_services_the_port_that_is_named_as_serving_wins() {
    let mut routes = serving();
    let at = |ip: &str| json!([endpoint("one", ip, json!({"ready": true}))]);
    put(&mut routes, Kind::EndpointSlice, slice("another", json!([{"port": 1}]), at("10.0.0.9")));
    let addr = |routes: &mut Routes| routes.turn().unwrap()["prod/llama"].endpoints["one"].addr.to_string();
    assert_eq!(addr(&mut routes), "10.0.0.1:8000");
    let named = json!([{"name": "http", "port": 7}]);
    put(&mut routes, Kind::EndpointSlice, slice("before", named, at("10.0.0.9")));
    assert_eq!(addr(&mut routes), "10.0.0.9:7", "the first by name among equals");
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9.:]{0,12}".prop_map(Value::from),
    ];
    let names = prop_oneof![
        Just("endpoints"),
        Just("ports"),
        Just("addresses"),
        Just("conditions"),
        Just("targetRef"),
        Just("kind"),
        Just("name"),
        Just("port"),
        Just("protocol"),
        Just("ready"),
        Just("terminating"),
        Just("labels"),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let names = names.clone().prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_slice_of_any_shape_breaks_nothing(endpoints in anything(), ports in anything()) {
        let object = Object::new(Kind::EndpointSlice, slice("s", ports, endpoints)).unwrap();
        for (pod, endpoint) in slices::endpoints(std::iter::once(&object)) {
            prop_assert!(!pod.is_empty() || endpoint.addr.port() > 0);
        }
    }
}
