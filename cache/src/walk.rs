//! Walking a file or directory as an artifact: names in order, links followed.

use crate::{StoreError, StoreResult};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Something found under an artifact's path.
#[derive(Debug)]
pub(crate) struct Found {
    /// Names joined by `/`; empty for the artifact itself.
    pub relative: String,
    pub path: PathBuf,
    /// Of the file or directory, behind any link.
    pub metadata: fs::Metadata,
    /// Whether a symbolic link led here, so that the file belongs to somebody else.
    pub linked: bool,
}

impl Found {
    pub fn is_dir(&self) -> bool {
        self.metadata.is_dir()
    }

    pub fn executable(&self) -> bool {
        self.metadata.mode() & 0o100 != 0
    }
}

/// Everything under `root`, which comes first. Symbolic links are followed: an artifact is what a reader finds.
///
/// # Errors
/// A path cannot be read, a link dangles or leads into a cycle, a name is not UTF-8, or something is neither file nor
/// directory.
pub(crate) fn walk(root: &Path) -> StoreResult<Vec<Found>> {
    let mut found = Vec::new();
    visit(root, String::new(), false, &mut Vec::new(), &mut found)?;
    Ok(found)
}

fn visit(
    path: &Path,
    relative: String,
    below_link: bool,
    open: &mut Vec<(u64, u64)>,
    found: &mut Vec<Found>,
) -> StoreResult<()> {
    let mut metadata = fs::symlink_metadata(path).map_err(StoreError::io("look at", path))?;
    let mut linked = below_link;
    if metadata.is_symlink() {
        linked = true;
        metadata = fs::metadata(path).map_err(StoreError::io("follow the link", path))?;
    }
    let kind = metadata.file_type();
    if kind.is_dir() {
        let identity = (metadata.dev(), metadata.ino());
        if open.contains(&identity) {
            return Err(StoreError::LinkCycle { path: path.to_owned() });
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(StoreError::io("list", path))? {
            let entry = entry.map_err(StoreError::io("list", path))?;
            names.push(entry.file_name().into_string().map_err(|_| StoreError::NameNotUtf8 { path: entry.path() })?);
        }
        names.sort_unstable();
        found.push(Found { relative: relative.clone(), path: path.to_owned(), metadata, linked });
        open.push(identity);
        for name in names {
            let below = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
            visit(&path.join(name), below, linked, open, found)?;
        }
        open.pop();
        Ok(())
    } else if kind.is_file() {
        found.push(Found { relative, path: path.to_owned(), metadata, linked });
        Ok(())
    } else {
        Err(StoreError::Unsupported { path: path.to_owned(), kind: kind_name(kind) })
    }
}

fn kind_name(kind: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
