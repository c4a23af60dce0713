//! Who has a label that selectors name: pods by it, and workloads that look for it.
//!
//! Without these each look at one workload's pods would be a look at all pods of its namespace, and with
//! 10,000 workloads in one namespace a start would be 100 million looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::selector::Selector;
use crate::object::Id;

/// Label keys by which pods are found. Selectors are made by few tools, which use two or three keys each; who
/// uses further ones has its pods looked for among all.
const KEYS_MAX: usize = 16;

/// Names of pods.
type Names = BTreeSet<Arc<str>>;

static NOBODY: Names = BTreeSet::new();

/// By key, namespace and value.
type ByLabel<T> = BTreeMap<String, BTreeMap<Arc<str>, BTreeMap<String, T>>>;

fn find<'a, T>(all: &'a ByLabel<T>, namespace: &str, key: &str, value: &str) -> Option<&'a T> {
    all.get(key)?.get(namespace)?.get(value)
}

/// Pods by the labels that selectors name.
#[derive(Debug, Default)]
pub(super) struct Labelled(ByLabel<Names>);

impl Labelled {
    /// Begins to keep the keys that a selector names. Those that are new: pods that are there already have to be
    /// put in for them.
    pub(super) fn want(&mut self, selector: &Selector) -> BTreeSet<String> {
        let mut new = BTreeSet::new();
        for (key, _) in selector.exact() {
            if self.0.len() < KEYS_MAX && !self.0.contains_key(key) {
                self.0.insert(key.to_owned(), BTreeMap::new());
                new.insert(key.to_owned());
            }
        }
        new
    }

    /// Puts a pod in; for keys in `only` if given.
    pub(super) fn put(
        &mut self,
        id: &Id,
        labels: &BTreeMap<String, String>,
        only: Option<&BTreeSet<String>>,
    ) {
        for (key, by_namespace) in &mut self.0 {
            let wanted = only.is_none_or(|only| only.contains(key));
            let Some(value) = labels.get(key).filter(|_| wanted) else { continue };
            let by_value = by_namespace.entry(Arc::clone(&id.namespace)).or_default();
            if let Some(names) = by_value.get_mut(value) {
                names.insert(Arc::clone(&id.name));
            } else {
                by_value.insert(value.clone(), [Arc::clone(&id.name)].into());
            }
        }
    }

    /// Takes a pod out.
    pub(super) fn remove(&mut self, id: &Id, labels: &BTreeMap<String, String>) {
        for (key, by_namespace) in &mut self.0 {
            let Some(value) = labels.get(key) else { continue };
            let Some(by_value) = by_namespace.get_mut(&id.namespace) else { continue };
            if let Some(names) = by_value.get_mut(value) {
                names.remove(&id.name);
                if names.is_empty() {
                    by_value.remove(value);
                }
            }
            if by_value.is_empty() {
                by_namespace.remove(&id.namespace);
            }
        }
    }

    /// The pods among which all are that a selector chooses, by the label that fewest have; `None` where it names
    /// no label that is kept.
    pub(super) fn among(&self, namespace: &str, selector: &Selector) -> Option<&Names> {
        let kept = selector.exact().filter(|(key, _)| self.0.contains_key(*key));
        let names = kept.map(|(key, value)| find(&self.0, namespace, key, value).unwrap_or(&NOBODY));
        names.min_by_key(|names| names.len())
    }
}

/// Workloads by one label that their selector names.
#[derive(Debug, Default)]
pub(super) struct Looking {
    by_label: ByLabel<BTreeSet<Id>>,
    /// Under which label each is.
    under: BTreeMap<Id, (String, String)>,
    /// Those whose selector names none, by namespace.
    others: BTreeMap<Arc<str>, BTreeSet<Id>>,
}

impl Looking {
    /// Puts a workload under the label that fewest others are under.
    pub(super) fn put(&mut self, id: &Id, selector: &Selector) {
        self.remove(id);
        let count = |(key, value): &(&str, &str)| {
            find(&self.by_label, &id.namespace, key, value).map_or(0, BTreeSet::len)
        };
        let Some((key, value)) = selector.exact().min_by_key(count) else {
            self.others.entry(Arc::clone(&id.namespace)).or_default().insert(id.clone());
            return;
        };
        let (key, value) = (key.to_owned(), value.to_owned());
        let by_namespace = self.by_label.entry(key.clone()).or_default();
        let by_value = by_namespace.entry(Arc::clone(&id.namespace)).or_default();
        by_value.entry(value.clone()).or_default().insert(id.clone());
        self.under.insert(id.clone(), (key, value));
    }

