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

/// For so long after a beginning a gateway may take to say its first word: they connect within five seconds, and look
/// names up again every five.
pub const FIRST_WORD: Span = Span::from_secs(20);

/// Two gateways of one pod are one that was restarted in place, if the older has said nothing for so long: two that are
/// both at work speak each second.
const SUCCEEDED_AFTER: Span = Span::from_secs(2);

/// Gateways at the most. At 10,000 requests a second each, nobody has more; what a further one says is not
/// taken.
pub const GATEWAYS_MAX: usize = 64;

/// What is known of the demand for one target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known {
    /// No gateway routes it, nor should one.
    Nobody,
    /// Every gateway that routes it has spoken lately.
    Fresh(Demand),
    /// One of them is silent or missing, for so long; what it said last is in the sum.
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
    expected: Option<Expected>,
    /// Grows with each change of who is known and what they route.
    version: u64,
}

/// Who is known, and what is routed: what an operator that comes after is to expect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// Gateways, and their pods where these are known.
    pub gateways: Vec<(Arc<str>, Option<Id>)>,
    /// What some of them route.
    pub targets: BTreeSet<Key>,
}

/// What the operator before knew, until it shows here.
#[derive(Debug)]
struct Expected {
    since: Time,
    /// How many gateways there were: new ones may have come in their place.
    gateways: usize,
    targets: BTreeSet<Key>,
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
    /// The clock has jumped: what was heard is no older than before.
    pub fn shift(&mut self, moved: Span) {
        self.gateways.values_mut().for_each(|gateway| gateway.heard = gateway.heard + moved);
        if let Some(expected) = &mut self.expected {
            expected.since = expected.since + moved;
        }
    }

    /// Takes what a gateway says.
    pub fn take(&mut self, report: Report, now: Time) -> Turned {
        let Report { gateway, pod, whole, leaves, targets } = report;
        if !self.gateways.contains_key(&gateway) && self.gateways.len() >= GATEWAYS_MAX {
            return Turned::default();
        }
        let succeeded = if whole { self.succeeded(&gateway, pod.as_ref(), now) } else { Vec::new() };
        let mut touched: BTreeSet<Key> = match self.gateways.get(&gateway) {
            Some(known) if whole || leaves => known.targets.keys().chain(targets.keys()).cloned().collect(),
            _ => targets.keys().cloned().collect(),
        };
        let theirs = succeeded.iter().filter_map(|name| self.gateways.get(name));
        touched.extend(theirs.flat_map(|gateway| gateway.targets.keys().cloned()));
        let before: Vec<(Key, bool)> =
            touched.into_iter().map(|key| (key.clone(), self.anything(&key))).collect();
        let begun = targets.keys().filter(|key| !self.routed.contains_key(*key)).cloned().collect();
        succeeded.iter().for_each(|name| self.forget(name));
        if leaves {
            self.forget(&gateway);
        } else {
            self.put(gateway, pod, whole, targets, now);
        }
        let edges = before.into_iter().filter(|(key, was)| self.anything(key) != *was).map(|(key, _)| key);
        Turned { edges: edges.collect(), begun }
    }

    /// Gateways that were in the same pod before this one: a container that is restarted in place comes back under
    /// another name, and what it had in flight is over.
    fn succeeded(&self, name: &Arc<str>, pod: Option<&Id>, now: Time) -> Vec<Arc<str>> {
        let Some(pod) = pod else { return Vec::new() };
        let same = self.gateways.iter().filter(|(other, gateway)| {
            *other != name && gateway.pod.as_ref() == Some(pod) && now.since(gateway.heard) > SUCCEEDED_AFTER
        });
        same.map(|(other, _)| Arc::clone(other)).collect()
    }

