//! What is seen of a cluster, brought into the gateway: targets, endpoints, drains.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::route::{EndpointId, Outlook};
use tidegate_core::time::Span;
use tidegate_gateway::{Gateway, TargetConfig};
use tidegate_kube::demand::client::{Routed, Words};
use tidegate_kube::demand::report::Load;
use tidegate_kube::routes::{Route, Table};

use super::models::Models;
use super::scrape::Scrapes;
use crate::up::limits;

/// One pod as the gateway has it.
struct Known {
    id: EndpointId,
    addr: SocketAddr,
    draining: bool,
}

/// A target and a pod.
pub(super) type Place = (Arc<str>, Arc<str>);

/// Joins pods, by name, with endpoints, by number.
pub(super) struct Join {
    gateway: Arc<Gateway>,
    scrapes: Arc<Scrapes>,
    endpoints: BTreeMap<Place, Known>,
    targets: Vec<TargetConfig>,
    outlooks: BTreeMap<Arc<str>, Outlook>,
    /// What was joined last, for whole reports.
    table: Arc<Table>,
}

impl Join {
    pub(super) fn new(gateway: Arc<Gateway>, scrapes: Arc<Scrapes>) -> Self {
        Join {
            gateway,
            scrapes,
            endpoints: BTreeMap::new(),
            targets: Vec::new(),
            outlooks: BTreeMap::new(),
            table: Arc::default(),
        }
    }

    /// Brings the gateway to what is seen. What stays as it is is not touched.
    pub(super) fn settle(&mut self, table: &Arc<Table>, models: &Models, words: &Words) {
        let served: Vec<(&Arc<Route>, Vec<String>)> = table
            .values()
            .map(|route| (route, models.of(route)))
            .filter(|(_, models)| !models.is_empty())
            .collect();
        let targets: Vec<TargetConfig> = served.iter().map(|(route, models)| target(route, models)).collect();
        let same = |a: &TargetConfig, b: &TargetConfig| {
            a.name == b.name && a.models == b.models && a.limits == b.limits && a.ttft == b.ttft
        };
        let unchanged = targets.len() == self.targets.len()
            && targets.iter().zip(&self.targets).all(|(new, old)| same(new, old));
        if !unchanged {
            self.gateway.set_targets(targets.clone());
            self.targets = targets;
        }
        let drains = drains(words);
        let mut there = BTreeSet::new();
        for (route, _) in &served {
            let namespace = route.name.split_once('/').map_or("", |(namespace, _)| namespace);
            for (pod, endpoint) in &route.endpoints {
                let told = drains.contains(&(namespace.into(), Arc::clone(pod)));
                let place = (Arc::clone(&route.name), Arc::clone(pod));
                self.put(&place, endpoint.addr, endpoint.draining || told);
                if let Some(known) = self.endpoints.get(&place) {
                    self.scrapes.put(&place, route, known.id);
                }
                there.insert(place);
            }
        }
        let gone: Vec<Place> =
            self.endpoints.keys().filter(|place| !there.contains(*place)).cloned().collect();
        for place in gone {
            self.scrapes.remove(&place);
            if let Some(known) = self.endpoints.remove(&place) {
                self.gateway.endpoint_gone(known.id);
            }
        }
        self.expect(words);
        self.table = Arc::clone(table);
    }

    fn put(&mut self, place: &Place, addr: SocketAddr, draining: bool) {
        let known = self.endpoints.get_mut(place).filter(|known| known.addr == addr);
        match (known, draining) {
            (Some(known), true) => {
                if !std::mem::replace(&mut known.draining, true) {
                    drop(self.gateway.endpoint_drain(known.id));
                }
            }
            (Some(known), false) if !known.draining => {}
            // What it never had, it need not see off.
            (None, true) => {}
            // New, at another address, or taken back: what is in flight ends under the old number.
            (_, false) => {
                let id = match self.gateway.endpoint_ready(&place.0, addr, Arc::clone(&place.1)) {
                    Ok(id) => id,
                    Err(error) => return tracing::debug!(%error, pod = %place.1, "not routed"),
                };
                let old = self.endpoints.insert(place.clone(), Known { id, addr, draining: false });
                if let Some(old) = old {
                    self.gateway.endpoint_gone(old.id);
                }
            }
        }
    }

    /// Tells the gateway what operators expect of next replicas.
    fn expect(&mut self, words: &Words) {
        let now = self.gateway.clock().now();
        let mut expected = BTreeMap::new();
        for outlook in words.values().flat_map(|word| &word.outlooks) {
            let name: Arc<str> = format!("{}/{}", outlook.namespace, outlook.name).into();
            let span = |ms: u64| {
                Span::from_micros(i64::try_from(ms).unwrap_or(i64::MAX / 1000).saturating_mul(1000))
            };
            let some = |ms: u64| (ms > 0).then(|| span(ms.min(MS_MAX)));
            let outlook = Outlook {
                starting: outlook.starting,
                ready_at: some(outlook.ready_in_ms).map(|left| now + left),
                start: some(outlook.start_ms),
            };
            expected.insert(name, outlook);
        }
        for name in self.outlooks.keys().filter(|name| !expected.contains_key(*name)) {
            // A target that has just gone needs none.
            let _ = self.gateway.outlook(name, Outlook::default());
        }
        for (name, outlook) in &expected {
            let _ = self.gateway.outlook(name, *outlook);
        }
        self.outlooks = expected;
    }

    /// Every target that is routed, with what is in flight at its pods.
    pub(super) fn routed(&self) -> Vec<Routed> {
        let mut pods: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Load>> = BTreeMap::new();
        for target in self.gateway.view() {
            let loads = pods.entry(Arc::clone(&target.name)).or_default();
            for endpoint in target.endpoints {
                // A pod whose drain was taken back has two numbers for a while.
                let load = loads
                    .entry(Arc::clone(&endpoint.replica))
                    .or_insert(Load { draining: true, ..Load::default() });
                load.in_flight = load.in_flight.saturating_add(endpoint.view.in_flight);
                load.tokens = load.tokens.saturating_add(endpoint.view.tokens);
                load.draining &= endpoint.draining;
            }
        }
        let routed = self.targets.iter().filter_map(|target| {
            let key = self.table.get(&target.name)?.key.clone()?;
            let pods = pods.remove(&target.name).unwrap_or_default();
            let flow = self.gateway.flow(&target.name).unwrap_or_default();
            Some(Routed { name: Arc::clone(&target.name), key, pods, flow })
        });
        routed.collect()
    }
}

/// A day: nobody waits longer for a replica, and what a clock says beyond it is nonsense.
const MS_MAX: u64 = Duration::from_secs(86_400).as_millis() as u64;

fn target(route: &Route, models: &[String]) -> TargetConfig {
    TargetConfig {
        name: Arc::clone(&route.name),
        models: models.to_vec(),
        limits: limits::limits(route.hold_max, route.hold_timeout, &route.command),
        upstream_key: None,
        ttft: route.ttft,
    }
}

/// Pods that some operator wants drained: namespace and name. A standby wants none.
fn drains(words: &Words) -> BTreeSet<(Arc<str>, Arc<str>)> {
    let all = words.values().flat_map(|word| &word.drains);
    all.map(|drain| (drain.namespace.as_str().into(), drain.pod.as_str().into())).collect()
}
