//! What queries want of replicas' pages: one store for the driver, a view of it for each target.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tidegate_core::scale::Reading;
use tidegate_core::time::Time;
use tidegate_metrics::dialect;
use tidegate_metrics::eval::{Answer, Compiled};
use tidegate_metrics::exposition::{Sample, Wanted};
use tidegate_metrics::store::{Shared, Store, reach};

/// The series of all targets of a driver, and which names of a page are kept: what the dialects know to
/// tell something, what some query names, or all.
#[derive(Debug)]
pub struct Kept {
    store: Arc<Shared>,
    everything: bool,
    wanted: RwLock<Wanted<()>>,
    /// What each target's queries name.
    named: Mutex<BTreeMap<Arc<str>, Vec<String>>>,
}

impl Kept {
    /// An empty store. `everything` keeps all names of every page.
    #[must_use]
    pub fn new(everything: bool) -> Self {
        let kept = Kept {
            store: Arc::new(Shared::new(Store::new())),
            everything,
            wanted: RwLock::default(),
            named: Mutex::default(),
        };
        kept.want(&BTreeMap::new());
        kept
    }

    /// The store itself, for whoever reads it or writes to it.
    #[must_use]
    pub const fn store(&self) -> &Arc<Shared> {
        &self.store
    }

    /// The view of one target. What its queries named before is forgotten.
    #[must_use]
    pub fn series(self: &Arc<Self>, target: &Arc<str>, queries: &[&Compiled]) -> Series {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = queries.iter().flat_map(|query| query.names().iter().cloned()).collect();
        // Most targets name the same at each reading, and many name nothing.
        if named.get(target).map(Vec::as_slice).unwrap_or_default() != names {
            named.insert(Arc::clone(target), names);
            self.want(&named);
        }
        keep_back(&self.store, queries);
        Series {
            target: Some(Arc::clone(target)),
            wanted: Names::Of(Arc::clone(self)),
            store: Arc::clone(&self.store),
        }
    }

    fn want(&self, named: &BTreeMap<Arc<str>, Vec<String>>) {
        let asked = named.values().flatten().cloned();
        let wanted = dialect::telling().chain(asked).map(|name| (name, ())).collect();
        *self.wanted.write().unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    fn wants(&self, name: &str) -> bool {
        self.everything || self.wanted.read().unwrap_or_else(PoisonError::into_inner).find(name).is_some()
    }
}

fn keep_back(store: &Shared, queries: &[&Compiled]) {
    let mut store = store.write();
    for query in queries {
        for name in query.names() {
            store.keep(name, reach(query.reach()));
        }
    }
}

#[derive(Debug)]
enum Names {
    Of(Arc<Kept>),
    Own(Wanted<()>),
}

/// One target's series. It knows which names are wanted; a scrape hands in those alone.
#[derive(Debug)]
pub struct Series {
    target: Option<Arc<str>>,
    wanted: Names,
    store: Arc<Shared>,
}

impl Series {
    /// A store of its own for these queries alone.
    #[must_use]
    pub fn new(queries: &[&Compiled]) -> Self {
        let store = Arc::new(Shared::new(Store::new()));
        keep_back(&store, queries);
        let wanted = tidegate_metrics::eval::wanted(queries.iter().copied());
        Series { target: None, wanted: Names::Own(wanted), store }
    }

    /// Whether series of this name are kept.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        match &self.wanted {
            Names::Of(kept) => kept.wants(name),
            Names::Own(wanted) => wanted.find(name).is_some(),
        }
    }

    /// Names a replica, with the labels its series get.
    pub fn add(&self, replica: &Arc<str>, labels: &[(&str, &str)]) {
        self.store.write().add(replica, self.target.as_deref(), labels);
    }

    /// Takes in what a scrape showed.
    pub fn scraped(&self, replica: &str, at: Time, samples: &[Sample<'_>]) {
        self.store.write().scraped(replica, at, samples);
    }

    /// A scrape failed.
    pub fn failed(&self, replica: &str, at: Time) {
        self.store.write().failed(replica, at);
    }

    /// Forgets a replica.
    pub fn forget(&self, replica: &str) {
        self.store.write().forget(replica);
    }

    /// Asks a query, as KEDA asks a Prometheus: nothing is absent, one series is a value, several are
    /// several, a bare number is refused. While replicas are there and none answers, or while series
    /// were dropped at a limit, the answer is an error: it would be too low.
    #[must_use]
    pub fn ask(&self, query: &Compiled, now: Time) -> Reading {
        match self.answer(query, now) {
            Err(failed) => failed,
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

    /// Asks a query whose elements are pods: a sample of each.
    #[must_use]
    pub fn ask_pods(&self, query: &Compiled, now: Time) -> Reading {
        match self.answer(query, now) {
            Err(failed) => failed,
            Ok(Answer::Scalar(_)) => error(format!("{} is a bare number of no pod", query.text())),
            Ok(Answer::Vector(elements)) => crate::per_pod::samples(&elements, now),
        }
    }

    fn answer(&self, query: &Compiled, now: Time) -> Result<Answer, Reading> {
        let store = self.store.read();
        let target = self.target.as_deref();
        let (answering, silent) = (store.answering(target, now), store.silent(target, now));
        if answering == 0 && silent > 0 {
            return Err(error(format!(
                "none of {silent} replicas answers its scrape, so {} is not known",
                query.text()
            )));
        }
        if store.lacks(target, query.names()) {
            return Err(error(format!(
                "the replicas show more series of {} than are kept; name fewer labels or ask a Prometheus",
                query.names().join(", ")
            )));
        }
        query.ask(&store, target, now).map_err(|failed| error(failed.to_string()))
    }
}

pub(crate) fn error(text: impl AsRef<str>) -> Reading {
    Reading::Error(Arc::from(text.as_ref()))
}
