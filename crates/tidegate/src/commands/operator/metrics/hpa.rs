//! What kube-state-metrics would tell of the autoscaler that KEDA makes of a ScaledObject. There is none here, and the
//! panels of KEDA's own board that show replicas ask for it by its name. No more than they ask for: a series of each of
//! 10,000 targets is a megabyte of text.

use std::collections::BTreeSet;

use tidegate_kube::drive::{Entry, View};
use tidegate_kube::index::target::Asks;

use super::family::Family;

pub(super) fn write(view: &View<'_>, out: &mut String) {
    // Who only advises, or leaves an object to somebody else, leaves the autoscalers to whoever made them, and they are
    // told of by their own.
    let ours = |entry: &&Entry| {
        entry.key.asks == Asks::ScaledObject && !entry.watched() && entry.trouble.is_none() && !view.advise
    };
    let mut each = |name: &'static str, help: &str, value: &dyn Fn(&Entry) -> Option<u32>| {
        let mut family = Family::new(out, name, help);
        // Two objects may ask for one name; two series of the same labels are refused by Prometheus.
        let mut told = BTreeSet::new();
        for entry in view.entries.values().filter(ours) {
            if let Some(value) = value(entry)
                && told.insert((&entry.key.namespace, &entry.hpa))
            {
                let labels = [("namespace", &*entry.key.namespace), ("horizontalpodautoscaler", &*entry.hpa)];
                family.add(&labels, f64::from(value));
            }
        }
    };
    each(
        "kube_horizontalpodautoscaler_status_current_replicas",
        "Replicas there are, under the name that KEDA would give to the autoscaler",
        &|entry| entry.fleet.map(|fleet| fleet.spec),
    );
    each("kube_horizontalpodautoscaler_spec_max_replicas", "Most replicas", &|entry| {
        entry.spec.as_ref().map(|spec| spec.max)
    });
}
