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
use segment::Segment;
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
        let names = entries.iter().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| is_namespace(name)).collect())
    }

    /// Number of sound rows of a namespace and of damaged bytes, after reading all of them.
    pub(crate) fn verify(&self, namespace: &str) -> StoreResult<(u64, u64)> {
        let (mut rows, mut damaged) = (0, 0);
        for path in self.segments(namespace)? {
            match Segment::open(&path) {
                Ok(Some(segment)) => {
                    // What follows the last whole frame of a live segment may be being written right now.
                    if path.extension().is_some_and(|extension| extension == writer::SEALED) {
                        damaged += segment.damaged;
                    }
                    for (key, location) in segment.entries.iter() {
                        if segment.value(&key, location)?.is_some() {
                            rows += 1;
                        } else {
                            damaged += location.frame_size() as u64;
                        }
                    }
                }
                Ok(None) => {}
                // Compacted away since it was listed.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok((rows, damaged))
    }

    /// Paths of all segments of a namespace, sealed or live.
    pub(crate) fn segments(&self, namespace: &str) -> StoreResult<Vec<PathBuf>> {
        self.segments_with(namespace, &[writer::SEALED, writer::LIVE])
    }

    pub(crate) fn sealed_segments(&self, namespace: &str) -> StoreResult<Vec<PathBuf>> {
        self.segments_with(namespace, &[writer::SEALED])
    }

    /// Where a sealed segment of that name lies, if it is such a name.
    pub(crate) fn sealed_path(&self, namespace: &str, segment: &str) -> StoreResult<PathBuf> {
        let stem = segment.strip_suffix(".rows").unwrap_or_default();
        if !stem.is_empty() && stem.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
            Ok(self.directory(namespace)?.join(segment))
        } else {
            Err(StoreError::BadName { what: "row segment", name: segment.to_owned() })
        }
    }

    fn segments_with(&self, namespace: &str, extensions: &[&str]) -> StoreResult<Vec<PathBuf>> {
        let paths = list(&self.directory(namespace)?)?.into_iter().map(|entry| entry.path());
        let wanted = |path: &PathBuf| path.extension().is_some_and(|found| extensions.iter().any(|e| found == *e));
        Ok(paths.filter(wanted).collect())
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn directory(&self, namespace: &str) -> StoreResult<PathBuf> {
        if is_namespace(namespace) {
            Ok(self.store.layout().rows().join(namespace))
        } else {
            Err(StoreError::BadName { what: "namespace", name: namespace.to_owned() })
        }
    }
}

fn is_namespace(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed)
}
