//! What gateways have said, summed: a plain struct, owned by the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_core::route::Flow;
use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};
use tidegate_manifest::trigger::GatewayMetric;
use tidegate_signals::Demand;

use super::report::{Report, Told};
use crate::index::target::Key;
use crate::object::Id;

/// A gateway that has said nothing for so long is silent. It tells each second, so five reports in a row
/// were lost; what it said last is counted until then as if nothing had happened.
pub const SILENT_AFTER: Span = Span::from_secs(5);

/// A silent gateway whose pod nobody knows is forgotten after so long: who held its connections that long
/// without a word has been given up by its clients, whose own time-outs are 10 minutes at most.
pub const FORGOTTEN_AFTER: Span = Span::from_secs(15 * 60);

/// Gateways at the most. At 10,000 requests a second each, nobody has more; what a further one says is not
/// taken.
pub const GATEWAYS_MAX: usize = 64;

/// What is known of the demand for one target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known {
    /// No gateway routes it.
    Nobody,
    /// Every gateway that routes it has spoken lately.
    Fresh(Demand),
    /// One of them is silent, for so long; what it said last is in the sum.
    Stale(Demand, Span),
}

/// What all gateways have in flight at one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Requests.
    pub in_flight: u32,
    /// Tokens still to be worked on.
    pub tokens: u64,
    /// Gateways that know the pod.
    pub gateways: u32,
    /// Those of them that send it nothing new.
    pub draining: u32,
}

impl Live {
    /// Whether nothing is in flight there and nothing new will be.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.in_flight == 0 && self.draining == self.gateways
    }
}

/// What is in flight at the pods of one target, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LivePods {
    /// Whether every gateway that routes the target has spoken lately. While one has not, the counts are
    /// what was said last, and a pod without any may still be busy.
    pub fresh: bool,
    /// The pods gateways know.
    pub pods: BTreeMap<Arc<str>, Live>,
}

/// One gateway.
#[derive(Debug)]
struct Gateway {
    heard: Time,
    /// Its pod, where its token says so.
    pod: Option<Id>,
    targets: BTreeMap<Key, Told>,
}

/// What every gateway said last.
#[derive(Debug, Default)]
pub struct Book {
    gateways: BTreeMap<Arc<str>, Gateway>,
    /// By target, which gateways route it.
    routed: BTreeMap<Key, BTreeSet<Arc<str>>>,
}

/// What a report has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// Targets whose requests have come to be, or ceased: to be decided at once.
    pub edges: BTreeSet<Key>,
    /// Targets that some gateway has begun to route.
    pub begun: BTreeSet<Key>,
}

impl Book {
    /// Takes what a gateway says.
    pub fn take(&mut self, report: Report, now: Time) -> Turned {
        let Report { gateway, pod, whole, leaves, targets } = report;
        if !self.gateways.contains_key(&gateway) && self.gateways.len() >= GATEWAYS_MAX {
            return Turned::default();
        }
        let touched: BTreeSet<Key> = match self.gateways.get(&gateway) {
            Some(known) if whole || leaves => known.targets.keys().chain(targets.keys()).cloned().collect(),
            _ => targets.keys().cloned().collect(),
        };
        let before: Vec<(Key, bool)> =
            touched.into_iter().map(|key| (key.clone(), self.anything(&key))).collect();
        let begun = targets.keys().filter(|key| !self.routed.contains_key(*key)).cloned().collect();
        if leaves {
            self.forget(&gateway);
        } else {
            self.put(gateway, pod, whole, targets, now);
        }
        let edges = before.into_iter().filter(|(key, was)| self.anything(key) != *was).map(|(key, _)| key);
        Turned { edges: edges.collect(), begun }
    }

    fn put(&mut self, name: Arc<str>, pod: Option<Id>, whole: bool, targets: BTreeMap<Key, Told>, now: Time) {
        let gateway = self.gateways.entry(Arc::clone(&name)).or_insert_with(|| Gateway {
            heard: now,
            pod: None,
            targets: BTreeMap::new(),
        });
        gateway.heard = now;
        gateway.pod = pod.or(gateway.pod.take());
        if whole {
            let gone: Vec<Key> =
                gateway.targets.keys().filter(|key| !targets.contains_key(key)).cloned().collect();
            for key in gone {
                gateway.targets.remove(&key);
                unroute(&mut self.routed, &key, &name);
            }
        }
        for (key, mut told) in targets {
            self.routed.entry(key.clone()).or_default().insert(Arc::clone(&name));
            let known = gateway.targets.entry(key).or_default();
            if !whole {
                // A part says nothing of pods: those of the last whole report stay.
                told.pods = std::mem::take(&mut known.pods);
            }
            *known = told;
        }
    }

    /// Forgets gateways that are no more: `is_gone` knows of their pods, time of the others. Says which.
    pub fn sweep(&mut self, now: Time, is_gone: impl Fn(&Id) -> bool) -> Vec<Arc<str>> {
        let over = |gateway: &Gateway| {
            let silent = now.since(gateway.heard);
            let gone = gateway.pod.as_ref().is_some_and(&is_gone);
            (gone && silent > SILENT_AFTER) || silent > FORGOTTEN_AFTER
        };
        let gone = self.gateways.iter().filter(|(_, gateway)| over(gateway));
        let gone: Vec<Arc<str>> = gone.map(|(name, _)| Arc::clone(name)).collect();
        gone.iter().for_each(|name| self.forget(name));
        gone
    }

