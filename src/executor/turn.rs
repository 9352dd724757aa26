//! Taking turns on a task key's scratch directory: two processes with one key do not work side by side.

use lsn_stage::{StageError, StageResult};
use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A held lock; its file goes with it. The lock lies beside the directory, so that removing the one does not unlock the other,
/// and ends with the process that holds it.
pub struct Turn {
    path: PathBuf,
    _file: File,
}

impl Turn {
    /// Waits until nobody else works in `scratch`.
    ///
    /// # Errors
    /// The lock file cannot be made or locked.
    pub fn wait(scratch: &Path) -> StageResult<Self> {
        let path = scratch.with_extension("lock");
        let failed = |error: &io::Error| StageError::io(format!("cannot lock `{}`", path.display()), error);
        if let Some(parent) = scratch.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(&error))?;
        }
        loop {
            let file = open(&path).map_err(|error| failed(&error))?;
            file.lock().map_err(|error| failed(&error))?;
            if is_at(&file, &path) {
                return Ok(Self { path, _file: file });
            }
        }
    }

    /// The turn, if nobody works in `scratch`.
    ///
    /// # Errors
    /// The lock file cannot be made or locked.
    pub fn try_take(scratch: &Path) -> io::Result<Option<Self>> {
        let path = scratch.with_extension("lock");
        let file = open(&path)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => Ok(Some(Self { path, _file: file })),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Still locked, so nobody else can believe that they hold this very file.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

/// Whoever had the lock before may have removed its file: then others lock another one by now.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(ours), Ok(there)) if same(&ours, &there))
}
