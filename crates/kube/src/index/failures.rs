//! Why pods of a StatefulSet are not made: its controller says so in Events, and in no condition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_core::time::{Span, Time};

use super::pending::{self, Cause};
use super::pods::time;
use crate::object::{Gvk, Id, Kind, Object};

/// Events kept, of some 700 bytes each: one for each StatefulSet and sentence. What comes beyond is not looked at.
const EVENTS_MAX: usize = 2000;

/// The controller tries again after 1000 s at the most, and counts that in the same Event. What is older is over.
const FRESH: Span = Span::from_secs(1200);

#[derive(Debug)]
struct Failure {
    workload: Id,
    uid: Arc<str>,
    at: Time,
    cause: Cause,
}

/// Pods that were refused.
#[derive(Debug, Default)]
pub(super) struct Failures {
    events: BTreeMap<Id, Failure>,
    /// The Events of each workload.
    by_workload: BTreeMap<Id, BTreeSet<Id>>,
}

impl Failures {
    /// Takes an Event, and says whose it is.
    pub(super) fn put(&mut self, event: &Object) -> Option<Id> {
        let text = |at: &str| event.text(at);
        let api_version = text("/involvedObject/apiVersion");
        let kind = Kind::Workload(Gvk::of(api_version, text("/involvedObject/kind")));
        let workload = Id::new(kind, &event.id.namespace, text("/involvedObject/name")?);
        let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime"];
        let at = times.iter().find_map(|at| text(at).and_then(time))?;
        if self.events.len() >= EVENTS_MAX && !self.events.contains_key(&event.id) {
            return None;
        }
        self.remove(&event.id);
        let failure = Failure {
            workload: workload.clone(),
            uid: text("/involvedObject/uid").unwrap_or_default().into(),
            at,
            cause: pending::not_made(text("/message").unwrap_or_default()),
        };
        self.by_workload.entry(workload.clone()).or_default().insert(event.id.clone());
        self.events.insert(event.id.clone(), failure);
        Some(workload)
    }

    /// Forgets an Event, and says whose it was.
    pub(super) fn remove(&mut self, event: &Id) -> Option<Id> {
        let Failure { workload, .. } = self.events.remove(event)?;
        if let Some(events) = self.by_workload.get_mut(&workload) {
            events.remove(event);
            if events.is_empty() {
                self.by_workload.remove(&workload);
            }
        }
        Some(workload)
    }

    /// All Events.
    pub(super) fn ids(&self) -> impl Iterator<Item = &Id> {
        self.events.keys()
    }

    /// Why the last pod of a workload was refused, if none was made `since`.
    pub(super) fn of(&self, workload: &Id, uid: &str, since: Option<Time>, now: Time) -> Option<&Cause> {
        let all = self.by_workload.get(workload)?.iter().filter_map(|id| self.events.get(id));
        let stands = |failure: &&Failure| {
            *failure.uid == *uid
                && now.since(failure.at) < FRESH
                && since.is_none_or(|since| failure.at >= since)
        };
        all.filter(stands).max_by_key(|failure| failure.at).map(|failure| &failure.cause)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(name: &str, message: &str, at: &str) -> Object {
        let involved = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "llama", "uid": "1"});
        let json = json!({
            "metadata": {"namespace": "prod", "name": name}, "involvedObject": involved,
            "message": message, "lastTimestamp": at, "eventTime": null,
        });
        Object::new(Kind::Event, json).unwrap()
    }

    #[test]
    fn the_last_refusal_counts_until_a_pod_is_made_or_it_is_old() {
        let mut all = Failures::default();
        let quota = "create Pod llama-1 in StatefulSet llama failed error: pods \"llama-1\" is forbidden: exceeded \
                     quota: gpus";
        let workload = all.put(&event("a", "create Pod llama-1 failed", "2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(all.put(&event("b", quota, "2026-01-01T00:00:10Z")).as_ref(), Some(&workload));
        let at = |second: i64| time("2026-01-01T00:00:00Z").unwrap() + Span::from_secs(second);
        let kind =
            |all: &Failures, since, now: i64| all.of(&workload, "1", since, at(now)).map(|cause| cause.kind);
        assert_eq!(kind(&all, None, 20), Some(pending::Kind::Quota));
        assert_eq!(kind(&all, Some(at(10)), 20), Some(pending::Kind::Quota), "made in the same second");
        assert_eq!(kind(&all, Some(at(11)), 20), None, "one was made since");
        assert_eq!(kind(&all, None, 1210), None);
        assert_eq!(all.of(&workload, "2", None, at(20)), None, "of another by its name");
        all.remove(&event("b", "", "").id);
        assert_eq!(kind(&all, None, 20), Some(pending::Kind::Other));
        all.remove(&event("a", "", "").id);
        assert!(all.by_workload.is_empty() && all.ids().next().is_none());
    }

    #[test]
    fn events_have_a_limit() {
        let mut all = Failures::default();
        for number in 0..=EVENTS_MAX {
            all.put(&event(&format!("e{number}"), "no", "2026-01-01T00:00:00Z"));
        }
        assert_eq!(all.events.len(), EVENTS_MAX);
    }
}
