//! The index on disk: one sled database per pipeline.

use super::{Index, IndexError, IndexResult, Table};
use crate::{EventHandler, StoreEvent};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The page cache of the database: an index of a million files is about this large.
const CACHE_BYTES: u64 = 32 << 20;

/// How long a database that was dropped may take to close.
const CLOSING: Duration = Duration::from_secs(10);

/// Entries written since the last flush; `None` marks a removed one.
type Unflushed = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// An index on disk that one process uses at a time.
///
/// The lock is a file beside the database, locked by the operating system: it ends with the process, however that ends.
#[derive(Debug)]
pub struct SledIndex {
    path: PathBuf,
    database: sled::Db,
    unflushed: Mutex<Unflushed>,
    recreated: bool,
    // Declared last, so released last: the next process must find the database closed.
    _lock: File,
}

impl SledIndex {
    /// Opens or creates the index at `path` (a directory of its own). `holder` says who we are to those that find it
    /// locked, such as a run id. A damaged index is moved aside and begun anew, with an event.
    ///
    /// # Errors
    /// [`IndexError::Locked`] while another process has it open; [`IndexError::Failed`] if it cannot be created.
    pub fn open(path: &Path, holder: &str, events: &EventHandler) -> IndexResult<Self> {
        let mut lock = open_lock(path)?;
        match lock.try_lock() {
            Ok(()) => Self::open_locked(path, holder, lock, events),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who holds it is a courtesy: an unreadable name must not hide that it is locked.
                let _ = lock.read_to_string(&mut text);
                let holder = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
                Err(IndexError::Locked { path: path.to_owned(), holder })
            }
            Err(TryLockError::Error(error)) => Err(failed(path, &error)),
        }
    }

    /// As [`SledIndex::open`], but waits until the other process has ended.
    ///
    /// # Errors
    /// [`IndexError::Failed`] if it cannot be created.
    pub fn open_waiting(path: &Path, holder: &str, events: &EventHandler) -> IndexResult<Self> {
        let lock = open_lock(path)?;
        lock.lock().map_err(|error| failed(path, &error))?;
        Self::open_locked(path, holder, lock, events)
    }

    fn open_locked(path: &Path, holder: &str, mut lock: File, events: &EventHandler) -> IndexResult<Self> {
        let named =
            lock.set_len(0).and_then(|()| lock.seek(SeekFrom::Start(0))).and_then(|_| writeln!(lock, "{holder}"));
        named.map_err(|error| failed(path, &error))?;
        let existed = path.exists();
        let (database, recreated) = match open_database(path) {
            Ok(database) => (database, !existed),
            Err(NotOpened::Environment(message)) => return Err(failed(path, &message)),
            Err(NotOpened::Damaged(message)) => {
                let aside = path.with_extension(format!("damaged-{:016x}", crate::store::nonce()));
                fs::rename(path, &aside).map_err(|error| failed(path, &error))?;
                events.emit(StoreEvent::IndexRecreated { path: path.to_owned(), message });
                let database = open_database(path).map_err(|not_opened| match not_opened {
                    NotOpened::Damaged(message) | NotOpened::Environment(message) => failed(path, &message),
                })?;
                (database, true)
            }
        };
        Ok(Self { path: path.to_owned(), database, unflushed: Mutex::default(), recreated, _lock: lock })
    }

    /// Whether the index began empty with this opening: then [`crate::Catalog::reindex`] is worth its time.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.recreated
    }

    fn unflushed(&self) -> MutexGuard<'_, Unflushed> {
        self.unflushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: &sled::Error) -> IndexError {
        failed(&self.path, error)
    }
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> IndexError {
    IndexError::Failed { path: path.to_owned(), message: error.to_string() }
}

fn open_lock(path: &Path) -> IndexResult<File> {
    let lock = path.with_extension("lock");
    if let Some(parent) = lock.parent() {
        fs::create_dir_all(parent).map_err(|error| failed(path, &error))?;
    }
    let options = File::options().read(true).write(true).create(true).truncate(false).open(&lock);
    options.map_err(|error| failed(path, &error))
}

/// Why a database did not open.
enum NotOpened {
    /// What it holds cannot be read; it is to be made anew.
    Damaged(String),
    /// It may be sound: the disk is full, or we may not write there.
    Environment(String),
}

fn open_database(path: &Path) -> Result<sled::Db, NotOpened> {
    let config = sled::Config::default().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let deadline = Instant::now() + CLOSING;
    loop {
        // sled panics on some kinds of damage instead of returning an error.
        let error = match std::panic::catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(database)) => return Ok(database),
            Ok(Err(error)) => error,
            Err(_) => return Err(NotOpened::Damaged("the database could not be recovered".to_owned())),
        };
        if is_closing(path) {
            // We hold the outer lock, so this is a database that was just dropped: its threads close it in their time.
            if Instant::now() > deadline {
                return Err(NotOpened::Environment("another program has the database open".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(1));
        } else {
            let message = error.to_string();
            return Err(match error {
                sled::Error::Io(error) if is_of_the_environment(&error) => NotOpened::Environment(message),
                _ => NotOpened::Damaged(message),
            });
        }
    }
}

/// Whether somebody still holds the database's own lock.
fn is_closing(path: &Path) -> bool {
    File::open(path.join("db")).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

fn is_of_the_environment(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

fn full_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(key.len() + 1);
    full.push(table as u8);
    full.extend_from_slice(key);
    full
}

impl Index for SledIndex {
    fn get(&self, table: Table, key: &[u8]) -> IndexResult<Option<Vec<u8>>> {
        let key = full_key(table, key);
        if let Some(value) = self.unflushed().get(&key) {
            return Ok(value.clone());
        }
        let value = self.database.get(key).map_err(|error| self.failed(&error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn put(&self, table: Table, key: &[u8], value: &[u8]) -> IndexResult<()> {
        self.unflushed().insert(full_key(table, key), Some(value.to_vec()));
        Ok(())
    }

    fn remove(&self, table: Table, key: &[u8]) -> IndexResult<()> {
        self.unflushed().insert(full_key(table, key), None);
        Ok(())
    }

    fn entries(&self, table: Table) -> IndexResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries = BTreeMap::new();
        for entry in self.database.scan_prefix([table as u8]) {
            let (key, value) = entry.map_err(|error| self.failed(&error))?;
            entries.insert(key[1..].to_vec(), value.to_vec());
        }
        for (key, value) in self.unflushed().iter().filter(|(key, _)| key[0] == table as u8) {
            match value {
                Some(value) => entries.insert(key[1..].to_vec(), value.clone()),
                None => entries.remove(&key[1..]),
            };
        }
        Ok(entries.into_iter().collect())
    }

    fn clear(&self) -> IndexResult<()> {
        self.unflushed().clear();
        self.database.clear().map_err(|error| self.failed(&error))
    }

    fn flush(&self) -> IndexResult<()> {
        let mut unflushed = self.unflushed();
        if unflushed.is_empty() {
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        for (key, value) in unflushed.iter() {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.database.apply_batch(batch).map_err(|error| self.failed(&error))?;
        self.database.flush().map_err(|error| self.failed(&error))?;
        unflushed.clear();
        Ok(())
    }
}
