//! What can go wrong with a store.

use lsn_digest::Digest;
use std::{
    io,
    path::{Path, PathBuf},
};

pub type StoreResult<T> = Result<T, StoreError>;

/// A store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} `{path}`: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },

    #[error("`{path}` is not a store: it has files but no readable `format` file; choose an empty directory")]
    NotAStore { path: PathBuf },

    #[error("store `{path}` does not exist; run `lsn run` once, or check the path")]
    NoStore { path: PathBuf },

    #[error(
        "store `{path}` has format {found}, this program writes format {supported}: it can be read but not changed; \
         use a newer lsn, or another store"
    )]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },

    #[error("store `{path}` was opened for reading only")]
    ReadOnly { path: PathBuf },

    #[error("blob {digest} is not in the store")]
    BlobMissing { digest: Digest },

    #[error("blob {digest} has {found} bytes instead of {expected}; it was torn or changed from outside")]
    BlobSize { digest: Digest, expected: u64, found: u64 },

    #[error("blob {digest} was damaged and is now in quarantine at `{quarantined}`; run again to make it anew")]
    BlobDamaged { digest: Digest, quarantined: PathBuf },

    #[error("`{path}` changed while it was being read; make sure that nothing writes to it, then run again")]
    Changed { path: PathBuf },

    #[error("`{path}` is {kind}; an artifact holds files and directories only")]
    Unsupported { path: PathBuf, kind: &'static str },

    #[error("symbolic link `{path}` leads back to a directory that contains it; remove the link")]
    LinkCycle { path: PathBuf },

    #[error("the name of `{path}` is not UTF-8; rename it")]
    NameNotUtf8 { path: PathBuf },

    #[error("`{name}` is not a {what} name; use lower-case letters, digits, `.`, `_` and `-`")]
    BadName { what: &'static str, name: String },

    #[error("a row of {size} bytes is too large; rows must be below 4 GiB")]
    RowTooLarge { size: u64 },

    #[error("cannot encode the action record of task key {key}: {message}")]
    Encode { key: Digest, message: String },

    #[error(transparent)]
    Index(#[from] crate::IndexError),
}

impl StoreError {
    /// Wraps an I/O error with what was done to which path.
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Whether the cause is that a path does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
