//! Several operators in one cluster, each with its share: whose an object is where two selectors choose it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use tidegate_core::time::{Span, Time};

use super::{Operator, Weight};
use crate::adopt::CLAIM;
use crate::index::selector::Selector;
use crate::index::target::Key;
use crate::object::{Change, Id, Kind, Object, Scope};
use crate::owner::{self, Other};
use crate::status::notes::Said;

/// How soon an object is looked at again that another shard has: a lease that is given up is nobody's at once.
pub(super) const AGAIN: Span = Span::from_secs(5);

/// Operators of other namespaces whose leases are watched: beyond so many, a claim of one holds until it is taken off.
const AFAR_MAX: usize = 64;

/// The lease of a shard in another namespace.
fn afar(namespace: &str, shard: &str) -> Scope {
    Scope { kind: Kind::Lease, namespace: Some(namespace.into()), name: Some(lease(shard).into()) }
}

/// Whether a lease is one of these.
fn is_afar(afar: &BTreeSet<Scope>, id: &Id) -> bool {
    let (namespace, name) = (Some(Arc::clone(&id.namespace)), Some(Arc::clone(&id.name)));
    afar.contains(&Scope { kind: Kind::Lease, namespace, name })
}

/// The name of a shard's lease.
pub(super) fn lease(shard: &str) -> String {
    format!("tidegate-{shard}")
}

/// How a shard says that an object is its own.
pub(super) fn claim(namespace: &str, shard: &str) -> String {
    format!("{namespace}/{shard}")
}

/// Leases of shards in other namespaces.
#[derive(Debug, Default)]
pub(super) struct Afar {
    /// Those that are watched.
    pub(super) leases: BTreeSet<Scope>,
    /// The one that each autoscaler goes by which was handed over by a shard of another namespace.
    handed: BTreeMap<Id, Scope>,
    /// Whether claims have changed since.
    pub(super) due: bool,
}

/// What other shards have to do with an object of ours.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Why it is another shard's to run.
    pub(super) elsewhere: Option<String>,
    /// An elder object of a shard that is at work, for the same workload, and whose that is.
    pub(super) elder: Option<(Other, String)>,
    /// What its recheck and turns of leases are for.
    pub(super) leans: Leans,
}

/// By what a target depends on other shards.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Leans {
    /// Whether there is an elder object of another shard for its workload, of one that is at work or not.
    pub(super) elders: bool,
    /// The leases in other namespaces of those that have claimed it or such an elder.
    claimers: BTreeSet<Scope>,
}

/// Who has claimed an object, and is at work as far as is known.
struct Holder<'a> {
    namespace: &'a str,
    shard: &'a str,
    /// Why that cannot be known.
    unseen: Option<&'a str>,
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the operator of shard {} in namespace {}", self.shard, self.namespace)
    }
}

impl Holder<'_> {
    /// That it has an object.
    fn has(&self, what: &str) -> String {
        let unseen = self.unseen.map(|why| format!(" (its lease cannot be seen: {why})"));
        format!("{self} has {what}{}", unseen.unwrap_or_default())
    }
}

/// Why an object is left alone, with whose the elder is.
pub(super) fn left(why: String, whose: Option<String>) -> String {
    match whose {
        Some(whose) => format!("{why}: {whose}"),
        None => why,
    }
}

impl Operator {
    /// Takes note of another operator's lease. Whether what follows from it is another thing now: it is held or free,
    /// or its holder selects other objects.
    pub(super) fn hear_of_shards(&mut self, change: &Change, now: Time) -> bool {
        let id = match change {
            Change::Applied(lease) => lease.id.clone(),
            Change::Gone(id) => id.clone(),
            _ => return false,
        };
        if id.kind != Kind::Lease || !(self.is_near(&id) || is_afar(&self.afar.leases, &id)) {
            return false;
        }
        let before = self.shards.selector(&id, now).map(str::to_owned);
        match change {
            Change::Applied(lease) => self.shards.take(lease, now),
            _ => self.shards.forget(&id),
        }
        self.shards.selector(&id, now) != before.as_deref()
    }

    /// Targets that depend on whether another shard is at work.
    pub(super) fn leaning_on_shards(&self) -> impl Iterator<Item = Key> {
        let leaning = self.entries.values().filter(|entry| entry.elsewhere || entry.leans.elders);
        leaning.map(|entry| entry.key.clone())
    }

    /// Whether a lease is that of a shard in our own namespace.
    fn is_near(&self, id: &Id) -> bool {
        *id.namespace == *self.namespace && id.name.starts_with(&lease(""))
    }

