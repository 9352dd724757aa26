//! Where documents come from.

use crate::prompts::source;
use lsn_stage::{StageError, StageResult};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
};

/// What a document is in a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentFormat {
    /// A row of JSONL (compressed with zstd or not), JSON, CSV or Parquet; the format is found from the content.
    #[default]
    Rows,
    /// A line of plain text.
    Lines,
    /// A whole file of plain text.
    Files,
}

/// Gives every document of a file, or of all files of a directory in the order of their names, to `each`. `field` is the
/// field of a row that holds the text.
///
/// # Errors
/// A file cannot be read or has no such documents, or `each` fails.
pub(super) fn for_each_document(
    path: &Path,
    format: DocumentFormat,
    field: &str,
    each: &mut dyn FnMut(String) -> StageResult<()>,
) -> StageResult<()> {
    for file in source::files(path)? {
        match format {
            DocumentFormat::Rows => source::stream(&file, &mut |number, row| {
                let at = || format!("{}, row {number}", file.display());
                let mut row = row.map_err(|(_, problem)| StageError::user(format!("{}: {problem}", at())))?;
                match row.remove(field) {
                    Some(Value::String(text)) => each(text),
                    found => {
                        let found = if found.is_some() { "is no text" } else { "is missing" };
                        Err(StageError::user(format!("{}: field `{field}` {found}", at()))
                            .hint("name the field that holds the text"))
                    }
                }
            })?,
            DocumentFormat::Lines => {
                let failed = |error| StageError::io(format!("cannot read {}", file.display()), &error);
                for line in BufReader::new(File::open(&file).map_err(failed)?).lines() {
                    each(line.map_err(failed)?)?;
                }
            }
            DocumentFormat::Files => {
                let text = fs::read_to_string(&file)
                    .map_err(|error| StageError::io(format!("cannot read {}", file.display()), &error))?;
                each(text)?;
            }
        }
    }
    Ok(())
}
