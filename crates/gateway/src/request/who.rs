//! Who sends a request, how important it is, and until when it is wanted.

use std::fmt;
use std::time::Duration;

use tidegate_core::route::Priority;

use crate::keys::{self, Keys};

/// What a client showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It may come in; 0 is nobody's tenant.
    Tenant(u64),
    /// Its key is not ours.
    Unknown,
    /// It showed none, and one is needed.
    NoKey,
}

/// What of a request's headers is for the gateway. Of each the first counts.
#[derive(Clone, Default)]
pub(crate) struct Marks {
    authorization: Option<Box<[u8]>>,
    key: Option<Box<[u8]>>,
    tenant: Option<u64>,
    priority: Option<Priority>,
    patience: Option<Duration>,
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the keys.
        f.debug_struct("Marks").field("priority", &self.priority).finish_non_exhaustive()
    }
}

impl Marks {
    /// Takes a header that is the gateway's or must not reach an engine; says whether it was one.
    pub(crate) fn take(&mut self, name: &[u8], value: &[u8]) -> bool {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            6 => is("cookie"),
            7 if is("api-key") => keep(&mut self.key, value),
            // Anthropic's and Azure's places for a key.
            9 if is("x-api-key") => keep(&mut self.key, value),
            13 if is("authorization") => keep(&mut self.authorization, value),
            // What comes back is looked at, so it must not come compressed.
            15 => is("accept-encoding"),
            17 if is("x-request-timeout") => self.wait(value),
            12.. if name[..11].eq_ignore_ascii_case(b"x-tidegate-") => self.ours(&name[11..], value),
            _ => false,
        }
    }

    /// One of our own headers: known or not, it goes no further.
    fn ours(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name.eq_ignore_ascii_case(b"tenant") {
            self.tenant.get_or_insert_with(|| keys::tenant(value));
        } else if name.eq_ignore_ascii_case(b"priority") {
            self.priority.get_or_insert_with(|| priority(value));
        } else if name.eq_ignore_ascii_case(b"deadline-s") {
            self.wait(value);
        }
        true
    }

    fn wait(&mut self, value: &[u8]) -> bool {
        self.patience = self.patience.or_else(|| patience(value));
        true
    }

    fn key(&self) -> Option<&[u8]> {
        let Some(value) = self.authorization.as_deref() else { return self.key.as_deref() };
        let bearer = value.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        Some(bearer.map_or(value, |(_, key)| key.trim_ascii()))
    }

    /// Who it is. Where keys are set the key alone says so; else the tenant's header, else whatever key was
    /// shown.
    pub(crate) fn entry(&self, keys: Option<&Keys>) -> Entry {
        match (keys, self.key()) {
            (Some(keys), Some(key)) => keys.tenant(key).map_or(Entry::Unknown, Entry::Tenant),
            (Some(_), None) => Entry::NoKey,
            (None, key) => Entry::Tenant(self.tenant.or_else(|| key.map(keys::tenant)).unwrap_or(0)),
        }
    }

    /// How important it says it is; what it does not say well is normal.
    pub(crate) fn priority(&self) -> Priority {
        self.priority.unwrap_or(Priority::Normal)
    }

    /// How long its client waits for the beginning of an answer, if it said so.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.patience
    }
}

fn keep(place: &mut Option<Box<[u8]>>, value: &[u8]) -> bool {
    place.get_or_insert_with(|| value.into());
    true
}

fn priority(value: &[u8]) -> Priority {
    if value.eq_ignore_ascii_case(b"high") {
        Priority::High
    } else if value.eq_ignore_ascii_case(b"low") {
        Priority::Low
    } else {
        Priority::Normal
    }
}

fn patience(value: &[u8]) -> Option<Duration> {
    let seconds: f64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    fn marks(pairs: &[(&str, &str)]) -> Marks {
        let mut marks = Marks::default();
        for (name, value) in pairs {
            assert!(marks.take(name.as_bytes(), value.as_bytes()), "{name}");
        }
        marks
    }

    #[test]
    fn with_keys_set_only_a_key_makes_a_tenant() {
        let keys = Keys::parse("sk-one\n");
        let entry = |pairs: &[_]| marks(pairs).entry(Some(&keys));
        let by_key = entry(&[("authorization", "Bearer sk-one"), ("x-tidegate-tenant", "x")]);
        assert!(matches!(by_key, Entry::Tenant(t) if t != 0));
        assert_eq!(entry(&[("x-api-key", "sk-one")]), by_key);
        assert_eq!(entry(&[("authorization", "Bearer sk-two")]), Entry::Unknown);
        assert_eq!(entry(&[("x-tidegate-tenant", "x")]), Entry::NoKey);
    }

    #[test]
    fn without_keys_a_header_names_the_tenant_and_nobody_is_zero() {
        assert_eq!(Marks::default().entry(None), Entry::Tenant(0));
        let both = marks(&[("authorization", "Bearer x"), ("X-Tidegate-Tenant", "team")]);
        assert_eq!(both.entry(None), Entry::Tenant(keys::tenant(b"team")));
        assert_eq!(marks(&[("authorization", "Bearer x")]).entry(None), Entry::Tenant(keys::tenant(b"x")));
    }

    #[test]
    fn a_deadline_that_is_no_number_is_none() {
        let patience = |v| marks(&[("x-tidegate-deadline-s", v)]).patience();
        assert_eq!(patience("2.5"), Some(Duration::from_millis(2500)));
        for bad in ["soon", "-1", "NaN", "inf", ""] {
            assert_eq!(patience(bad), None, "{bad}");
        }
    }

    #[test]
    fn of_what_is_said_twice_the_first_counts() {
        let twice = marks(&[("X-Tidegate-Priority", "HIGH"), ("x-tidegate-priority", "low")]);
        assert_eq!(twice.priority(), Priority::High);
        let twice = marks(&[("x-request-timeout", "2"), ("x-tidegate-deadline-s", "5")]);
        assert_eq!(twice.patience(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_is_none_of_ours_is_left_alone() {
        let mut marks = Marks::default();
        for name in ["host", "cookies", "x-api-keys", "x-tidegate", "content-type", "accept", "x-request-id"]
        {
            assert!(!marks.take(name.as_bytes(), b"x"), "{name}");
        }
    }
}