    fn forget(&mut self, name: &Arc<str>) {
        for key in self.gateways.remove(name).map(|gateway| gateway.targets).unwrap_or_default().keys() {
            unroute(&mut self.routed, key, name);
        }
    }

    /// How many gateways are known, and how many of them are silent.
    #[must_use]
    pub fn gateways(&self, now: Time) -> (usize, usize) {
        let silent = self.gateways.values().filter(|gateway| now.since(gateway.heard) > SILENT_AFTER);
        (self.gateways.len(), silent.count())
    }

    /// Whether some gateway routes a target.
    #[must_use]
    pub fn routes(&self, key: &Key) -> bool {
        self.routed.contains_key(key)
    }

    fn of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = (&'a Gateway, &'a Told)> {
        let names = self.routed.get(key).into_iter().flatten();
        names.filter_map(|name| {
            let gateway = self.gateways.get(name)?;
            Some((gateway, gateway.targets.get(key)?))
        })
    }

    fn anything(&self, key: &Key) -> bool {
        self.of(key).any(|(_, told)| told.waiting > 0 || told.in_flight > 0)
    }

    /// For how long the most silent of a target's gateways has been silent; none while all speak.
    fn silence(&self, key: &Key, now: Time) -> Option<Span> {
        let ages = self.of(key).map(|(gateway, _)| now.since(gateway.heard));
        ages.max().filter(|age| *age > SILENT_AFTER)
    }

    /// What is asked of a target, by all gateways together.
    #[must_use]
    pub fn demand(&self, key: &Key, now: Time) -> Known {
        if !self.routes(key) {
            return Known::Nobody;
        }
        let mut sum = Demand::default();
        for (_, told) in self.of(key) {
            sum.waiting += f64::from(told.waiting);
            sum.in_flight += f64::from(told.in_flight);
            sum.tokens += told.waiting_tokens.saturating_add(told.in_flight_tokens) as f64;
        }
        match self.silence(key, now) {
            None => Known::Fresh(sum),
            Some(age) => Known::Stale(sum, age),
        }
    }

    /// Requests of a target that wait at gateways, as each said last.
    #[must_use]
    pub fn waiting(&self, key: &Key) -> u32 {
        self.of(key).fold(0, |sum, (_, told)| sum.saturating_add(told.waiting))
    }

    /// What each gateway that routes a target has counted of it; `None` where nobody routes it, or one of them is
    /// silent or does not count: then what the others counted is not all there is.
    #[must_use]
    pub fn flows(&self, key: &Key, now: Time) -> Option<Vec<(Arc<str>, Flow)>> {
        if self.silence(key, now).is_some() {
            return None;
        }
        let names = self.routed.get(key)?;
        let flow =
            |name: &Arc<str>| Some((Arc::clone(name), self.gateways.get(name)?.targets.get(key)?.flow?));
        names.iter().map(flow).collect()
    }

    /// What is in flight at each pod of a target.
    #[must_use]
    pub fn live(&self, key: &Key, now: Time) -> LivePods {
        let fresh = self.routes(key) && self.silence(key, now).is_none();
        let mut live = LivePods { fresh, pods: BTreeMap::new() };
        for (_, told) in self.of(key) {
            for (pod, load) in &told.pods {
                let sum = live.pods.entry(Arc::clone(pod)).or_default();
                sum.in_flight = sum.in_flight.saturating_add(load.in_flight);
                sum.tokens = sum.tokens.saturating_add(load.tokens);
                sum.gateways += 1;
                sum.draining += u32::from(load.draining);
            }
        }
        live
    }
}

impl Known {
    /// As a reading of what a trigger asks for; none where no gateway routes the target.
    #[must_use]
    pub fn reading(self, metric: GatewayMetric) -> Option<Reading> {
        match self {
            Known::Nobody => None,
            Known::Fresh(demand) => Some(Reading::Value { value: demand.of(metric), active: None }),
            Known::Stale(demand, age) => Some(Reading::Stale { value: demand.of(metric), age }),
        }
    }

    /// As a reading of whether anything is asked for. What is certain counts: requests at a gateway that
    /// speaks make the target active whatever a silent one has; without any, silence is no zero.
    #[must_use]
    pub fn wanted(self) -> Option<Reading> {
        let metric = GatewayMetric::Demand;
        match self {
            Known::Stale(demand, _) if demand.of(metric) > 0.0 => Known::Fresh(demand).reading(metric),
            known => known.reading(metric),
        }
    }
}

fn unroute(routed: &mut BTreeMap<Key, BTreeSet<Arc<str>>>, key: &Key, gateway: &Arc<str>) {
    if let Some(gateways) = routed.get_mut(key) {
        gateways.remove(gateway);
        if gateways.is_empty() {
            routed.remove(key);
        }
    }
}
