//! One namespace of rows: what is known, and what this writer adds.

use super::{
    RowStore,
    segment::{Segment, scan_file},
    writer::{LIVE, LiveSegment, SEALED, finish},
};
use crate::{StoreError, StoreEvent, StoreResult, blob::set_time_to_now, layout::list};
use lsn_digest::Digest;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, SystemTime},
};

/// A live segment of this size is sealed and a new one begun.
const FULL: u64 = 64 << 20;

/// A segment that is used is given the present as its time at most this often: gc goes by it.
const USED_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How often a directory is listed again because a segment vanished (compacted away) between listing and opening.
const LISTINGS: usize = 8;

/// The rows of one namespace. Safe for several threads; any number of processes may have it open at once.
#[derive(Debug)]
pub struct Rows {
    store: RowStore,
    namespace: String,
    directory: PathBuf,
    segments: RwLock<Vec<Segment>>,
    live: Mutex<Option<LiveSegment>>,
}

impl Rows {
    pub(super) fn open(store: RowStore, namespace: &str, directory: PathBuf) -> StoreResult<Self> {
        let rows = Self {
            store,
            namespace: namespace.to_owned(),
            directory,
            segments: RwLock::default(),
            live: Mutex::default(),
        };
        rows.refresh()?;
        Ok(rows)
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Looks again for rows of other writers.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn refresh(&self) -> StoreResult<()> {
        let live = self.live();
        let own = live.as_ref().map(LiveSegment::path);
        let mut failure = None;
        for _ in 0..LISTINGS {
            match self.open_segments(own) {
                Ok(segments) => {
                    *self.segments.write().unwrap_or_else(PoisonError::into_inner) = segments;
                    return Ok(());
                }
                Err(error) if error.is_not_found() => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn open_segments(&self, own: Option<&Path>) -> StoreResult<Vec<Segment>> {
        let mut segments = Vec::new();
        for entry in list(&self.directory)? {
            let path = entry.path();
            let opened = match path.extension().and_then(|extension| extension.to_str()) {
                Some(SEALED) => Segment::open(&path)?,
                Some(LIVE) if own != Some(&path) => self.open_live(&path)?,
                _ => None,
            };
            if let Some(segment) = opened {
                self.report_damage(&segment.path, segment.damaged);
                self.mark_used(&segment.path);
                segments.push(segment);
            }
        }
        Ok(segments)
    }

    /// Reads the segment of another writer as far as it is; completes it first if that writer is dead.
    fn open_live(&self, path: &Path) -> StoreResult<Option<Segment>> {
        if !self.store.store().is_writable() {
            return Segment::open(path);
        }
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Segment::open(path),
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        if file.try_lock().is_err() {
            // What follows the last whole frame is being written right now.
            let mut segment = Segment::read(path, file)?;
            if let Some(segment) = &mut segment {
                segment.damaged = 0;
            }
            return Ok(segment);
        }
        if fs::symlink_metadata(path).is_err() {
            // Somebody else completed it before we had the lock: list again.
            return Err(StoreError::io("open", path)(std::io::ErrorKind::NotFound.into()));
        }
        let size = file.metadata().map_err(StoreError::io("look at", path))?.len();
        let scan = scan_file(&file, path, size)?;
        if scan.rows.is_empty() {
            self.report_damage(path, scan.damaged);
            fs::remove_file(path).map_err(StoreError::io("remove", path))?;
            return Ok(None);
        }
        let sealed = finish(&file, path, size, &scan.rows)?;
        self.report_damage(&sealed, scan.damaged);
        self.store.store().emit(StoreEvent::SegmentRecovered {
            namespace: self.namespace.clone(),
            segment: sealed.clone(),
            rows: scan.rows.len() as u64,
        });
        Segment::open(&sealed)
    }

    fn report_damage(&self, segment: &Path, bytes: u64) {
        if bytes > 0 {
            self.store.store().emit(StoreEvent::RowsDamaged {
                namespace: self.namespace.clone(),
                segment: segment.to_owned(),
                bytes,
            });
        }
    }

    fn mark_used(&self, path: &Path) {
        let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if self.store.store().is_writable() && age.is_some_and(|age| age > USED_EVERY) {
            // Somebody else's segment keeps its time: it only looks older than it is.
            let _ = set_time_to_now(path);
        }
    }

    fn segments(&self) -> RwLockReadGuard<'_, Vec<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> MutexGuard<'_, Option<LiveSegment>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a row.
    ///
    /// # Errors
    /// A segment cannot be read. A damaged row is not an error but a miss.
    pub fn get(&self, key: &Digest) -> StoreResult<Option<Vec<u8>>> {
        if let Some(value) = self.get_sealed(key)? {
            return Ok(Some(value));
        }
        self.live().as_ref().map_or(Ok(None), |live| live.get(key))
    }

    fn get_sealed(&self, key: &Digest) -> StoreResult<Option<Vec<u8>>> {
        for segment in self.segments().iter() {
            if let Some(location) = segment.entries.find(key) {
                if let Some(value) = segment.value(key, location)? {
                    return Ok(Some(value));
                }
                self.report_damage(&segment.path, location.frame_size() as u64);
            }
        }
        Ok(None)
    }

    /// Adds a finished row. A second value for a key is ignored.
    ///
    /// The row survives the death of this process at once, and a power cut after [`Rows::flush`].
    ///
    /// # Errors
    /// The store cannot be written, or the value has 4 GiB or more.
    pub fn put(&self, key: &Digest, value: &[u8]) -> StoreResult<()> {
        self.store.store().check_writable()?;
        // A row whose bytes are damaged is written again, so finding its key is not enough.
        if self.get_sealed(key)?.is_some() {
            return Ok(());
        }
        let mut live = self.live();
        if live.as_ref().is_some_and(|live| live.size() >= FULL)
            && let Some(full) = live.take()
            && let Some(segment) = full.seal()?
        {
            self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
        }
        let live = match live.as_mut() {
            Some(live) => live,
            None => live.insert(LiveSegment::create(self.store.store(), &self.directory)?),
        };
        if live.contains(key) { Ok(()) } else { live.put(key, value) }
    }

    /// Makes every row put so far durable.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn flush(&self) -> StoreResult<()> {
        self.live().as_mut().map_or(Ok(()), LiveSegment::flush)
    }

    /// Seals what this writer added, so that others open it fast. Dropping does the same but cannot tell of a failure.
    ///
    /// # Errors
    /// The store cannot be written; the rows written so far are kept all the same.
    pub fn close(self) -> StoreResult<()> {
        self.seal()
    }

    fn seal(&self) -> StoreResult<()> {
        let Some(live) = self.live().take() else { return Ok(()) };
        live.seal()?;
        self.store.compact_if_many(&self.namespace)
    }

    /// Number of rows, counting those that lie in several segments once.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut keys: Vec<Digest> = self
            .segments()
            .iter()
            .flat_map(|segment| segment.entries.iter().map(|(key, _)| key).collect::<Vec<_>>())
            .collect();
        if let Some(live) = self.live().as_ref() {
            keys.extend(live.keys());
        }
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if let Err(error) = self.seal() {
            tracing::warn!("rows of `{}` stay in an unsealed segment: {error}", self.namespace);
        }
    }
}
