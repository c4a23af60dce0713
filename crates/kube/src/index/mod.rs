//! What there is in the cluster, as plain structs: fed by watches, asked by the loop.
//!
//! Owned by the one task that decides. Nothing here waits, and nothing here knows of an API server: a test
//! applies objects and looks at what is touched.
//!
//! - `failures`: why pods of a StatefulSet are not made;
//! - `kept`: objects as they are kept, as text where there are many;
//! - [`workload`]: what is scaled, and how many replicas it has;
//! - [`pods`]: the pods of a workload, why they wait, how long their starts took;
//! - [`target`]: a ScaledObject with everything it refers to, as the manifest crate reads it.

mod failures;
mod kept;
mod labels;
pub mod pending;
pub mod pods;
pub mod selector;
pub mod target;
pub mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_core::scale::Fleet;
use tidegate_core::time::Time;

use crate::object::{Change, Id, Kind, Object, Scope};
use failures::Failures;
use kept::Kept;
pub use kept::Text;
use labels::Looking;
use pending::Cause;
use pods::{Facts, Pods};
use selector::Selector;
use target::Key;
use workload::Workload;

/// Objects kept at the most: 10,000 targets with a workload, an authentication and ten pods each. Beyond
/// it new ones are refused, and [`Index::full`] says so.
const OBJECTS_MAX: usize = 250_000;

/// What a change means to targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// To be read again, or gone: their object changed, or something it refers to.
    pub read: BTreeSet<Key>,
    /// Their replicas changed.
    pub counted: BTreeSet<Key>,
}

impl Touched {
    /// Whether nothing is touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read.is_empty() && self.counted.is_empty()
    }

    /// Both.
    pub fn merge(&mut self, other: Touched) {
        self.read.extend(other.read);
        self.counted.extend(other.counted);
    }
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Index {
    /// Which autoscalers and ScaledObjects are ours, where not all are. They are watched whole, since others scale
    /// workloads, too.
    share: Option<Selector>,
    /// How we say that an object is ours.
    claim: String,
    /// Objects that are kept whole: they are read as manifests.
    texts: BTreeMap<Id, Kept>,
    /// Whether those of which there are many are kept as text.
    compact: bool,
    /// Changes of objects that were kept whole so far.
    versions: u64,
    workloads: BTreeMap<Id, Workload>,
    failures: Failures,
    pods: Pods,
    /// Workloads by the pods they look for.
    looking: Looking,
    /// HorizontalPodAutoscalers, and ScaledObjects of other shards, by the name of what they scale.
    scalers: BTreeMap<(Arc<str>, Arc<str>), BTreeSet<Id>>,
    /// Which targets look at an object, there or not.
    users: BTreeMap<Id, BTreeSet<Key>>,
    /// What each target looks at.
    uses: BTreeMap<Key, BTreeSet<Id>>,
    /// Objects seen since a list of a scope began; what is not among them when it ends is gone.
    listing: BTreeMap<Scope, BTreeSet<Id>>,
    listed: BTreeSet<Scope>,
    full: bool,
}

impl Index {
    /// What is known to a shard: which objects it looks at, and its claim. Objects are kept as text where there are
    /// many of a kind: a twelfth of the memory, for 10 µs at each look.
    #[must_use]
    pub fn of_shard(selector: Option<&str>, claim: &str) -> Self {
        let share = selector.filter(|text| !text.is_empty()).map(Selector::parse);
        Index { share, claim: claim.to_owned(), ..Index::compact() }
    }

    /// One that keeps objects as text where there are many of a kind.
    #[must_use]
    pub fn compact() -> Self {
        Index { compact: true, ..Index::default() }
    }

    /// How we say that an object is ours.
    #[must_use]
    pub fn claim(&self) -> &str {
        &self.claim
    }

    /// Whether an object is within our share. Of ScaledJobs the API server has chosen ours.
    #[must_use]
    pub fn shares(&self, object: &Object) -> bool {
        let whole = matches!(object.id.kind, Kind::HorizontalPodAutoscaler | Kind::ScaledObject);
        let share = self.share.as_ref().filter(|_| whole);
        share.is_none_or(|share| share.chooses(&object.labels()))
    }

