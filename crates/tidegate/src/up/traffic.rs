//! What the processes ask of the traffic: the machine tells of replicas here, and the gateway answers.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_core::route::{EndpointId, Outlook};
use tidegate_gateway::Gateway;
use tidegate_local::Traffic;

use super::scrape::Scrapes;

/// Joins replicas, by name, with endpoints, by number.
pub(crate) struct Joined {
    gateway: Arc<Gateway>,
    scrapes: Arc<Scrapes>,
    endpoints: Mutex<BTreeMap<Replica, EndpointId>>,
}

/// Target and replica.
type Replica = (Arc<str>, Arc<str>);

impl Joined {
    pub(crate) fn new(gateway: Arc<Gateway>, scrapes: Arc<Scrapes>) -> Self {
        Joined { gateway, scrapes, endpoints: Mutex::default() }
    }

    fn endpoints(&self) -> MutexGuard<'_, BTreeMap<Replica, EndpointId>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, target: &str, replica: &str) -> Option<EndpointId> {
        self.endpoints().get(&(Arc::from(target), Arc::from(replica))).copied()
    }
}

impl Traffic for Joined {
    fn ready(&self, target: &str, replica: &str, address: SocketAddr) {
        let replica: Arc<str> = Arc::from(replica);
        let id = match self.gateway.endpoint_ready(target, address, Arc::clone(&replica)) {
            Ok(id) => id,
            // A worker that answers nobody, or a target that went while its replica came.
            Err(error) => return tracing::debug!(%error, %replica, "not routed"),
        };
        self.scrapes.add(target, &replica, address, id);
        let before = self.endpoints().insert((Arc::from(target), replica), id);
        // It was unready for a while: what it still has in flight is finished under its old number.
        if let Some(old) = before {
            self.gateway.endpoint_gone(old);
        }
    }

    fn unready(&self, target: &str, replica: &str) {
        if let Some(id) = self.id(target, replica) {
            drop(self.gateway.endpoint_drain(id));
        }
    }

    fn drain(&self, target: &str, replica: &str) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        match self.id(target, replica) {
            Some(id) => Box::pin(self.gateway.endpoint_drain(id)),
            None => Box::pin(std::future::ready(())),
        }
    }

    fn gone(&self, target: &str, replica: &str) {
        self.scrapes.remove(replica);
        let known = self.endpoints().remove(&(Arc::from(target), Arc::from(replica)));
        if let Some(id) = known {
            self.gateway.endpoint_gone(id);
        }
    }

    fn order(&self, target: &str, replicas: &[Arc<str>]) -> Vec<Arc<str>> {
        let by_work = self.gateway.least_busy(target);
        let rank = |replica: &Arc<str>| {
            let id = self.id(target, replica);
            by_work.iter().position(|known| Some(*known) == id).unwrap_or(usize::MAX)
        };
        let mut ordered = replicas.to_vec();
        ordered.sort_by_cached_key(rank);
        ordered
    }

    fn outlook(&self, target: &str, outlook: Outlook) {
        // A target that has just gone needs none.
        let _ = self.gateway.outlook(target, outlook);
    }
}
