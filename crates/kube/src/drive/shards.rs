//! Several operators in one cluster, each with its share: whose an object is where two selectors choose it.

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

/// The name of a shard's lease.
pub(super) fn lease(shard: &str) -> String {
    format!("tidegate-{shard}")
}

/// How a shard says that an object is its own.
pub(super) fn claim(namespace: &str, shard: &str) -> String {
    format!("{namespace}/{shard}")
}

impl Operator {
    /// Takes note of another operator's lease.
    pub(super) fn hear_of_shards(&mut self, change: &Change, now: Time) {
        let afar = |id: &Id| {
            let (namespace, name) = (Some(Arc::clone(&id.namespace)), Some(Arc::clone(&id.name)));
            self.afar.contains(&Scope { kind: Kind::Lease, namespace, name })
        };
        let its = |id: &Id| {
            let near = *id.namespace == *self.namespace && id.name.starts_with(&lease(""));
            id.kind == Kind::Lease && (near || afar(id))
        };
        match change {
            Change::Applied(lease) if its(&lease.id) => self.shards.take(lease, now),
            Change::Gone(id) if its(id) => self.shards.forget(id),
            _ => {}
        }
    }

    /// Begins to watch the lease of who has claimed an object from another namespace.
    pub(super) fn look_for_claimer(&mut self, object: &Object) {
        let claim = object.annotation(CLAIM).filter(|claim| *claim != self.index.claim());
        let Some((namespace, shard)) = claim.and_then(|claim| claim.split_once('/')) else { return };
        if *namespace != *self.namespace && !self.connection.read_only && self.afar.len() < AFAR_MAX {
            self.afar.insert(afar(namespace, shard));
        }
    }

    /// Why an object is another shard's; `None` where it is ours to run. A claim holds while its shard's lease is held
    /// and the selector on that lease chooses the object.
    pub(super) fn of_another_shard(&self, object: &Object, now: Time) -> Option<String> {
        let claim = object.annotation(CLAIM).filter(|claim| *claim != self.index.claim())?;
        if self.connection.read_only {
            return None;
        }
        let (namespace, shard) = claim.split_once('/')?;
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
        let unseen = self.blind.get(&scope).map(|why| format!(" (its lease cannot be seen: {why})"));
        let unseen = unseen.unwrap_or_default();
        Some(format!(
            "the operator of shard {shard} in namespace {namespace} has this object{unseen}; let the selectors of two shards \
             choose nothing in common, or take its claim off, if it is gone for good: remove the annotation {CLAIM}"
        ))
    }

    /// An elder object of another shard that is at work, for the same workload.
    pub(super) fn elder_elsewhere(&self, key: &Key, object: &Object, now: Time) -> Option<Other> {
        let elder = owner::elder_rivals(&self.index, key, object);
        let run = elder.iter().find(|other| self.of_another_shard(other, now).is_some())?;
        Some(Other::Elder { key: Key::of(&run.id)? })
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
