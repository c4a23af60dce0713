//! Several operators in one cluster, each with its share: whose an object is where two selectors choose it.

use tidegate_core::time::{Span, Time};

use super::{Operator, Weight};
use crate::adopt::CLAIM;
use crate::index::selector::Selector;
use crate::index::target::Key;
use crate::object::{Change, Id, Kind, Object};
use crate::status::notes::Said;

/// How soon an object is looked at again that another shard has: a lease that is given up is nobody's at once.
pub(super) const AGAIN: Span = Span::from_secs(5);

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
        let its = |id: &Id| {
            id.kind == Kind::Lease && *id.namespace == *self.namespace && id.name.starts_with(&lease(""))
        };
        match change {
            Change::Applied(lease) if its(&lease.id) => self.shards.take(lease, now),
            Change::Gone(id) if its(id) => self.shards.forget(id),
            _ => {}
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
        let seen = *namespace == *self.namespace && self.index.is_listed(&crate::watch::shards(namespace));
        if seen {
            let id = Id::new(Kind::Lease, namespace, &lease(shard));
            let selector = self.shards.selector(&id, now)?;
            if !selector.is_empty() && !Selector::parse(selector).chooses(&object.labels()) {
                return None;
            }
        }
        Some(format!(
            "the operator of shard {shard} in namespace {namespace} has this object; let the selectors of two shards \
             choose nothing in common, or take its claim off, if it is gone for good: remove the annotation {CLAIM}"
        ))
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
