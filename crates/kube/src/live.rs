//! How much each pod has to do, and which pods are being drained: between who sees requests (gateways,
//! scrapes of engines) and who takes pods away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_core::time::{Span, Time};
use tokio::sync::watch;

/// What was said of a pod longer ago is not known any more: five scrapes, or five pushes of a gateway.
const FRESH: Span = Span::from_secs(5);

/// Pods remembered: as many as can be scraped, and as many again that only gateways know.
const PODS_MAX: usize = 10_000;

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Pod {
    /// From `namespace/name`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        Some(Pod { namespace: namespace.into(), name: name.into() })
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<Pod> for Arc<str> {
    fn from(pod: Pod) -> Self {
        pod.to_string().into()
    }
}

/// Requests of one pod, as seen by each who sees some.
#[derive(Clone, Debug, Default)]
struct Counts {
    engine: Option<(f64, Time)>,
    /// By gateway: each knows only of its own.
    gateways: BTreeMap<Arc<str>, (f64, Time)>,
}

/// Shared by the loop, the scrapes and whoever hears gateways. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Live {
    counts: Arc<Mutex<BTreeMap<Pod, Counts>>>,
    draining: Arc<watch::Sender<BTreeSet<Pod>>>,
}

impl Default for Live {
    fn default() -> Self {
        Live { counts: Arc::default(), draining: Arc::new(watch::Sender::new(BTreeSet::new())) }
    }
}

impl Live {
    /// The pod's engine says so: requests that run or wait in it.
    pub fn engine(&self, pod: &Pod, requests: f64, at: Time) {
        self.put(pod, at, |counts| counts.engine = Some((requests, at)));
    }

    /// A gateway says so: requests that it has in flight at the pod.
    pub fn gateway(&self, gateway: &Arc<str>, pod: &Pod, requests: f64, at: Time) {
        self.put(pod, at, |counts| {
            counts.gateways.retain(|_, (_, said)| at.since(*said) < FRESH);
            counts.gateways.insert(Arc::clone(gateway), (requests, at));
        });
    }

    fn put(&self, pod: &Pod, at: Time, put: impl FnOnce(&mut Counts)) {
        let mut all = self.counts();
        if all.len() >= PODS_MAX && !all.contains_key(pod) {
            all.retain(|_, counts| counts.at(at).is_some());
            if all.len() >= PODS_MAX {
                return;
            }
        }
        put(all.entry(pod.clone()).or_default());
    }

    /// How many requests a pod has now: the most that anybody sees, for a request may have come past the
    /// gateways, or not have reached the engine's count yet. `None` where nobody has said for five seconds.
    #[must_use]
    pub fn requests(&self, pod: &Pod, now: Time) -> Option<f64> {
        self.counts().get(pod)?.at(now)
    }

    /// The pods that are to get no new requests. Gateways watch this.
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<BTreeSet<Pod>> {
        self.draining.subscribe()
    }

    /// These pods are to get no new requests, and no others of those `among` which they were chosen.
    pub(crate) fn drain(&self, among: impl Fn(&Pod) -> bool, pods: &BTreeSet<Pod>) {
        self.draining.send_if_modified(|all| {
            let mut next: BTreeSet<Pod> = all.iter().filter(|pod| !among(pod)).cloned().collect();
            next.extend(pods.iter().cloned());
            let changed = next != *all;
            *all = next;
            changed
        });
    }

    /// The clock has jumped: what was said is no older than before.
    pub(crate) fn shift(&self, moved: Span) {
        let mut all = self.counts();
        for counts in all.values_mut() {
            let said = counts.engine.iter_mut().chain(counts.gateways.values_mut());
            said.for_each(|(_, at)| *at = *at + moved);
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Pod, Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn at(&self, now: Time) -> Option<f64> {
        let fresh = |said: &(f64, Time)| (now.since(said.1) < FRESH).then_some(said.0);
        let gateways: Vec<f64> = self.gateways.values().filter_map(fresh).collect();
        let by_gateways = (!gateways.is_empty()).then(|| gateways.iter().sum::<f64>());
        let by_engine = self.engine.as_ref().and_then(fresh);
        match (by_engine, by_gateways) {
            (Some(engine), Some(gateways)) => Some(engine.max(gateways)),
            (one, other) => one.or(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_secs(seconds)
    }

    #[test]
    fn gateways_are_summed_and_the_engine_may_know_of_more() {
        let (live, pod) = (Live::default(), Pod::parse("prod/a").unwrap());
        assert_eq!(live.requests(&pod, at(0)), None, "nobody has said");
        live.gateway(&"one".into(), &pod, 2.0, at(0));
        live.gateway(&"two".into(), &pod, 3.0, at(1));
        live.engine(&pod, 4.0, at(1));
        assert_eq!(live.requests(&pod, at(1)), Some(5.0));
        live.engine(&pod, 7.0, at(2));
        assert_eq!(live.requests(&pod, at(2)), Some(7.0));
    }

    #[test]
    fn what_was_said_long_ago_is_not_known_any_more() {
        let (live, pod) = (Live::default(), Pod::parse("prod/a").unwrap());
        live.gateway(&"one".into(), &pod, 2.0, at(0));
        live.gateway(&"two".into(), &pod, 3.0, at(3));
        assert_eq!(live.requests(&pod, at(6)), Some(3.0));
        assert_eq!(live.requests(&pod, at(8)), None);
    }

    #[test]
    fn a_clock_that_jumps_makes_nobody_s_word_older() {
        let (live, pod) = (Live::default(), Pod::parse("prod/a").unwrap());
        live.gateway(&"one".into(), &pod, 2.0, at(0));
        live.engine(&pod, 4.0, at(1));
        assert_eq!(live.requests(&pod, at(62)), None, "so it is without the jump");
        live.shift(Span::from_secs(60));
        assert_eq!(live.requests(&pod, at(62)), Some(4.0));
        live.engine(&pod, 1.0, at(58));
        assert_eq!(live.requests(&pod, at(64)), Some(2.0), "the gateway's, of four seconds ago");
        assert_eq!(live.requests(&pod, at(65)), None);
    }

    #[test]
    fn a_drain_of_one_workload_leaves_the_others_alone() {
        let live = Live::default();
        let (a, b) = (Pod::parse("prod/a").unwrap(), Pod::parse("prod/b").unwrap());
        let mut heard = live.draining();
        live.drain(|pod| pod.name.starts_with('a'), &BTreeSet::from([a.clone()]));
        live.drain(|pod| pod.name.starts_with('b'), &BTreeSet::from([b.clone()]));
        assert_eq!(*heard.borrow_and_update(), BTreeSet::from([a, b.clone()]));
        live.drain(|pod| pod.name.starts_with('b'), &BTreeSet::from([b]));
        assert!(!heard.has_changed().unwrap(), "nothing has changed");
        live.drain(|pod| pod.name.starts_with('a'), &BTreeSet::new());
        assert_eq!(heard.borrow_and_update().len(), 1);
    }
}
