//! Triggers as manifests have them, and what a leak would leave behind.

use std::collections::BTreeMap;
use std::fs;

use tidegate_manifest::trigger::{Declared, Origin, Owner, Source, parse};

/// The parameters of a trigger of this type; those in `auth` stand in its TriggerAuthentication.
pub(crate) fn source(type_: &str, metadata: &[(&str, &str)], auth: &[(&str, &str)]) -> Source {
    let metadata: BTreeMap<_, _> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let names = auth.iter().map(|(name, _)| (*name).to_owned()).collect();
    let trigger = parse(&Declared {
        index: 0,
        type_,
        name: None,
        metadata: &metadata,
        metric_type: None,
        use_cached_metrics: false,
        auth_parameters: Some(&names),
        environment: None,
        owner: Owner::ScaledObject { modifiers: false },
    });
    trigger.unwrap_or_else(|faults| panic!("{faults:?}")).source
}

/// Finds what stands in the TriggerAuthentication.
pub(crate) fn values(auth: &[(&str, &str)]) -> impl Fn(&Origin) -> Option<String> {
    let auth: BTreeMap<_, _> =
        auth.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    move |origin: &Origin| match origin {
        Origin::Authentication(name) => auth.get(name).cloned(),
        _ => None,
    }
}

/// Sockets this process has open, and tasks its runtime has alive.
pub(crate) fn held() -> (usize, usize) {
    let files = fs::read_dir("/proc/self/fd").expect("Linux tells");
    let sockets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let sockets = sockets.filter(|link| link.to_string_lossy().starts_with("socket:")).count();
    (sockets, tokio::runtime::Handle::current().metrics().num_alive_tasks())
}
