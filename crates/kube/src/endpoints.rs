//! What stands behind a service: its EndpointSlices, watched for as long as somebody asks.
//!
//! Few triggers ask, and slices change with every pod of a cluster: so only those of the services asked
//! for are watched, each by the label that names its service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tidegate_signals::metrics_api::{Endpoints, Service};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::watch::{Backoff, said};

/// Services watched at once. Each is a stream of some 30 KB.
const SERVICES_MAX: usize = 500;

/// After so long without a question a service is watched no more: ten polls of KEDA's default of 30 s.
const UNASKED: Duration = Duration::from_secs(300);

/// How long the first question waits for the first list: less than a metrics-api trigger has for all.
const FIRST_LIST: Duration = Duration::from_secs(2);

/// Slices kept of a service: each has up to 100 endpoints, and of all no more than 1,000 are asked.
const SLICES_MAX: usize = 100;

/// The services somebody asks for. Clones are the same.
#[derive(Clone)]
pub struct Services(Arc<Inner>);

struct Inner {
    client: Client,
    watched: Mutex<BTreeMap<(String, String), Watched>>,
}

/// A service, while it is watched.
struct Watched {
    known: watch::Receiver<Known>,
    asked: Instant,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is known of a service.
#[derive(Clone, Debug, Default)]
struct Known {
    listed: bool,
    trouble: Option<String>,
    slices: BTreeMap<String, Slice>,
}

/// A slice's ready addresses and the ports that their pods listen on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Slice {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("watched", &self.watched().len()).finish_non_exhaustive()
    }
}