    /// Whether an object asks us for replicas.
    #[must_use]
    pub fn ours(&self, object: &Object) -> bool {
        crate::adopt::ours(object) && self.shares(object)
    }

    /// Takes a change, and says who is touched by it.
    pub fn apply(&mut self, change: Change) -> Touched {
        match change {
            Change::Listing(scope) => {
                self.listing.insert(scope, BTreeSet::new());
                Touched::default()
            }
            Change::Applied(object) => {
                for (scope, seen) in &mut self.listing {
                    if scope.holds(&object.id) {
                        seen.insert(object.id.clone());
                    }
                }
                self.put(*object)
            }
            Change::Gone(id) => self.remove(&id),
            Change::Listed(scope) => {
                let seen = self.listing.remove(&scope).unwrap_or_default();
                let gone: Vec<Id> =
                    self.ids().filter(|id| scope.holds(id) && !seen.contains(*id)).cloned().collect();
                self.listed.insert(scope);
                let mut touched = Touched::default();
                for id in gone {
                    touched.merge(self.remove(&id));
                }
                touched
            }
        }
    }

    /// Whether a scope was listed once, so that what is not there is known not to be.
    #[must_use]
    pub fn is_listed(&self, scope: &Scope) -> bool {
        self.listed.contains(scope)
    }

    /// Whether objects were refused for being too many.
    #[must_use]
    pub const fn full(&self) -> bool {
        self.full
    }

    /// An object that is kept whole.
    #[must_use]
    pub fn object(&self, id: &Id) -> Option<Arc<Object>> {
        self.texts.get(id).map(|kept| kept.open(id))
    }

    /// Which change of all brought an object that is kept whole: another number is another object.
    #[must_use]
    pub fn version(&self, id: &Id) -> Option<u64> {
        self.texts.get(id).map(|kept| kept.version)
    }

    /// The uid of an object that is kept whole.
    #[must_use]
    pub fn uid(&self, id: &Id) -> Option<&Arc<str>> {
        self.texts.get(id).map(|kept| &kept.uid)
    }

    /// Where all objects of a kind are that are kept whole.
    pub fn ids_of<'a>(&'a self, kind: &'a Kind) -> impl Iterator<Item = &'a Id> {
        let all = self.texts.range(Id::new(kind.clone(), "", "")..);
        all.take_while(move |(id, _)| id.kind == *kind).map(|(id, _)| id)
    }

    /// A workload.
    #[must_use]
    pub fn workload(&self, id: &Id) -> Option<&Workload> {
        self.workloads.get(id)
    }

