//! Publishing and looking up action records.

use crate::{
    ActionRecord, ParseRecordError, Store, StoreError, StoreEvent, StoreResult, TaskKey, blob::set_time_to_now,
    layout::for_each_digest, store::Temporary,
};
use lsn_digest::Digest;
use std::{
    fmt, fs,
    io::{self, Write},
    path::Path,
    time::{Duration, SystemTime},
};

/// A record that is used is given the present as its time at most this often: gc goes by it.
const USED_EVERY: Duration = Duration::from_secs(3600);

/// The answer to "was this computed before?".
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    Hit(Box<ActionRecord>),
    Miss(MissReason),
}

/// Why a task key has no usable result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissReason {
    /// Nobody published it.
    Absent,
    /// The record cannot be read.
    Damaged { message: String },
    /// A newer program wrote the record.
    NewerFormat { found: u32 },
    /// A blob of an output is not in the store. `path` is the file's place in the output, empty if it is the output.
    BlobMissing { output: String, path: String, digest: Digest },
    /// A blob of an output has the wrong size.
    BlobSize { output: String, path: String, digest: Digest, expected: u64, found: u64 },
    /// A blob of an output holds other bytes than its name says.
    BlobDamaged { output: String, path: String, digest: Digest },
}

impl fmt::Display for MissReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = |path: &str| if path.is_empty() { String::new() } else { format!(", file `{path}`") };
        match self {
            Self::Absent => f.write_str("never computed"),
            Self::Damaged { message } => write!(f, "its action record is damaged: {message}"),
            Self::NewerFormat { found } => write!(f, "its action record has the newer format {found}"),
            Self::BlobMissing { output, path, digest } => {
                write!(f, "output `{output}`{}: blob {} is gone", file(path), digest.short())
            }
            Self::BlobSize { output, path, digest, expected, found } => write!(
                f,
                "output `{output}`{}: blob {} has {found} bytes instead of {expected}",
                file(path),
                digest.short()
            ),
            Self::BlobDamaged { output, path, digest } => {
                write!(f, "output `{output}`{}: blob {} was damaged", file(path), digest.short())
            }
        }
    }
}

/// What publishing a record led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Published {
    /// The record is the first of its key.
    New,
    /// A record with the same outputs was there; it stays.
    Same,
    /// A record with other outputs was there (it is given); it stays and is what everybody sees (invariant 6).
    Differs(Box<ActionRecord>),
    /// An unusable record was replaced.
    Replaced(MissReason),
    /// A newer program's record is there; it stays, and this result serves the present run only.
    NotReplaced(MissReason),
}

impl Store {
    /// Publishes the result of a task, after its blobs and by the process that ran it.
    ///
    /// The record is visible when this returns, and every blob it lists was durable before (invariant 2); [`Store::sync`]
    /// makes the record itself durable. A usable record of the same key is never overwritten.
    ///
    /// # Errors
    /// A listed blob is missing or of the wrong size, or the store cannot be written.
    pub fn put_action(&self, record: &ActionRecord) -> StoreResult<Published> {
        let temporary = self.write_record(record)?;
        let path = self.layout().action(&record.key);
        let published = match temporary.link_new(&path)? {
            Some(new_parent) => {
                self.pending().add_record(&path, new_parent);
                return Ok(Published::New);
            }
            None => match self.action(&record.key)? {
                Lookup::Hit(existing) if existing.same_outputs(record) => Published::Same,
                Lookup::Hit(existing) => Published::Differs(existing),
                Lookup::Miss(reason @ MissReason::NewerFormat { .. }) => return Ok(Published::NotReplaced(reason)),
                Lookup::Miss(reason) => {
                    let new_parent = temporary.rename(&path)?;
                    self.pending().add_record(&path, new_parent);
                    return Ok(Published::Replaced(reason));
                }
            },
        };
        // The writer of the visible record may not have flushed it; after our own sync it must not get lost.
        self.pending().add_record(&path, false);
        Ok(published)
    }

    /// As [`Store::put_action`], and takes the place of whatever record of the key is there: a person said that it is wrong.
    ///
    /// # Errors
    /// As [`Store::put_action`].
    pub fn replace_action(&self, record: &ActionRecord) -> StoreResult<Published> {
        if let Err(reason @ MissReason::NewerFormat { .. }) = self.parse_record(&record.key)? {
            return Ok(Published::NotReplaced(reason));
        }
        let temporary = self.write_record(record)?;
        let path = self.layout().action(&record.key);
        let new_parent = temporary.rename(&path)?;
        self.pending().add_record(&path, new_parent);
        Ok(Published::New)
    }

