//! Triggers as a manifest writes them.

use std::collections::BTreeMap;

use tidegate_manifest::trigger::{Declared, Origin, Owner, Source, parse};

/// What a trigger of this type with this metadata says. Its TriggerAuthentication has `parameters`.
pub(crate) fn source(type_: &str, metadata: &[(&str, &str)], parameters: &[&str]) -> Source {
    let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let metadata: BTreeMap<String, String> = pairs.collect();
    let trigger = parse(&Declared {
        index: 0,
        type_,
        name: None,
        metadata: &metadata,
        metric_type: None,
        use_cached_metrics: false,
        auth_parameters: Some(&parameters.iter().map(|name| (*name).to_owned()).collect()),
        environment: None,
        owner: Owner::ScaledObject { modifiers: false },
    });
    trigger.unwrap_or_else(|faults| panic!("{faults:?}")).source
}

/// Finds what a TriggerAuthentication would hold.
pub(crate) fn secrets<'a>(all: &'a [(&'a str, &'a str)]) -> impl Fn(&Origin) -> Option<String> + 'a {
    move |origin| match origin {
        Origin::Authentication(name) => {
            let found = all.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
        _ => None,
    }
}
