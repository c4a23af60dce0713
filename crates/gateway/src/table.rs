//! Which model is whose: replaced as a whole when targets change, read without a lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use tidegate_core::route::TargetId;

use crate::config::TargetConfig;
use crate::stats::Stats;

/// A target as requests see it.
pub(crate) struct Target {
    pub(crate) id: TargetId,
    pub(crate) config: TargetConfig,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) stats: Arc<Stats>,
    /// Unix seconds at which it came, as the list of models wants it.
    pub(crate) created_s: i64,
}

impl Target {
    pub(crate) fn models(&self) -> impl Iterator<Item = &str> {
        let own = self.config.models.is_empty().then_some(&*self.config.name);
        self.config.models.iter().map(String::as_str).chain(own)
    }
}

/// All targets, in the order they were given.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) targets: Vec<Arc<Target>>,
    models: BTreeMap<String, Arc<Target>>,
}

impl Table {
    pub(crate) fn new(targets: Vec<Arc<Target>>) -> Self {
        let mut models: BTreeMap<String, Arc<Target>> = BTreeMap::new();
        for target in &targets {
            for model in target.models() {
                if let Some(first) = models.get(model) {
                    tracing::warn!(model, served_by = %first.config.name, not_by = %target.config.name,
                        "two targets have the same model; the first serves it");
                    continue;
                }
                models.insert(model.to_owned(), target.clone());
            }
        }
        Table { targets, models }
    }

    pub(crate) fn by_model(&self, model: &str) -> Option<&Arc<Target>> {
        self.models.get(model)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|t| &*t.config.name == name)
    }

    /// Every model that can be asked for, with its target.
    pub(crate) fn models(&self) -> impl Iterator<Item = (&str, &Arc<Target>)> {
        self.targets.iter().flat_map(|target| {
            target
                .models()
                .filter(|m| self.by_model(m).is_some_and(|t| t.id == target.id))
                .map(move |m| (m, target))
        })
    }
}