    /// Removes the record of a key; its blobs go with the next collection of garbage. `false` if there is none.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget_action(&self, key: &TaskKey) -> StoreResult<bool> {
        self.check_writable()?;
        let path = self.layout().action(key);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", &path)(error)),
        }
    }

    /// Writes a record whose blobs are all there, under a temporary name.
    fn write_record(&self, record: &ActionRecord) -> StoreResult<Temporary> {
        self.check_writable()?;
        for artifact in record.outputs.values() {
            for (_, file) in artifact.blobs() {
                if !self.refresh_blob(&file.digest, file.size)? {
                    return Err(match self.blob_size(&file.digest)? {
                        None => StoreError::BlobMissing { digest: file.digest },
                        Some(found) => StoreError::BlobSize { digest: file.digest, expected: file.size, found },
                    });
                }
            }
        }
        self.sync_blob_dirs()?;

        let bytes =
            record.encode().map_err(|error| StoreError::Encode { key: record.key.0, message: error.to_string() })?;
        let temporary = self.temporary();
        temporary.create()?.write_all(&bytes).map_err(StoreError::io("write", temporary.path()))?;
        Ok(temporary)
    }

    /// Looks up a task key. A hit has a sound record whose blobs are all there with the right size.
    ///
    /// # Errors
    /// The store cannot be read (a damaged record is a miss).
    pub fn action(&self, key: &TaskKey) -> StoreResult<Lookup> {
        let record = match self.read_record(key)? {
            Ok(record) => record,
            Err(reason) => return Ok(Lookup::Miss(reason)),
        };
        for (output, artifact) in &record.outputs {
            for (path, file) in artifact.blobs() {
                let (output, path, digest) = (output.clone(), path.to_owned(), file.digest);
                match self.blob_size(&digest)? {
                    Some(found) if found == file.size => {}
                    Some(found) => {
                        let expected = file.size;
                        return Ok(Lookup::Miss(MissReason::BlobSize { output, path, digest, expected, found }));
                    }
                    None => return Ok(Lookup::Miss(MissReason::BlobMissing { output, path, digest })),
                }
            }
        }
        Ok(Lookup::Hit(Box::new(record)))
    }

    /// Reads a record without looking at its blobs, and marks it as used.
    pub(crate) fn read_record(&self, key: &TaskKey) -> StoreResult<Result<ActionRecord, MissReason>> {
        let parsed = self.parse_record(key)?;
        if parsed.is_ok() {
            self.mark_used(&self.layout().action(key));
        }
        Ok(parsed)
    }

    /// Reads a record without looking at its blobs.
    pub(crate) fn parse_record(&self, key: &TaskKey) -> StoreResult<Result<ActionRecord, MissReason>> {
        let path = self.layout().action(key);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(MissReason::Absent)),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        Ok(match ActionRecord::decode(key, &bytes) {
            Ok(record) => Ok(record),
            Err(ParseRecordError::Newer { found }) => Err(MissReason::NewerFormat { found }),
            Err(error) => {
                let message = error.to_string();
                self.emit(StoreEvent::RecordDamaged { key: *key, message: message.clone() });
                Err(MissReason::Damaged { message })
            }
        })
    }

    fn mark_used(&self, path: &Path) {
        if !self.is_writable() {
            return;
        }
        let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age > USED_EVERY) {
            // Somebody else's record keeps its time: it only looks older than it is.
            let _ = set_time_to_now(path);
        }
    }

    /// All task keys that have a record, in no particular order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn action_keys(&self) -> StoreResult<Vec<TaskKey>> {
        let mut keys = Vec::new();
        for_each_digest(&self.layout().actions(), |digest, _| {
            keys.push(TaskKey(digest));
            Ok(())
        })?;
        Ok(keys)
    }

    /// All readable records; those that are damaged or newer are left out (the former reported).
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn actions(&self) -> StoreResult<impl Iterator<Item = StoreResult<ActionRecord>>> {
        let keys = self.action_keys()?;
        Ok(keys.into_iter().filter_map(|key| self.parse_record(&key).map(Result::ok).transpose()))
    }

    /// The latest record of a task, by the name it had; reads every record.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn latest_action(&self, pipeline: &str, task: &str) -> StoreResult<Option<ActionRecord>> {
        let mut latest: Option<ActionRecord> = None;
        for record in self.actions()? {
            let record = record?;
            let provenance = &record.provenance;
            if provenance.pipeline == pipeline
                && provenance.task == task
                && latest.as_ref().is_none_or(|latest| latest.provenance.finished_ms < provenance.finished_ms)
            {
                latest = Some(record);
            }
        }
        Ok(latest)
    }
}
