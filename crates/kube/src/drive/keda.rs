//! Whether a KEDA is at work in the cluster, by the lease that its leader renews.

use tidegate_core::time::{Span, Time};

use super::leases::Leases;
use super::{Error, Operator, Weight};
use crate::index::target::Key;
use crate::migrate::KEDA_LEASE;
use crate::object::{Change, Id, Kind};
use crate::owner;

/// The leases of KEDAs; there is one for each installation.
#[derive(Debug, Default)]
pub(super) struct Kedas {
    leases: Leases,
    /// Who was at work when that was last looked at.
    at_work: Option<String>,
}

impl Kedas {
    /// The clock has jumped.
    pub(super) fn shift(&mut self, moved: Span) {
        self.leases.shift(moved);
    }

    /// Takes note of a change, if it is of a KEDA's lease.
    pub(super) fn hear(&mut self, change: &Change, now: Time) {
        match change {
            Change::Applied(lease) if its(&lease.id) => self.leases.take(lease, now),
            Change::Gone(id) if its(id) => self.leases.forget(id),
            _ => {}
        }
    }

    /// The lease of a KEDA that is at work, as `namespace/name`.
    pub(super) fn at_work(&self) -> Option<&str> {
        self.at_work.as_deref()
    }

    /// Looks whether one is, and says whether that is another than before.
    fn turn(&mut self, now: Time) -> bool {
        let at_work = self.leases.held(now).next().map(|id| format!("{}/{}", id.namespace, id.name));
        let turned = at_work != self.at_work;
        self.at_work = at_work;
        turned
    }
}

fn its(id: &Id) -> bool {
    id.kind == Kind::Lease && *id.name == *KEDA_LEASE
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
        let kedas = |key: &Key| self.index.object(&key.id()).is_some_and(|object| owner::kedas(&object));
        let keys: Vec<Key> = self.keys().into_iter().filter(kedas).collect();
        keys.iter().try_for_each(|key| self.read(key))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_core::time::Span;

    use super::*;
    use crate::index::pods::time;
    use crate::object::Object;

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
