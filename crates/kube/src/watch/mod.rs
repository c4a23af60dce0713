//! Lists and watches: what the API server shows becomes [`Change`]s on one bounded channel.
//!
//! A watch lists in pages of `PAGE`, goes on from there with bookmarks, and lists again when the server
//! has forgotten the place (410). While it cannot, what it showed last stays: an API server that is away
//! does not look like an empty cluster.

mod back;
mod backoff;
mod scale;
mod token;
mod trim;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::client::Connection;
use crate::object::{Change, Gvk, Kind, Object, Scope};
pub(crate) use backoff::Backoff;

/// Objects in a page of a list: 500 Deployments of 10 KB are 5 MB in one answer.
const PAGE: u32 = 500;

/// News on their way to the loop. A list of 10,000 objects goes faster than it is indexed; beyond this the
/// watch waits, and the server buffers.
pub const NEWS_MAX: usize = 4096;

/// Watches of single names: Secrets, ConfigMaps and workloads of uncommon kinds. Each is a stream of its
/// own, of some 30 KB; what is asked for beyond is refused, and who needs it says so.
pub(crate) const SINGLE_MAX: usize = 2000;

/// Seconds after which the server ends a watch, and it begins anew where it was: between these, so that not all do at
/// once. A connection that died without a word is noticed 5 s later; quiet watches of 2,000 names cost 27 requests a
/// second.
pub const WATCH_S: RangeInclusive<u32> = 60..=90;

/// How long an API group may take to appear before it is looked for again.
const UNKNOWN_KIND: Duration = Duration::from_secs(10);

/// How a watch says that it is the role which is missing.
pub(crate) const FORBIDDEN: &str = "may not be read (403)";

/// What a watch tells.
#[derive(Debug)]
pub enum News {
    /// Something changed.
    Change(Change),
    /// It cannot see, and why.
    Blind(Scope, String),
    /// It sees again.
    Sees(Scope),
}

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The namespaces; empty for all.
    pub namespaces: Vec<Arc<str>>,
    /// Only ScaledObjects and ScaledJobs with these labels are decided.
    pub selector: Option<String>,
}

/// All watches at work.
pub struct Watches {
    client: Client,
    sight: Sight,
    out: mpsc::Sender<News>,
    running: BTreeMap<Scope, JoinHandle<()>>,
    /// Whether nothing may be written.
    read_only: bool,
    /// How long each watch lasts.
    lasts_s: RangeInclusive<u32>,
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}

impl Watches {
    /// Begins to watch what is always watched; `namespace` is the operator's own.
    #[must_use]
    pub fn start(connection: &Connection, sight: Sight, namespace: &str, out: mpsc::Sender<News>) -> Self {
        let mut scopes = sight.scopes();
        scopes.extend([kedas(), shards(namespace)]);
        scopes.extend(sight.each(vec![Kind::Event]));
        let mut watches = Watches::of(connection.client.clone(), sight, scopes, out);
        watches.read_only = connection.read_only;
        watches
    }

    /// Begins to watch these scopes.
    #[must_use]
    pub fn of(client: Client, sight: Sight, scopes: Vec<Scope>, out: mpsc::Sender<News>) -> Self {
        Watches::lasting(WATCH_S, client, sight, scopes, out)
    }

    /// Begins to watch these scopes by watches that last so many seconds each, and [`WATCH_S`] otherwise.
    #[must_use]
    pub fn lasting(
        lasts_s: RangeInclusive<u32>,
        client: Client,
        sight: Sight,
        scopes: Vec<Scope>,
        out: mpsc::Sender<News>,
    ) -> Self {
        let mut watches = Watches { client, sight, out, running: BTreeMap::new(), read_only: false, lasts_s };
        scopes.into_iter().for_each(|scope| watches.begin(scope));
        watches
    }

    /// Watches these single objects besides, and no longer any other. Gives those that are not watched because there
    /// are too many: what is watched goes on, and what comes later waits until there is room.
    pub fn want(&mut self, wanted: &BTreeSet<Scope>) -> BTreeSet<Scope> {
        // A KEDA's lease is watched for good, in whatever namespace.
        let single = |scope: &Scope| scope.name.is_some() && *scope != kedas();
        self.running.retain(|scope, task| {
            let keep = !single(scope) || wanted.contains(scope);
            if !keep {
                task.abort();
            }
            keep
        });
        let running: BTreeSet<&Scope> = self.running.keys().filter(|scope| single(scope)).collect();
        let (begun, refused) = admit(&running, wanted, SINGLE_MAX);
        begun.into_iter().for_each(|scope| self.begin(scope));
        refused
    }

