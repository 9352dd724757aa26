//! The index: what would be slow to ask the file system or the store again.
//!
//! Only an accelerator: every entry can be rebuilt, and losing all of it costs time, never correctness (invariant 8).

mod memory;
mod sled;

pub use memory::MemoryIndex;
pub use sled::SledIndex;

use std::path::PathBuf;

pub type IndexResult<T> = Result<T, IndexError>;

/// The index cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Another process uses it; `holder` is what that process said about itself.
    #[error("index `{path}` is in use by {}; wait for it to end", holder.as_deref().unwrap_or("another process"))]
    Locked { path: PathBuf, holder: Option<String> },
    #[error("cannot use index `{path}`: {message}")]
    Failed { path: PathBuf, message: String },
}

/// What kind of thing an entry is about. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// File identity → content digest.
    Stat = 1,
    /// Blob digest → the identity under which its bytes were last known to be right.
    Sound = 2,
    /// Pipeline and task → latest task key.
    Latest = 3,
    /// Pipeline and task → how long it takes.
    Time = 4,
}

/// A sorted map per table. Writes become durable with [`Index::flush`] and may be lost before.
pub trait Index: Send + Sync {
    /// # Errors
    /// The index cannot be read.
    fn get(&self, table: Table, key: &[u8]) -> IndexResult<Option<Vec<u8>>>;

    /// # Errors
    /// The index cannot be written.
    fn put(&self, table: Table, key: &[u8], value: &[u8]) -> IndexResult<()>;

    /// # Errors
    /// The index cannot be written.
    fn remove(&self, table: Table, key: &[u8]) -> IndexResult<()>;

    /// All entries of a table, sorted by key.
    ///
    /// # Errors
    /// The index cannot be read.
    fn entries(&self, table: Table) -> IndexResult<Vec<(Vec<u8>, Vec<u8>)>>;

    /// Forgets everything.
    ///
    /// # Errors
    /// The index cannot be written.
    fn clear(&self) -> IndexResult<()>;

    /// Makes everything written so far durable. Meant to be called once per run or finished task.
    ///
    /// # Errors
    /// The index cannot be written.
    fn flush(&self) -> IndexResult<()>;
}
