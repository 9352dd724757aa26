//! `schema.json`: what a data set directory says about itself.

use super::DataSetError;
use crate::record::Record;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// Name of the file that makes a directory a data set.
pub const SCHEMA_FILE: &str = "schema.json";

/// Version of the directory layout. A reader refuses a later one and must go on reading earlier ones.
const FORMAT_VERSION: u32 = 1;

/// How shard files are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    #[default]
    None,
    Zstd,
}

/// The content of `schema.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Version of the directory layout.
    pub format: u32,
    /// Record type of every row.
    pub record: String,
    /// Version of that record type.
    pub record_version: u32,
    pub rows: u64,
    /// How many different prompts the rows belong to.
    pub prompts: u64,
    pub shards: u32,
    pub compression: Compression,
    /// All rows of one value of this field are in one shard, next to each other.
    pub grouped_by: String,
    /// The fields by which each shard is sorted.
    pub sorted_by: Vec<String>,
}

impl Schema {
    pub(super) fn of<R: Record>(rows: u64, prompts: u64, shards: u32, compression: Compression) -> Self {
        Self {
            format: FORMAT_VERSION,
            record: R::TYPE.to_owned(),
            record_version: R::VERSION,
            rows,
            prompts,
            shards,
            compression,
            grouped_by: "prompt_id".to_owned(),
            sorted_by: R::ORDER.iter().map(|&field| field.to_owned()).collect(),
        }
    }

    /// Reads the schema of the data set at `directory`.
    ///
    /// # Errors
    /// There is none, it is damaged, or a later version of lsn wrote it.
    pub fn read(directory: &Path) -> Result<Self, DataSetError> {
        let not = |reason: String| DataSetError::NotADataSet { path: directory.to_owned(), reason };
        let path = directory.join(SCHEMA_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound || !directory.is_dir() => {
                return Err(not(format!("there is no {SCHEMA_FILE} in it")));
            }
            Err(error) => return Err(DataSetError::io("read", &path)(error)),
        };
        let schema: Self = serde_json::from_str(&text).map_err(|error| not(format!("{SCHEMA_FILE}: {error}")))?;
        if schema.format > FORMAT_VERSION {
            return Err(not(format!(
                "it has format version {}, this lsn reads up to {FORMAT_VERSION}; use a newer lsn",
                schema.format
            )));
        }
        if schema.shards == 0 {
            return Err(not(format!("{SCHEMA_FILE} says 0 shards")));
        }
        Ok(schema)
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), DataSetError> {
        let path = directory.join(SCHEMA_FILE);
        let mut text =
            serde_json::to_string_pretty(self).map_err(|source| DataSetError::Encode { record: "schema", source })?;
        text.push('\n');
        fs::write(&path, text).map_err(DataSetError::io("write", &path))
    }

    /// File name of shard `index`.
    #[must_use]
    pub fn shard_file(&self, index: u32) -> String {
        match self.compression {
            Compression::None => format!("part-{index:05}.jsonl"),
            Compression::Zstd => format!("part-{index:05}.jsonl.zst"),
        }
    }

    pub(super) fn expect<R: Record>(&self, directory: &Path) -> Result<(), DataSetError> {
        if self.record == R::TYPE && self.record_version == R::VERSION {
            return Ok(());
        }
        Err(DataSetError::WrongRecord {
            path: directory.to_owned(),
            found: self.record.clone(),
            found_version: self.record_version,
            expected: R::TYPE,
            expected_version: R::VERSION,
        })
    }
}
