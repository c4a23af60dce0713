//! Pods asked for their metrics each second, as `up` asks its replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_core::time::Time;
use tidegate_metrics::sample::EngineSample;
use tidegate_signals::scrape::{Pace, Replica};
use tidegate_signals::{Clock, Scraper};

use super::entry::Entry;
use super::work::objective;
use crate::index::Index;
use crate::index::target::Key;
use crate::live::{Live, Pod};

/// Who is asked.
#[derive(Debug)]
pub(super) struct Scrapes {
    scraper: Scraper,
    /// Pods of each target by their name among endpoints, and where they are.
    asked: BTreeMap<Key, BTreeMap<Arc<str>, SocketAddr>>,
    /// Targets with pods that are one too many to be asked.
    lacking: BTreeSet<Key>,
    samples: Samples,
}

/// What a pod said last, and when.
pub(super) type Said = (Arc<EngineSample>, Time);

/// What pods of targets of policy `slo` said last; nobody else's page is kept.
#[derive(Clone, Debug, Default)]
struct Samples(Arc<Mutex<BTreeMap<Arc<str>, Option<Said>>>>);

impl Samples {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Option<Said>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scrapes {
    /// Begins; nobody is asked yet. What engines say of their requests goes to `live`.
    pub(super) fn start(clock: Clock, live: Live) -> Self {
        let (scraper, mut results) = Scraper::new(Pace::default(), clock);
        let samples = Samples::default();
        let kept = samples.clone();
        tokio::spawn(async move {
            while let Some(scrape) = results.recv().await {
                let (Ok(scraped), Some(pod)) = (scrape.result, Pod::parse(&scrape.endpoint)) else {
                    continue;
                };
                let requests: f64 =
                    [scraped.sample.running, scraped.sample.waiting].into_iter().flatten().sum();
                if scraped.sample.running.is_some() && requests.is_finite() {
                    live.engine(&pod, requests, scrape.at);
                }
                if let Some(said) = kept.all().get_mut(&scrape.endpoint) {
                    *said = Some((Arc::new(scraped.sample), scrape.at));
                }
            }
        });
        Scrapes { scraper, asked: BTreeMap::new(), lacking: BTreeSet::new(), samples }
    }

    /// Asks the pods of a target that are ready, and no others any more.
    pub(super) fn follow(&mut self, entry: &Entry, index: &Index) {
        let mut wanted = wanted(entry, index);
        let before = self.asked.remove(&entry.key).unwrap_or_default();
        for id in before.keys().filter(|id| !wanted.contains_key(*id)) {
            self.remove(id);
        }
        let count = wanted.len();
        wanted.retain(|id, addr| before.get(id) == Some(&*addr) || self.add(entry, id, *addr));
        if wanted.len() < count {
            self.lacking.insert(entry.key.clone());
        } else {
            self.lacking.remove(&entry.key);
        }
        self.keep(wanted.keys(), is_slo(entry));
        if !wanted.is_empty() {
            self.asked.insert(entry.key.clone(), wanted);
        }
    }

    /// What these pods say is kept, or is not any more.
    fn keep<'k>(&self, pods: impl Iterator<Item = &'k Arc<str>>, keep: bool) {
        let mut samples = self.samples.all();
        // Where nobody has policy `slo` there is nothing to look for.
        if keep {
            pods.for_each(|id| {
                samples.entry(Arc::clone(id)).or_default();
            });
        } else if !samples.is_empty() {
            pods.for_each(|id| {
                samples.remove(id);
            });
        }
    }

    /// What a pod of a target of policy `slo` said last.
    pub(super) fn said(&self, pod: &Arc<str>) -> Option<Said> {
        self.samples.all().get(pod).cloned().flatten()
    }

    fn remove(&self, pod: &Arc<str>) {
        self.scraper.remove(pod);
        self.samples.all().remove(pod);
    }

    /// Whether some of a target's pods are not asked: what the others say is then too low.
    pub(super) fn lacks(&self, key: &Key) -> bool {
        self.lacking.contains(key)
    }

    fn add(&self, entry: &Entry, id: &Arc<str>, addr: SocketAddr) -> bool {
        let (Some(page), Some(workload)) = (&entry.page, &entry.workload) else { return false };
        let Some(pod) = Pod::parse(id) else { return false };
        let kind = workload.kind.gvk().kind.to_lowercase();
        let replica = Replica {
            id,
            namespace: &pod.namespace,
            pod: &pod.name,
            container: &page.container,
            kind: &kind,
            workload: &workload.name,
            addr,
            path: &page.path,
            engine: page.engine,
            key: entry.access.key.as_deref(),
            tls: entry.access.client.as_ref(),
            model: page.models.first().map(String::as_str),
        };
        let series = entry.sources.as_ref().and_then(|sources| sources.series().cloned());
        replica.endpoint(series).is_some_and(|endpoint| self.scraper.add(endpoint))
    }

    /// Asks a target's pods no more, so that they are asked anew: where and with which labels may differ.
    pub(super) fn forget(&mut self, key: &Key) {
        self.lacking.remove(key);
        for id in self.asked.remove(key).unwrap_or_default().into_keys() {
            self.remove(&id);
        }
    }

    /// Asks nobody any more.
    pub(super) fn clear(&mut self) {
        self.lacking.clear();
        for id in std::mem::take(&mut self.asked).into_values().flat_map(BTreeMap::into_keys) {
            self.remove(&id);
        }
    }
}

fn is_slo(entry: &Entry) -> bool {
    entry.spec.as_ref().and_then(objective).is_some()
}

/// The pods to ask and where. What may be no engine is asked only where a query or policy `slo` wants it.
fn wanted(entry: &Entry, index: &Index) -> BTreeMap<Arc<str>, SocketAddr> {
    let (Some(page), Some(workload)) = (&entry.page, &entry.workload) else { return BTreeMap::new() };
    let queried = entry.sources.as_ref().is_some_and(|sources| sources.wants_scrapes());
    if entry.access.trouble.is_some() || !(page.certain || queried || is_slo(entry)) {
        return BTreeMap::new();
    }
    let ready = index.pods_of(workload).filter(|(_, facts)| facts.ready && !facts.deleting);
    ready
        .filter_map(|(id, facts)| {
            let name: Arc<str> =
                Pod { namespace: Arc::clone(&id.namespace), name: Arc::clone(&id.name) }.into();
            Some((name, SocketAddr::new(facts.ip?, page.port)))
        })
        .collect()
}