    /// All objects of a kind in a namespace that are kept whole.
    pub fn objects_of<'a>(&'a self, kind: &'a Kind, namespace: &'a str) -> impl Iterator<Item = Arc<Object>> {
        let all = self.texts.range(Id::new(kind.clone(), namespace, "")..);
        let here = all.take_while(move |(id, _)| id.kind == *kind && *id.namespace == *namespace);
        here.map(|(id, kept)| kept.open(id))
    }

    /// All workloads of a namespace.
    pub fn workloads_of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Workload> {
        self.workloads.values().filter(move |workload| *workload.id.namespace == *namespace)
    }

    /// Whether there is such a pod.
    #[must_use]
    pub fn has_pod(&self, id: &Id) -> bool {
        self.pods.contains(id)
    }

    /// The pods a workload's selector chooses.
    pub fn pods_of<'a>(&'a self, id: &'a Id) -> impl Iterator<Item = (&'a Id, &'a Facts)> {
        self.pods.chosen(&id.namespace, self.selector(id))
    }

    /// A workload's replicas. Where its kind does not count those that are ready, they are those of its pods; where
    /// it does not say which its pods are, all that there are, since what counts as none would be scaled as none.
    ///
    /// Where its kind counts them, and has none yet, its pods are looked at too: a first one is ready, and has
    /// answered, before the controller has counted it, and who was answered did not leave before one was ready.
    #[must_use]
    pub fn fleet(&self, id: &Id) -> Option<Fleet> {
        let workload = self.workloads.get(id)?;
        let Fleet { spec, status, ready, .. } = workload.fleet;
        if !workload.count_ready && (ready > 0 || status == 0) {
            return Some(workload.fleet);
        }
        let ready = match workload.selector {
            Some(_) => self.pods_of(id).filter(|(_, facts)| facts.ready && !facts.deleting).count(),
            None if workload.count_ready => status as usize,
            None => 0,
        };
        let ready = u32::try_from(ready).unwrap_or(u32::MAX).min(status);
        Some(Fleet { spec, status, ready, starting: status - ready })
    }

    /// Why pods of a workload are not made, where some are missing: as its status says, or, of a StatefulSet, its
    /// controller's Events.
    #[must_use]
    pub fn refused(&self, id: &Id, now: Time) -> Option<Cause> {
        let workload = self.workloads.get(id)?;
        if workload.refused.is_some() || workload.fleet.status >= workload.fleet.spec {
            return workload.refused.clone();
        }
        let made = self.pods_of(id).filter_map(|(_, facts)| facts.start.created).max();
        self.failures.of(id, &workload.uid, made, now).cloned()
    }

    fn selector(&self, workload: &Id) -> Option<&Selector> {
        self.workloads.get(workload).and_then(|workload| workload.selector.as_ref())
    }

    /// All pods of a namespace.
    pub fn pods_in<'a>(&'a self, namespace: &'a Arc<str>) -> impl Iterator<Item = (&'a Id, &'a Facts)> {
        self.pods.of_namespace(namespace)
    }

    /// Remembers what a target looks at, so that changes of it touch the target.
    pub fn uses(&mut self, key: &Key, ids: BTreeSet<Id>) {
        for old in self.uses.remove(key).unwrap_or_default() {
            if let Some(users) = self.users.get_mut(&old) {
                users.remove(key);
                if users.is_empty() {
                    self.users.remove(&old);
                }
            }
        }
        for id in &ids {
            self.users.entry(id.clone()).or_default().insert(key.clone());
        }
        if !ids.is_empty() {
            self.uses.insert(key.clone(), ids);
        }
    }

    /// Every object that some target looks at, there or not: what has to be watched.
    pub fn wanted(&self) -> impl Iterator<Item = &Id> {
        self.users.keys()
    }

    /// The scopes that must have been listed before a target is known with all it refers to.
    #[must_use]
    pub fn needs(&self, key: &Key) -> Vec<Scope> {
        self.uses.get(key).into_iter().flatten().filter_map(single).collect()
    }

    /// Forgets that single objects were listed, except these: nobody watches them any more.
    pub fn forget_listed(&mut self, kept: &BTreeSet<Scope>) {
        self.listed.retain(|scope| scope.name.is_none() || kept.contains(scope));
        let gone: Vec<Id> = self
            .texts
            .keys()
            .chain(self.workloads.keys())
            .filter(|id| single(id).is_some_and(|scope| !kept.contains(&scope)))
            .cloned()
            .collect();
        for id in gone {
            self.texts.remove(&id);
            self.workloads.remove(&id);
            self.looking.remove(&id);
        }
    }

    /// The HorizontalPodAutoscalers that name a workload; of its kind or of another.
    pub fn autoscalers_of(&self, workload: &Id) -> impl Iterator<Item = Arc<Object>> {
        self.scalers_of(workload, Kind::HorizontalPodAutoscaler)
    }

    /// The ScaledObjects of other shards that name a workload; of its kind or of another.
    pub fn rivals_of(&self, workload: &Id) -> impl Iterator<Item = Arc<Object>> {
        self.scalers_of(workload, Kind::ScaledObject)
    }

    fn scalers_of(&self, workload: &Id, kind: Kind) -> impl Iterator<Item = Arc<Object>> {
        let named = self.scalers.get(&(Arc::clone(&workload.namespace), Arc::clone(&workload.name)));
        named.into_iter().flatten().filter(move |id| id.kind == kind).filter_map(|id| self.object(id))
    }

    /// Keeps in mind what an HorizontalPodAutoscaler, or a ScaledObject of another shard, scaled, and scales.
    fn names(&mut self, id: &Id, old: Option<&Object>, new: Option<&Object>) {
        let place = |object: &Object| {
            let counts = match id.kind {
                Kind::HorizontalPodAutoscaler => true,
                Kind::ScaledObject => !self.shares(object),
                _ => false,
            };
            let target = target::scaled(object).filter(|_| counts)?;
            Some((target.namespace, target.name))
        };
        let (old, new) = (old.and_then(place), new.and_then(place));
        if let Some(place) = old
            && let Some(ids) = self.scalers.get_mut(&place)
        {
            ids.remove(id);
            if ids.is_empty() {
                self.scalers.remove(&place);
            }
        }
        if let Some(place) = new {
            self.scalers.entry(place).or_default().insert(id.clone());
        }
    }

    /// The targets that look at an object.
    #[must_use]
    pub fn users(&self, id: &Id) -> BTreeSet<Key> {
        self.users.get(id).cloned().unwrap_or_default()
    }

    fn users_of_some(&self, id: Option<Id>) -> BTreeSet<Key> {
        id.map(|id| self.users(&id)).unwrap_or_default()
    }

    /// The targets that look at the one object of a scope; of a scope of many nobody in particular.
    #[must_use]
    pub fn users_of(&self, scope: &Scope) -> BTreeSet<Key> {
        let (Some(namespace), Some(name)) = (&scope.namespace, &scope.name) else { return BTreeSet::new() };
        self.users(&Id::new(scope.kind.clone(), namespace, name))
    }

    fn ids(&self) -> impl Iterator<Item = &Id> {
        self.texts.keys().chain(self.workloads.keys()).chain(self.pods.ids()).chain(self.failures.ids())
    }

    fn room(&mut self) -> bool {
        let room = self.texts.len() + self.workloads.len() + self.pods.len() < OBJECTS_MAX;
        self.full |= !room;
        room
    }

    fn put(&mut self, object: Object) -> Touched {
        let id = object.id.clone();
        match &id.kind {
            Kind::Workload(_) => {
                // What was known last stays.
                let Some(new) = Workload::of(&object) else { return Touched::default() };
                if !self.workloads.contains_key(&id) && !self.room() {
                    return Touched::default();
                }
                match &new.selector {
                    Some(selector) if self.selector(&id) == Some(selector) => {}
                    Some(selector) => {
                        self.pods.want(selector);
                        self.looking.put(&id, selector);
                    }
                    None => self.looking.remove(&id),
                }
                let old = self.workloads.insert(id.clone(), new);
                self.workload_changed(&id, old.as_ref())
            }
            Kind::Pod => {
                if !self.pods.contains(&id) && !self.room() {
                    return Touched::default();
                }
                let labels = self.pods.put(id.clone(), Facts::of(&object));
                self.owners_of_pod(&id, &labels)
            }
            Kind::Event => {
                let workload = self.failures.put(&object);
                Touched { counted: self.users_of_some(workload), ..Touched::default() }
            }
            _ => {
                if !self.texts.contains_key(&id) && !self.room() {
                    return Touched::default();
                }
                let object = if self.shares(&object) { object } else { target::stub(object) };
                let (object, old) = (Arc::new(object), self.object(&id));
                self.versions += 1;
                self.texts.insert(id.clone(), Kept::new(&object, self.versions, self.compact));
                self.names(&id, old.as_deref(), Some(&object));
                if old.as_ref().is_some_and(|old| target::same(old, &object, &self.claim)) {
                    return Touched::default();
                }
                if id.kind == Kind::Job {
                    return counted(owner_of_job(&object));
                }
                self.text_changed(&id, old.as_deref(), Some(&object))
            }
        }
    }

    fn remove(&mut self, id: &Id) -> Touched {
        match &id.kind {
            Kind::Workload(_) => match self.workloads.remove(id) {
                Some(old) => {
                    self.looking.remove(id);
                    self.workload_changed(id, Some(&old))
                }
                None => Touched::default(),
            },
            Kind::Pod => {
                let labels = self.pods.remove(id);
                self.owners_of_pod(id, &labels)
            }
            Kind::Event => {
                let workload = self.failures.remove(id);
                Touched { counted: self.users_of_some(workload), ..Touched::default() }
            }
            _ => match self.texts.remove(id).map(|old| old.open(id)) {
                None => Touched::default(),
                Some(job) if id.kind == Kind::Job => counted(owner_of_job(&job)),
                Some(old) => {
                    self.names(id, Some(&old), None);
                    self.text_changed(id, Some(&old), None)
                }
            },
        }
    }

    fn workload_changed(&self, id: &Id, old: Option<&Workload>) -> Touched {
        let users = self.users(id);
        let new = self.workloads.get(id);
        let same = |old: &Workload, new: &Workload| old.template == new.template && old.uid == new.uid;
        let read = match (old, new) {
            (Some(old), Some(new)) => !same(old, new),
            _ => true,
        };
        if read {
            Touched { read: users, ..Touched::default() }
        } else {
            Touched { counted: users, ..Touched::default() }
        }
    }

    fn text_changed(&self, id: &Id, old: Option<&Object>, new: Option<&Object>) -> Touched {
        let mut read = self.users(id);
        read.extend(Key::of(id));
        // Who else scales a workload has begun to, has turned to another, or is gone.
        if id.kind == Kind::HorizontalPodAutoscaler || id.kind == Kind::ScaledObject {
            for target in [old, new].into_iter().flatten().filter_map(target::scaled) {
                read.extend(self.users(&target));
            }
        }
        Touched { read, ..Touched::default() }
    }

    fn owners_of_pod(&self, id: &Id, labels: &[BTreeMap<String, String>]) -> Touched {
        let mut counted = BTreeSet::new();
        for labels in labels {
            for workload in self.looking.among(&id.namespace, labels) {
                if self.selector(workload).is_some_and(|selector| selector.chooses(labels)) {
                    counted.extend(self.users.get(workload).into_iter().flatten().cloned());
                }
            }
        }
        if let Some(job) = labels.iter().find_map(|labels| labels.get(JOB_OF_POD)) {
            let job = self.object(&Id::new(Kind::Job, &id.namespace, job));
            counted.extend(job.and_then(|job| owner_of_job(&job)));
        }
        Touched { counted, ..Touched::default() }
    }

    /// The Jobs of a ScaledJob.
    pub fn jobs_of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = Arc<Object>> {
        let all = self.texts.range(Id::new(Kind::Job, &key.namespace, "")..);
        let here = all.take_while(|(id, _)| id.kind == Kind::Job && id.namespace == key.namespace);
        here.map(|(id, job)| job.open(id)).filter(|job| owner_of_job(job).as_ref() == Some(key))
    }

    /// The pods of a Job.
    pub fn pods_of_job<'a>(&'a self, job: &'a Id) -> impl Iterator<Item = &'a Facts> {
        let here = self.pods.of_namespace(&job.namespace);
        here.map(|(_, facts)| facts)
            .filter(|facts| facts.labels.get(JOB_OF_POD).is_some_and(|name| **name == *job.name))
    }
}

/// The label that a Job's controller puts on its pods.
const JOB_OF_POD: &str = "batch.kubernetes.io/job-name";

fn owner_of_job(job: &Object) -> Option<Key> {
    let name = job.json.pointer("/metadata/labels")?.get(crate::jobs::LABEL)?.as_str()?;
    Some(Key { asks: target::Asks::ScaledJob, namespace: Arc::clone(&job.id.namespace), name: name.into() })
}

fn counted(key: Option<Key>) -> Touched {
    Touched { counted: key.into_iter().collect(), ..Touched::default() }
}

/// The scope of one object, for kinds that are not watched whole.
#[must_use]
pub fn single(id: &Id) -> Option<Scope> {
    let whole = match &id.kind {
        Kind::Secret | Kind::ConfigMap | Kind::Token => false,
        Kind::Workload(gvk) => crate::watch::common().contains(gvk),
        _ => true,
    };
    (!whole).then(|| Scope {
        kind: id.kind.clone(),
        namespace: Some(Arc::clone(&id.namespace)),
        name: Some(Arc::clone(&id.name)),
    })
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