    fn begin(&mut self, scope: Scope) {
        let labels = match scope.kind {
            // ScaledObjects of other shards may scale what ours do; of each only that is kept.
            Kind::ScaledJob => self.sight.selector.clone(),
            // Only those that a ScaledJob made.
            Kind::Job => Some("scaledjob.keda.sh/name".to_owned()),
            _ => None,
        };
        let (client, out) = (self.client.clone(), self.out.clone());
        let task = match scope.kind {
            Kind::Token if self.read_only => tokio::spawn(token::refuse(scope.clone(), out)),
            Kind::Token => tokio::spawn(token::keep(client, scope.clone(), out)),
            _ => {
                let config = config(&scope, labels, fastrand::u32(self.lasts_s.clone()));
                tokio::spawn(run(client, scope.clone(), config, out))
            }
        };
        self.running.insert(scope, task);
    }
}

/// Which watches begin beside those that run, and which there is no room for.
fn admit(running: &BTreeSet<&Scope>, wanted: &BTreeSet<Scope>, max: usize) -> (Vec<Scope>, BTreeSet<Scope>) {
    let mut new = wanted.iter().filter(|scope| !running.contains(scope)).cloned();
    let begun = new.by_ref().take(max.saturating_sub(running.len())).collect();
    (begun, new.collect())
}

/// Kinds of workloads that are always watched whole; of others each one by its name.
#[must_use]
pub fn common() -> [Gvk; 2] {
    [Gvk::of(Some("apps/v1"), Some("Deployment")), Gvk::of(Some("apps/v1"), Some("StatefulSet"))]
}

/// The leases by which a KEDA's leader holds its place, in whatever namespace it is.
#[must_use]
pub fn kedas() -> Scope {
    Scope { kind: Kind::Lease, namespace: None, name: Some(crate::migrate::KEDA_LEASE.into()) }
}

/// The leases of operators like us, in our own namespace.
#[must_use]
pub fn shards(namespace: &str) -> Scope {
    Scope { kind: Kind::Lease, namespace: Some(namespace.into()), name: None }
}

impl Sight {
    /// What is always watched.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        let mut kinds = vec![
            Kind::ScaledObject,
            Kind::ScaledJob,
            Kind::TriggerAuthentication,
            Kind::HorizontalPodAutoscaler,
            Kind::Pod,
            Kind::Job,
        ];
        kinds.extend(common().map(Kind::Workload));
        let everywhere = Scope { kind: Kind::ClusterTriggerAuthentication, namespace: None, name: None };
        let mut scopes = vec![everywhere];
        scopes.extend(self.each(kinds));
        scopes
    }

    /// What a gateway watches.
    #[must_use]
    pub fn routes(&self) -> Vec<Scope> {
        let mut kinds = vec![Kind::ScaledObject, Kind::Pod, Kind::EndpointSlice];
        kinds.extend(common().map(Kind::Workload));
        self.each(kinds)
    }

    /// These kinds in each namespace that is looked at.
    fn each(&self, kinds: Vec<Kind>) -> Vec<Scope> {
        let whole = |kind: Kind| vec![Scope { kind, namespace: None, name: None }];
        let single = |kind: Kind| {
            let of =
                |one: &Arc<str>| Scope { kind: kind.clone(), namespace: Some(Arc::clone(one)), name: None };
            self.namespaces.iter().map(of).collect()
        };
        let all = kinds.into_iter();
        all.flat_map(|kind| if self.namespaces.is_empty() { whole(kind) } else { single(kind) }).collect()
    }
}

/// How the API server calls a kind.
pub(crate) async fn resource(client: &Client, gvk: &Gvk) -> Result<ApiResource, kube::Error> {
    let gvk = GroupVersionKind::gvk(&gvk.group, &gvk.version, &gvk.kind);
    // What everybody has is not asked for, so that it is watched while the server is still starting.
    let plural = match &*gvk.kind {
        "ScaledObject"
        | "ScaledJob"
        | "TriggerAuthentication"
        | "ClusterTriggerAuthentication"
        | "Deployment"
        | "StatefulSet"
        | "HorizontalPodAutoscaler"
        | "Pod"
        | "EndpointSlice"
        | "Job"
        | "Secret"
        | "ConfigMap"
        | "Lease"
        | "Event" => format!("{}s", gvk.kind.to_lowercase()),
        _ => return Ok(kube::discovery::pinned_kind(client, &gvk).await?.0),
    };
    Ok(ApiResource::from_gvk_with_plural(&gvk, &plural))
}

