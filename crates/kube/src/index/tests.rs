use serde_json::{Value, json};

use super::*;
use crate::object::Gvk;

fn object(kind: Kind, namespace: &str, name: &str, body: Value) -> Object {
    let mut json = json!({"metadata": {"namespace": namespace, "name": name, "uid": format!("{name}-1")}});
    for (key, value) in body.as_object().unwrap() {
        json[key] = value.clone();
    }
    Object::new(kind, json).unwrap()
}

fn deployment_kind() -> Kind {
    Kind::Workload(Gvk::of(None, None))
}

fn scaled_object(metadata: Value) -> Object {
    let trigger = json!({
        "type": "redis", "metadata": metadata, "authenticationRef": {"name": "auth"},
    });
    let spec = json!({"scaleTargetRef": {"name": "llama"}, "triggers": [trigger]});
    object(Kind::ScaledObject, "prod", "llama", json!({"spec": spec}))
}

fn deployment(replicas: u32, status: u32) -> Object {
    let template = json!({"spec": {"containers": [{
        "name": "main", "image": "x",
        "env": [{"name": "REDIS", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "address"}}}],
    }]}});
    let body = json!({
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "llama"}}, "template": template},
        "status": {"replicas": status, "readyReplicas": status},
    });
    object(deployment_kind(), "prod", "llama", body)
}

fn key() -> Key {
    Key { asks: target::Asks::ScaledObject, namespace: "prod".into(), name: "llama".into() }
}

/// A target of a Deployment, with an authentication and the Secret of its container's environment.
fn populated() -> Index {
    populate(Index::default())
}

fn populate(mut index: Index) -> Index {
    let metadata = json!({"addressFromEnv": "REDIS", "listName": "jobs", "listLength": "5"});
    let touched = index.apply(Change::Applied(Box::new(scaled_object(metadata))));
    assert_eq!(touched.read, BTreeSet::from([key()]));
    let auth = json!({"spec": {"secretTargetRef": [{"parameter": "password", "name": "login", "key": "p"}]}});
    index.apply(Change::Applied(Box::new(object(Kind::TriggerAuthentication, "prod", "auth", auth))));
    index.apply(Change::Applied(Box::new(deployment(2, 1))));
    assert!(target::read(&mut index, &key(), "tidegate").unwrap().is_ok());
    index
}

#[test]
fn a_target_looks_at_all_it_refers_to_and_nothing_else() {
    let index = populated();
    let wanted: Vec<String> = index.wanted().map(|id| format!("{:?} {}", id.kind, id.name)).collect();
    let names: BTreeSet<&str> = index.wanted().map(|id| &*id.name).collect();
    assert_eq!(names, BTreeSet::from(["auth", "llama", "login", "redis"]), "{wanted:?}");
}

#[test]
fn a_rotated_secret_touches_its_target_at_once() {
    let mut index = populated();
    let secret = |password: &str| object(Kind::Secret, "prod", "login", json!({"data": {"p": password}}));
    let read = BTreeSet::from([key()]);
    assert_eq!(index.apply(Change::Applied(Box::new(secret("b25l")))).read, read);
    assert!(index.apply(Change::Applied(Box::new(secret("b25l")))).is_empty(), "nothing has changed");
    assert_eq!(index.apply(Change::Applied(Box::new(secret("dHdv")))).read, read);
    let other = object(Kind::Secret, "prod", "other", json!({"data": {"p": "b25l"}}));
    assert!(index.apply(Change::Applied(Box::new(other))).is_empty());
}

#[test]
fn replicas_are_counted_without_reading_the_target_again() {
    let mut index = populated();
    let touched = index.apply(Change::Applied(Box::new(deployment(2, 2))));
    assert_eq!(touched, Touched { counted: BTreeSet::from([key()]), ..Touched::default() });
    let id = Id::new(deployment_kind(), "prod", "llama");
    assert_eq!(index.workload(&id).unwrap().fleet.ready, 2);
}

#[test]
fn a_first_pod_that_is_ready_counts_before_the_controller_has_counted_it() {
    let mut index = populated();
    let mut uncounted = deployment(1, 1);
    uncounted.json["status"]["readyReplicas"] = Value::Null;
    let id = uncounted.id.clone();
    index.apply(Change::Applied(Box::new(uncounted)));
    let starting = Fleet { spec: 1, status: 1, ready: 0, starting: 1 };
    let is = |index: &Index, ready: u32| {
        index.fleet(&id) == Some(Fleet { ready, starting: 1 - ready, ..starting })
    };
    let pod = |ready: &str| {
        let mut pod = object(
            Kind::Pod,
            "prod",
            "llama-a",
            json!({
                "spec": {"containers": []},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
            }),
        );
        pod.json["metadata"]["labels"] = json!({"app": "llama"});
        Change::Applied(Box::new(pod))
    };
    index.apply(pod("False"));
    assert!(is(&index, 0), "{:?}", index.fleet(&id));
    index.apply(pod("True"));
    assert!(is(&index, 1), "{:?}", index.fleet(&id));
}

#[test]
fn a_status_written_by_ourselves_touches_nobody() {
    let mut index = populated();
    let mut again = (*index.object(&key().id()).unwrap()).clone();
    again.json["status"] = json!({"conditions": []});
    again.json["metadata"]["resourceVersion"] = json!("7");
    assert!(index.apply(Change::Applied(Box::new(again))).is_empty());
}

