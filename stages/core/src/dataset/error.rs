//! How reading or writing a data set fails.

use crate::{FailureClass, StageError};
use std::path::{Path, PathBuf};

/// A data set that cannot be read or written; every variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum DataSetError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },

    #[error("{} is not a data set: {reason}", path.display())]
    NotADataSet { path: PathBuf, reason: String },

    #[error("{} holds rows of type `{found}` (version {found_version}), expected `{expected}` (version {expected_version})", path.display())]
    WrongRecord { path: PathBuf, found: String, found_version: u32, expected: &'static str, expected_version: u32 },

    #[error("{rejected} malformed rows, at most {max} allowed; the first:\n{}", first.join("\n"))]
    TooManyRejected { rejected: u64, max: u64, first: Vec<String> },

    #[error("{}:{line}: row of prompt {prompt} is out of order; a data set is sorted by prompt_id within each shard", file.display())]
    Unsorted { file: PathBuf, line: u64, prompt: String },

    #[error("{}:{line}: row of prompt {prompt} belongs into shard {expected}", file.display())]
    WrongShard { file: PathBuf, line: u64, prompt: String, expected: u32 },

    #[error("{}:{line}: row of more than {max} bytes", file.display())]
    LongRow { file: PathBuf, line: u64, max: u64 },

    #[error("{} says {expected} rows but its shards hold {found}; a file was changed or cut short", path.display())]
    RowCount { path: PathBuf, expected: u64, found: u64 },

    #[error("cannot encode a `{record}` row: {source}")]
    Encode { record: &'static str, source: serde_json::Error },
}

impl DataSetError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<DataSetError> for StageError {
    fn from(error: DataSetError) -> Self {
        let class = match &error {
            DataSetError::Io { .. } => FailureClass::Infrastructure,
            _ => FailureClass::User,
        };
        let hint = match &error {
            DataSetError::TooManyRejected { .. } => Some(
                "mend the rows, or raise `max_rejected`; the rejected rows are in rejected.jsonl beside the output",
            ),
            _ => None,
        };
        let new = Self::new(class, error.to_string());
        if let Some(hint) = hint { new.hint(hint) } else { new }
    }
}
