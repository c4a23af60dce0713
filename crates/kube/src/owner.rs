//! Who else scales a workload: nobody may have two masters.

use std::fmt;

use serde_json::Value;
use tidegate_core::time::{Span, Time};

use crate::adopt;
use crate::index::Index;
use crate::index::pods::time;
use crate::index::target::{Asks, Key, scaled};
use crate::index::workload::Workload;
use crate::object::{Id, Object};

/// A KEDA whose last word about an object is younger than this is taken to be alive: it writes
/// `lastActiveTime` of active objects every 30 s by default, and an HPA of its own stands anyway.
pub const ALIVE: Span = Span::from_secs(120);

/// The annotation by which a KEDA user says that an HPA does not count.
const HPA_DISOWNED: &str = "validations.keda.sh/hpa-ownership";

/// Somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Other {
    /// An HPA, perhaps one that KEDA made.
    Autoscaler {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// The ScaledObject that owns it, if one does: then a KEDA made it.
        owner: Option<String>,
    },
    /// A KEDA without an HPA that still writes to the object.
    Keda {
        /// What the API server knows it by.
        manager: String,
    },
    /// An object of ours that came first.
    Elder {
        /// The object.
        key: Key,
    },
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Other::Autoscaler { name, owner: Some(owner), .. } => write!(
                f,
                "KEDA's HorizontalPodAutoscaler {name} scales this workload; stop KEDA and take it over with \
                 `tidegate adopt {owner}`"
            ),
            Other::Autoscaler { name, owner: None, .. } => write!(
                f,
                "the HorizontalPodAutoscaler {name} scales this workload; remove one of the two, or keep that one and \
                 have its rules run here with `tidegate adopt hpa/{name}`"
            ),
            Other::Keda { manager } => {
                write!(
                    f,
                    "a KEDA is at work on this object (field manager {manager}); stop it, or see `tidegate adopt`"
                )
            }
            Other::Elder { key } => {
                write!(f, "{key} scales this workload already; keep one of the two")
            }
        }
    }
}

/// Who else scales the workload of `object`; `None` where it is ours.
#[must_use]
pub fn other(index: &Index, key: &Key, object: &Object, now: Time) -> Option<Other> {
    if let Some(manager) = keda(object, now) {
        return Some(Other::Keda { manager });
    }
    let workload = scaled(object)?;
    autoscaler(index, key, &workload).or_else(|| elder(index, key, object, &workload))
}

fn autoscaler(index: &Index, key: &Key, workload: &Id) -> Option<Other> {
    let all = index.autoscalers_of(workload);
    let mut all = all.filter(|hpa| same(scaled(hpa), workload) && hpa.id != key.id());
    // One whose rules are run here is a target of ours, and stands in line with the others by its age.
    let others = |hpa: &std::sync::Arc<Object>| {
        hpa.annotation(HPA_DISOWNED) != Some("false") && !(adopt::ours(hpa) && adopt::stopped(hpa))
    };
    let found = all.find(others)?;
    let owners = found.json.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let text = |owner: &Value, at: &str| owner.get(at).and_then(Value::as_str).map(str::to_owned);
    let owner =
        owners.into_iter().flatten().find(|owner| text(owner, "kind").as_deref() == Some("ScaledObject"));
    let owner = owner.map(|owner| text(owner, "name").unwrap_or_default());
    Some(Other::Autoscaler { name: found.id.name.to_string(), uid: found.uid().to_owned(), owner })
}

fn same(target: Option<Id>, workload: &Id) -> bool {
    let Some(target) = target else { return false };
    // Versions of one kind are one object.
    let key = |id: &Id| (id.kind.gvk().group, id.kind.gvk().kind, id.namespace.clone(), id.name.clone());
    key(&target) == key(workload)
}

/// Of several objects of ours for one workload the oldest has it, and of one age the first by name.
fn elder(index: &Index, key: &Key, object: &Object, workload: &Id) -> Option<Other> {
    let age = |object: &Object, key: &Key| {
        let created = object.text("/metadata/creationTimestamp").unwrap_or_default().to_owned();
        (created, key.clone())
    };
    let mine = age(object, key);
    let users = index.users(workload).into_iter().filter(|user| user != key && user.asks != Asks::ScaledJob);
    let others = users.filter_map(|user| {
        let other = index.object(&user.id())?;
        Some(age(&other, &user))
    });
    others.filter(|theirs| *theirs < mine).min().map(|(_, key)| Other::Elder { key })
}

