//! Whether a KEDA is at work in the cluster, by the lease that its leader renews.

use std::collections::BTreeMap;

use tidegate_core::time::{Span, Time};

use super::{Error, Operator, Weight};
use crate::index::pods::time;
use crate::index::target::Key;
use crate::object::{Change, Id, Kind, Object};
use crate::owner;

/// A leader renews every two seconds and is followed after fifteen; one that has not for twice as long is gone.
const GONE: Span = Span::from_secs(30);

/// So long a lease that is seen for the first time may be a living KEDA's: five renewals.
const DOUBT: Span = Span::from_secs(10);

/// A lease that was renewed before this is one that a KEDA has left behind. It is its clock against ours, and wide
/// enough for any: if it lives nevertheless, its next renewal tells.
const LEFT_BEHIND: Span = Span::from_secs(600);

/// One lease.
#[derive(Debug)]
struct Seen {
    renewed: String,
    /// Until when it counts as held.
    until: Time,
}

/// The leases of KEDAs; there is one for each installation.
#[derive(Debug, Default)]
pub(super) struct Kedas {
    leases: BTreeMap<Id, Seen>,
    /// Who was at work when that was last looked at.
    at_work: Option<String>,
}

impl Kedas {
    /// Takes note of a change, if it is a lease's.
    pub(super) fn hear(&mut self, change: &Change, now: Time) {
        match change {
            Change::Applied(lease) if lease.id.kind == Kind::Lease => self.take(lease, now),
            Change::Gone(id) => drop(self.leases.remove(id)),
            _ => {}
        }
    }

    fn take(&mut self, lease: &Object, now: Time) {
        if lease.text("/spec/holderIdentity").unwrap_or_default().is_empty() {
            self.leases.remove(&lease.id);
            return;
        }
        let renewed = lease.text("/spec/renewTime").unwrap_or_default();
        let until = match self.leases.get(&lease.id) {
            Some(known) if known.renewed == renewed => return,
            Some(_) => now + GONE,
            None if time(renewed).is_some_and(|at| now.since(at) < LEFT_BEHIND) => now + DOUBT,
            None => Time::ORIGIN,
        };
        self.leases.insert(lease.id.clone(), Seen { renewed: renewed.to_owned(), until });
    }

    /// The lease of a KEDA that is at work, as `namespace/name`.
    pub(super) fn at_work(&self) -> Option<&str> {
        self.at_work.as_deref()
    }

    /// Looks whether one is, and says whether that is another than before.
    fn turn(&mut self, now: Time) -> bool {
        let held = self.leases.iter().find(|(_, seen)| now < seen.until);
        let at_work = held.map(|(id, _)| format!("{}/{}", id.namespace, id.name));
        let turned = at_work != self.at_work;
        self.at_work = at_work;
        turned
    }
}

impl Operator {
    /// Looks whether a KEDA is at work; when that has turned, what would be its is read anew.
    pub(super) fn look_at_kedas(&mut self) -> Result<(), Error> {
        if !self.kedas.turn(self.clock.now()) {
            return Ok(());
        }
        let text = match self.kedas.at_work() {
            Some(lease) => format!("a KEDA is at work (lease {lease}): what is its is left to it"),
            None => "the KEDA that was at work has gone".to_owned(),
        };
        self.remark(Weight::Info, &text);
        if self.mind != super::Mind::Decides {
            return Ok(());
        }
        let its = |key: &Key| self.index.object(&key.id()).is_some_and(|object| owner::kedas(object));
        let keys: Vec<Key> = self.keys().into_iter().filter(its).collect();
        keys.iter().try_for_each(|key| self.read(key))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(holder: &str, renewed: &str) -> Change {
        let metadata = json!({"namespace": "keda", "name": "operator.keda.sh"});
        let spec = json!({"holderIdentity": holder, "renewTime": renewed});
        let object = Object::new(Kind::Lease, json!({"metadata": metadata, "spec": spec})).unwrap();
        Change::Applied(Box::new(object))
    }

    fn at(seconds: i64) -> Time {
        time("2026-01-01T00:00:00Z").unwrap() + Span::from_secs(seconds)
    }

    fn works(kedas: &mut Kedas, seconds: i64) -> bool {
        kedas.turn(at(seconds));
        kedas.at_work().is_some()
    }

    #[test]
    fn a_lease_that_is_renewed_is_a_living_kedas_until_it_is_not() {
        let mut kedas = Kedas::default();
        kedas.hear(&lease("a", "2025-12-31T23:59:59.000000Z"), at(0));
        assert!(works(&mut kedas, 0), "it may be");
        assert!(!works(&mut kedas, 10), "it was not renewed");
        kedas.hear(&lease("a", "2026-01-01T00:00:11.000000Z"), at(11));
        assert!(works(&mut kedas, 40));
        // The same once more, as a list that begins anew brings it.
        kedas.hear(&lease("a", "2026-01-01T00:00:11.000000Z"), at(40));
        assert!(!works(&mut kedas, 41));
    }

    #[test]
    fn a_lease_that_was_left_behind_or_given_up_is_nobodys() {
        let mut kedas = Kedas::default();
        kedas.hear(&lease("a", "2025-12-30T00:00:00.000000Z"), at(0));
        assert!(!works(&mut kedas, 0));
        // Its clock is days behind, and it lives.
        kedas.hear(&lease("a", "2025-12-30T00:00:02.000000Z"), at(2));
        assert!(works(&mut kedas, 2));
        kedas.hear(&lease("", "2025-12-30T00:00:03.000000Z"), at(3));
        assert!(!works(&mut kedas, 3));
    }
}
