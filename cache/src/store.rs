//! Opening a store.

use crate::{EventHandler, StoreError, StoreEvent, StoreResult, durable::Pending, layout::Layout};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// The version of the store layout that this program writes.
///
/// Rule: a store of a newer version is read and never changed; an older one is read and written by the rules of its
/// version.
pub const STORE_VERSION: u32 = 1;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// The store must exist; every change is refused.
    ReadOnly,
    /// The store is created where it does not exist.
    ReadWrite,
}

/// A content-addressed store: a directory that any number of processes and machines use at once, without locks.
///
/// Cheap to clone; clones share what is not yet durable (see [`Store::sync`]).
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    writable: Result<(), Refusal>,
    events: EventHandler,
    pending: Mutex<Pending>,
    no_reflink: AtomicBool,
    temporaries: AtomicU64,
    nonce: u64,
}

#[derive(Debug, Clone, Copy)]
enum Refusal {
    Mode,
    Newer(u32),
}

impl Store {
    /// Opens the store at `root`; events go to the log.
    ///
    /// # Errors
    /// There is no store (`ReadOnly`), the directory holds something else, or it cannot be read or created. A store of a
    /// newer format opens; what would change it fails with [`StoreError::NewerFormat`].
    pub fn open(root: &Path, mode: OpenMode) -> StoreResult<Self> {
        Self::open_with(root, mode, EventHandler::default())
    }

    /// As [`Store::open`], with a receiver of events.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(root: &Path, mode: OpenMode, events: EventHandler) -> StoreResult<Self> {
        let layout = Layout::new(root);
        let version = match (layout.read_version()?, mode) {
            (Some(version), _) => version,
            (None, OpenMode::ReadOnly) => return Err(StoreError::NoStore { path: root.to_owned() }),
            (None, OpenMode::ReadWrite) => {
                if layout.is_foreign()? {
                    // Another process may have finished creating the store since its format file was looked for.
                    match layout.read_version()? {
                        Some(version) => version,
                        None => return Err(StoreError::NotAStore { path: root.to_owned() }),
                    }
                } else {
                    layout.create(STORE_VERSION)?;
                    STORE_VERSION
                }
            }
        };
        let writable = match mode {
            _ if version > STORE_VERSION => Err(Refusal::Newer(version)),
            OpenMode::ReadOnly => Err(Refusal::Mode),
            OpenMode::ReadWrite => Ok(()),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                layout,
                writable,
                events,
                pending: Mutex::default(),
                no_reflink: AtomicBool::new(false),
                temporaries: AtomicU64::new(0),
                nonce: nonce(),
            }),
        })
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        self.inner.layout.root()
    }

    /// Whether changes are possible.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.inner.writable.is_ok()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    pub(crate) fn emit(&self, event: StoreEvent) {
        self.inner.events.emit(event);
    }

    pub(crate) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a reflink into or out of this store is worth trying.
    pub(crate) fn may_reflink(&self) -> bool {
        !self.inner.no_reflink.load(Ordering::Relaxed)
    }

    /// Remembers that the file system of the store has no reflinks.
    pub(crate) fn forget_reflink(&self) {
        self.inner.no_reflink.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check_writable(&self) -> StoreResult<()> {
        self.inner.writable.map_err(|refusal| match refusal {
            Refusal::Mode => StoreError::ReadOnly { path: self.root().to_owned() },
            Refusal::Newer(found) => {
                StoreError::NewerFormat { path: self.root().to_owned(), found, supported: STORE_VERSION }
            }
        })
    }

    /// A path in `tmp/` that no other process, machine or thread uses.
    pub(crate) fn temporary(&self) -> Temporary {
        let count = self.inner.temporaries.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{:016x}-{count}", std::process::id(), self.inner.nonce);
        Temporary { path: self.layout().tmp().join(name), armed: true }
    }
}

/// Differs between processes, machines and stores opened in one process.
pub(crate) fn nonce() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // `RandomState` is seeded by the operating system.
    RandomState::new().hash_one(std::process::id())
}

/// A path under `tmp/` whose file goes away with this value unless it was renamed into place.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    armed: bool,
}

impl Temporary {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn create(&self) -> StoreResult<fs::File> {
        fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&self.path)
            .map_err(StoreError::io("create", &self.path))
    }

    /// Moves the file to `target`, replacing what is there, and creates the parent directory if it is the first in it.
    ///
    /// Returns whether the parent directory is new.
    pub fn rename(mut self, target: &Path) -> StoreResult<bool> {
        let new_parent = self.place(target, |from, to| fs::rename(from, to))?;
        // Renaming onto another link of the same file does nothing: the old name would stay.
        self.armed = fs::symlink_metadata(&self.path).is_ok();
        Ok(new_parent)
    }

    /// Gives the file the name `target` unless that exists; the outer `None` says it does.
    pub fn link_new(&self, target: &Path) -> StoreResult<Option<bool>> {
        let exists = |error: &StoreError| matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists);
        match self.place(target, |from, to| fs::hard_link(from, to)) {
            Ok(new_parent) => Ok(Some(new_parent)),
            Err(error) if exists(&error) => Ok(None),
            // A file system without hard links: two writers within this instant then replace each other's whole file.
            Err(_) if fs::symlink_metadata(target).is_ok() => Ok(None),
            Err(_) => self.place(target, |from, to| fs::rename(from, to)).map(Some),
        }
    }

    fn place(&self, target: &Path, put: impl Fn(&Path, &Path) -> io::Result<()>) -> StoreResult<bool> {
        match put(&self.path, target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent).map_err(StoreError::io("create directory", parent))?;
                }
                put(&self.path, target).map_err(StoreError::io("create", target))?;
                Ok(true)
            }
            result => result.map(|()| false).map_err(StoreError::io("create", target)),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.armed {
            // Nothing depends on its absence: gc removes what a crash leaves in tmp/.
            let _ = fs::remove_file(&self.path);
        }
    }
}
