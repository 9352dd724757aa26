//! Pins: task keys that gc must keep.

use crate::{Store, StoreError, StoreResult, TaskKey, durable::sync_paths, layout::list};
use serde::Serialize;
use std::{fs, io, io::Write};

/// A task key that gc keeps, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pin {
    pub key: TaskKey,
    pub note: String,
}

impl Store {
    /// Pins a task key: gc keeps its record and everything that the record lists. Pinning again replaces the note.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn pin(&self, key: &TaskKey, note: &str) -> StoreResult<()> {
        self.check_writable()?;
        let temporary = self.temporary();
        let mut file = temporary.create()?;
        writeln!(file, "{note}").map_err(StoreError::io("write", temporary.path()))?;
        file.sync_all().map_err(StoreError::io("flush", temporary.path()))?;
        temporary.rename(&self.layout().pins().join(key.0.hex()))?;
        sync_paths(&[&self.layout().pins()])
    }

    /// Removes a pin; whether there was one.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn unpin(&self, key: &TaskKey) -> StoreResult<bool> {
        self.check_writable()?;
        let path = self.layout().pins().join(key.0.hex());
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", &path)(error)),
        }
    }

    /// All pins, sorted by key.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn pins(&self) -> StoreResult<Vec<Pin>> {
        let mut pins = Vec::new();
        for entry in list(&self.layout().pins())? {
            if let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                // A pin without a readable note still pins.
                let note = fs::read_to_string(entry.path()).unwrap_or_default();
                pins.push(Pin { key: TaskKey(digest), note: note.trim_end().to_owned() });
            }
        }
        Ok(pins)
    }
}
