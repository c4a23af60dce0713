//! Who uses an authentication: `status.scaledobjects` and `status.scaledjobs`, which KEDA's columns show.
//!
//! Written when who uses it has changed, and not by an operator that sees only a part of those who may: with a label
//! selector, or with namespaces for what belongs to the cluster. Two of them would write over each other.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Map, Value, json};
use tidegate_core::time::{Span, Time};

use super::Operator;
use super::refusal::Refusal;
use crate::index::target::{Asks, Key};
use crate::object::{Id, Kind};
use crate::write::{How, Patch, Write};

/// Between two looks at who uses what: a thousand objects that come one after another are told of together.
const PAUSE: Span = Span::from_secs(5);

/// Bytes of names in one status: a hundred names of twenty letters. The others are counted.
const NAMES_BYTES_MAX: usize = 2048;

/// When it is looked at again.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Whether something has changed.
    pub(super) due: bool,
    last: Option<Time>,
    /// What was told of each, in short. As many as there are authentications.
    told: BTreeMap<Id, u64>,
    /// What was refused of them last.
    pub(super) refused: Refusal,
}

impl Operator {
    /// Tells authentications who uses them, if that may have changed.
    pub(super) fn tell_users(&mut self) {
        let now = self.clock.now();
        let early = self.users.last.is_some_and(|last| now.since(last) < PAUSE);
        if !self.users.due
            || early
            || self.users.refused.rests(now)
            || self.connection.read_only
            || self.sight.selector.is_some()
        {
            return;
        }
        (self.users.due, self.users.last) = (false, Some(now));
        let mut kinds = vec![Kind::TriggerAuthentication];
        if self.sight.namespaces.is_empty() {
            kinds.push(Kind::ClusterTriggerAuthentication);
        }
        let ids: Vec<Id> = kinds.iter().flat_map(|kind| self.index.ids_of(kind)).cloned().collect();
        let there: BTreeSet<&Id> = ids.iter().collect();
        self.users.told.retain(|id, _| there.contains(id));
        for id in ids {
            let users = self.index.users(&id);
            let mut hasher = DefaultHasher::new();
            (&users, self.index.uid(&id)).hash(&mut hasher);
            let short = hasher.finish();
            if self.users.told.insert(id.clone(), short) == Some(short) {
                continue;
            }
            let Some(object) = self.index.object(&id) else { continue };
            let (status, gone) = status(&users);
            let stands = object.json.get("status").unwrap_or(&Value::Null);
            let text = |of: Option<&Value>| of.and_then(Value::as_str).unwrap_or_default().to_owned();
            let same = |field: &&str| text(stands.get(*field)) == text(status.get(*field));
            if ["scaledobjects", "scaledjobs"].iter().all(same) {
                continue;
            }
            let json = json!({"metadata": {"uid": object.uid()}, "status": status});
            let how = How::Apply { gone: json!({"status": gone}) };
            self.queue.push(Write::Patch(Patch { id, subresource: Some("status"), how, json }), now);
        }
    }

    /// What was told of it did not arrive: it is told again. Whether that is news.
    pub(super) fn users_untold(&mut self, id: &Id, why: &str) -> bool {
        self.users.due |= self.users.told.remove(id).is_some();
        self.users.refused.again(why, self.clock.now())
    }
}

/// The status, and what of it must not remain.
fn status(users: &BTreeSet<Key>) -> (Map<String, Value>, Map<String, Value>) {
    let (mut status, mut gone) = (Map::new(), Map::new());
    for (asks, field) in [(Asks::ScaledObject, "scaledobjects"), (Asks::ScaledJob, "scaledjobs")] {
        let names: BTreeSet<&str> =
            users.iter().filter(|key| key.asks == asks).map(|key| &*key.name).collect();
        match names.is_empty() {
            true => gone.insert(field.to_owned(), Value::Null),
            false => status.insert(field.to_owned(), json!(listed(&names))),
        };
    }
    (status, gone)
}

/// Names separated by commas, as many as there is room for.
fn listed(names: &BTreeSet<&str>) -> String {
    let mut text = String::new();
    for (told, name) in names.iter().enumerate() {
        if text.len() + name.len() > NAMES_BYTES_MAX {
            return format!("{text} and {} more", names.len() - told);
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(asks: Asks, name: &str) -> Key {
        Key { asks, namespace: "prod".into(), name: name.into() }
    }

    #[test]
    fn names_are_listed_by_kind_and_a_list_that_is_empty_goes() {
        let users = [key(Asks::ScaledObject, "b"), key(Asks::ScaledObject, "a")].into();
        let (status, gone) = status(&users);
        assert_eq!(Value::Object(status), json!({"scaledobjects": "a,b"}));
        assert_eq!(Value::Object(gone), json!({"scaledjobs": null}));
    }

    #[test]
    fn a_list_has_a_limit_and_says_how_many_it_leaves_out() {
        let names: Vec<String> = (0..1000).map(|number| format!("target-{number:03}")).collect();
        let text = listed(&names.iter().map(String::as_str).collect());
        let told = text.split(" and ").next().unwrap().split(',').count();
        assert!(text.len() < NAMES_BYTES_MAX + 40, "{}", text.len());
        assert!(text.ends_with(&format!(" and {} more", 1000 - told)), "{text}");
    }
}
