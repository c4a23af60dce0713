//! How many objects of KEDA's kinds there are, and how many triggers of each type.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde_json::Value;

use crate::index::Index;
use crate::object::{Change, Id, Kind, Object};

/// Types of triggers that are told apart: KEDA has some eighty. What a typing error makes is counted as `other`.
const TYPES_MAX: usize = 100;

/// What there is, counted as it comes and goes: to look at 10,000 objects for one that changed takes 100 ms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Triggers by type.
    pub triggers: BTreeMap<String, u64>,
    /// Objects by type, as KEDA names it, and namespace.
    pub resources: BTreeMap<(&'static str, Arc<str>), u64>,
    /// Every type of trigger there ever was, at most [`TYPES_MAX`] and one for the rest.
    types: Vec<String>,
    /// By object, in short: which types its triggers are of. Some 50 bytes each.
    known: BTreeMap<u64, Box<[u8]>>,
}

/// What KEDA calls a kind.
const fn type_(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::ScaledObject => "scaled_object",
        Kind::ScaledJob => "scaled_job",
        Kind::TriggerAuthentication => "trigger_authentication",
        Kind::ClusterTriggerAuthentication => "cluster_trigger_authentication",
        _ => return None,
    })
}

fn short(id: &Id) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl Registered {
    /// Takes a change, before the index does. What is another shard's is not counted.
    pub(super) fn see(&mut self, change: &Change, index: &Index) {
        match change {
            Change::Applied(object) if index.shares(object) => self.put(object),
            Change::Applied(object) => self.remove(&object.id),
            Change::Gone(id) => self.remove(id),
            Change::Listing(_) | Change::Listed(_) => {}
        }
    }

    /// A list is complete, and what it did not bring is gone from the index.
    pub(super) fn listed(&mut self, kind: &Kind, index: &Index) {
        if type_(kind).is_none() {
            return;
        }
        let kinds = [
            Kind::ScaledObject,
            Kind::ScaledJob,
            Kind::TriggerAuthentication,
            Kind::ClusterTriggerAuthentication,
        ];
        let mut there = BTreeSet::new();
        self.resources.clear();
        let ours = |id: &&Id| self.known.contains_key(&short(id));
        for id in kinds.iter().flat_map(|kind| index.ids_of(kind)).filter(ours) {
            let Some(type_) = type_(&id.kind) else { continue };
            there.insert(short(id));
            *self.resources.entry((type_, Arc::clone(&id.namespace))).or_default() += 1;
        }
        let gone: Vec<u64> = self.known.keys().filter(|short| !there.contains(*short)).copied().collect();
        for short in gone {
            let types = self.known.remove(&short).unwrap_or_default();
            self.count(&types, false);
        }
    }

    fn put(&mut self, object: &Object) {
        let Some(type_) = type_(&object.id.kind) else { return };
        let triggers = object.json.pointer("/spec/triggers").and_then(Value::as_array);
        let triggers = triggers.into_iter().flatten();
        let types: Box<[u8]> = triggers
            .map(|trigger| self.number(trigger.get("type").and_then(Value::as_str).unwrap_or_default()))
            .collect();
        self.count(&types, true);
        match self.known.insert(short(&object.id), types) {
            Some(before) => self.count(&before, false),
            None => *self.resources.entry((type_, Arc::clone(&object.id.namespace))).or_default() += 1,
        }
    }

    fn remove(&mut self, id: &Id) {
        let Some(type_) = type_(&id.kind) else { return };
        let Some(types) = self.known.remove(&short(id)) else { return };
        self.count(&types, false);
        if let Some(count) = self.resources.get_mut(&(type_, Arc::clone(&id.namespace))) {
            *count = count.saturating_sub(1);
        }
    }

    fn number(&mut self, type_: &str) -> u8 {
        let at = match self.types.iter().position(|known| known == type_) {
            Some(at) => at,
            None => {
                let full = self.types.len() >= TYPES_MAX;
                if self.types.len() <= TYPES_MAX {
                    self.types.push(if full { "other" } else { type_ }.to_owned());
                }
                self.types.len() - 1
            }
        };
        // No more than a hundred and one.
        at as u8
    }

    fn count(&mut self, types: &[u8], more: bool) {
        for at in types {
            let Some(type_) = self.types.get(usize::from(*at)) else { continue };
            let count = self.triggers.entry(type_.clone()).or_default();
            *count = if more { *count + 1 } else { count.saturating_sub(1) };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: Kind, name: &str, types: &[&str]) -> Object {
        let triggers: Vec<Value> = types.iter().map(|type_| json!({"type": type_})).collect();
        let metadata = json!({"namespace": "prod", "name": name});
        Object::new(kind, json!({"metadata": metadata, "spec": {"triggers": triggers}})).unwrap()
    }

    fn there(all: &Registered, type_: &'static str) -> u64 {
        all.resources.get(&(type_, Arc::from("prod"))).copied().unwrap_or(0)
    }

    #[test]
    fn objects_and_triggers_are_counted_as_they_come_change_and_go() {
        let mut all = Registered::default();
        let put = |all: &mut Registered, kind, name, types: &[&str]| {
            all.see(&Change::Applied(Box::new(object(kind, name, types))), &Index::default());
        };
        put(&mut all, Kind::ScaledObject, "a", &["cron", "redis"]);
        put(&mut all, Kind::ScaledObject, "b", &["cron"]);
        put(&mut all, Kind::TriggerAuthentication, "c", &[]);
        assert_eq!((all.triggers["cron"], all.triggers["redis"]), (2, 1));
        put(&mut all, Kind::ScaledObject, "a", &["cron"]);
        all.see(&Change::Gone(object(Kind::ScaledObject, "b", &[]).id), &Index::default());
        assert_eq!((all.triggers["cron"], all.triggers["redis"]), (1, 0));
        assert_eq!((there(&all, "scaled_object"), there(&all, "trigger_authentication")), (1, 1));
    }

    #[test]
    fn what_a_list_does_not_bring_is_counted_no_more() {
        let (mut all, mut index) = (Registered::default(), Index::default());
        for name in ["a", "b"] {
            let change = Change::Applied(Box::new(object(Kind::ScaledObject, name, &["cron"])));
            all.see(&change, &index);
            drop(index.apply(change));
        }
        drop(index.apply(Change::Gone(object(Kind::ScaledObject, "b", &[]).id)));
        all.listed(&Kind::ScaledObject, &index);
        assert_eq!((all.triggers["cron"], there(&all, "scaled_object")), (1, 1));
    }

    #[test]
    fn types_have_a_limit() {
        let mut all = Registered::default();
        let names: Vec<String> = (0..300).map(|number| format!("t{number}")).collect();
        let types: Vec<&str> = names.iter().map(String::as_str).collect();
        all.see(&Change::Applied(Box::new(object(Kind::ScaledJob, "a", &types))), &Index::default());
        assert_eq!((all.triggers.len(), all.triggers["other"]), (TYPES_MAX + 1, 300 - TYPES_MAX as u64));
    }
}
