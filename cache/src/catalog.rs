//! A store seen through an index.

use crate::{
    ActionRecord, Index, Lookup, MissReason, PathDigest, Provenance, Store, StoreError, StoreResult, Table, TaskKey,
    TaskTime,
    stat_cache::{Identity, digest_path},
};
use lsn_digest::Digest;
use std::{collections::BTreeMap, fmt, fs, io, path::Path, sync::Arc};

/// A store and what the index remembers about it and about the files of a project.
#[derive(Clone)]
pub struct Catalog {
    store: Store,
    index: Arc<dyn Index>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Catalog {
    #[must_use]
    pub fn new(store: Store, index: Arc<dyn Index>) -> Self {
        Self { store, index }
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Digest of an input file or directory; reads only what the index does not know in its present state.
    ///
    /// Links are followed and the digest is the one that [`Store::capture`] would give. Compare
    /// [`crate::Stamp::of`] with the stamp in the result to see whether the path changed since.
    ///
    /// # Errors
    /// Something cannot be read, or changed meanwhile.
    pub fn digest_path(&self, path: &Path) -> StoreResult<PathDigest> {
        digest_path(self.index.as_ref(), path)
    }

    /// As [`Store::action`], and every blob of a hit was either untouched since its bytes were last known to be right,
    /// or is read now; a damaged one goes to quarantine.
    ///
    /// # Errors
    /// Store or index cannot be read.
    pub fn lookup(&self, key: &TaskKey) -> StoreResult<Lookup> {
        let record = match self.store.read_record(key)? {
            Ok(record) => record,
            Err(reason) => return Ok(Lookup::Miss(reason)),
        };
        for (output, artifact) in &record.outputs {
            for (path, file) in artifact.blobs() {
                let (output, path) = (output.clone(), path.to_owned());
                if let Some(reason) = self.check_blob(output, path, file.digest, file.size)? {
                    return Ok(Lookup::Miss(reason));
                }
            }
        }
        Ok(Lookup::Hit(Box::new(record)))
    }

    fn check_blob(&self, output: String, path: String, digest: Digest, size: u64) -> StoreResult<Option<MissReason>> {
        let blob = self.store.blob_path(&digest);
        let metadata = match fs::symlink_metadata(&blob) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(MissReason::BlobMissing { output, path, digest }));
            }
            Err(error) => return Err(StoreError::io("look at", &blob)(error)),
        };
        if metadata.len() != size {
            let found = metadata.len();
            return Ok(Some(MissReason::BlobSize { output, path, digest, expected: size, found }));
        }
        let state = sound_state(&metadata);
        if self.index.get(Table::Sound, digest.as_bytes())?.as_deref() == Some(&state[..]) {
            return Ok(None);
        }
        match self.store.verify_blob(&digest) {
            Ok(_) => {
                self.index.put(Table::Sound, digest.as_bytes(), &state)?;
                Ok(None)
            }
            Err(StoreError::BlobDamaged { .. }) => Ok(Some(MissReason::BlobDamaged { output, path, digest })),
            Err(StoreError::BlobMissing { .. }) => Ok(Some(MissReason::BlobMissing { output, path, digest })),
            Err(error) => Err(error),
        }
    }

    /// Tells the index of a record that was just published: its blobs are sound, and it is the latest of its task.
    ///
    /// # Errors
    /// The index cannot be written.
    pub fn note_published(&self, record: &ActionRecord) -> StoreResult<()> {
        for file in record.outputs.values().flat_map(|artifact| artifact.blobs().map(|(_, file)| file)) {
            if let Ok(metadata) = fs::symlink_metadata(self.store.blob_path(&file.digest))
                && metadata.len() == file.size
            {
                self.index.put(Table::Sound, file.digest.as_bytes(), &sound_state(&metadata))?;
            }
        }
        self.note_run(record.key, &record.provenance)
    }

    fn note_run(&self, key: TaskKey, provenance: &Provenance) -> StoreResult<()> {
        let name = task_name(&provenance.pipeline, &provenance.task);
        let time = self.task_time(&provenance.pipeline, &provenance.task)?.unwrap_or_default();
        self.index.put(Table::Time, &name, &time.after(provenance.duration_ms).encode())?;
        self.index.put(Table::Latest, &name, key.0.as_bytes())?;
        Ok(())
    }

    /// Tells the index that a run used this record for a task: later changes are compared with it.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn note_used(&self, pipeline: &str, task: &str, key: TaskKey) -> StoreResult<()> {
        let name = task_name(pipeline, task);
        if self.index.get(Table::Latest, &name)?.as_deref() != Some(key.0.as_bytes()) {
            self.index.put(Table::Latest, &name, key.0.as_bytes())?;
        }
        Ok(())
    }

    /// How long a task took in earlier runs.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn task_time(&self, pipeline: &str, task: &str) -> StoreResult<Option<TaskTime>> {
        let value = self.index.get(Table::Time, &task_name(pipeline, task))?;
        Ok(value.and_then(|value| TaskTime::decode(&value)))
    }

    /// The latest record of a task, by name; the one to compare with when a key is new.
    ///
    /// # Errors
    /// Store or index cannot be read.
    pub fn latest_action(&self, pipeline: &str, task: &str) -> StoreResult<Option<ActionRecord>> {
        let value = self.index.get(Table::Latest, &task_name(pipeline, task))?;
        if let Some(digest) = value.and_then(|value| <[u8; 32]>::try_from(value).ok())
            && let Ok(record) = self.store.read_record(&TaskKey(Digest::from_bytes(digest)))?
        {
            return Ok(Some(record));
        }
        Ok(None)
    }

    /// Rebuilds from the store what the index knows of it; returns the number of records. Digests of files and soundness
    /// of blobs are found out again when they are next asked for.
    ///
    /// # Errors
    /// The store cannot be read or the index not written.
    pub fn reindex(&self) -> StoreResult<u64> {
        self.index.clear()?;
        let mut runs = BTreeMap::new();
        for record in self.store.actions()? {
            let record = record?;
            runs.insert((record.provenance.finished_ms, record.key), record.provenance);
        }
        let count = runs.len() as u64;
        for ((_, key), provenance) in runs {
            self.note_run(key, &provenance)?;
        }
        self.index.flush()?;
        Ok(count)
    }

    /// Makes the store's and the index's news durable. Meant to be called once per run or finished task.
    ///
    /// # Errors
    /// Either cannot be written.
    pub fn flush(&self) -> StoreResult<()> {
        self.store.sync()?;
        Ok(self.index.flush()?)
    }
}

/// The state of a blob's file as far as writing to it would show.
fn sound_state(metadata: &fs::Metadata) -> Vec<u8> {
    let identity = Identity::of(metadata);
    [&identity.key()[..], &identity.content_state()[..]].concat()
}

fn task_name(pipeline: &str, task: &str) -> Vec<u8> {
    [pipeline.as_bytes(), b"\0", task.as_bytes()].concat()
}
