//! Leases of others, and whether they are held: by what is seen of them, and not by the times that stand in them.

use std::collections::BTreeMap;

use tidegate_core::time::{Span, Time};

use crate::index::pods::time;
use crate::lease::SELECTOR;
use crate::object::{Id, Object};

/// A leader renews every two seconds and is followed after fifteen; one that has not for twice as long is gone.
const GONE: Span = Span::from_secs(30);

/// So long a lease that is seen for the first time may be a living leader's: five renewals.
const DOUBT: Span = Span::from_secs(10);

/// A lease that was renewed before this is one that somebody has left behind. It is its clock against ours, and wide
/// enough for any: if it lives nevertheless, its next renewal tells.
const LEFT_BEHIND: Span = Span::from_secs(600);

/// One lease.
#[derive(Debug)]
struct Seen {
    renewed: String,
    /// Until when it counts as held.
    until: Time,
    /// Which objects its holder looks at, where it says so.
    selector: Option<String>,
}

/// Leases that somebody holds or held.
#[derive(Debug, Default)]
pub(super) struct Leases(BTreeMap<Id, Seen>);

impl Leases {
    /// Takes note of a lease as it is now.
    pub(super) fn take(&mut self, lease: &Object, now: Time) {
        if lease.text("/spec/holderIdentity").unwrap_or_default().is_empty() {
            self.0.remove(&lease.id);
            return;
        }
        let renewed = lease.text("/spec/renewTime").unwrap_or_default();
        let until = match self.0.get(&lease.id) {
            Some(known) if known.renewed == renewed => known.until,
            Some(_) => now + GONE,
            None if time(renewed).is_some_and(|at| now.since(at) < LEFT_BEHIND) => now + DOUBT,
            None => Time::ORIGIN,
        };
        let selector = lease.annotation(SELECTOR).map(str::to_owned);
        self.0.insert(lease.id.clone(), Seen { renewed: renewed.to_owned(), until, selector });
    }

    /// It is gone.
    pub(super) fn forget(&mut self, id: &Id) {
        self.0.remove(id);
    }

    /// Forgets all but these.
    pub(super) fn keep(&mut self, these: impl Fn(&Id) -> bool) {
        self.0.retain(|id, _| these(id));
    }

    /// The clock has jumped: those that were held are held as long as before.
    pub(super) fn shift(&mut self, moved: Span) {
        let held = self.0.values_mut().filter(|seen| seen.until != Time::ORIGIN);
        held.for_each(|seen| seen.until = seen.until + moved);
    }

    /// Those that are held.
    pub(super) fn held(&self, now: Time) -> impl Iterator<Item = &Id> {
        self.0.iter().filter(move |(_, seen)| now < seen.until).map(|(id, _)| id)
    }

    /// Which objects the holder of a lease looks at; `None` where nobody holds it. All where it does not say.
    pub(super) fn selector(&self, id: &Id, now: Time) -> Option<&str> {
        let seen = self.0.get(id).filter(|seen| now < seen.until)?;
        Some(seen.selector.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::Kind;

    #[test]
    fn a_clock_that_jumps_lets_nobody_s_lease_run_out() {
        let lease = |second: u32| {
            let spec =
                json!({"holderIdentity": "keda", "renewTime": format!("2026-01-01T00:00:{second:02}Z")});
            Object::new(Kind::Lease, json!({"metadata": {"name": "operator.keda.sh"}, "spec": spec})).unwrap()
        };
        let start = time("2026-01-01T00:00:00Z").unwrap();
        let mut leases = Leases::default();
        leases.take(&lease(0), start);
        leases.take(&lease(2), start + Span::from_secs(2));
        let later = start + Span::from_secs(62);
        assert_eq!(leases.held(later).count(), 0, "so it is without the jump");
        leases.shift(Span::from_secs(60));
        assert_eq!(leases.held(later).count(), 1);
        assert_eq!(leases.held(later + GONE).count(), 0);
    }
}
