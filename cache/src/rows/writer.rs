//! Writing segments: one live segment per writer, sealed when it is full or done.

use super::{
    frame::{self, Location},
    segment::{Entries, Segment, read_value},
};
use crate::{Store, StoreError, StoreResult, durable::sync_paths, store::nonce};
use lsn_digest::Digest;
use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

pub(super) const LIVE: &str = "live";
pub(super) const SEALED: &str = "rows";

/// A segment that is being written, locked by its writer until it is sealed or its process ends.
#[derive(Debug)]
pub(super) struct LiveSegment {
    path: PathBuf,
    file: File,
    /// Where the next frame goes. A write that failed half-way does not move it.
    end: u64,
    rows: HashMap<Digest, Location>,
    order: Vec<(Digest, Location)>,
    /// Whether every row is durable.
    durable: bool,
    /// Whether the segment's name is durable.
    named: bool,
}

/// A name for a new segment, sorted by time of creation.
pub(super) fn segment_name(extension: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:012x}-{:016x}.{extension}", now.as_millis(), nonce())
}

impl LiveSegment {
    /// Creates a segment in `directory`.
    pub fn create(store: &Store, directory: &Path) -> StoreResult<Self> {
        fs::create_dir_all(directory).map_err(StoreError::io("create directory", directory))?;
        // Locked before it gets its name: nobody can take it for the segment of a dead writer.
        let temporary = store.temporary();
        let file = temporary.create()?;
        match file.try_lock() {
            // Without locks nobody can tell that a writer is dead, so nobody takes its segment over.
            Ok(()) | Err(fs::TryLockError::Error(_)) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let busy = std::io::Error::from(std::io::ErrorKind::WouldBlock);
                return Err(StoreError::io("lock", temporary.path())(busy));
            }
        }
        let header = frame::segment_header();
        file.write_all_at(&header, 0).map_err(StoreError::io("write", temporary.path()))?;
        let path = directory.join(segment_name(LIVE));
        temporary.rename(&path)?;
        let end = header.len() as u64;
        Ok(Self { path, file, end, rows: HashMap::new(), order: Vec::new(), durable: false, named: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn keys(&self) -> impl Iterator<Item = Digest> {
        self.rows.keys().copied()
    }

    pub fn size(&self) -> u64 {
        self.end
    }

    pub fn contains(&self, key: &Digest) -> bool {
        self.rows.contains_key(key)
    }

    pub fn get(&self, key: &Digest) -> StoreResult<Option<Vec<u8>>> {
        match self.rows.get(key) {
            Some(location) => read_value(&self.file, &self.path, key, *location),
            None => Ok(None),
        }
    }

    pub fn put(&mut self, key: &Digest, value: &[u8]) -> StoreResult<()> {
        let length = u32::try_from(value.len()).map_err(|_| StoreError::RowTooLarge { size: value.len() as u64 })?;
        let bytes = frame::encode(key, value);
        self.file.write_all_at(&bytes, self.end).map_err(StoreError::io("write", &self.path))?;
        let location = Location { offset: self.end, length };
        self.end += bytes.len() as u64;
        self.rows.insert(*key, location);
        self.order.push((*key, location));
        self.durable = false;
        Ok(())
    }

    /// Makes all rows durable, and the segment's name.
    pub fn flush(&mut self) -> StoreResult<()> {
        if !self.durable {
            self.file.sync_data().map_err(StoreError::io("flush", &self.path))?;
            if !self.named {
                sync_directory_of(&self.path)?;
                self.named = true;
            }
            self.durable = true;
        }
        Ok(())
    }

    /// Ends the segment with its index and opens it for reading.
    pub fn seal(self) -> StoreResult<Option<Segment>> {
        let path = finish(&self.file, &self.path, self.end, &self.order)?;
        Segment::open(&path)
    }
}

/// Appends the index at `end`, makes the segment durable and gives it its sealed name, which is returned.
pub(super) fn finish(file: &File, path: &Path, end: u64, rows: &[(Digest, Location)]) -> StoreResult<PathBuf> {
    let index = Entries::new(rows).sealed();
    file.write_all_at(&index, end).map_err(StoreError::io("write", path))?;
    // A write that failed half-way may have left bytes behind the index.
    file.set_len(end + index.len() as u64).map_err(StoreError::io("write", path))?;
    file.sync_all().map_err(StoreError::io("flush", path))?;
    let sealed = path.with_extension(SEALED);
    fs::rename(path, &sealed).map_err(StoreError::io("rename", path))?;
    sync_directory_of(&sealed)?;
    Ok(sealed)
}

pub(super) fn sync_directory_of(path: &Path) -> StoreResult<()> {
    // A namespace may be new too: its name is in the directory above.
    let parents: Vec<&Path> = path.ancestors().skip(1).take(2).collect();
    sync_paths(&parents)
}
