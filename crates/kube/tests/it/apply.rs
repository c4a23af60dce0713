//! Server-side apply as the API server has it: who said which field, what is taken away when it is not said any more,
//! conflicts without force, versions and uids as preconditions.
//!
//! Every list is one value, as it is in a custom resource, but for `metadata.finalizers`, which is a set.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// A manager: its name, `Apply` or `Update`, and the subresource it wrote to.
pub(crate) type Manager = (String, &'static str, String);

/// A field, or an element of a set: its names from the root.
type Field = Vec<String>;

/// Who said what of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Owners(BTreeMap<Manager, BTreeSet<Field>>);

/// What is of the object itself and nobody's to manage.
const ITSELF: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
];

fn is_set(field: &[String]) -> bool {
    field == ["metadata", "finalizers"]
}

/// The fields of a value, each with what it is.
fn fields(value: &Value) -> BTreeMap<Field, Value> {
    let mut all = BTreeMap::new();
    walk(value, &mut Vec::new(), &mut all);
    all
}

fn walk(value: &Value, at: &mut Field, all: &mut BTreeMap<Field, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() || at.is_empty() => {
            for (name, member) in members {
                let root = at.is_empty() && matches!(name.as_str(), "apiVersion" | "kind");
                let itself = *at == ["metadata"] && ITSELF.contains(&name.as_str());
                if !root && !itself {
                    at.push(name.clone());
                    walk(member, at, all);
                    at.pop();
                }
            }
        }
        Value::Array(elements) if is_set(at) => {
            for element in elements.iter().filter_map(Value::as_str) {
                let mut field = at.clone();
                field.push(element.to_owned());
                all.insert(field, json!(element));
            }
        }
        other => {
            all.insert(at.clone(), other.clone());
        }
    }
}

fn set(object: &mut Value, field: &[String], value: &Value) {
    let Some((last, parents)) = field.split_last() else { return };
    if is_set(parents) {
        let list = &mut object["metadata"]["finalizers"];
        if !list.is_array() {
            *list = json!([]);
        }
        list.as_array_mut().expect("a list").push(value.clone());
        return;
    }
    let mut at = object;
    for name in parents {
        if !at[name].is_object() {
            at[name] = json!({});
        }
        at = &mut at[name];
    }
    at[last] = value.clone();
}

/// Removes a field, and the objects that it leaves empty.
fn remove(object: &mut Value, field: &[String]) {
    let Some((last, parents)) = field.split_last() else { return };
    if is_set(parents) {
        let list = object.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut);
        list.into_iter().for_each(|list| list.retain(|one| one != last));
        return;
    }
    let mut at = &mut *object;
    for name in parents {
        let Some(next) = at.get_mut(name) else { return };
        at = next;
    }
    let Some(members) = at.as_object_mut() else { return };
    members.remove(last);
    if members.is_empty() && parents.len() > 1 {
        remove(object, parents);
    }
}

impl Owners {
    /// Somebody changed an object otherwise than by apply: what is different is his.
    pub(crate) fn updated(&mut self, who: &str, subresource: &str, before: &Value, after: &Value) {
        let (before, after) = (fields(before), fields(after));
        let differs = |field: &&Field| before.get(*field) != after.get(*field);
        let changed: BTreeSet<Field> = before.keys().chain(after.keys()).filter(differs).cloned().collect();
        for owned in self.0.values_mut() {
            owned.retain(|field| !changed.contains(field));
        }
        let his = changed.into_iter().filter(|field| after.contains_key(field));
        let manager = (who.to_owned(), "Update", subresource.to_owned());
        self.0.entry(manager).or_default().extend(his);
        self.0.retain(|_, owned| !owned.is_empty());
    }

