//! Pods asked for their metrics each second, as `up` asks its replicas: what an engine runs and queues is more than
//! one of several gateways has given it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_core::route::EndpointId;
use tidegate_gateway::Gateway;
use tidegate_kube::routes::Route;
use tidegate_signals::scrape::{Pace, Replica};
use tidegate_signals::{Clock, Scraper};

use super::join::Place;
use crate::up::scrape::load;

/// Who is asked, and where each is in the gateway.
pub(super) struct Scrapes {
    scraper: Scraper,
    asked: Arc<Mutex<BTreeMap<Arc<str>, Asked>>>,
}

struct Asked {
    at: SocketAddr,
    endpoint: EndpointId,
    /// Share of its KV cache in use, as it said last.
    kv_use: Option<f64>,
}

impl Scrapes {
    /// Begins; nobody is asked yet.
    pub(super) fn start(gateway: Arc<Gateway>) -> Self {
        let clock = gateway.clock();
        let (scraper, mut results) = Scraper::new(Pace::default(), Clock::new(move || clock.now()));
        let asked: Arc<Mutex<BTreeMap<Arc<str>, Asked>>> = Arc::default();
        let known = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Some(scrape) = results.recv().await {
                let Ok(scraped) = scrape.result else { continue };
                let endpoint = {
                    let mut known = lock(&known);
                    let Some(asked) = known.get_mut(&scrape.endpoint) else { continue };
                    asked.kv_use = scraped.sample.kv_use;
                    asked.endpoint
                };
                gateway.load(endpoint, load(&scraped.sample));
            }
        });
        Scrapes { scraper, asked }
    }

    /// A pod is in the gateway under this number. It is asked where its template says that there are metrics.
    pub(super) fn put(&self, place: &Place, route: &Route, endpoint: EndpointId) {
        let at = route.endpoints.get(&place.1).and_then(|known| known.metrics);
        let (Some(at), Some(page)) = (at, &route.page) else { return self.remove(place) };
        let id = name(place);
        let mut asked = lock(&self.asked);
        if let Some(known) = asked.get_mut(&id).filter(|known| known.at == at) {
            known.endpoint = endpoint;
            return;
        }
        let (namespace, workload) = route.name.split_once('/').unwrap_or(("default", &route.name));
        let replica = Replica {
            id: &id,
            namespace,
            pod: &place.1,
            container: &page.container,
            kind: "workload",
            workload,
            addr: at,
            path: &page.path,
            engine: page.engine,
            key: page.key.as_deref(),
            tls: None,
            model: None,
        };
        // As many as one scraper asks; of the others the gateway knows what it gave them.
        if replica.endpoint(None).is_some_and(|one| self.scraper.add(one)) {
            asked.insert(id, Asked { at, endpoint, kv_use: None });
        }
    }

    /// A pod is gone.
    pub(super) fn remove(&self, place: &Place) {
        let id = name(place);
        if lock(&self.asked).remove(&id).is_some() {
            self.scraper.remove(&id);
        }
    }

    /// Share of a pod's KV cache in use.
    pub(super) fn kv_use(&self, place: &Place) -> Option<f64> {
        lock(&self.asked).get(&name(place))?.kv_use
    }
}

fn name(place: &Place) -> Arc<str> {
    format!("{}/{}", place.0, place.1).into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