/// The field manager of a KEDA that wrote to the object lately.
fn keda(object: &Object, now: Time) -> Option<String> {
    let entries = object.json.pointer("/metadata/managedFields")?.as_array()?;
    entries.iter().find_map(|entry| {
        let manager = entry.get("manager")?.as_str()?;
        let lately = time(entry.get("time")?.as_str()?).is_some_and(|at| now.since(at) < ALIVE);
        (lately && matches!(manager, "keda" | "keda-operator")).then(|| manager.to_owned())
    })
}

/// What another autoscaler's hand on the count looks like, for advice: who wrote it last.
#[must_use]
pub fn last_writer(workload: &Workload) -> Option<&str> {
    workload.writer.as_deref()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::index::target::read;
    use crate::object::{Change, Gvk, Kind};

    fn object(kind: Kind, name: &str, metadata: Value, spec: Value) -> Object {
        let mut json = json!({"metadata": metadata, "spec": spec});
        json["metadata"]["name"] = json!(name);
        json["metadata"]["namespace"] = json!("prod");
        Object::new(kind, json).unwrap()
    }

    fn scaled_object(name: &str, metadata: Value) -> Object {
        let trigger = json!({"type": "cron", "metadata": {
            "timezone": "UTC", "start": "0 8 * * *", "end": "0 18 * * *", "desiredReplicas": "1",
        }});
        let spec = json!({"scaleTargetRef": {"name": "llama"}, "triggers": [trigger]});
        object(Kind::ScaledObject, name, metadata, spec)
    }

    fn autoscaler(metadata: Value) -> Object {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"});
        let spec = json!({"scaleTargetRef": target, "maxReplicas": 3});
        object(Kind::HorizontalPodAutoscaler, "keda-hpa-llama", metadata, spec)
    }

    fn key(name: &str) -> Key {
        Key { asks: Asks::ScaledObject, namespace: "prod".into(), name: name.into() }
    }

    fn ask(objects: Vec<Object>, name: &str) -> Option<Other> {
        let mut index = Index::default();
        let keys: Vec<Key> = objects.iter().filter_map(|object| Key::of(&object.id)).collect();
        objects.into_iter().for_each(|object| drop(index.apply(Change::Applied(Box::new(object)))));
        keys.iter().for_each(|key| drop(read(&mut index, key, "")));
        let object = index.object(&key(name).id()).unwrap();
        other(&index, &key(name), &object, time("2026-01-01T00:10:00Z").unwrap())
    }

    #[test]
    fn an_autoscaler_of_the_same_workload_is_named() {
        let mine = || scaled_object("llama", json!({}));
        let found = ask(vec![mine(), autoscaler(json!({}))], "llama").unwrap();
        assert!(found.to_string().contains("HorizontalPodAutoscaler keda-hpa-llama"), "{found}");
        let owners = json!({"ownerReferences": [{"kind": "ScaledObject", "name": "llama"}]});
        let found = ask(vec![mine(), autoscaler(owners)], "llama").unwrap();
        let (name, owner) = ("keda-hpa-llama".to_owned(), Some("llama".to_owned()));
        assert_eq!(found, Other::Autoscaler { name, uid: String::new(), owner });
        let disowned = json!({"annotations": {HPA_DISOWNED: "false"}});
        assert_eq!(ask(vec![mine(), autoscaler(disowned)], "llama"), None);
    }

    #[test]
    fn a_keda_that_wrote_lately_is_named_and_one_that_left_is_not() {
        let written = |at: &str| json!({"managedFields": [{"manager": "keda-operator", "time": at}]});
        let lately = scaled_object("llama", written("2026-01-01T00:09:30Z"));
        assert_eq!(ask(vec![lately], "llama"), Some(Other::Keda { manager: "keda-operator".to_owned() }));
        assert_eq!(ask(vec![scaled_object("llama", written("2025-12-31T00:00:00Z"))], "llama"), None);
    }

    #[test]
    fn of_two_objects_for_one_workload_the_older_has_it() {
        let old = || scaled_object("z", json!({"creationTimestamp": "2026-01-01T00:00:00Z"}));
        let new = || scaled_object("a", json!({"creationTimestamp": "2026-01-02T00:00:00Z"}));
        assert_eq!(ask(vec![old(), new()], "z"), None);
        assert_eq!(ask(vec![old(), new()], "a"), Some(Other::Elder { key: key("z") }));
    }

    #[test]
    fn another_kind_of_the_same_name_is_another_workload() {
        let kind = Kind::Workload(Gvk::of(Some("apps/v1"), Some("StatefulSet")));
        let other = Id::new(kind, "prod", "llama");
        assert!(!same(scaled(&scaled_object("llama", json!({}))), &other));
    }
}
