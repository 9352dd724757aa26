//! Removing a directory that a task filled: it may have taken away its own permissions.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

/// Removes a directory and everything in it, also where directories in it were made unwritable.
///
/// # Errors
/// Something in it belongs to somebody else.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_enterable(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn make_enterable(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Links are not followed: what they lead to is not ours.
        if entry.file_type()?.is_dir() {
            make_enterable(&entry.path())?;
        }
    }
    Ok(())
}
