//! Signals that the operator answers itself: pods counted, what pods use, and why some have no answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_core::scale::{Event, Pod, Reading};
use tidegate_manifest::trigger::KubernetesWorkload;
use tidegate_signals::{Source, Sources};
use tokio::sync::mpsc;

use super::entry::Entry;
use super::scrapes::Scrapes;
use super::{Error, Operator};
use crate::index::Index;
use crate::index::target::{Asks, Key};
use crate::usage::{self, Usage};

/// What the pods of a namespace use, or why that is not known.
pub(super) type Used = (Arc<str>, Result<Vec<Usage>, String>);

/// Who is being asked what pods use.
#[derive(Debug)]
pub(super) struct Look {
    out: mpsc::Sender<Used>,
    under_way: BTreeSet<Arc<str>>,
}

impl Look {
    pub(super) const fn new(out: mpsc::Sender<Used>) -> Self {
        Look { out, under_way: BTreeSet::new() }
    }
}

impl Operator {
    /// Asks what pods use: once a tick for each namespace where some target wants to know, and not while
    /// the last answer is awaited.
    pub(super) fn look_at_usage(&mut self) {
        let wanting = self.entries.values().filter(|entry| entry.able() && wants_usage(entry));
        let namespaces: BTreeSet<Arc<str>> = wanting.map(|entry| Arc::clone(&entry.key.namespace)).collect();
        for namespace in namespaces {
            if !self.usage.under_way.insert(Arc::clone(&namespace)) {
                continue;
            }
            let (client, out) = (self.connection.client.clone(), self.usage.out.clone());
            self.tasks.spawn(async move {
                let used = usage::read(&client, &namespace).await;
                // The loop has ended when nobody takes it.
                let _ = out.send((namespace, used)).await;
            });
        }
    }

    /// Hands each target of a namespace what its pods use, and which there are.
    pub(super) fn used(&mut self, (namespace, used): Used) -> Result<(), Error> {
        self.usage.under_way.remove(&namespace);
        let used: Result<BTreeMap<String, Usage>, Arc<str>> = match used {
            Ok(all) => Ok(all.into_iter().map(|one| (one.pod.clone(), one)).collect()),
            Err(why) => Err(why.into()),
        };
        let wanting = self.entries.values().filter(|entry| entry.key.namespace == namespace);
        let keys: Vec<Key> =
            wanting.filter(|entry| wants_usage(entry)).map(|entry| entry.key.clone()).collect();
        for key in keys {
            self.use_of(&key, &used)?;
        }
        Ok(())
    }

    /// Hands a target what its pods' own pages say of each.
    pub(super) fn tell_per_pod(&mut self, key: &Key) -> Result<(), Error> {
        // No trigger has such a metric.
        if key.asks != Asks::Autoscaler {
            return Ok(());
        }
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let (Some(sources), Some(id)) = (entry.sources.clone(), entry.workload.clone()) else {
            return Ok(());
        };
        let readings: Vec<(Arc<str>, Reading)> =
            sources.per_pod(now).map(|(signal, reading)| (Arc::clone(signal), reading)).collect();
        if readings.is_empty() {
            return Ok(());
        }
        let why = unscraped(entry, &self.scrapes).map(Arc::<str>::from);
        let mut events = Vec::new();
        for (signal, reading) in readings {
            let reading = why.clone().map_or(reading, Reading::Error);
            entry.readings.insert(Arc::clone(&signal), reading.clone());
            events.push(Event::Reading { signal, reading });
        }
        let pods: Vec<_> = self.index.pods_of(&id).map(|(id, facts)| facts.pod(&id.name)).collect();
        self.measured(key, pods, events)
    }

    /// Tells the machine what was measured of pods, and before it which pods there are where these are others.
    fn measured(&mut self, key: &Key, pods: Vec<Pod>, mut events: Vec<Event>) -> Result<(), Error> {
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        if entry.pods != pods {
            entry.pods.clone_from(&pods);
            events.insert(0, Event::Pods(pods));
        }
        for event in events {
            let actions = self.step(key, &event)?;
            self.act(key, actions)?;
        }
        Ok(())
    }

    fn use_of(&mut self, key: &Key, used: &Result<BTreeMap<String, Usage>, Arc<str>>) -> Result<(), Error> {
        let Some(entry) = self.entries.get_mut(key) else { return Ok(()) };
        let (Some(sources), Some(id)) = (entry.sources.clone(), entry.workload.clone()) else {
            return Ok(());
        };
        let pods: Vec<_> = self.index.pods_of(&id).map(|(id, facts)| facts.pod(&id.name)).collect();
        let mut events = Vec::new();
        for (signal, source) in sources.iter() {
            let Source::Usage { resource, .. } = source else { continue };
            let reading = match used {
                Ok(used) => {
                    let its = pods.iter().filter_map(|pod| used.get(&pod.name));
                    Reading::Samples(its.map(|one| one.sample(resource)).collect())
                }
                Err(why) => Reading::Error(Arc::clone(why)),
            };
            entry.readings.insert(Arc::clone(signal), reading.clone());
            events.push(Event::Reading { signal: Arc::clone(signal), reading });
        }
        self.measured(key, pods, events)
    }
}

fn wants_usage(entry: &Entry) -> bool {
    entry.sources.as_ref().is_some_and(|sources| sources.wants_usage())
}

/// What the operator knows by itself at a tick, and for what nobody here can know the reason: left out, a
/// signal would only look slow.
pub(super) fn readings(
    entry: &Entry,
    sources: &Sources,
    index: &Index,
    scrapes: &Scrapes,
) -> Vec<(Arc<str>, Reading)> {
    let of = |source: &Source| {
        match source {
            Source::Pods(asked) => Some(count(asked, &entry.key.namespace, index)),
            // An empty store says absent, which many a manifest takes for zero.
            Source::Embedded(_) => Some(Reading::Error(unscraped(entry, scrapes)?.into())),
            _ => None,
        }
    };
    sources.iter().filter_map(|(name, source)| Some((Arc::clone(name), of(source)?))).collect()
}

/// Why a target's pods are not asked for their metrics; `None` where they are.
fn unscraped<'e>(entry: &'e Entry, scrapes: &Scrapes) -> Option<&'e str> {
    match &entry.page {
        None => Some(
            "nothing says where the pods' metrics are; give the pod template a port or the annotation \
             prometheus.io/port",
        ),
        Some(_) if entry.access.trouble.is_some() => entry.access.trouble.as_deref(),
        Some(_) if scrapes.lacks(&entry.key) => Some(
            "more pods are to be scraped than one operator asks; give it a share of the cluster, or ask a \
             Prometheus",
        ),
        Some(_) => None,
    }
}

/// Pods that a selector chooses and that have not ended, or the nodes they are on, as KEDA counts them.
fn count(asked: &KubernetesWorkload, namespace: &Arc<str>, index: &Index) -> Reading {
    if index.full() {
        return Reading::Error("there are more pods than are kept, so they cannot be counted".into());
    }
    let chosen = index
        .pods_in(namespace)
        .filter(|(_, facts)| !facts.ended())
        .filter(|(_, facts)| asked.pod_selector.matches(|label| facts.labels.get(label).map(String::as_str)));
    let value = if asked.group_by_node {
        let nodes: BTreeSet<&str> =
            chosen.map(|(_, facts)| facts.node.as_deref().unwrap_or_default()).collect();
        nodes.len()
    } else {
        chosen.count()
    };
    Reading::Value { value: value as f64, active: None }
}
