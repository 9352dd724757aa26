//! `index.json`: what an index directory says about itself. The infini-gram package neither writes nor reads it.

use crate::{IndexError, TokenWidth};
use serde::{Deserialize, Serialize};
use std::{fs, io, path::Path};

/// The file's name in an index directory.
pub const DESCRIPTION_FILE: &str = "index.json";

/// The newest format of [`Description`]. Readers refuse newer ones; a reader of format n reads all from 1 to n.
pub const FORMAT: u32 = 1;

/// An index in numbers. Written last, so a directory that has it is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    pub format: u32,
    pub token_width: TokenWidth,
    pub shards: u64,
    pub documents: u64,
    /// Tokens, one separator per document included.
    pub tokens: u64,
    /// What made the token ids, in words of whoever built the index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
}

impl Description {
    /// Reads the description of the index in `dir`; nothing where it has none.
    ///
    /// # Errors
    /// The file cannot be read, is no description, or is newer than this program.
    pub fn read(dir: &Path) -> Result<Option<Self>, IndexError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let path = dir.join(DESCRIPTION_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(IndexError::io("read", &path)(error)),
        };
        let damaged = |error: serde_json::Error| IndexError::damaged(&path, error.to_string());
        let Head { format } = serde_json::from_slice(&text).map_err(damaged)?;
        if format > FORMAT {
            return Err(IndexError::NewerFormat { path, format, newest: FORMAT });
        }
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), IndexError> {
        let path = dir.join(DESCRIPTION_FILE);
        let mut text =
            serde_json::to_vec_pretty(self).map_err(io::Error::from).map_err(IndexError::io("write", &path))?;
        text.push(b'\n');
        fs::write(&path, text).map_err(IndexError::io("write", &path))
    }
}
