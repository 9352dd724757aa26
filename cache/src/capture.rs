//! Capturing: from what a task left on disk to an artifact whose contents are in the store.

use crate::{
    Artifact, Directory, Entry, FileEntry, Store, StoreError, StoreResult,
    blob::{make_read_only, set_time_to_now},
    durable::sync_paths,
    hashing::{copy_hashing, digest_file},
    store::Temporary,
    walk::{Found, walk},
};
use lsn_digest::Digest;
use rayon::prelude::*;
use std::{collections::BTreeMap, fs, io::Read, os::unix::fs::MetadataExt, path::Path};

/// Files up to this size travel inside the action record.
const INLINE_FILE: u64 = 4 << 10;

/// Inline bytes of one artifact; beyond, its further files become blobs.
const INLINE_TOTAL: u64 = 32 << 10;

/// From here on a file's bytes start on their way to the disk while they are hashed.
const EARLY_FLUSH: u64 = 32 << 20;

/// Whose files are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// A task made them in a directory of ours: they may be linked into the store and made read-only. From then on
    /// nobody may write to them, and not every process is held back by permissions (root is not): remove the directory
    /// before anything runs there again.
    Own,
    /// Somebody else's: they are only read (invariant 7).
    Foreign,
}

/// A file on its way into the store.
enum Staged {
    Inline(FileEntry),
    /// The blob was there already.
    Known(FileEntry),
    Temporary(FileEntry, Temporary),
}

impl Staged {
    fn entry(self) -> FileEntry {
        match self {
            Self::Inline(entry) | Self::Known(entry) | Self::Temporary(entry, _) => entry,
        }
    }
}

impl Store {
    /// Stores the file or directory at `path` and describes it.
    ///
    /// Files of a few KiB become part of the description, all others blobs: by reflink, else by hard link (the file at
    /// `path` is read-only from then on), else by copy. Symbolic links are followed; what lies behind one is copied.
    /// When it returns, every blob's bytes are durable (invariant 1).
    ///
    /// # Errors
    /// A file cannot be read or changed meanwhile, is neither file nor directory, has a name that is not UTF-8, or the
    /// store cannot be written.
    pub fn capture(&self, path: &Path, ownership: Ownership) -> StoreResult<Artifact> {
        self.check_writable()?;
        let found = walk(path)?;
        let inline = inline_choice(&found);
        let files: Vec<_> = found.iter().zip(inline).filter(|(found, _)| !found.is_dir()).collect();
        let mut staged = Vec::with_capacity(files.len());
        // Adopting a file sets its time, which a copy of the same file through a link would take for a change.
        for linked in [true, false] {
            let part = files.par_iter().enumerate().filter(|(_, (found, _))| found.linked == linked);
            let part = part.map(|(at, (found, inline))| Ok((at, self.stage(found, *inline, ownership)?)));
            staged.extend(part.collect::<StoreResult<Vec<_>>>()?);
        }
        staged.sort_by_key(|(at, _)| *at);
        let staged: Vec<_> = staged.into_iter().map(|(_, staged)| staged).collect();

        let temporaries: Vec<&Path> = staged
            .iter()
            .filter_map(|staged| match staged {
                Staged::Temporary(_, temporary) => Some(temporary.path()),
                _ => None,
            })
            .collect();
        sync_paths(&temporaries)?;
        let mut files = Vec::with_capacity(staged.len());
        for staged in staged {
            files.push(match staged {
                Staged::Temporary(entry, temporary) => {
                    self.name_blob(temporary, &entry.digest)?;
                    entry
                }
                other => other.entry(),
            });
        }
        Ok(assemble(&found, files))
    }

    fn stage(&self, found: &Found, inline: bool, ownership: Ownership) -> StoreResult<Staged> {
        let path = &found.path;
        if inline {
            let mut bytes = Vec::new();
            fs::File::open(path)
                .and_then(|file| file.take(INLINE_FILE + 1).read_to_end(&mut bytes))
                .map_err(StoreError::io("read", path))?;
            if bytes.len() as u64 != found.metadata.len() {
                return Err(StoreError::Changed { path: path.clone() });
            }
            let entry = FileEntry {
                digest: Digest::of(&bytes),
                size: bytes.len() as u64,
                executable: found.executable(),
                inline: Some(bytes.into()),
            };
            return Ok(Staged::Inline(entry));
        }
        let own = ownership == Ownership::Own && !found.linked && found.metadata.nlink() == 1;
        let temporary = self.temporary();
        if own && self.adopt(found, &temporary)? {
            self.stage_adopted(found, temporary)
        } else {
            self.stage_copy(found, temporary)
        }
    }

