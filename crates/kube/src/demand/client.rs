//! How a gateway tells: every operator behind a name, over one stream each.
//!
//! What is told is ordered: numbers and messages are changed and sent under one lock, so a whole report never
//! overtakes the edge that came after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_core::route::{Demand, Flow};
use tokio::sync::{broadcast, watch};
use tokio_util::task::AbortOnDropHandle;

use super::link::{self, Link};
use super::proto;
use super::report::Load;
use crate::index::target::Key;

/// Messages kept for a link that is slow: a second of edges of a thousand targets. One that falls further
/// behind gets a whole report in their place.
const MESSAGES_MAX: usize = 1024;

/// How often the operator's name is looked up: a new one is told after so long at the latest.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Operators told at once: a leader and its standbys.
const OPERATORS_MAX: usize = 8;

/// How the operator is reached.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port`; every address of the host is told.
    pub operator: String,
    /// A PEM file with the authorities to trust instead of the machine's, read for each connection.
    pub ca: Option<PathBuf>,
    /// A file with the token to show, read for each connection.
    pub token: PathBuf,
    /// Who tells: a name no other gateway has.
    pub gateway: String,
}

/// One target, as a whole report tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// How the gateway calls it.
    pub name: Arc<str>,
    /// Whose it is.
    pub key: Key,
    /// What is in flight at its pods.
    pub pods: BTreeMap<Arc<str>, Load>,
    /// What was counted of its requests.
    pub flow: Flow,
}

/// What an operator has told, the latest of each link.
pub type Words = BTreeMap<SocketAddr, Arc<proto::Word>>;

/// How the links stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Operators that are told.
    pub up: BTreeSet<SocketAddr>,
    /// Why others, or the name itself, are not reached.
    pub down: BTreeMap<String, String>,
}

struct Told {
    key: Key,
    demand: Demand,
    pods: BTreeMap<Arc<str>, Load>,
    flow: Flow,
}

#[derive(Default)]
struct State {
    targets: BTreeMap<Arc<str>, Told>,
    /// Demand of targets that no whole report has named yet.
    early: BTreeMap<Arc<str>, Demand>,
    leaves: bool,
}

/// What links share with the teller.
pub(super) struct Shared {
    gateway: String,
    state: Mutex<State>,
    out: broadcast::Sender<Arc<proto::Report>>,
    pub(super) words: watch::Sender<Words>,
    pub(super) links: watch::Sender<Links>,
}

/// Tells operators. It stops when dropped.
pub struct Teller {
    shared: Arc<Shared>,
    _links: AbortOnDropHandle<()>,
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller").field("gateway", &self.shared.gateway).finish_non_exhaustive()
    }
}