#[test]
fn what_a_new_list_does_not_bring_is_gone() {
    let mut index = populated();
    let scope = Scope { kind: Kind::ScaledObject, namespace: None, name: None };
    assert!(!index.is_listed(&scope));
    index.apply(Change::Listing(scope.clone()));
    let touched = index.apply(Change::Listed(scope.clone()));
    assert_eq!(touched.read, BTreeSet::from([key()]));
    assert!(target::read(&mut index, &key(), "tidegate").is_none());
    assert_eq!(index.wanted().count(), 0);
    assert!(index.is_listed(&scope));
}

#[test]
fn a_pod_touches_the_targets_whose_selector_chooses_it() {
    let mut index = populated();
    let pod = |name: &str, app: &str| {
        let labels = json!({"namespace": "prod", "name": name, "labels": {"app": app}});
        object(Kind::Pod, "prod", name, json!({"metadata": labels, "status": {"phase": "Pending"}}))
    };
    assert_eq!(index.apply(Change::Applied(Box::new(pod("a", "llama")))).counted, BTreeSet::from([key()]));
    assert!(index.apply(Change::Applied(Box::new(pod("b", "other")))).is_empty());
    assert!(index.apply(Change::Applied(Box::new(pod("a", "llama")))).is_empty(), "nothing has changed");
    let id = Id::new(deployment_kind(), "prod", "llama");
    assert_eq!(index.pods_of(&id).count(), 1);
    assert_eq!(index.apply(Change::Gone(Id::new(Kind::Pod, "prod", "a"))).counted, BTreeSet::from([key()]));
}

#[test]
fn a_secret_of_the_cluster_is_not_mistaken_for_one_of_the_namespace() {
    let mut index = Index::default();
    let trigger = json!({
        "type": "redis", "metadata": {"address": "redis:6379", "listName": "jobs"},
        "authenticationRef": {"name": "all", "kind": "ClusterTriggerAuthentication"},
    });
    let spec = json!({"scaleTargetRef": {"name": "llama"}, "triggers": [trigger]});
    index.apply(Change::Applied(Box::new(object(
        Kind::ScaledObject,
        "prod",
        "llama",
        json!({"spec": spec}),
    ))));
    let auth = json!({"spec": {"secretTargetRef": [{"parameter": "password", "name": "login", "key": "p"}]}});
    let mut auth = object(Kind::ClusterTriggerAuthentication, "", "all", auth);
    auth.json["metadata"].as_object_mut().unwrap().remove("namespace");
    index.apply(Change::Applied(Box::new(auth)));
    for (namespace, value) in [("prod", "d3Jvbmc="), ("tidegate", "cmlnaHQ=")] {
        let secret = object(Kind::Secret, namespace, "login", json!({"data": {"p": value}}));
        index.apply(Change::Applied(Box::new(secret)));
    }
    let read = target::read(&mut index, &key(), "tidegate").unwrap().unwrap();
    let bound = tidegate_manifest::bound::Bound::of(&read.manifests, &read.manifests.documents[0]).unwrap();
    let origin = tidegate_manifest::trigger::Origin::Authentication("password".into());
    assert_eq!(bound.value(0, &origin, &BTreeMap::new()).as_deref(), Some("right"));
    assert!(index.wanted().any(|id| &*id.namespace == "tidegate"));
    assert!(!index.wanted().any(|id| &*id.namespace == "prod" && id.kind == Kind::Secret));
}

#[test]
fn a_target_with_a_fault_is_refused_with_the_reason() {
    let mut index = Index::default();
    index.apply(Change::Applied(Box::new(scaled_object(json!({"address": "redis:6379"})))));
    let refused = target::read(&mut index, &key(), "tidegate").unwrap().unwrap_err();
    assert!(refused.to_string().contains("listName"), "{refused}");
}

#[test]
fn what_is_kept_as_text_reads_as_what_came() {
    let (plain, compact) = (populated(), populate(Index::compact()));
    let auth = Id::new(Kind::TriggerAuthentication, "prod", "auth");
    for id in [&key().id(), &auth] {
        assert_eq!(plain.object(id), compact.object(id), "{id:?}");
        assert_eq!(compact.uid(id).map(|uid| &**uid), Some(&*format!("{}-1", id.name)));
    }
    assert_eq!(compact.ids_of(&Kind::ScaledObject).collect::<Vec<_>>(), [&key().id()]);
    assert_eq!(compact.object(&Id::new(Kind::Secret, "prod", "login")), None);
    let workload = |index: &Index| index.workloads_of("prod").next().cloned();
    assert_eq!(workload(&plain), workload(&compact));
}

#[test]
fn each_change_of_an_object_is_another_version() {
    let mut index = populate(Index::compact());
    let id = key().id();
    let before = index.version(&id);
    let again = index.object(&id).unwrap();
    let touched = index.apply(Change::Applied(Box::new((*again).clone())));
    assert!(touched.is_empty(), "the same is nothing to read");
    assert!(index.version(&id) > before);
}

#[test]
fn a_field_of_a_newer_version_keeps_no_target_from_being_decided() {
    let mut index = populated();
    let metadata = json!({"addressFromEnv": "REDIS", "listName": "jobs", "listLength": "5"});
    let mut object = scaled_object(metadata);
    object.json["spec"]["warmPool"] = json!({"size": 3});
    object.json["spec"]["triggers"][0]["sampling"] = json!("fast");
    index.apply(Change::Applied(Box::new(object.clone())));
    assert!(target::read(&mut index, &key(), "tidegate").unwrap().is_ok());
    object.json["spec"]["maxReplicaCount"] = json!("many");
    index.apply(Change::Applied(Box::new(object)));
    assert!(target::read(&mut index, &key(), "tidegate").unwrap().is_err(), "not vacuous");
}
