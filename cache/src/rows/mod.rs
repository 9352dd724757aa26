//! Rows: finished records of row-mapping stages, kept in packed, immutable, append-once segments.
//!
//! Every writer has a live segment of its own, which it locks; when it is done it sorts an index behind the rows and
//! renames the segment. A live segment whose lock is free belongs to a dead writer and is completed by whoever finds it.

mod compact;
mod frame;
mod segment;
mod space;
mod writer;

pub use compact::Compaction;
pub use space::Rows;

use crate::{Store, StoreError, StoreResult, layout::list};
use std::path::PathBuf;

/// The row segments of a store.
#[derive(Debug, Clone)]
pub struct RowStore {
    store: Store,
}

impl Store {
    /// The rows in this store.
    #[must_use]
    pub fn rows(&self) -> RowStore {
        RowStore { store: self.clone() }
    }
}

impl RowStore {
    /// Opens a namespace (lower-case words, digits, `.`, `_`, `-`): all rows that any writer put so far.
    ///
    /// # Errors
    /// The name is not one, or the namespace cannot be read.
    pub fn open(&self, namespace: &str) -> StoreResult<Rows> {
        let directory = self.directory(namespace)?;
        Rows::open(self.clone(), namespace, directory)
    }

    /// All namespaces, sorted.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn namespaces(&self) -> StoreResult<Vec<String>> {
        let entries = list(&self.store.layout().rows())?;
        Ok(entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn directory(&self, namespace: &str) -> StoreResult<PathBuf> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let begins = namespace.starts_with(|c: char| c.is_ascii_lowercase());
        if begins && namespace.chars().all(allowed) {
            Ok(self.store.layout().rows().join(namespace))
        } else {
            Err(StoreError::BadName { what: "namespace", name: namespace.to_owned() })
        }
    }
}