impl Teller {
    /// Begins to look for operators.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let shared = Arc::new(Shared {
            gateway: config.gateway.clone(),
            state: Mutex::default(),
            out: broadcast::channel(MESSAGES_MAX).0,
            words: watch::channel(Words::default()).0,
            links: watch::channel(Links::default()).0,
        });
        let task = tokio::spawn(look_up(config, Arc::clone(&shared)));
        Teller { shared, _links: AbortOnDropHandle::new(task) }
    }

    /// A target's demand, told each time it changes; an edge goes out at once. It only takes a lock for
    /// microseconds, so request threads may call it.
    pub fn demand(&self, target: &str, demand: Demand) {
        let mut state = self.shared.state();
        let Some(told) = state.targets.get_mut(target) else {
            state.early.insert(Arc::from(target), demand);
            return;
        };
        let was = std::mem::replace(&mut told.demand, demand);
        if anything(was) != anything(demand) {
            let target = message(told, false);
            self.shared.send(proto::Report {
                gateway: self.shared.gateway.clone(),
                whole: false,
                targets: vec![target],
                leaves: false,
            });
        }
    }

    /// Everything that is routed, once a second.
    pub fn whole(&self, targets: Vec<Routed>) {
        let mut state = self.shared.state();
        let mut old = std::mem::take(&mut state.targets);
        for Routed { name, key, pods, flow } in targets {
            let known = old.remove(&name).map(|told| told.demand);
            let demand = known.or_else(|| state.early.remove(&name)).unwrap_or_default();
            state.targets.insert(name, Told { key, demand, pods, flow });
        }
        // What came before any route, of targets that are none: their next change comes here again.
        state.early.clear();
        self.shared.send(self.shared.report(&state));
    }

    /// The gateway ends and has nothing left: it is not to be waited for.
    pub fn leave(&self) {
        let mut state = self.shared.state();
        state.leaves = true;
        self.shared.send(self.shared.report(&state));
    }

    /// What operators say.
    #[must_use]
    pub fn words(&self) -> watch::Receiver<Words> {
        self.shared.words.subscribe()
    }

    /// How the links stand.
    #[must_use]
    pub fn links(&self) -> watch::Receiver<Links> {
        self.shared.links.subscribe()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody takes it while no operator is reached; the next one begins with a whole report.
    fn send(&self, report: proto::Report) {
        let _ = self.out.send(Arc::new(report));
    }

    fn report(&self, state: &State) -> proto::Report {
        proto::Report {
            gateway: self.gateway.clone(),
            whole: true,
            targets: state.targets.values().map(|told| message(told, true)).collect(),
            leaves: state.leaves,
        }
    }

    /// A whole report, and everything that is sent after it.
    pub(super) fn begin(&self) -> (proto::Report, broadcast::Receiver<Arc<proto::Report>>) {
        let state = self.state();
        (self.report(&state), self.out.subscribe())
    }

    pub(super) fn is_up(&self, addr: SocketAddr) {
        self.links.send_modify(|links| {
            links.up.insert(addr);
            links.down.remove(&addr.to_string());
        });
    }

    /// What an operator said that is away holds no longer: a drain it would take back could be nobody's.
    pub(super) fn is_down(&self, addr: SocketAddr, why: String) {
        self.unsay(addr);
        self.links.send_modify(|links| {
            links.up.remove(&addr);
            links.down.insert(addr.to_string(), why);
        });
    }

    /// An address that is no operator's any more.
    fn forget(&self, addr: SocketAddr) {
        self.links.send_modify(|links| {
            links.up.remove(&addr);
            links.down.remove(&addr.to_string());
        });
        self.unsay(addr);
    }

    fn unsay(&self, addr: SocketAddr) {
        self.words.send_if_modified(|words| words.remove(&addr).is_some());
    }
}

fn anything(demand: Demand) -> bool {
    demand.waiting > 0 || demand.in_flight > 0
}

fn message(told: &Told, whole: bool) -> proto::Target {
    let pod = |(name, load): (&Arc<str>, &Load)| proto::Pod {
        name: name.to_string(),
        in_flight: load.in_flight,
        tokens: load.tokens,
        draining: load.draining,
    };
    let Flow { arrived, prompt_tokens, ended, output_tokens, first_tokens, late } = told.flow;
    proto::Target {
        namespace: told.key.namespace.to_string(),
        name: told.key.name.to_string(),
        waiting: told.demand.waiting,
        in_flight: told.demand.in_flight,
        waiting_tokens: told.demand.waiting_tokens,
        in_flight_tokens: told.demand.in_flight_tokens,
        pods: if whole { told.pods.iter().map(pod).collect() } else { Vec::new() },
        flow: Some(proto::Flow { arrived, prompt_tokens, ended, output_tokens, first_tokens, late }),
    }
}

/// Keeps a link to every address of the operator's name. A name that cannot be looked up costs no link that
/// there is.
async fn look_up(config: Config, shared: Arc<Shared>) {
    let mut links: BTreeMap<SocketAddr, AbortOnDropHandle<()>> = BTreeMap::new();
    let mut ticker = tokio::time::interval(LOOK_UP);
    loop {
        ticker.tick().await;
        let found: BTreeSet<SocketAddr> = match tokio::net::lookup_host(&config.operator).await {
            Ok(found) => found.take(OPERATORS_MAX).collect(),
            Err(error) => {
                let name = config.operator.clone();
                shared.links.send_modify(|links| {
                    links.down.insert(name, error.to_string());
                });
                continue;
            }
        };
        shared.links.send_modify(|links| {
            links.down.remove(&config.operator);
        });
        links.retain(|addr, _| {
            let stays = found.contains(addr);
            if !stays {
                shared.forget(*addr);
            }
            stays
        });
        for addr in found {
            links.entry(addr).or_insert_with(|| {
                let link = Link { addr, config: config.clone(), shared: Arc::clone(&shared) };
                AbortOnDropHandle::new(tokio::spawn(link::keep(link)))
            });
        }
    }
}
