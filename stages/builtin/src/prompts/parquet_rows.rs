//! Parquet files as rows.

use super::source::Each;
use lsn_stage::{StageError, StageResult};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use std::{fs::File, path::Path};

/// Gives every row of the file to `each`, one row group in memory at a time.
pub(super) fn stream(path: &Path, each: Each<'_>) -> StageResult<()> {
    let failed = |error: parquet::errors::ParquetError| {
        StageError::user(format!("cannot read the Parquet file {}: {error}", path.display()))
    };
    let file = File::open(path).map_err(|error| StageError::io(format!("cannot open {}", path.display()), &error))?;
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    for (row, number) in reader.get_row_iter(None).map_err(failed)?.zip(1..) {
        let parsed = match row.map_err(failed)?.to_json_value() {
            Value::Object(object) => Ok(object),
            other => Err((other.to_string().into_bytes(), "expected a row of named columns".to_owned())),
        };
        each(number, parsed)?;
    }
    Ok(())
}
