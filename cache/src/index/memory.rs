//! An index that lives as long as the process.

use super::{Index, IndexResult, Table};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

type Entries = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Keeps entries in memory: for read-only commands while a run holds the pipeline's index, and for tests.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    entries: Mutex<Entries>,
}

impl MemoryIndex {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for MemoryIndex {
    fn get(&self, table: Table, key: &[u8]) -> IndexResult<Option<Vec<u8>>> {
        Ok(self.lock().get(&(table, key.to_vec())).cloned())
    }

    fn put(&self, table: Table, key: &[u8], value: &[u8]) -> IndexResult<()> {
        self.lock().insert((table, key.to_vec()), value.to_vec());
        Ok(())
    }

    fn remove(&self, table: Table, key: &[u8]) -> IndexResult<()> {
        self.lock().remove(&(table, key.to_vec()));
        Ok(())
    }

    fn entries(&self, table: Table) -> IndexResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let lock = self.lock();
        let of_table = lock.iter().filter(|((of, _), _)| *of == table);
        Ok(of_table.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn clear(&self) -> IndexResult<()> {
        self.lock().clear();
        Ok(())
    }

    fn flush(&self) -> IndexResult<()> {
        Ok(())
    }
}
