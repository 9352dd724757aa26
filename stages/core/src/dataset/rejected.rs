//! Malformed rows: counted, the first ones shown, all of them copied aside.

use super::DataSetError;
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// How many rejected rows are shown to a person.
const SHOWN: usize = 3;
/// How many characters of a rejected row are shown.
const EXCERPT: usize = 120;

/// What to do with malformed rows.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// More malformed rows than this are an error.
    pub max_rejected: u64,
    /// Where malformed rows are copied to, one JSON object a line: `{file, line, error, row}`.
    pub rejected: Option<PathBuf>,
}

impl ReadOptions {
    /// Copies malformed rows to `rejected.jsonl` beside the output of a stage.
    #[must_use]
    pub fn beside(output: &Path, max_rejected: u64) -> Self {
        Self { max_rejected, rejected: Some(output.with_file_name("rejected.jsonl")) }
    }
}

#[derive(Default)]
struct State {
    count: u64,
    first: Vec<String>,
    file: Option<BufWriter<File>>,
}

/// The rejected rows of one reader, shared by its shards.
pub struct Rejected {
    options: ReadOptions,
    state: Mutex<State>,
}

impl Rejected {
    #[must_use]
    pub fn new(options: ReadOptions) -> Self {
        Self { options, state: Mutex::default() }
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// File, line and error of the first ones.
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).first.clone()
    }

    /// Notes one malformed row.
    ///
    /// # Errors
    /// There are more of them than allowed, or the copy cannot be written.
    pub fn add(&self, file: &Path, line: u64, row: &[u8], error: &str) -> Result<(), DataSetError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.count += 1;
        let text = String::from_utf8_lossy(row);
        if state.first.len() < SHOWN {
            let excerpt: String = text.chars().take(EXCERPT).collect();
            state.first.push(format!("{}:{line}: {error}: {excerpt}", file.display()));
        }
        if let Some(path) = &self.options.rejected {
            let failed = |error| DataSetError::Io { action: "write", path: path.clone(), source: error };
            if state.file.is_none() {
                // Several readers of one task share the file.
                let file = File::options().create(true).append(true).open(path).map_err(failed)?;
                state.file = Some(BufWriter::new(file));
            }
            if let Some(out) = &mut state.file {
                let entry = serde_json::json!({"file": file, "line": line, "error": error, "row": text});
                writeln!(out, "{entry}").and_then(|()| out.flush()).map_err(failed)?;
            }
        }
        if state.count > self.options.max_rejected {
            return Err(DataSetError::TooManyRejected {
                rejected: state.count,
                max: self.options.max_rejected,
                first: state.first.clone(),
            });
        }
        Ok(())
    }
}
