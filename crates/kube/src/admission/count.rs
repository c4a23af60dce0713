//! How many ScaledObjects were validated, and how that went, as KEDA's webhook counts it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tidegate_manifest::review::Validated;

/// Series of each of the two counters: two a namespace, and there are at most 10,000 namespaces in a cluster. At some
/// 100 bytes each that is 2 MB. What comes after has no namespace.
const SERIES_MAX: usize = 20_000;

type Labels = (String, &'static str, &'static str);

/// The counters of one operator's webhook, since it began.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    /// By namespace and action; the third is empty.
    all: BTreeMap<Labels, u64>,
    /// By namespace, action and reason.
    refused: BTreeMap<Labels, u64>,
}

fn add(to: &mut BTreeMap<Labels, u64>, mut labels: Labels) {
    if to.len() >= SERIES_MAX && !to.contains_key(&labels) {
        labels.0.clear();
    }
    *to.entry(labels).or_default() += 1;
}

impl Counters {
    /// Counts a validation.
    pub fn add(&self, validated: Validated) {
        let Validated { namespace, action, reason } = validated;
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = reason {
            add(&mut book.refused, (namespace.clone(), action, reason));
        }
        add(&mut book.all, (namespace, action, ""));
    }

    /// Every count of validations: namespace, action (`create` or `update`), how many.
    pub fn each(&self, mut tell: impl FnMut(&str, &str, u64)) {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.all.iter().for_each(|((namespace, action, _), count)| tell(namespace, action, *count));
    }

    /// Every count of refusals: namespace, action, reason, how many.
    pub fn each_refused(&self, mut tell: impl FnMut(&str, &str, &str, u64)) {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ((namespace, action, reason), count) in &book.refused {
            tell(namespace, action, reason, *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(counters: &Counters) -> Vec<String> {
        let mut all = Vec::new();
        counters.each(|namespace, action, count| all.push(format!("{namespace} {action} {count}")));
        counters.each_refused(|namespace, action, reason, count| {
            all.push(format!("{namespace} {action} {reason} {count}"));
        });
        all
    }

    #[test]
    fn validations_and_refusals_are_counted_by_namespace_and_action() {
        let counters = Counters::default();
        let add = |action, reason| {
            counters.add(Validated { namespace: "prod".to_owned(), action, reason });
        };
        add("create", None);
        add("create", Some("incorrect-triggers"));
        add("update", None);
        assert_eq!(told(&counters), ["prod create 2", "prod update 1", "prod create incorrect-triggers 1"]);
    }

    #[test]
    fn namespaces_without_end_end_as_one_without_a_name() {
        let counters = Counters::default();
        for number in 0..SERIES_MAX + 5 {
            counters.add(Validated { namespace: format!("n{number}"), action: "create", reason: None });
        }
        let told = told(&counters);
        assert_eq!((told.len(), told[0].as_str()), (SERIES_MAX + 1, " create 5"));
    }
}
