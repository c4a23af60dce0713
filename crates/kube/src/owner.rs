//! Who else scales a workload: nobody may have two masters.

use std::fmt;

use serde_json::Value;
use tidegate_core::time::{Span, Time};

use crate::adopt;
use crate::index::Index;
use crate::index::pods::time;
use crate::index::target::{Asks, Key, scaled};
use crate::index::workload::Workload;
use crate::object::{Id, Kind, Object};

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
    /// An HPA that the object is told to take over by its name.
    Handed {
        /// The HPA.
        hpa: Id,
    },
    /// A KEDA without an HPA that still writes to the object.
    Keda {
        /// By what it is known: the field manager of a write, or its lease.
        sign: String,
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
            Other::Handed { hpa } => write!(
                f,
                "the HorizontalPodAutoscaler {} scales this workload until it is handed over, as the object asks",
                hpa.name
            ),
            Other::Keda { sign } => {
                write!(f, "a KEDA is at work on this object ({sign}); stop it, or see `tidegate adopt`")
            }
            Other::Elder { key } => {
                write!(f, "{key} scales this workload already; keep one of the two")
            }
        }
    }
}

/// Who else scales the workload of `object`; `None` where it is ours. `lease` is that of a KEDA which is at work
/// somewhere in the cluster.
#[must_use]
pub fn other(index: &Index, key: &Key, object: &Object, now: Time, lease: Option<&str>) -> Option<Other> {
    if let Some(manager) = keda(object, now) {
        return Some(Other::Keda { sign: format!("field manager {manager}") });
    }
    // Where KEDA scales a workload its autoscaler says it more exactly.
    let workload = scaled(object);
    let autoscaler = workload.as_ref().and_then(|workload| autoscaler(index, key, object, workload));
    let lives = lease.filter(|_| kedas(object)).map(|lease| Other::Keda { sign: format!("lease {lease}") });
    let elder = || elder(index, key, object, workload.as_ref()?);
    match autoscaler {
        // What is left to an elder stops nobody: the elder would leave the workload to an autoscaler that does nothing.
        Some(Other::Handed { .. }) => elder().or(autoscaler),
        Some(_) => autoscaler,
        None => lives.or_else(elder),
    }
}

/// Whether a KEDA that is at work would have this object: each ScaledJob, of which nothing but its Jobs tells, and a
/// ScaledObject that it has written to once.
#[must_use]
pub fn kedas(object: &Object) -> bool {
    let wrote = || managers(object).any(|(manager, _)| KEDAS.contains(&manager));
    match object.id.kind {
        Kind::ScaledJob => true,
        Kind::ScaledObject => wrote(),
        _ => false,
    }
}

/// What KEDA calls itself to the API server.
const KEDAS: [&str; 2] = ["keda", "keda-operator"];

