//! Elements of a vector: names dropped, labels told apart.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::{Error, Vector};
use crate::store::{LabelSet, NAME};

/// Drops the metric's name.
pub(super) fn nameless(labels: &mut LabelSet) {
    labels.retain(|(name, _)| &**name != NAME);
}

/// The metric's name.
fn name(labels: &LabelSet) -> Option<&Arc<str>> {
    labels.iter().find(|(name, _)| &**name == NAME).map(|(_, value)| value)
}

/// What `change` makes of each value, without names.
pub(super) fn map(what: &str, elements: Vector, change: impl Fn(f64) -> f64) -> Result<Vector, Error> {
    dropping(what, elements, |value| Some(change(value)))
}

/// The same where some elements fall out.
pub(super) fn dropping(
    what: &str,
    mut elements: Vector,
    change: impl Fn(f64) -> Option<f64>,
) -> Result<Vector, Error> {
    let several = several_names(&elements);
    elements.retain_mut(|(labels, value)| {
        nameless(labels);
        change(*value).map(|changed| *value = changed).is_some()
    });
    if several { distinct(what, elements) } else { Ok(elements) }
}

/// Whether elements have different names: only then can dropping them make two alike.
pub(super) fn several_names(elements: &Vector) -> bool {
    let mut names = elements.iter().map(|(labels, _)| name(labels));
    names.next().is_some_and(|first| names.any(|other| other != first))
}

/// The elements, if no two have the same labels.
pub(super) fn distinct(what: &str, elements: Vector) -> Result<Vector, Error> {
    let mut seen = BTreeSet::new();
    match elements.iter().find(|(labels, _)| !seen.insert(labels)) {
        None => Ok(elements),
        Some((labels, _)) => Err(Error::SameLabels { what: what.to_owned(), labels: shown(labels) }),
    }
}

fn shown(labels: &LabelSet) -> String {
    let mut text = String::from("{");
    for (at, (name, value)) in labels.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{name}={value:?}");
    }
    text.push('}');
    text
}

/// Puts a label in its place; an empty value takes it away.
pub(super) fn set(labels: &mut LabelSet, name: &str, value: &str) {
    labels.retain(|(known, _)| &**known != name);
    if value.is_empty() {
        return;
    }
    let at = labels.partition_point(|(known, _)| **known < *name);
    labels.insert(at, (Arc::from(name), Arc::from(value)));
}
