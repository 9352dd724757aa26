//! The stage types that an engine knows, by name.

use crate::StageType;
use std::{collections::BTreeMap, sync::Arc};

/// Stage types by the word after `uses:`.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<dyn StageType>>);

impl Registry {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a stage type; a later one of the same name replaces an earlier one.
    #[must_use]
    pub fn with(mut self, stage: impl StageType + 'static) -> Self {
        self.0.insert(stage.name(), Arc::new(stage));
        self
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn StageType>> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn StageType>> {
        self.0.values()
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}