impl Services {
    /// Nothing is watched yet. It needs a tokio runtime when it is asked.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Services(Arc::new(Inner { client, watched: Mutex::default() }))
    }

    /// For readers.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        let services = self.clone();
        Arc::new(move |service| {
            let (services, service) = (services.clone(), service.clone());
            Box::pin(async move { services.of(&service).await })
        })
    }

    /// The ready endpoints of a service; what was seen last while the API server is away.
    ///
    /// # Errors
    /// When they were never seen, or too many services are asked for.
    async fn of(&self, service: &Service) -> Result<Vec<SocketAddr>, String> {
        let mut known = self.follow(service)?;
        let first = known.wait_for(|known| known.listed || known.trouble.is_some());
        let waited = tokio::time::timeout(FIRST_LIST, first).await;
        match waited {
            Ok(Ok(known)) if known.listed => Ok(known.at(service.port)),
            Ok(Ok(known)) => Err(known.trouble.clone().unwrap_or_default()),
            Ok(Err(_)) => Err("its EndpointSlices are no longer watched; it is asked again".to_owned()),
            Err(_) => Err(format!("its EndpointSlices are not listed within {} s", FIRST_LIST.as_secs())),
        }
    }

    fn follow(&self, service: &Service) -> Result<watch::Receiver<Known>, String> {
        let mut watched = self.watched();
        watched.retain(|_, one| one.asked.elapsed() < UNASKED);
        let place = (service.namespace.clone(), service.name.clone());
        if let Some(one) = watched.get_mut(&place) {
            one.asked = Instant::now();
            return Ok(one.known.clone());
        }
        if watched.len() >= SERVICES_MAX {
            return Err(format!("endpoints of {SERVICES_MAX} services are watched already; use fewer"));
        }
        let (out, known) = watch::channel(Known::default());
        let task = tokio::spawn(run(self.0.client.clone(), service.clone(), out)).abort_handle();
        watched.insert(place, Watched { known: known.clone(), asked: Instant::now(), task });
        Ok(known)
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<(String, String), Watched>> {
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The endpoints that listen on this port. A slice with one other port means that one: the URL may have
    /// the service's port, and slices have the pods'.
    fn at(&self, port: u16) -> Vec<SocketAddr> {
        let mut all = BTreeSet::new();
        for slice in self.slices.values() {
            let port = match slice.ports.as_slice() {
                [only] => *only,
                ports if ports.is_empty() || ports.contains(&port) => port,
                _ => continue,
            };
            all.extend(slice.addresses.iter().map(|address| SocketAddr::new(*address, port)));
        }
        all.into_iter().collect()
    }

    fn take(&mut self, listing: &mut BTreeMap<String, Slice>, event: Event<EndpointSlice>) {
        self.trouble = None;
        match event {
            Event::Init => listing.clear(),
            Event::InitApply(slice) => put(listing, &slice),
            Event::InitDone => {
                self.slices = std::mem::take(listing);
                self.listed = true;
            }
            Event::Apply(slice) => put(&mut self.slices, &slice),
            Event::Delete(slice) => {
                self.slices.remove(slice.metadata.name.as_deref().unwrap_or_default());
            }
        }
    }
}

fn put(slices: &mut BTreeMap<String, Slice>, slice: &EndpointSlice) {
    let name = slice.metadata.name.clone().unwrap_or_default();
    if slices.len() >= SLICES_MAX && !slices.contains_key(&name) {
        return;
    }
    // An endpoint that does not say is to be taken for ready.
    let ready = slice.endpoints.iter().filter(|endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    // Several addresses of an endpoint are the same pod's; the first is enough.
    let addresses = ready.filter_map(|endpoint| endpoint.addresses.first()?.parse().ok()).collect();
    let ports = slice.ports.iter().flatten().filter_map(|port| u16::try_from(port.port?).ok()).collect();
    slices.insert(name, Slice { addresses, ports });
}

async fn run(client: Client, service: Service, out: watch::Sender<Known>) {
    let api: Api<EndpointSlice> = Api::namespaced(client, &service.namespace);
    let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={}", service.name));
    let mut stream = std::pin::pin!(watcher::watcher(api, config).backoff(Backoff::default()));
    let mut listing = BTreeMap::new();
    while let Some(event) = stream.next().await {
        out.send_modify(|known| match event {
            Ok(event) => known.take(&mut listing, event),
            Err(error) => known.trouble = Some(said(&error)),
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(name: &str, endpoints: &serde_json::Value, ports: &[u16]) -> EndpointSlice {
        let ports: Vec<_> = ports.iter().map(|port| json!({"port": port})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": name}, "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
        }))
        .unwrap()
    }

    fn known(slices: Vec<EndpointSlice>) -> Known {
        let (mut known, mut listing) = (Known::default(), BTreeMap::new());
        known.take(&mut listing, Event::Init);
        for slice in slices {
            known.take(&mut listing, Event::InitApply(slice));
        }
        assert!(!known.listed, "half a list is none");
        known.take(&mut listing, Event::InitDone);
        known
    }

    #[test]
    fn ready_endpoints_of_all_slices_are_given_once() {
        let some = json!([
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"]},
        ]);
        let more = json!([{"addresses": ["10.0.0.3"]}, {"addresses": ["host.example"]}]);
        let known = known(vec![slice("a", &some, &[8000]), slice("b", &more, &[8000])]);
        let expected: Vec<SocketAddr> =
            vec!["10.0.0.1:8000".parse().unwrap(), "10.0.0.3:8000".parse().unwrap()];
        assert_eq!(known.at(8000), expected);
        assert_eq!(known.at(80), expected, "80 is the service's, 8000 the pods' only one");
    }

    #[test]
    fn of_several_ports_the_one_asked_for_counts() {
        let one = json!([{"addresses": ["10.0.0.1"]}]);
        let known = known(vec![slice("a", &one, &[8000, 9000])]);
        assert_eq!(known.at(9000), vec!["10.0.0.1:9000".parse().unwrap()]);
        assert!(known.at(80).is_empty());
    }

    #[test]
    fn a_slice_that_goes_takes_its_endpoints_along() {
        let one = json!([{"addresses": ["10.0.0.1"]}]);
        let mut known = known(vec![slice("a", &one, &[8000])]);
        known.take(&mut BTreeMap::new(), Event::Delete(slice("a", &one, &[8000])));
        assert!(known.at(8000).is_empty());
    }
}
