//! `outputs:` of a manifest: artifacts that a run leaves in the project for people.

use crate::{
    home::{Home, RunId},
    manifest::Publish,
};
use lsn_cache::{Access, Artifact, Catalog, StoreError};
use lsn_digest::Digest;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// An output cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("`{path}` exists and lsn did not write it; move it away, or let it be replaced with `--overwrite`")]
    Foreign { path: PathBuf },
    #[error("`{path}` was changed after lsn wrote it; move it away, or let it be replaced with `--overwrite`")]
    Edited { path: PathBuf },
    /// Nothing is lost: lsn wrote this very result there before.
    #[error("`{path}` was changed after lsn wrote it and is left as it is; `--overwrite` brings the result back")]
    Kept { path: PathBuf },
    #[error("cannot write `{path}`: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What lsn wrote into the project: path relative to its root → digests. Two while one replaces the other.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written(BTreeMap<PathBuf, Vec<Digest>>);

/// Writes outputs, replacing only what lsn wrote itself (invariant 7).
pub struct Outputs {
    root: PathBuf,
    /// The list of what was written.
    list: PathBuf,
    /// Where new content is built.
    scratch: PathBuf,
    written: Written,
    dirty: bool,
    placing: Placing,
}

/// How outputs are put into the project.
#[derive(Debug, Clone, Copy, Default)]
pub struct Placing {
    /// Replace what lsn did not write.
    pub overwrite: bool,
    /// Read-only, by hard link into the store where the file system has no reflinks; else files of the person's own.
    pub link: bool,
}

impl Outputs {
    /// The outputs of a pipeline; `run` names the directory in which new content is built.
    #[must_use]
    pub fn open(home: &Home, pipeline: &str, run: &RunId, placing: Placing) -> Self {
        let list = home.published(pipeline);
        // A lost list costs a question (`--overwrite`), never a file.
        let written = fs::read(&list).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let scratch = home.scratch().join(format!("{run}-outputs"));
        Self { root: home.root().to_owned(), list, scratch, written, dirty: false, placing }
    }

    /// Puts `artifact` at the output's path; `false` if it is there already.
    ///
    /// # Errors
    /// Something else is there, or it cannot be written. [`OutputError::Kept`] is worth a warning only.
    pub fn write(&mut self, publish: &Publish, artifact: &Artifact, catalog: &Catalog) -> Result<bool, OutputError> {
        let target = self.root.join(&publish.path);
        let digest = artifact.digest();
        if fs::symlink_metadata(&target).is_ok() {
            let there = catalog.digest_path(&target)?.digest;
            if there == digest {
                self.settle(&publish.path, digest);
                return Ok(false);
            }
            if !self.placing.overwrite {
                let path = publish.path.clone();
                match self.written.0.get(&publish.path) {
                    None => return Err(OutputError::Foreign { path }),
                    Some(ours) if *ours == [digest] => return Err(OutputError::Kept { path }),
                    Some(ours) if !ours.contains(&there) => return Err(OutputError::Edited { path }),
                    Some(_) => {}
                }
            }
        }
        // Before and after a crash in between, what lies there is known as ours.
        self.written.0.entry(publish.path.clone()).or_default().push(digest);
        self.dirty = true;
        self.save()?;
        let access = if self.placing.link { Access::ReadOnly } else { Access::Editable };
        replace(artifact, &target, access, &self.scratch, catalog)?;
        self.settle(&publish.path, digest);
        Ok(true)
    }

    fn settle(&mut self, path: &Path, digest: Digest) {
        if self.written.0.get(path).is_none_or(|digests| *digests != [digest]) {
            self.written.0.insert(path.to_owned(), vec![digest]);
            self.dirty = true;
        }
    }

    /// Keeps the list of what was written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&mut self) -> Result<(), OutputError> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        let failed = |error| OutputError::Io { path: self.list.clone(), error };
        let bytes = serde_json::to_vec_pretty(&self.written).map_err(|error| failed(error.into()))?;
        if let Some(parent) = self.list.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let temporary = self.list.with_extension("new");
        fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, &self.list)).map_err(failed)
    }
}

/// Builds the new content in `scratch` and swaps it in.
fn replace(
    artifact: &Artifact,
    target: &Path,
    access: Access,
    scratch: &Path,
    catalog: &Catalog,
) -> Result<(), OutputError> {
    let failed = |error| OutputError::Io { path: target.to_owned(), error };
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    fs::create_dir_all(scratch).map_err(failed)?;
    // A rename stays within one file system; where the project spans several, build beside the target.
    let beside = if device(scratch).map_err(failed)? == device(parent).map_err(failed)? { scratch } else { parent };
    let building = tempfile::Builder::new().prefix(".lsn-").tempdir_in(beside).map_err(failed)?;
    let new = building.path().join("new");
    catalog.store().materialize(artifact, &new, access)?;
    if let Ok(old) = fs::symlink_metadata(target)
        && (old.is_dir() || new.is_dir())
    {
        // A directory cannot be replaced in one step: the old one steps aside and goes with the temporary directory.
        fs::rename(target, building.path().join("old")).map_err(failed)?;
    }
    fs::rename(&new, target).map_err(failed)?;
    drop(building);
    // Goes only when empty.
    let _ = fs::remove_dir(scratch);
    Ok(())
}