/// What a watch asks for.
fn config(scope: &Scope, labels: Option<String>, lasts_s: u32) -> watcher::Config {
    let mut config = watcher::Config::default().page_size(PAGE).timeout(lasts_s);
    config.label_selector = labels;
    config.field_selector = match scope.kind {
        // The controller writes one when a pod is refused; of ReplicaSets their Deployment tells.
        Kind::Event => Some("reason=FailedCreate,involvedObject.kind=StatefulSet".to_owned()),
        _ => scope.name.as_ref().map(|name| format!("metadata.name={name}")),
    };
    config
}

async fn run(client: Client, scope: Scope, config: watcher::Config, out: mpsc::Sender<News>) {
    let gvk = scope.kind.gvk();
    let resource = loop {
        match resource(&client, &gvk).await {
            Ok(resource) => break resource,
            Err(error) => {
                if out.send(News::Blind(scope.clone(), said(&error))).await.is_err() {
                    return;
                }
                tokio::time::sleep(UNKNOWN_KIND).await;
            }
        }
    };
    let back = Arc::new(Notify::new());
    let client = back::telling(client, Arc::clone(&back));
    let api: Api<DynamicObject> = match &scope.namespace {
        Some(namespace) if !namespace.is_empty() => Api::namespaced_with(client, namespace, &resource),
        _ => Api::all_with(client, &resource),
    };
    let stream = watcher::watcher(api.clone(), config).backoff(Backoff::default());
    let mut stream = std::pin::pin!(stream);
    let apart = matches!(&scope.kind, Kind::Workload(gvk) if !common().contains(gvk));
    let mut tell = Tell { scope, out, blind: false };
    if apart {
        return scale::follow(&api, stream, tell, &back).await;
    }
    loop {
        let event = tokio::select! {
            biased;
            // A quiet watch may bring no object for days.
            () = back.notified() => {
                if !tell.sees().await {
                    return;
                }
                continue;
            }
            event = stream.next() => event,
        };
        let Some(event) = event else { return };
        let heard = match event {
            Ok(event) => {
                // A list that is only begun may fail yet.
                let sees = !matches!(event, Event::Init);
                let change = change(&tell.scope, event);
                (!sees || tell.sees().await)
                    && match change {
                        Some(change) => tell.change(change).await,
                        None => true,
                    }
            }
            Err(error) => tell.blind(reason(&error)).await,
        };
        if !heard {
            return;
        }
    }
}

/// Who is told what one watch sees. Each answer says whether anybody listens still.
struct Tell {
    scope: Scope,
    out: mpsc::Sender<News>,
    blind: bool,
}

impl Tell {
    async fn change(&self, change: Change) -> bool {
        self.out.send(News::Change(change)).await.is_ok()
    }

    async fn blind(&mut self, why: String) -> bool {
        self.blind = true;
        self.out.send(News::Blind(self.scope.clone(), why)).await.is_ok()
    }

    async fn sees(&mut self) -> bool {
        !std::mem::take(&mut self.blind) || self.out.send(News::Sees(self.scope.clone())).await.is_ok()
    }
}

/// Why a watch cannot see.
fn reason(error: &watcher::Error) -> String {
    let forbidden = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => (status.code == 403).then(|| status.message.clone()),
        _ => None,
    };
    forbidden.map_or_else(|| said(error), |message| format!("{FORBIDDEN}: {message}"))
}

fn change(scope: &Scope, event: Event<DynamicObject>) -> Option<Change> {
    Some(match event {
        Event::Init => Change::Listing(scope.clone()),
        Event::InitDone => Change::Listed(scope.clone()),
        Event::Apply(object) | Event::InitApply(object) => Change::Applied(Box::new(read(scope, &object)?)),
        Event::Delete(object) => Change::Gone(read(scope, &object)?.id),
    })
}

fn read(scope: &Scope, object: &DynamicObject) -> Option<Object> {
    let mut json = serde_json::to_value(object).ok()?;
    trim::trim(&scope.kind, &mut json);
    Object::new(scope.kind.clone(), json)
}

/// An error and its causes on one line.
pub(crate) fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str) -> Scope {
        Scope { kind: Kind::Secret, namespace: Some("prod".into()), name: Some(name.into()) }
    }

    #[test]
    fn a_watch_that_runs_is_not_pushed_out_by_one_whose_name_comes_before_it() {
        let (b, c) = (secret("b"), secret("c"));
        let wanted = BTreeSet::from([secret("a"), b.clone(), c.clone()]);
        let (begun, refused) = admit(&BTreeSet::from([&b, &c]), &wanted, 2);
        assert_eq!((begun, refused), (vec![], BTreeSet::from([secret("a")])));
        let (begun, refused) = admit(&BTreeSet::from([&c]), &wanted, 2);
        assert_eq!((begun, refused), (vec![secret("a")], BTreeSet::from([b])));
    }
}
