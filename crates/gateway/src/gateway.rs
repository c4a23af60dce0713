//! The handle by which a driver starts a gateway, tells it of targets and replicas, and reads it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tidegate_core::route::{Demand, EndpointId, EndpointState, EngineLoad, Event, Flow, Outlook};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::config::{Config, TargetConfig};
use crate::serve::{self, Stop};
use crate::stats::Stats;
use crate::table::{Table, Target};
use crate::view::{self, TargetView};
use crate::worker::Shared;

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its address cannot be had.
    #[error("cannot listen on {addr}: {source}; choose another with --gateway-addr, or stop what is there")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread cannot be made.
    #[error("cannot start a gateway thread: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// A target that is not there was named.
    #[error("the gateway has no target {name:?}; name it in set_targets first")]
    NoTarget {
        /// Its name.
        name: String,
    },
}

/// A running gateway. Dropped, it stops at once; [`Gateway::stop`] is the polite way.
pub struct Gateway {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Arc<Stop>,
    ended: Mutex<Vec<oneshot::Receiver<()>>>,
    /// One change of targets at a time.
    changing: Mutex<()>,
}

impl Gateway {
    /// Opens the listeners and starts the threads.
    ///
    /// # Errors
    /// When the address is in use, or the system gives no thread.
    pub fn start(config: Config) -> Result<Gateway, Error> {
        let count = match config.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let listen = |source| Error::Listen { addr: config.listen, source };
        let (addr, listeners) = serve::listen(config.listen, count).map_err(listen)?;
        let (shared, stop) = (Arc::new(Shared::new(config)), Arc::new(Stop::default()));
        let mut ended = Vec::new();
        for (i, listener) in listeners.into_iter().enumerate() {
            let (shared, stop, (end, over)) = (shared.clone(), stop.clone(), oneshot::channel());
            ended.push(over);
            std::thread::Builder::new()
                .name(format!("gateway-{i}"))
                .spawn(move || {
                    if let Err(error) = serve::run(shared, listener, &stop, i == 0) {
                        tracing::error!(%error, "a gateway thread ended");
                    }
                    let _ = end.send(());
                })
                .map_err(|source| Error::Thread { source })?;
        }
        Ok(Gateway { addr, shared, stop, ended: Mutex::new(ended), changing: Mutex::default() })
    }

    /// Where it listens; the port that was found where 0 was asked for.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The clock its times are on.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.desk.clock()
    }

    /// Sets all targets. One that is new gets requests from now on, one with new limits or models is changed in
    /// place, one that is missing refuses whoever waits for it.
    pub fn set_targets(&self, targets: Vec<TargetConfig>) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let desk = &self.shared.desk;
        let old = self.shared.table.load_full();
        let mut next: Vec<Arc<Target>> = Vec::new();
        for config in targets {
            if next.iter().any(|t| t.config.name == config.name) {
                tracing::warn!(target = %config.name, "a target was given twice; the first counts");
                continue;
            }
            let authorization = config.upstream_key.as_ref().and_then(|key| {
                let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose())).ok()?;
                value.set_sensitive(true);
                Some(value)
            });
            let target = match old.by_name(&config.name) {
                Some(old) => {
                    if old.config.limits != config.limits {
                        desk.tell(Event::Target { target: old.id, limits: config.limits });
                    }
                    old.stats.promise(config.ttft);
                    Target {
                        id: old.id,
                        stats: old.stats.clone(),
                        created_s: old.created_s,
                        authorization,
                        config,
                    }
                }
                None => {
                    let stats = Arc::new(Stats::new());
                    stats.promise(config.ttft);
                    let id = desk.add_target(config.name.clone(), stats.clone(), config.limits);
                    let created_s = desk.clock().now().as_micros() / 1_000_000;
                    Target { id, stats, created_s, authorization, config }
                }
            };
            next.push(Arc::new(target));
        }
        let gone: Vec<_> =
            old.targets.iter().filter(|t| next.iter().all(|n| n.id != t.id)).map(|t| t.id).collect();
        self.shared.table.store(Arc::new(Table::new(next)));
        gone.into_iter().for_each(|target| desk.remove_target(target));
    }

    /// A replica takes requests.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn endpoint_ready(
        &self,
        target: &str,
        addr: SocketAddr,
        replica: Arc<str>,
    ) -> Result<EndpointId, Error> {
        let target = self.target(target)?;
        Ok(self.shared.desk.add_endpoint(target.id, addr, replica, target.authorization.clone()))
    }

    /// Gives a replica nothing more; the future ends when it has nothing in flight. It is sent at the call, not
    /// at the first poll.
    pub fn endpoint_drain(&self, endpoint: EndpointId) -> impl Future<Output = ()> + Send + 'static {
        let drained = self.shared.desk.drain(endpoint);
        async move {
            let _ = drained.await;
        }
    }

    /// A replica is no more. What it still has in flight ends by itself.
    pub fn endpoint_gone(&self, endpoint: EndpointId) {
        self.shared.desk.remove_endpoint(endpoint);
    }

    /// What an engine said of itself.
    pub fn load(&self, endpoint: EndpointId, load: EngineLoad) {
        self.shared.desk.load(endpoint, load);
    }

    /// What is expected of a target's next replica.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn outlook(&self, target: &str, outlook: Outlook) -> Result<(), Error> {
        let target = self.target(target)?;
        self.shared.desk.outlook(target.id, outlook);
        Ok(())
    }

    /// What a target is asked for now; `None` where there is no such target.
    #[must_use]
    pub fn demand(&self, target: &str) -> Option<Demand> {
        Some(self.shared.desk.demand(self.target(target).ok()?.id))
    }

    /// What was counted of a target's requests since it came to be here; `None` where there is no such target.
    #[must_use]
    pub fn flow(&self, target: &str) -> Option<Flow> {
        Some(self.target(target).ok()?.stats.flow())
    }

    /// Everything about every target, for pages.
    #[must_use]
    pub fn view(&self) -> Vec<TargetView> {
        view::all(&self.shared)
    }

    /// A target's replicas that are not leaving yet, the one with the least left to do first: the order in which they should leave.
    #[must_use]
    pub fn least_busy(&self, target: &str) -> Vec<EndpointId> {
        let Ok(target) = self.target(target) else { return Vec::new() };
        let mut all = self.shared.desk.endpoints(target.id);
        all.retain(|(_, state, _)| *state == EndpointState::Ready);
        all.sort_by_key(|(endpoint, _, view)| (view.tokens, view.in_flight, endpoint.id));
        all.into_iter().map(|(endpoint, _, _)| endpoint.id).collect()
    }

    /// Appends everything counted in Prometheus' text format.
    pub fn write_metrics(&self, out: &mut String) {
        crate::metrics::write(&self.shared, out);
    }

    /// Says that it will stop soon, and goes on taking connections and requests: `/readyz` fails, so that who sends
    /// requests here looks elsewhere, and each answer is the last of its connection, so that clients connect anew.
    pub fn wind_down(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// Stops: no new connection from now on, and no request but what has come already. What runs or waits may end
    /// within the grace, what is left then is cut.
    pub async fn stop(&self, grace: Duration) {
        self.wind_down();
        self.stop.ask();
        let ended = std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ended = futures_util::future::join_all(ended);
        if tokio::time::timeout(grace, &mut ended).await.is_err() {
            self.stop.now();
            ended.await;
        }
    }

    fn target(&self, name: &str) -> Result<Arc<Target>, Error> {
        let table = self.shared.table.load();
        table.by_name(name).cloned().ok_or_else(|| Error::NoTarget { name: name.to_owned() })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.ask();
        self.stop.now();
    }
}