    /// Expects whom the operator before knew. Those that have not spoken here yet are silent from the beginning: what
    /// one of them has in flight is not known, and the share of the others is not all there is.
    pub fn expect(&mut self, roll: Roll, now: Time) {
        let Roll { gateways, targets } = roll;
        if gateways.is_empty() && targets.is_empty() {
            return;
        }
        let count = gateways.len();
        for (name, pod) in gateways {
            let known = self.gateways.contains_key(&name) || self.gateways.len() >= GATEWAYS_MAX;
            let here = |gateway: &Gateway| pod.is_some() && gateway.pod == pod;
            if known || self.gateways.values().any(here) {
                continue;
            }
            let heard = now - SILENT_AFTER - Span::from_secs(1);
            for key in &targets {
                self.routed.entry(key.clone()).or_default().insert(Arc::clone(&name));
            }
            // Which of them were its own is not kept: its first report says.
            let targets = targets.iter().map(|key| (key.clone(), Told::default())).collect();
            self.gateways.insert(name, Gateway { heard, pod, targets });
        }
        self.expected = Some(Expected { since: now, gateways: count, targets });
        self.version += 1;
    }

    /// Who is known and what they route, for who comes after; with a number that grows when it changes.
    #[must_use]
    pub fn roll(&self) -> Roll {
        let gateways =
            self.gateways.iter().map(|(name, gateway)| (Arc::clone(name), gateway.pod.clone())).collect();
        let expected = self.expected.iter().flat_map(|expected| &expected.targets);
        Roll { gateways, targets: self.routed.keys().chain(expected).cloned().collect() }
    }

    /// Grows with each change of [`Book::roll`].
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// For how long a gateway has been missing that should route a target: where nobody routes it yet, and shortly
    /// after a beginning also where fewer do than there were.
    fn missing(&self, key: &Key, now: Time) -> Option<Span> {
        let expected = self.expected.as_ref().filter(|expected| expected.targets.contains(key))?;
        let over = now.since(expected.since);
        let routing = self.routed.get(key).map_or(0, BTreeSet::len);
        let patience = if routing == 0 { FORGOTTEN_AFTER } else { FIRST_WORD };
        (routing < expected.gateways && over <= patience).then_some(over)
    }

    fn put(&mut self, name: Arc<str>, pod: Option<Id>, whole: bool, targets: BTreeMap<Key, Told>, now: Time) {
        self.version += u64::from(!self.gateways.contains_key(&name));
        let gateway = self.gateways.entry(Arc::clone(&name)).or_insert_with(|| Gateway {
            heard: now,
            pod: None,
            targets: BTreeMap::new(),
        });
        gateway.heard = now;
        if pod.is_some() && gateway.pod != pod {
            gateway.pod = pod;
            self.version += 1;
        }
        if whole {
            let gone: Vec<Key> =
                gateway.targets.keys().filter(|key| !targets.contains_key(key)).cloned().collect();
            for key in gone {
                self.version += 1;
                gateway.targets.remove(&key);
                unroute(&mut self.routed, &key, &name);
            }
        }
        for (key, mut told) in targets {
            let new = self.routed.entry(key.clone()).or_default().insert(Arc::clone(&name));
            self.version += u64::from(new);
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
        if self.expected.as_ref().is_some_and(|expected| now.since(expected.since) > FORGOTTEN_AFTER) {
            self.expected = None;
            self.version += 1;
        }
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
        self.version += 1;
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

    /// Whether some gateway routes a target, or is expected to.
    #[must_use]
    pub fn routes(&self, key: &Key, now: Time) -> bool {
        self.routed.contains_key(key) || self.missing(key, now).is_some()
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

    /// For how long the most silent of a target's gateways has been silent, or one has been missing; none while all
    /// speak.
    fn silence(&self, key: &Key, now: Time) -> Option<Span> {
        let ages = self.of(key).map(|(gateway, _)| now.since(gateway.heard));
        ages.max().filter(|age| *age > SILENT_AFTER).max(self.missing(key, now))
    }

    /// What is asked of a target, by all gateways together.
    #[must_use]
    pub fn demand(&self, key: &Key, now: Time) -> Known {
        if !self.routes(key, now) {
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
        let fresh = self.routes(key, now) && self.silence(key, now).is_none();
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
