//! Which signals of a target can be trusted, and a remark when that changes. The rules are [`crate::liveness`]'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};

use crate::liveness::{Change, Expect, Liveness, Watch};
use crate::sources::{Demand, Source, Sources};

/// How long a replica has served before its numbers have to be there: five scrapes at one a second.
const READ_AFTER: Span = Span::from_secs(5);

/// A watch over each signal of one target.
#[derive(Debug, Default)]
pub struct Trust {
    watches: BTreeMap<Arc<str>, Watch>,
    /// Since when a replica has served all along.
    serves_since: Option<Time>,
}

impl Trust {
    /// What a signal is like, and since when.
    #[must_use]
    pub fn of(&self, signal: &str) -> Option<(Liveness, Time)> {
        self.watches.get(signal).map(|watch| (watch.state(), watch.since()))
    }

    /// One tick of all signals, with the requests at gateways and the replicas that serve: what there is to remark.
    pub fn tick(
        &mut self,
        now: Time,
        sources: &Sources,
        readings: &BTreeMap<Arc<str>, Reading>,
        demand: Demand,
        ready: u32,
    ) -> Vec<(Arc<str>, Change)> {
        self.watches.retain(|name, _| sources.iter().any(|(known, _)| known == name));
        self.serves_since = (ready > 0).then(|| self.serves_since.unwrap_or(now));
        let value = self.serves_since.is_some_and(|since| now.since(since) >= READ_AFTER);
        let mut remarks = Vec::new();
        for (name, source) in sources.iter() {
            let watch = self.watches.entry(Arc::clone(name)).or_default();
            // The clock stands still for hours, and the gateway's own count is the load itself.
            let moves = matches!(source, Source::Remote(_) | Source::Embedded(_));
            let change = watch.tick(now, readings.get(name), demand, Expect { moves, value });
            remarks.extend(change.map(|change| (Arc::clone(name), change)));
        }
        remarks
    }
}

/// A change in a sentence.
#[must_use]
pub fn sentence(name: &str, change: Change, reading: Option<&Reading>) -> String {
    let lasted = change.lasted;
    match (change.to, reading) {
        (Liveness::Stale, Some(Reading::Stale { value, age })) => {
            format!("signal {name} is stale: its source has not answered, and {value} is {age} old")
        }
        (Liveness::Error, Some(Reading::Error(why))) => {
            format!("signal {name} cannot be read: {why}")
        }
        (Liveness::Absent, _) => {
            format!("signal {name} is absent: its source answers, and there is no such value")
        }
        (Liveness::NotMoving, Some(Reading::Value { value, .. })) => {
            format!("signal {name} does not move: it says {value} while requests come and go; see its query")
        }
        (Liveness::NotMoving, _) => {
            format!("signal {name} does not move while requests come and go; see its query")
        }
        (Liveness::Found, _) => {
            format!("signal {name} is found again; it was {} for {lasted}", change.from.name())
        }
        (state, _) => format!("signal {name} is {}", state.name()),
    }
}
