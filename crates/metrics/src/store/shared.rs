//! One store for many tasks.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Store;

/// A store behind a lock: pages come in a thousand a second and are short, questions are few and read.
#[derive(Debug, Default)]
pub struct Shared(RwLock<Store>);

impl Shared {
    /// Shares `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Shared(RwLock::new(store))
    }

    /// To ask. A panic in another thread leaves a store that can be read.
    pub fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To add to it.
    pub fn write(&self) -> RwLockWriteGuard<'_, Store> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