fn autoscaler(index: &Index, key: &Key, object: &Object, workload: &Id) -> Option<Other> {
    let all = index.autoscalers_of(workload);
    let mut all = all.filter(|hpa| same(scaled(hpa), workload) && hpa.id != key.id());
    // One whose rules are run here is a target of ours, and stands in line with the others by its age.
    let others = |hpa: &std::sync::Arc<Object>| {
        let ours = (index.ours(hpa) && adopt::stopped(hpa))
            || (adopt::handed_to(hpa).as_deref() == Some(&*key.name)
                && adopt::hands_over(object, hpa)
                && adopt::rests(hpa)
                && hpa.annotation(adopt::CLAIM) == Some(index.claim()));
        // KEDA's mark only tells its webhook to let both be: one that is to be taken over is stopped all the same.
        (hpa.annotation(HPA_DISOWNED) != Some("false") || adopt::hands_over(object, hpa)) && !ours
    };
    let found = all.find(others)?;
    if adopt::hands_over(object, &found) {
        return Some(Other::Handed { hpa: found.id.clone() });
    }
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

/// By this it is known which of two objects is the elder.
fn age(object: &Object, key: &Key) -> (String, Key) {
    (object.text("/metadata/creationTimestamp").unwrap_or_default().to_owned(), key.clone())
}

/// The elder objects of other shards for the workload of `object`, the eldest first. Whether their shards are at work is
/// not known here.
#[must_use]
pub fn elder_rivals(index: &Index, key: &Key, object: &Object) -> Vec<std::sync::Arc<Object>> {
    let Some(workload) = scaled(object).filter(|_| key.asks != Asks::ScaledJob) else { return Vec::new() };
    let mine = age(object, key);
    let all = index.rivals_of(&workload).filter(|other| same(scaled(other), &workload) && adopt::ours(other));
    let aged = all.filter_map(|other| Some((age(&other, &Key::of(&other.id)?), other)));
    let mut elder: Vec<_> = aged.filter(|(theirs, _)| *theirs < mine).collect();
    elder.sort_by(|(one, _), (other, _)| one.cmp(other));
    elder.into_iter().map(|(_, other)| other).collect()
}

/// The elder object of ours that has the workload of `object`.
#[must_use]
pub fn elder_of(index: &Index, key: &Key, object: &Object) -> Option<Other> {
    elder(index, key, object, &scaled(object)?)
}

/// Of several objects of ours for one workload the oldest has it, and of one age the first by name.
fn elder(index: &Index, key: &Key, object: &Object, workload: &Id) -> Option<Other> {
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
    let lately = |at: &str| time(at).is_some_and(|at| now.since(at) < ALIVE);
    let found = managers(object).find(|(manager, at)| KEDAS.contains(manager) && lately(at));
    found.map(|(manager, _)| manager.to_owned())
}

/// Who wrote to an object, and when last.
fn managers(object: &Object) -> impl Iterator<Item = (&str, &str)> {
    let entries = object.json.pointer("/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(|entry| {
        let text = |at: &str| entry.get(at).and_then(Value::as_str);
        Some((text("manager")?, text("time").unwrap_or_default()))
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
    use crate::object::{Change, Gvk};

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
        ask_beside(objects, name, None)
    }

    fn ask_beside(objects: Vec<Object>, name: &str, lease: Option<&str>) -> Option<Other> {
        let mut index = Index::default();
        let keys: Vec<Key> = objects.iter().filter_map(|object| Key::of(&object.id)).collect();
        objects.into_iter().for_each(|object| drop(index.apply(Change::Applied(Box::new(object)))));
        keys.iter().for_each(|key| drop(read(&mut index, key, "")));
        let object = index.object(&key(name).id()).unwrap();
        other(&index, &key(name), &object, time("2026-01-01T00:10:00Z").unwrap(), lease)
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
        assert_eq!(
            ask(vec![lately], "llama"),
            Some(Other::Keda { sign: "field manager keda-operator".to_owned() })
        );
        assert_eq!(ask(vec![scaled_object("llama", written("2025-12-31T00:00:00Z"))], "llama"), None);
    }

    #[test]
    fn a_keda_at_work_has_what_it_wrote_to_once_and_nothing_else() {
        let lease = Some("keda/operator.keda.sh");
        let written = json!({"managedFields": [{"manager": "keda", "time": "2025-12-01T00:00:00Z"}]});
        let sign = "lease keda/operator.keda.sh".to_owned();
        let of_kedas = || scaled_object("llama", written.clone());
        assert_eq!(ask_beside(vec![of_kedas()], "llama", lease), Some(Other::Keda { sign }));
        assert_eq!(ask(vec![of_kedas()], "llama"), None);
        assert_eq!(ask_beside(vec![scaled_object("llama", json!({}))], "llama", lease), None);
    }

    #[test]
    fn of_two_objects_for_one_workload_the_older_has_it() {
        let old = || scaled_object("z", json!({"creationTimestamp": "2026-01-01T00:00:00Z"}));
        let new = || scaled_object("a", json!({"creationTimestamp": "2026-01-02T00:00:00Z"}));
        assert_eq!(ask(vec![old(), new()], "z"), None);
        assert_eq!(ask(vec![old(), new()], "a"), Some(Other::Elder { key: key("z") }));
    }

    /// One that is told to take over the autoscaler.
    fn taking(name: &str, created: &str) -> Object {
        let annotations = json!({"scaledobject.keda.sh/transfer-hpa-ownership": "true"});
        let mut object =
            scaled_object(name, json!({"annotations": annotations, "creationTimestamp": created}));
        object.json["spec"]["advanced"] =
            json!({"horizontalPodAutoscalerConfig": {"name": "keda-hpa-llama"}});
        object
    }

    #[test]
    fn one_that_is_to_be_taken_over_counts_whatever_it_says_to_kedas_webhook() {
        let disowned = json!({"annotations": {HPA_DISOWNED: "false"}});
        let found = ask(vec![taking("llama", "2026-01-01T00:00:00Z"), autoscaler(disowned)], "llama");
        assert!(matches!(found, Some(Other::Handed { .. })), "{found:?}");
    }

    #[test]
    fn one_that_was_handed_over_counts_again_once_its_bounds_are_put_back() {
        let mine = || taking("llama", "2026-01-01T00:00:00Z");
        let mut hpa = autoscaler(json!({}));
        let patch = adopt::hand_over(&hpa, "llama", "");
        hpa.json["metadata"]["annotations"] = patch["metadata"]["annotations"].clone();
        for field in ["behavior", "minReplicas", "maxReplicas"] {
            hpa.json["spec"][field] = patch["spec"][field].clone();
        }
        assert_eq!(ask(vec![mine(), hpa.clone()], "llama"), None);
        hpa.json["spec"]["maxReplicas"] = json!(3);
        assert!(matches!(ask(vec![mine(), hpa], "llama"), Some(Other::Handed { .. })));
    }

    #[test]
    fn an_elder_goes_before_what_is_to_be_taken_over() {
        let old = || scaled_object("z", json!({"creationTimestamp": "2026-01-01T00:00:00Z"}));
        let new = || taking("a", "2026-01-02T00:00:00Z");
        let all = || vec![old(), new(), autoscaler(json!({}))];
        assert_eq!(ask(all(), "a"), Some(Other::Elder { key: key("z") }));
        assert!(matches!(ask(all(), "z"), Some(Other::Autoscaler { .. })));
    }

    #[test]
    fn another_kind_of_the_same_name_is_another_workload() {
        let kind = Kind::Workload(Gvk::of(Some("apps/v1"), Some("StatefulSet")));
        let other = Id::new(kind, "prod", "llama");
        assert!(!same(scaled(&scaled_object("llama", json!({}))), &other));
    }
}