    /// The leases in other namespaces that have to be seen: of who has claimed what is looked at now. Those that are
    /// watched already keep their place when there are too many.
    pub(super) fn look_for_claimers(&mut self) {
        let mut handed = std::mem::take(&mut self.afar.handed);
        handed.retain(|hpa, _| self.index.object(hpa).is_some());
        let of_entries = self.entries.values().flat_map(|entry| &entry.leans.claimers);
        let claimers: BTreeSet<&Scope> = of_entries.chain(handed.values()).collect();
        let (known, new): (Vec<&Scope>, Vec<&Scope>) =
            claimers.into_iter().partition(|scope| self.afar.leases.contains(*scope));
        let afar: BTreeSet<Scope> = known.into_iter().chain(new).take(AFAR_MAX).cloned().collect();
        // What is not watched any more is not known any more.
        let near = self.namespace.clone();
        self.shards.keep(|id| *id.namespace == *near || is_afar(&afar, id));
        self.afar = Afar { leases: afar, handed, due: false };
    }

    /// Has the lease watched of whoever has claimed an autoscaler that was handed over, and of nobody where that is ours.
    pub(super) fn look_for_claimer_of(&mut self, hpa: &Object) {
        let claimer = self.claim_of_another(hpa).filter(|(namespace, _)| **namespace != *self.namespace);
        let scope = claimer.map(|(namespace, shard)| afar(namespace, shard));
        let before = match &scope {
            Some(scope) => self.afar.handed.insert(hpa.id.clone(), scope.clone()),
            None => self.afar.handed.remove(&hpa.id),
        };
        self.afar.due |= before != scope;
    }

    /// What other shards have to do with an object. Who only advises writes beside nobody.
    pub(super) fn beside(&self, key: &Key, object: &Object, now: Time) -> Beside {
        if self.connection.read_only {
            return Beside::default();
        }
        let elders = owner::elder_rivals(&self.index, key, object);
        let claimed = [object].into_iter().chain(elders.iter().map(|elder| &**elder));
        let claimers = claimed.filter_map(|object| {
            let (namespace, shard) = self.claim_of_another(object)?;
            (*namespace != *self.namespace).then(|| afar(namespace, shard))
        });
        let leans = Leans { elders: !elders.is_empty(), claimers: claimers.collect() };
        let elder = elders.iter().find_map(|elder| {
            let text = format!(
                "{}; if that operator is gone for good, remove the annotation {CLAIM} from it",
                self.holder(elder, now)?.has("that one")
            );
            Some((Other::Elder { key: Key::of(&elder.id)? }, text))
        });
        let elsewhere = self.holder(object, now).map(|holder| {
            format!(
                "{}; let the selectors of two shards choose nothing in common, or take its claim off, if it is gone for \
                 good: remove the annotation {CLAIM}",
                holder.has("this object")
            )
        });
        Beside { elsewhere, elder, leans }
    }

    /// Whether an object is another shard's to run.
    pub(super) fn is_of_another_shard(&self, object: &Object, now: Time) -> bool {
        !self.connection.read_only && self.holder(object, now).is_some()
    }

    /// Namespace and shard that have claimed an object, where it is not ours.
    fn claim_of_another<'a>(&self, object: &'a Object) -> Option<(&'a str, &'a str)> {
        object.annotation(CLAIM).filter(|claim| *claim != self.index.claim())?.split_once('/')
    }

    /// Whose an object is, if another shard's. A claim holds while its shard's lease is held and the selector on that
    /// lease chooses the object.
    fn holder<'a>(&'a self, object: &'a Object, now: Time) -> Option<Holder<'a>> {
        let (namespace, shard) = self.claim_of_another(object)?;
        // Where its lease cannot be seen, its word is all there is.
        let near = *namespace == *self.namespace;
        let scope = if near { crate::watch::shards(namespace) } else { afar(namespace, shard) };
        if self.index.is_listed(&scope) {
            let id = Id::new(Kind::Lease, namespace, &lease(shard));
            let selector = self.shards.selector(&id, now)?;
            if !selector.is_empty() && !Selector::parse(selector).chooses(&object.labels()) {
                return None;
            }
        }
        Some(Holder { namespace, shard, unseen: self.blind.get(&scope).map(String::as_str) })
    }

    /// Says that an object is left to another shard, once.
    pub(super) fn leave_to_shard(&mut self, key: &Key, why: &str, before: Option<&String>) {
        if before.is_some_and(|before| before == why) {
            return;
        }
        self.remark(Weight::Warning, &format!("{key}: {why}"));
        self.note(key, Said { warning: true, reason: "OfAnotherShard", message: why.to_owned() });
    }
}