    /// Forgets a workload.
    pub(super) fn remove(&mut self, id: &Id) {
        if let Some(others) = self.others.get_mut(&id.namespace) {
            others.remove(id);
        }
        let Some((key, value)) = self.under.remove(id) else { return };
        let Some(by_namespace) = self.by_label.get_mut(&key) else { return };
        let Some(by_value) = by_namespace.get_mut(&id.namespace) else { return };
        if let Some(ids) = by_value.get_mut(&value) {
            ids.remove(id);
            if ids.is_empty() {
                by_value.remove(&value);
            }
        }
        if by_value.is_empty() {
            by_namespace.remove(&id.namespace);
        }
        if by_namespace.is_empty() {
            self.by_label.remove(&key);
        }
    }

    /// The workloads among which all are whose selectors choose something with these labels.
    pub(super) fn among<'a>(
        &'a self,
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a Id> {
        let named = labels.iter().filter_map(move |(key, value)| find(&self.by_label, namespace, key, value));
        named.chain(self.others.get(namespace)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Gvk, Kind};

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn id(kind: Kind, name: &str) -> Id {
        Id::new(kind, "prod", name)
    }

    #[test]
    fn pods_are_found_by_the_label_that_fewest_have() {
        let selector = Selector::parse("name=vllm,instance=a");
        let mut labelled = Labelled::default();
        let pods = ["a", "b", "c"]
            .map(|name| (id(Kind::Pod, name), labels(&[("name", "vllm"), ("instance", name)])));
        assert_eq!(labelled.among("prod", &selector), None, "nobody has named these labels yet");
        labelled.put(&pods[0].0, &pods[0].1, None);
        let new = labelled.want(&selector);
        assert_eq!(new.len(), 2);
        pods.iter().for_each(|(id, labels)| labelled.put(id, labels, Some(&new)));
        let names = |labelled: &Labelled| labelled.among("prod", &selector).map(|names| names.len());
        assert_eq!(names(&labelled), Some(1));
        assert_eq!(labelled.among("other", &selector), Some(&NOBODY));
        labelled.remove(&pods[0].0, &pods[0].1);
        assert_eq!(names(&labelled), Some(0));
        assert!(labelled.want(&selector).is_empty());
    }

    #[test]
    fn keys_beyond_the_limit_are_looked_for_among_all() {
        let mut labelled = Labelled::default();
        for number in 0..=KEYS_MAX {
            labelled.want(&Selector::parse(&format!("key-{number}=a")));
        }
        assert_eq!(labelled.among("prod", &Selector::parse(&format!("key-{KEYS_MAX}=a"))), None);
        assert_eq!(labelled.among("prod", &Selector::parse("key-0=a")), Some(&NOBODY));
    }

    #[test]
    fn workloads_with_a_label_in_common_are_found_by_the_one_that_tells_them_apart() {
        let workload = |name: &str| id(Kind::Workload(Gvk::of(None, None)), name);
        let mut looking = Looking::default();
        for name in ["a", "b", "c"] {
            looking.put(&workload(name), &Selector::parse(&format!("name=vllm,instance={name}")));
        }
        looking.put(&workload("odd"), &Selector::parse("canary"));
        let found = |looking: &Looking, instance: &str| {
            let labels = labels(&[("name", "vllm"), ("instance", instance)]);
            looking.among("prod", &labels).map(|id| id.name.to_string()).collect::<Vec<_>>()
        };
        let for_c = found(&looking, "c");
        assert!(for_c.contains(&"c".to_owned()) && for_c.contains(&"odd".to_owned()), "{for_c:?}");
        assert!(for_c.len() <= 3, "at most one that is under the label all have: {for_c:?}");
        looking.remove(&workload("c"));
        looking.remove(&workload("odd"));
        assert!(!found(&looking, "c").contains(&"c".to_owned()));
        // Its selector has changed.
        looking.put(&workload("b"), &Selector::parse("instance=z"));
        assert!(found(&looking, "z").contains(&"b".to_owned()));
        assert!(!found(&looking, "b").contains(&"b".to_owned()));
    }
}
