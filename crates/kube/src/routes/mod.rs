//! What a gateway routes: the targets of a cluster, their models, and where their pods listen.
//!
//! ```text
//! watches ─▶ Routes (plain structs) ─▶ Table, whenever it has changed
//! ```
//!
//! A target is a ScaledObject and the workload it scales, or a workload whose pods say a model. Its endpoints
//! are those of EndpointSlices whose pod its selector chooses; of groups of pods, such as a LeaderWorkerSet's, the
//! leaders. Deployments and StatefulSets are watched whole, any other kind by the names that ScaledObjects scale; which
//! pods are its, `/scale` says. An API server that is away changes nothing:
//! what was seen last is routed on.
//!
//! - [`slices`]: endpoints of a namespace; [`said`]: what annotations, labels and commands say.

pub mod said;
pub mod slices;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tidegate_core::time::Span;
use tidegate_manifest::serving::Page;
use tokio::sync::{mpsc, watch};

use crate::index::pods::Facts;
use crate::index::target::{self, Asks, Key};
use crate::index::workload::Workload;
use crate::index::{Index, single};
use crate::object::{Change, Id, Kind, Object, Scope};
use crate::watch::{NEWS_MAX, News, Sight, Watches};
use said::Written;

/// News taken at once.
const NEWS_AT_ONCE: usize = 512;

/// The least time between two tables: while ten thousand pods churn, each look at a namespace costs some ten
/// milliseconds, and an endpoint that comes 20 ms later is no later than its probe.
const PACE: Duration = Duration::from_millis(20);

/// An endpoint of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether it finishes what it has and is given nothing new.
    pub draining: bool,
    /// Where its metrics are, if its pod's template says that there are any.
    pub metrics: Option<SocketAddr>,
}

/// A target.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// How it is called: `namespace/name`.
    pub name: Arc<str>,
    /// Its ScaledObject; none where nothing scales it.
    pub key: Option<Key>,
    /// The models it serves, as somebody wrote them; empty where nobody did, and an endpoint must be asked.
    pub models: Vec<String>,
    /// `tidegate.dev/hold-timeout`.
    pub hold_timeout: Option<Span>,
    /// `tidegate.dev/hold-max`.
    pub hold_max: Option<u32>,
    /// Until when a first token is in time, where its ScaledObject has policy `slo`.
    pub ttft: Option<Span>,
    /// The words of its containers' commands.
    pub command: Vec<String>,
    /// Where its pods have their metrics; only where an image or an annotation says that there are some.
    pub page: Option<Page>,
    /// The image of its first container.
    pub image: Option<String>,
    /// Its endpoints, by pod.
    pub endpoints: BTreeMap<Arc<str>, Endpoint>,
}

/// All targets, by name.
pub type Table = BTreeMap<Arc<str>, Arc<Route>>;

/// What is seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whether everything was listed once: before that a target that is not there may yet come.
    pub complete: bool,
    /// The targets.
    pub table: Arc<Table>,
    /// What cannot be seen, and why: of it the table has what was seen last.
    pub blind: BTreeMap<Scope, String>,
}

/// The targets as plain structs: changes in, a table out.
#[derive(Debug, Default)]
pub struct Routes {
    index: Index,
    table: Table,
    /// Of ScaledObjects, the workload that has to be watched by its name.
    singles: BTreeMap<Id, Scope>,
    /// Namespaces to be looked at again.
    dirty: BTreeSet<Arc<str>>,
}

impl Routes {
    /// Takes a change.
    pub fn apply(&mut self, change: Change) {
        match &change {
            Change::Applied(object) => {
                self.dirty.insert(Arc::clone(&object.id.namespace));
                let scales = Some(&**object).filter(|object| object.id.kind == Kind::ScaledObject);
                match scales.and_then(target::scaled).as_ref().and_then(single) {
                    Some(scope) => self.singles.insert(object.id.clone(), scope),
                    None => self.singles.remove(&object.id),
                };
            }
            Change::Gone(id) => {
                self.dirty.insert(Arc::clone(&id.namespace));
                self.singles.remove(id);
            }
            // What was not listed is gone, wherever it was.
            Change::Listed(_) => {
                let known = self.table.values().filter_map(|route| route.name.split_once('/'));
                self.dirty.extend(known.map(|(namespace, _)| Arc::from(namespace)));
            }
            Change::Listing(_) => {}
        }
        // Only the operator asks who is touched.
        let listed = matches!(change, Change::Listed(_));
        let _ = self.index.apply(change);
        if listed {
            self.singles.retain(|id, _| self.index.object(id).is_some());
        }
    }

    /// Whether a scope was listed.
    #[must_use]
    pub fn is_listed(&self, scope: &Scope) -> bool {
        self.index.is_listed(scope)
    }

    /// The workloads that are watched each by its name: of kinds that are not watched whole.
    #[must_use]
    pub fn singles(&self) -> BTreeSet<Scope> {
        self.singles.values().cloned().collect()
    }

    /// Forgets the workloads that are watched by their names, but for these.
    pub fn forget(&mut self, kept: &BTreeSet<Scope>) {
        self.index.forget_listed(kept);
    }

    /// The table, where it has changed since it was last asked for.
    pub fn turn(&mut self) -> Option<Table> {
        let mut changed = false;
        for namespace in std::mem::take(&mut self.dirty) {
            let new = self.look(&namespace);
            let first: Arc<str> = format!("{namespace}/").into();
            let old = self.table.range(Arc::clone(&first)..);
            let old: Vec<Arc<str>> = old
                .take_while(|(name, _)| name.starts_with(&*first))
                .map(|(name, _)| Arc::clone(name))
                .collect();
            for name in old.iter().filter(|name| !new.contains_key(*name)) {
                changed |= self.table.remove(name).is_some();
            }
            for (name, route) in new {
                if self.table.get(&name) != Some(&route) {
                    self.table.insert(name, route);
                    changed = true;
                }
            }
        }
        changed.then(|| self.table.clone())
    }

