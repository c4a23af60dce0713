//! Triggers as manifests have them, and what a leak would leave behind.

use std::collections::{BTreeMap, BTreeSet};
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

/// Sockets this process has to servers on `ports`, and tasks its runtime has alive. Each test has a runtime
/// of its own, and servers nobody else asks.
pub(crate) fn held(ports: &[u16]) -> (usize, usize) {
    let files = fs::read_dir("/proc/self/fd").expect("Linux tells");
    let own: BTreeSet<_> = files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = fs::read_to_string("/proc/self/net/tcp").expect("Linux tells");
    let sockets = table.lines().skip(1).filter(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let port = columns[2].rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
        port.is_some_and(|port| ports.contains(&port)) && own.contains(columns[9])
    });
    (sockets.count(), tokio::runtime::Handle::current().metrics().num_alive_tasks())
}
