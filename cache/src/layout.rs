//! Where things lie in a store, and the `format` file that says which layout it is.

use crate::{StoreError, StoreResult, TaskKey};
use lsn_digest::Digest;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The paths of a store.
///
/// ```text
/// format                       `lsn-store <version>`
/// blobs/<2 hex>/<digest>       immutable contents, read-only files
/// actions/<2 hex>/<task key>   action records
/// rows/<namespace>/<segment>   row segments
/// pins/<digest>                what gc must keep
/// quarantine/                  damaged blobs, kept for inspection
/// tmp/                         files being written; anything old in it is garbage
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

const FORMAT_WORD: &str = "lsn-store";

impl Layout {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        sharded(&self.root, "blobs", digest)
    }

    pub fn actions(&self) -> PathBuf {
        self.root.join("actions")
    }

    pub fn action(&self, key: &TaskKey) -> PathBuf {
        sharded(&self.root, "actions", &key.0)
    }

    pub fn rows(&self) -> PathBuf {
        self.root.join("rows")
    }

    pub fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Creates the directories of an empty store; existing ones stay as they are.
    pub fn create(&self, version: u32) -> StoreResult<()> {
        for dir in [self.blobs(), self.actions(), self.rows(), self.pins(), self.quarantine(), self.tmp()] {
            fs::create_dir_all(&dir).map_err(StoreError::io("create directory", &dir))?;
        }
        // Several processes may create one store at once; each writes the same bytes and renames over the others'.
        let temporary = self.tmp().join(format!("format-{}", std::process::id()));
        fs::write(&temporary, format!("{FORMAT_WORD} {version}\n")).map_err(StoreError::io("write", &temporary))?;
        let file = fs::File::open(&temporary).map_err(StoreError::io("open", &temporary))?;
        file.sync_all().map_err(StoreError::io("flush", &temporary))?;
        fs::rename(&temporary, self.format()).map_err(StoreError::io("create", self.format()))
    }

    /// The version in the `format` file; `None` where there is no store yet.
    pub fn read_version(&self) -> StoreResult<Option<u32>> {
        match fs::read_to_string(self.format()) {
            Ok(text) => text
                .strip_prefix(FORMAT_WORD)
                .and_then(|rest| rest.trim().parse().ok())
                .map(Some)
                .ok_or_else(|| StoreError::NotAStore { path: self.root.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", self.format())(error)),
        }
    }

    /// Whether the root holds anything that a half-created store would not.
    pub fn is_foreign(&self) -> StoreResult<bool> {
        let ours = ["blobs", "actions", "rows", "pins", "quarantine", "tmp"];
        match fs::read_dir(&self.root) {
            Ok(entries) => {
                for entry in entries {
                    let name = entry.map_err(StoreError::io("list", &self.root))?.file_name();
                    if !ours.iter().any(|our| name == *our) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("list", &self.root)(error)),
        }
    }
}

fn sharded(root: &Path, kind: &str, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    let mut path = PathBuf::with_capacity(root.as_os_str().len() + kind.len() + hex.len() + 6);
    path.push(root);
    path.push(kind);
    path.push(&hex[..2]);
    path.push(hex);
    path
}

/// Visits every file of a sharded directory whose name is a digest.
pub(crate) fn for_each_digest(dir: &Path, mut visit: impl FnMut(Digest, &Path) -> StoreResult<()>) -> StoreResult<()> {
    for shard in list(dir)? {
        if shard.file_type().is_ok_and(|kind| kind.is_dir()) {
            for entry in list(&shard.path())? {
                if let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                    visit(digest, &entry.path())?;
                }
            }
        }
    }
    Ok(())
}

/// The entries of a directory in name order; none where it does not exist.
pub(crate) fn list(dir: &Path) -> StoreResult<Vec<fs::DirEntry>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", dir)(error)),
    };
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(StoreError::io("list", dir))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}
