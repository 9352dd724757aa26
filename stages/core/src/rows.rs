//! Row memo: what a row-mapping stage asks of whoever keeps finished rows.

use lsn_digest::Digest;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Names one row's result: everything that decides it, hashed with `lsn_digest::Canonical` (domain `lsn/row/<stage>/<version>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowKey(pub Digest);

/// How many rows of a task came from where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Taken from the memo.
    pub reused: u64,
    /// Computed by this task.
    pub computed: u64,
    /// Kept as typed failures.
    pub failed: u64,
}

/// The memo cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("row memo `{namespace}`: {message}")]
pub struct RowError {
    pub namespace: String,
    pub message: String,
}

/// The rows of one namespace. Safe for several threads and, behind it, several processes at once.
pub trait RowSpace: Send + Sync {
    /// # Errors
    /// The memo cannot be read. A damaged row is not an error but a miss.
    fn get(&self, key: &RowKey) -> Result<Option<Vec<u8>>, RowError>;

    /// Adds a finished row. A second value for a key is ignored.
    ///
    /// # Errors
    /// The memo cannot be written.
    fn put(&self, key: &RowKey, value: &[u8]) -> Result<(), RowError>;

    /// Makes every row put so far durable.
    ///
    /// # Errors
    /// The memo cannot be written.
    fn flush(&self) -> Result<(), RowError>;
}

/// Opens row spaces by namespace (lower-case words and dots: `generate`, `label.quality`).
pub trait RowMemo: Send + Sync {
    /// # Errors
    /// The namespace cannot be opened.
    fn open(&self, namespace: &str) -> Result<Arc<dyn RowSpace>, RowError>;
}

/// Remembers nothing.
pub struct NoMemo;

impl RowMemo for NoMemo {
    fn open(&self, _namespace: &str) -> Result<Arc<dyn RowSpace>, RowError> {
        Ok(Arc::new(Self))
    }
}

impl RowSpace for NoMemo {
    fn get(&self, _key: &RowKey) -> Result<Option<Vec<u8>>, RowError> {
        Ok(None)
    }

    fn put(&self, _key: &RowKey, _value: &[u8]) -> Result<(), RowError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), RowError> {
        Ok(())
    }
}
