//! What a planner asks of the world; the pure planner itself touches no file.

use super::key::KeyManifest;
use crate::manifest::TaskId;
use lsn_cache::{Lookup, StoreError, TaskKey};
use lsn_digest::Digest;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// A file or directory of the project, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectInput {
    /// Absolute.
    pub path: PathBuf,
    pub digest: Digest,
}

/// The world cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    #[error("input `{path}` does not exist")]
    Missing { path: PathBuf },
    #[error("no file matches `{pattern}`")]
    NoMatch { pattern: String },
    #[error("`{pattern}` is not a glob pattern: {message}")]
    Pattern { pattern: String, message: String },
    #[error("input `{path}` cannot be read: {message}")]
    Unreadable { path: PathBuf, message: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Everything outside the manifest that decides a plan.
pub trait World {
    /// Content of a file or directory of the project; `path` is relative to its root.
    ///
    /// # Errors
    /// It does not exist or cannot be read.
    fn path(&mut self, path: &Path) -> Result<ProjectInput, WorldError>;

    /// All files that match, in the order of their paths.
    ///
    /// # Errors
    /// None matches, or one cannot be read.
    fn glob(&mut self, pattern: &str) -> Result<Vec<ProjectInput>, WorldError>;

    /// # Errors
    /// The store cannot be read; an unusable record is a miss.
    fn lookup(&mut self, key: &TaskKey) -> Result<Lookup, WorldError>;

    /// Key manifests of earlier results of this task, latest first.
    fn earlier(&mut self, task: &TaskId) -> Vec<KeyManifest>;

    /// How long this task took when it last ran.
    fn duration(&mut self, task: &TaskId) -> Option<Duration>;
}
