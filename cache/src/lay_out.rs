//! Laying out files of the project as an artifact is laid out: equal content looks equal, wherever it comes from.

use crate::{StoreError, StoreResult, walk::walk};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// Files from this size on are symbolic links to where they lie, smaller ones are files of the reader's own.
pub(crate) const LINKED_FROM: u64 = 16 << 20;

/// Lays out the file or directory `source` at `target`, where nothing may exist yet, as
/// [`crate::Access::Borrowed`] lays out an artifact of the same content: real directories, small files as read-only copies,
/// large ones as links.
///
/// # Errors
/// Something in `source` cannot be read or is neither file nor directory, or `target` cannot be written.
pub fn lay_out(source: &Path, target: &Path) -> StoreResult<()> {
    for found in walk(source)? {
        let path = if found.relative.is_empty() { target.to_owned() } else { target.join(&found.relative) };
        if found.is_dir() {
            fs::create_dir(&path).map_err(StoreError::io("create directory", &path))?;
        } else if found.metadata.len() >= LINKED_FROM {
            let real = fs::canonicalize(&found.path).map_err(StoreError::io("look at", &found.path))?;
            symlink(real, &path).map_err(StoreError::io("link", &path))?;
        } else {
            fs::copy(&found.path, &path).map_err(StoreError::io("copy", &found.path))?;
            let mode = if found.executable() { 0o555 } else { 0o444 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(StoreError::io("write", &path))?;
        }
    }
    Ok(())
}
