//! Merging small segments.

use super::{
    RowStore,
    frame::{self, Location},
    segment::{Entries, Segment},
    writer::{SEALED, segment_name, sync_directory_of},
};
use crate::{StoreError, StoreResult, layout::list};
use lsn_digest::Digest;
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

/// Segments below this size are merged.
const SMALL: u64 = 16 << 20;

/// So many small segments are merged without being asked.
const MANY: usize = 16;

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Segments that were merged and removed.
    pub merged: usize,
    /// Rows in the new segment.
    pub rows: u64,
}

impl RowStore {
    /// Merges the small sealed segments of a namespace into one; damaged rows are left behind. Readers and writers go on
    /// meanwhile; if somebody else is compacting the namespace, nothing is done.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn compact(&self, namespace: &str) -> StoreResult<Compaction> {
        self.compact_from(namespace, 2)
    }

    pub(super) fn compact_if_many(&self, namespace: &str) -> StoreResult<()> {
        self.compact_from(namespace, MANY).map(drop)
    }

    fn compact_from(&self, namespace: &str, least: usize) -> StoreResult<Compaction> {
        self.store().check_writable()?;
        let directory = self.directory(namespace)?;
        if small_segments(&directory)?.len() < least {
            return Ok(Compaction::default());
        }
        let lock_path = directory.join("compact.lock");
        let lock = File::options().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(StoreError::io("open", &lock_path))?;
        if lock.try_lock().is_err() {
            return Ok(Compaction::default());
        }
        let mut segments = Vec::new();
        for path in small_segments(&directory)? {
            segments.extend(Segment::open(&path)?);
        }
        if segments.len() < least {
            return Ok(Compaction::default());
        }
        let rows = self.merge(&directory, &segments)?;
        for segment in &segments {
            fs::remove_file(&segment.path).map_err(StoreError::io("remove", &segment.path))?;
        }
        Ok(Compaction { merged: segments.len(), rows })
    }

    /// Writes the rows of `segments`, oldest first, into a new sealed segment.
    fn merge(&self, directory: &Path, segments: &[Segment]) -> StoreResult<u64> {
        let temporary = self.store().temporary();
        let file = temporary.create()?;
        let failed = |error| StoreError::io("write", temporary.path())(error);
        let mut writer = BufWriter::with_capacity(1 << 20, &file);
        let header = frame::segment_header();
        writer.write_all(&header).map_err(failed)?;
        let mut end = header.len() as u64;
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut rows = Vec::new();
        for segment in segments {
            let mut entries: Vec<_> = segment.entries.iter().collect();
            entries.sort_by_key(|(_, location)| location.offset);
            for (key, location) in entries {
                if seen.contains(&key) {
                    continue;
                }
                let Some(value) = segment.value(&key, location)? else { continue };
                seen.insert(key);
                writer.write_all(&frame::encode(&key, &value)).map_err(failed)?;
                let location = Location { offset: end, length: location.length };
                end += location.frame_size() as u64;
                rows.push((key, location));
            }
        }
        writer.write_all(&Entries::new(&rows).sealed()).map_err(failed)?;
        writer.flush().map_err(failed)?;
        drop(writer);
        file.sync_all().map_err(failed)?;
        let path = directory.join(segment_name(SEALED));
        temporary.rename(&path)?;
        sync_directory_of(&path)?;
        Ok(rows.len() as u64)
    }
}

/// Sealed segments below [`SMALL`], oldest first.
fn small_segments(directory: &Path) -> StoreResult<Vec<std::path::PathBuf>> {
    let mut small = Vec::new();
    for entry in list(directory)? {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == SEALED)
            && fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.len() < SMALL)
        {
            small.push(path);
        }
    }
    Ok(small)
}