    /// Makes `temporary` a reflink or a hard link of our own file; `false` where the file system can do neither.
    fn adopt(&self, found: &Found, temporary: &Temporary) -> StoreResult<bool> {
        if self.may_reflink() {
            let source = fs::File::open(&found.path).map_err(StoreError::io("open", &found.path))?;
            let target = temporary.create()?;
            if self.reflink(&source, &target) {
                return Ok(true);
            }
            fs::remove_file(temporary.path()).map_err(StoreError::io("remove", temporary.path()))?;
        }
        Ok(fs::hard_link(&found.path, temporary.path()).is_ok())
    }

    fn stage_adopted(&self, found: &Found, temporary: Temporary) -> StoreResult<Staged> {
        let path = temporary.path();
        let file = fs::File::open(path).map_err(StoreError::io("open", path))?;
        make_read_only(&file, found.executable()).map_err(StoreError::io("make read-only", path))?;
        // The file may be older than gc's grace period, its blob must not be.
        set_time_to_now(path).map_err(StoreError::io("set the time of", path))?;
        let before = file.metadata().map_err(StoreError::io("look at", path))?;
        let size = before.len();
        let digest = if size >= EARLY_FLUSH {
            let (digest, flushed) = std::thread::scope(|scope| {
                let flush = scope.spawn(|| file.sync_data());
                (digest_file(&file, path, size), flush.join())
            });
            if let Ok(flushed) = flushed {
                flushed.map_err(StoreError::io("flush", path))?;
            }
            digest?
        } else {
            digest_file(&file, path, size)?
        };
        let after = file.metadata().map_err(StoreError::io("look at", path))?;
        if size != found.metadata.len()
            || (after.len(), after.mtime(), after.mtime_nsec()) != (size, before.mtime(), before.mtime_nsec())
        {
            return Err(StoreError::Changed { path: found.path.clone() });
        }
        let entry = FileEntry { digest, size, executable: found.executable(), inline: None };
        if self.refresh_blob(&digest, size)? {
            Ok(Staged::Known(entry))
        } else {
            Ok(Staged::Temporary(entry, temporary))
        }
    }

    fn stage_copy(&self, found: &Found, temporary: Temporary) -> StoreResult<Staged> {
        let source = fs::File::open(&found.path).map_err(StoreError::io("open", &found.path))?;
        let target = temporary.create()?;
        let copied = copy_hashing(source, &target, found.metadata.len());
        let (digest, size) = copied.map_err(StoreError::io("copy", &found.path))?;
        let now = fs::metadata(&found.path).map_err(StoreError::io("look at", &found.path))?;
        let before = &found.metadata;
        if size != before.len() || (now.mtime(), now.mtime_nsec()) != (before.mtime(), before.mtime_nsec()) {
            return Err(StoreError::Changed { path: found.path.clone() });
        }
        let entry = FileEntry { digest, size, executable: found.executable(), inline: None };
        if self.refresh_blob(&digest, size)? {
            return Ok(Staged::Known(entry));
        }
        make_read_only(&target, found.executable()).map_err(StoreError::io("make read-only", temporary.path()))?;
        Ok(Staged::Temporary(entry, temporary))
    }
}

/// Which files go inline: small ones, in path order, while the artifact's allowance lasts.
fn inline_choice(found: &[Found]) -> Vec<bool> {
    let mut left = INLINE_TOTAL;
    found
        .iter()
        .map(|found| {
            let size = found.metadata.len();
            let inline = !found.is_dir() && size <= INLINE_FILE && size <= left;
            if inline {
                left -= size;
            }
            inline
        })
        .collect()
}

/// Puts the files (in walk order) back among the directories.
pub(crate) fn assemble(found: &[Found], files: Vec<FileEntry>) -> Artifact {
    let mut files = files.into_iter();
    let mut entries = BTreeMap::new();
    for found in found {
        let entry = if found.is_dir() {
            Entry::Directory
        } else if let Some(file) = files.next() {
            if found.relative.is_empty() {
                return Artifact::File(file);
            }
            Entry::File(file)
        } else {
            continue;
        };
        if !found.relative.is_empty() {
            entries.insert(found.relative.clone(), entry);
        }
    }
    Artifact::Directory(Directory::new(entries))
}
