//! Materializing: from an artifact to files on disk.

use crate::{
    Artifact, Entry, FileEntry, Store, StoreError, StoreResult, hashing::copy_hashing, lay_out::LINKED_FROM,
    store::nonce,
};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// What the reader of a materialized artifact may do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only: a reflink, else a hard link to the blob, else a copy. Costs no time, whatever the size.
    ReadOnly,
    /// As `ReadOnly`, but files of 16 MiB and more are symbolic links to their blobs: what [`crate::lay_out`] makes of files of
    /// the project.
    Borrowed,
    /// Anything: files of the reader's own, by reflink, else by a copy that is checked on the way.
    Editable,
}

impl Store {
    /// Puts the artifact at `target`, where nothing may exist yet; the parent directory is created. It appears whole or
    /// not at all.
    ///
    /// # Errors
    /// A blob is missing, has the wrong size, or (where it is copied) is damaged; `target` exists or cannot be written.
    pub fn materialize(&self, artifact: &Artifact, target: &Path, access: Access) -> StoreResult<()> {
        if fs::symlink_metadata(target).is_ok() {
            let exists = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(StoreError::io("create", target)(exists));
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(StoreError::io("create directory", parent))?;
        }
        match artifact {
            Artifact::File(file) => self.materialize_file(file, target, access),
            Artifact::Directory(directory) => {
                let building = beside(target);
                let result = self
                    .materialize_entries(directory.entries(), &building, access)
                    .and_then(|()| fs::rename(&building, target).map_err(StoreError::io("create", target)));
                if result.is_err() {
                    // Only what this call made; the first error is the one to tell.
                    let _ = fs::remove_dir_all(&building);
                }
                result
            }
        }
    }

    fn materialize_entries(
        &self,
        entries: &std::collections::BTreeMap<String, Entry>,
        target: &Path,
        access: Access,
    ) -> StoreResult<()> {
        fs::create_dir(target).map_err(StoreError::io("create directory", target))?;
        for (relative, entry) in entries {
            let path = target.join(relative);
            match entry {
                // Parents come before what is in them: a path sorts before its extensions.
                Entry::Directory => fs::create_dir(&path).map_err(StoreError::io("create directory", &path))?,
                Entry::File(file) => self.materialize_file(file, &path, access)?,
            }
        }
        Ok(())
    }

    fn materialize_file(&self, file: &FileEntry, target: &Path, access: Access) -> StoreResult<()> {
        if let Some(bytes) = &file.inline {
            return write_new(target, file.executable, access, |output| output.write_all(bytes));
        }
        let blob = self.blob_path(&file.digest);
        let source = fs::File::open(&blob).map_err(|error| self.missing_or(&file.digest, error))?;
        let metadata = source.metadata().map_err(StoreError::io("look at", &blob))?;
        if metadata.len() != file.size {
            return Err(StoreError::BlobSize { digest: file.digest, expected: file.size, found: metadata.len() });
        }
        // A blob has the permissions of the file that it came from: it will do only if those are the wanted ones.
        let same_mode = (metadata.permissions().mode() & 0o100 != 0) == file.executable;
        if access == Access::Borrowed && same_mode && file.size >= LINKED_FROM {
            return symlink(&blob, target).map_err(StoreError::io("link", target));
        }
        if self.may_reflink() {
            let mut cloned = false;
            write_new(target, file.executable, access, |output| {
                cloned = self.reflink(&source, output);
                if cloned { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
            })
            .or_else(|error| if cloned { Err(error) } else { Ok(()) })?;
            if cloned {
                return Ok(());
            }
        }
        if access != Access::Editable && same_mode && fs::hard_link(&blob, target).is_ok() {
            return Ok(());
        }
        let mut found = None;
        write_new(target, file.executable, access, |output| {
            let (digest, _) = copy_hashing(&source, output, file.size)?;
            found = Some(digest);
            if digest == file.digest { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
        })
        .map_err(|error| match found {
            Some(found) if found != file.digest => self.quarantine(&file.digest, found),
            _ => error,
        })
    }
}

/// Creates `target` with the content that `fill` writes, under its name only once that is complete.
fn write_new(
    target: &Path,
    executable: bool,
    access: Access,
    fill: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> StoreResult<()> {
    let building = beside(target);
    let written = fs::File::options().write(true).create_new(true).open(&building).and_then(|mut file| {
        fill(&mut file)?;
        let mode = match (access, executable) {
            (Access::ReadOnly | Access::Borrowed, false) => 0o444,
            (Access::ReadOnly | Access::Borrowed, true) => 0o555,
            (Access::Editable, false) => return Ok(()),
            (Access::Editable, true) => file.metadata()?.permissions().mode() | 0o111,
        };
        file.set_permissions(fs::Permissions::from_mode(mode))
    });
    let placed = written.and_then(|()| fs::rename(&building, target));
    if placed.is_err() {
        // Only what this call made; the first error is the one to tell.
        let _ = fs::remove_file(&building);
    }
    placed.map_err(StoreError::io("write", target))
}

/// A name in the same directory that nothing else uses.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{:016x}", nonce()))
}