    /// The targets of a namespace.
    fn look(&self, namespace: &Arc<str>) -> Table {
        let mut table = Table::new();
        let slices: Vec<Arc<Object>> = self.index.objects_of(&Kind::EndpointSlice, namespace).collect();
        let endpoints = slices::endpoints(slices.iter().map(|object| &**object));
        let mut scaled = BTreeSet::new();
        for object in self.index.objects_of(&Kind::ScaledObject, namespace) {
            let (Some(id), Some(key)) = (target::scaled(&object), Key::of(&object.id)) else { continue };
            let Some(workload) = self.index.workload(&id) else { continue };
            if object.deleting() {
                continue;
            }
            scaled.insert(id);
            let written = Written::of(Some(&object), workload);
            let route = self.route(&written, workload, &endpoints);
            table.insert(key.target(), Arc::new(Route { name: key.target(), key: Some(key), ..route }));
        }
        let others = self.index.workloads_of(namespace).filter(|workload| !scaled.contains(&workload.id));
        for workload in others {
            let written = Written::of(None, workload);
            let route = self.route(&written, workload, &endpoints);
            // Nobody asked for it, so it must say itself that it serves a model.
            if !route.models.is_empty() && written.annotation(said::MODEL).is_some() {
                table.entry(Arc::clone(&route.name)).or_insert_with(|| Arc::new(route));
            }
        }
        table
    }

    fn route(
        &self,
        written: &Written<'_>,
        workload: &Workload,
        endpoints: &BTreeMap<Arc<str>, Endpoint>,
    ) -> Route {
        let page = workload.page().filter(|page| page.certain && !page.https);
        let at = |id: &Id, facts: &Facts| {
            let endpoint = endpoints.get(&id.name).filter(|_| leads(facts))?;
            // A Service may publish what is not ready; its pod says so itself.
            let draining = endpoint.draining || facts.deleting;
            let metrics =
                facts.ip.zip(page.as_ref().filter(|_| facts.ready)).map(|(ip, page)| (ip, page.port).into());
            (facts.ready || draining)
                .then(|| (Arc::clone(&id.name), Endpoint { draining, metrics, ..*endpoint }))
        };
        let pods = self.index.pods_of(&workload.id);
        Route {
            name: format!("{}/{}", workload.id.namespace, workload.id.name).into(),
            key: None,
            models: written.models(),
            hold_timeout: written.annotation("tidegate.dev/hold-timeout").and_then(said::positive),
            hold_max: written.annotation("tidegate.dev/hold-max").and_then(|text| text.trim().parse().ok()),
            ttft: written.ttft(),
            command: written.command(),
            image: written.image(),
            endpoints: pods.filter_map(|(id, facts)| at(id, facts)).collect(),
            page,
        }
    }
}

/// The label with a pod's place in its group, 0 for the leader: only leaders take requests.
const PLACE_IN_GROUP: &str = "leaderworkerset.sigs.k8s.io/worker-index";

/// Whether a pod is its group's leader, or in no group.
fn leads(facts: &Facts) -> bool {
    facts.labels.get(PLACE_IN_GROUP).is_none_or(|place| place == "0")
}

impl Route {
    /// The key under which the operator knows a ScaledObject of this name.
    #[must_use]
    pub fn key_of(namespace: &str, name: &str) -> Key {
        Key { asks: Asks::ScaledObject, namespace: namespace.into(), name: name.into() }
    }
}

/// Watches, and tells what is seen whenever it has changed, until nobody listens.
pub async fn watch(client: Client, sight: Sight, out: watch::Sender<Seen>) {
    let (news_out, mut news) = mpsc::channel(NEWS_MAX);
    let scopes = sight.routes();
    let mut watches = Watches::of(client, sight, scopes.clone(), news_out);
    let (mut routes, mut seen) = (Routes::default(), Seen::default());
    let mut singles = BTreeSet::new();
    let mut batch = Vec::with_capacity(NEWS_AT_ONCE);
    while news.recv_many(&mut batch, NEWS_AT_ONCE).await > 0 {
        let mut turned = false;
        for one in batch.drain(..) {
            match one {
                News::Change(change) => routes.apply(change),
                News::Blind(scope, why) => {
                    if seen.blind.get(&scope) != Some(&why) {
                        seen.blind.insert(scope, why);
                        turned = true;
                    }
                }
                News::Sees(scope) => turned |= seen.blind.remove(&scope).is_some(),
            }
        }
        let wanted = routes.singles();
        if wanted != singles {
            routes.forget(&wanted);
            watches.want(&wanted);
            seen.blind.retain(|scope, _| scope.name.is_none() || wanted.contains(scope));
            singles = wanted;
        }
        // A workload of a kind that is not there, or may not be seen, keeps nobody else waiting.
        let looked = |scope: &Scope| routes.is_listed(scope) || seen.blind.contains_key(scope);
        let complete =
            seen.complete || scopes.iter().all(|scope| routes.is_listed(scope)) && singles.iter().all(looked);
        turned |= complete != seen.complete;
        seen.complete = complete;
        if let Some(table) = routes.turn() {
            seen.table = Arc::new(table);
            turned = true;
        }
        if turned && out.send(seen.clone()).is_err() {
            return;
        }
        tokio::time::sleep(PACE).await;
    }
}
