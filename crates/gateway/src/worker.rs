//! What the requests of one thread share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;

use crate::config::{Config, Sizes, Times};
use crate::desk::Desk;
use crate::kept::Budget;
use crate::pool::Pool;
use crate::table::Table;
use crate::wheel::Wheel;

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) desk: Arc<Desk>,
    pub(crate) table: ArcSwap<Table>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) connections: AtomicUsize,
    pub(crate) connections_refused: AtomicU64,
    /// It is stopping, or will soon: it is not ready, and answers are the last of their connections.
    pub(crate) stopping: AtomicBool,
    /// Answers to requests that never came to a target, by status.
    rejected: Mutex<BTreeMap<u16, u64>>,
    /// What makes request ids of two runs differ.
    pub(crate) run: u32,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        Shared {
            desk: Arc::new(Desk::new(config.clock, config.on_demand.clone())),
            table: ArcSwap::default(),
            budget: Arc::new(Budget::new(config.sizes.kept_max)),
            config,
            connections: AtomicUsize::new(0),
            connections_refused: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            rejected: Mutex::default(),
            run: fastrand::u32(..),
        }
    }

    pub(crate) fn rejected(&self, code: u16) {
        *self.rejected.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_insert(0) += 1;
    }

    pub(crate) fn all_rejected(&self) -> BTreeMap<u16, u64> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
const DATE_BYTES: usize = 29;

/// One thread's own things.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: RefCell<Pool>,
    pub(crate) wheel: Wheel,
    date: Cell<Option<(Instant, [u8; DATE_BYTES])>>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Worker { shared, pool: RefCell::default(), wheel: Wheel::default(), date: Cell::new(None) }
    }

    /// The date as answers carry it, made anew at most four times a second.
    pub(crate) fn date(&self) -> [u8; DATE_BYTES] {
        let now = self.wheel.now();
        match self.date.get() {
            Some((at, date)) if at == now => date,
            _ => {
                let mut date = [b' '; DATE_BYTES];
                let text = httpdate::fmt_http_date(SystemTime::now());
                date.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
                self.date.set(Some((now, date)));
                date
            }
        }
    }

    pub(crate) fn times(&self) -> &Times {
        &self.shared.config.times
    }

    pub(crate) fn sizes(&self) -> &Sizes {
        &self.shared.config.sizes
    }
}
