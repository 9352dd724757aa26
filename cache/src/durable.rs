//! Making things durable: file and directory flushes, in groups.

use crate::{Store, StoreError, StoreResult};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Flushes in flight at once: the file system then commits its journal once for many of them.
const CONCURRENT_FLUSHES: usize = 16;

/// Names that exist but may not survive a power cut yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Directories that got names of blobs (whose bytes are durable already).
    blob_dirs: BTreeSet<PathBuf>,
    /// Action records and their directories.
    records: BTreeSet<PathBuf>,
}

impl Pending {
    pub fn add_blob(&mut self, blob: &Path, new_parent: bool) {
        Self::add_parents(&mut self.blob_dirs, blob, new_parent);
    }

    pub fn add_record(&mut self, record: &Path, new_parent: bool) {
        self.records.insert(record.to_owned());
        Self::add_parents(&mut self.records, record, new_parent);
    }

    fn add_parents(dirs: &mut BTreeSet<PathBuf>, path: &Path, new_parent: bool) {
        let mut parents = path.ancestors().skip(1);
        dirs.extend(parents.next().map(Path::to_owned));
        if new_parent {
            dirs.extend(parents.next().map(Path::to_owned));
        }
    }
}

impl Store {
    /// Makes everything durable that this store (and its clones) published so far.
    ///
    /// Blobs need no call: a blob's bytes are durable before its name exists (invariant 1). Action records are visible at
    /// once, never before the blobs they list are durable (invariant 2), and durable themselves after this call; a record
    /// that a power cut tears before it is a miss, not an error.
    ///
    /// # Errors
    /// A flush failed; the names stay pending.
    pub fn sync(&self) -> StoreResult<()> {
        self.sync_blob_dirs()?;
        let records = std::mem::take(&mut self.pending().records);
        let paths: Vec<_> = records.iter().map(PathBuf::as_path).collect();
        sync_paths(&paths).inspect_err(|_| self.pending().records.extend(records.iter().cloned()))
    }

    /// Makes the names of all blobs published so far durable.
    pub(crate) fn sync_blob_dirs(&self) -> StoreResult<()> {
        let dirs = std::mem::take(&mut self.pending().blob_dirs);
        let paths: Vec<_> = dirs.iter().map(PathBuf::as_path).collect();
        sync_paths(&paths).inspect_err(|_| self.pending().blob_dirs.extend(dirs.iter().cloned()))
    }
}

/// Flushes files and directories, several at once. A path that no longer exists was removed on purpose and is skipped.
pub(crate) fn sync_paths(paths: &[&Path]) -> StoreResult<()> {
    let flush = |path: &Path| match fs::File::open(path) {
        Ok(file) => file.sync_all().map_err(StoreError::io("flush", path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("open", path)(error)),
    };
    if paths.len() <= 2 {
        return paths.iter().try_for_each(|path| flush(path));
    }
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..CONCURRENT_FLUSHES.min(paths.len()) {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = flush(path) {
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
