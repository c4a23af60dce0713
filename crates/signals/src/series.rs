//! What a target's queries want of its replicas' pages, shared between scraping and asking.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_core::scale::Reading;
use tidegate_core::time::{Span, Time};
use tidegate_metrics::eval::{Answer, Compiled, wanted};
use tidegate_metrics::exposition::{Sample, Wanted};
use tidegate_metrics::store::Store;

/// The series store of one target. It knows which names are wanted; a scrape hands in those alone.
#[derive(Debug)]
pub struct Series {
    wanted: Wanted<()>,
    store: Mutex<Store>,
}

impl Series {
    /// A store for these queries.
    #[must_use]
    pub fn new(queries: &[&Compiled]) -> Self {
        let horizon = queries.iter().map(|query| query.window()).max().unwrap_or(Span::ZERO);
        Series { wanted: wanted(queries.iter().copied()), store: Mutex::new(Store::new(horizon)) }
    }

    /// Whether some query wants series of this name.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.wanted.find(name).is_some()
    }

    /// Names a replica, with the labels its series get.
    pub fn add(&self, replica: &Arc<str>, labels: &[(&str, &str)]) {
        self.store().add(replica, labels);
    }

    /// Takes in what a scrape showed.
    pub fn scraped(&self, replica: &str, at: Time, samples: &[Sample<'_>]) {
        self.store().scraped(replica, at, samples);
    }

    /// A scrape failed.
    pub fn failed(&self, replica: &str) {
        self.store().failed(replica);
    }

    /// Forgets a replica.
    pub fn forget(&self, replica: &str) {
        self.store().forget(replica);
    }

    /// Asks a query, as KEDA asks a Prometheus: nothing is absent, one series is a value, several are
    /// several, a bare number is refused. While replicas are there and none answers, or while series
    /// were dropped at a limit, the answer is an error: it would be too low.
    #[must_use]
    pub fn ask(&self, query: &Compiled, now: Time) -> Reading {
        let store = self.store();
        let (answering, silent) = (store.answering(now), store.silent(now));
        if answering == 0 && silent > 0 {
            return error(format!(
                "none of {silent} replicas answers its scrape, so {} is not known",
                query.text()
            ));
        }
        if store.dropped() > 0 {
            return error(format!(
                "the replicas show more series of {} than are kept; name fewer labels or ask a Prometheus",
                query.names().join(", ")
            ));
        }
        match query.ask(&store, now) {
            Err(failed) => error(failed.to_string()),
            Ok(Answer::Scalar(_)) => {
                error(format!("{} is a bare number, which KEDA refuses; wrap it in vector()", query.text()))
            }
            Ok(Answer::Vector(elements)) => match elements.as_slice() {
                [] => Reading::Absent,
                [(_, value)] => Reading::Value { value: *value, active: None },
                several => Reading::Series(several.iter().map(|(_, value)| *value).collect()),
            },
        }
    }

    /// A panic in another thread leaves a store that is whole: every change to it is.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn error(text: impl AsRef<str>) -> Reading {
    Reading::Error(Arc::from(text.as_ref()))
}
