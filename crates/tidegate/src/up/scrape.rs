//! Scrapes of ready replicas: what they say goes to the gateway at once, and to the pages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_core::route::{EndpointId, EngineLoad};
use tidegate_core::time::Time;
use tidegate_gateway::Gateway;
use tidegate_local::Unit;
use tidegate_metrics::sample::EngineSample;
use tidegate_signals::scrape::{Pace, Replica};
use tidegate_signals::{Clock, Scraper, Series};

/// Asks replicas, and remembers what they said last.
pub(crate) struct Scrapes {
    scraper: Scraper,
    known: Mutex<Known>,
}

/// A sample, and when it was taken.
type Said = (Arc<EngineSample>, Time);

#[derive(Default)]
struct Known {
    /// What is to be known of a target's replicas to ask them.
    targets: BTreeMap<Arc<str>, (Unit, Option<Arc<Series>>)>,
    /// By replica: where it is in the gateway, and what it said last.
    replicas: BTreeMap<Arc<str>, (EndpointId, Option<Said>)>,
}

impl Scrapes {
    /// Begins; nobody is asked yet.
    pub(crate) fn start(gateway: Arc<Gateway>, clock: super::clock::Clock) -> Arc<Scrapes> {
        let (scraper, mut results) = Scraper::new(Pace::default(), Clock::new(move || clock.now()));
        let scrapes = Arc::new(Scrapes { scraper, known: Mutex::default() });
        let told = Arc::clone(&scrapes);
        tokio::spawn(async move {
            while let Some(scrape) = results.recv().await {
                let Ok(scraped) = scrape.result else { continue };
                let mut known = told.known();
                let Some((endpoint, sample)) = known.replicas.get_mut(&scrape.endpoint) else { continue };
                let load = load(&scraped.sample);
                let endpoint = *endpoint;
                *sample = Some((Arc::new(scraped.sample), scrape.at));
                drop(known);
                gateway.load(endpoint, load);
            }
        });
        scrapes
    }

    /// What there is to know of a target before its replicas are there.
    pub(crate) fn target(&self, unit: &Unit, series: Option<Arc<Series>>) {
        self.known().targets.insert(Arc::clone(&unit.target), (unit.clone(), series));
    }

    /// A replica is ready: it is asked from now on.
    pub(crate) fn add(&self, target: &str, replica: &Arc<str>, addr: std::net::SocketAddr, id: EndpointId) {
        let mut known = self.known();
        known.replicas.insert(Arc::clone(replica), (id, None));
        let Some((unit, series)) = known.targets.get(target) else { return };
        let asked = Replica {
            id: replica,
            namespace: &unit.template.namespace,
            pod: replica,
            container: &unit.template.container,
            kind: "deployment",
            workload: &unit.workload,
            addr,
            path: unit.engine.map_or("/metrics", |engine| engine.metrics_path()),
            engine: unit.engine,
            key: unit.upstream_key.as_ref().map(|key| key.0.as_str()),
            tls: None,
            model: unit.models.first().map(String::as_str),
        };
        let Some(endpoint) = asked.endpoint(series.clone()) else { return };
        drop(known);
        self.scraper.add(endpoint);
    }

    /// A replica is leaving or gone.
    pub(crate) fn remove(&self, replica: &str) {
        self.scraper.remove(replica);
        self.known().replicas.remove(replica);
    }

    /// Share of a replica's KV cache in use.
    pub(crate) fn kv_use(&self, replica: &str) -> Option<f64> {
        self.sample(replica).and_then(|(sample, _)| sample.kv_use)
    }

    /// What a replica said last, and when.
    pub(crate) fn sample(&self, replica: &str) -> Option<Said> {
        self.known().replicas.get(replica).and_then(|(_, sample)| sample.clone())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a gateway is told of an engine.
pub(crate) fn load(sample: &EngineSample) -> EngineLoad {
    EngineLoad { running: whole(sample.running), waiting: whole(sample.waiting), kv_use: sample.kv_use }
}

/// A gauge as a count; what is no count is none.
fn whole(gauge: Option<f64>) -> u32 {
    gauge.filter(|value| value.is_finite()).map_or(0, |value| value.clamp(0.0, f64::from(u32::MAX)) as u32)
}