    /// Applies `said` to an object; `None` when another has said something else of a field, and there is no force.
    pub(crate) fn applied(
        &mut self,
        who: &str,
        subresource: &str,
        object: &Value,
        said: &Value,
        force: bool,
    ) -> Option<Value> {
        let manager = (who.to_owned(), "Apply", subresource.to_owned());
        let (standing, said) = (fields(object), fields(said));
        let differs: BTreeSet<&Field> = said
            .iter()
            .filter(|(field, value)| standing.get(*field) != Some(value))
            .map(|one| one.0)
            .collect();
        let theirs = |other: &Manager, owned: &BTreeSet<Field>| {
            *other != manager && owned.iter().any(|field| differs.contains(field))
        };
        if !force && self.0.iter().any(|(other, owned)| theirs(other, owned)) {
            return None;
        }
        let mut object = object.clone();
        for (other, owned) in &mut self.0 {
            if *other != manager {
                owned.retain(|field| !differs.contains(field));
            }
        }
        for field in &differs {
            set(&mut object, field, &said[*field]);
        }
        let before = self.0.remove(&manager).unwrap_or_default();
        let gone = before.iter().filter(|field| !said.contains_key(*field));
        for field in gone.filter(|field| !self.0.values().any(|owned| owned.contains(*field))) {
            remove(&mut object, field);
        }
        self.0.insert(manager, said.into_keys().collect());
        self.0.retain(|_, owned| !owned.is_empty());
        Some(object)
    }

    /// Who owns a field: names with the kind of write, in order.
    pub(crate) fn of(&self, field: &[&str]) -> Vec<String> {
        let owns = |owned: &BTreeSet<Field>| owned.iter().any(|one| one.iter().eq(field));
        let managers = self.0.iter().filter(|(_, owned)| owns(owned));
        managers.map(|((who, how, _), _)| format!("{who} {how}")).collect()
    }
}

#[test]
fn what_is_not_applied_any_more_goes_unless_another_said_it_too() {
    let mut owners = Owners::default();
    let first = json!({"metadata": {"name": "a"}, "status": {"a": 1, "b": 2}});
    owners.updated("keda", "status", &json!({}), &json!({"status": {"b": 2}}));
    let object =
        owners.applied("us", "status", &json!({"status": {"b": 2}}), &first, true).expect("no conflict");
    assert_eq!(object["status"], json!({"a": 1, "b": 2}));
    let object = owners.applied("us", "status", &object, &json!({"status": {"c": 3}}), true).unwrap();
    assert_eq!(object["status"], json!({"b": 2, "c": 3}));
    assert_eq!(owners.of(&["status", "b"]), ["keda Update"]);
}

#[test]
fn without_force_another_value_is_a_conflict_and_with_it_the_other_loses_the_field() {
    let mut owners = Owners::default();
    let object = json!({"spec": {"replicas": 1}});
    owners.updated("kubectl", "", &json!({}), &object);
    let said = json!({"spec": {"replicas": 2}});
    assert_eq!(owners.applied("us", "scale", &object, &said, false), None);
    assert_eq!(owners.applied("us", "scale", &object, &object, false), Some(object.clone()));
    assert_eq!(owners.of(&["spec", "replicas"]), ["kubectl Update", "us Apply"]);
    assert_eq!(owners.applied("us", "scale", &object, &said, true), Some(said));
    assert_eq!(owners.of(&["spec", "replicas"]), ["us Apply"]);
}

#[test]
fn finalizers_are_a_set() {
    let mut owners = Owners::default();
    let theirs = json!({"metadata": {"finalizers": ["theirs"]}});
    owners.updated("kubectl", "", &json!({}), &theirs);
    let ours = json!({"metadata": {"finalizers": ["ours"]}});
    let both = owners.applied("us", "", &theirs, &ours, false).unwrap();
    assert_eq!(both["metadata"]["finalizers"], json!(["theirs", "ours"]));
    let left = owners.applied("us", "", &both, &json!({"metadata": {"name": "a"}}), false).unwrap();
    assert_eq!(left["metadata"]["finalizers"], json!(["theirs"]));
}
