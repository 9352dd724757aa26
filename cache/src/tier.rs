//! Tiers: other places that results can come from and go to.
//!
//! A tier holds the same three kinds of things as a store under the same names; an object store can be one, and a store
//! on a network file system is one. Nothing that a tier gives is trusted: blobs are checked against their names and
//! records against their checksums before they become visible here.

use crate::{
    ActionRecord, Lookup, ParseRecordError, Published, Store, StoreError, TaskKey, durable::sync_paths,
    hashing::copy_all,
};
use lsn_digest::Digest;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
};

/// A tier could not do what was asked. The caller decides whether that matters: a run goes on without its tiers.
#[derive(Debug, thiserror::Error)]
pub enum TierError {
    #[error("tier `{tier}`: {message}")]
    Failed { tier: String, message: String },
    #[error("tier `{tier}` gave other bytes for blob {digest}: their digest is {found}; nothing of it was kept")]
    BlobDamaged { tier: String, digest: Digest, found: Digest },
    #[error("tier `{tier}` gave an unusable action record for task key {key}: {source}")]
    RecordDamaged { tier: String, key: TaskKey, source: ParseRecordError },
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub type TierResult<T> = Result<T, TierError>;

/// Somewhere else that keeps blobs, action records and row segments. Names are contents (or keys), so putting twice does
/// no harm.
pub trait Tier: Send + Sync {
    /// What messages call it, such as its URL without credentials.
    fn name(&self) -> String;

    /// Writes a blob's bytes to `into`; `false` if the tier does not have it.
    ///
    /// # Errors
    /// The tier cannot be read.
    fn get_blob(&self, digest: &Digest, into: &mut dyn Write) -> TierResult<bool>;

    /// Keeps a blob of `size` bytes.
    ///
    /// # Errors
    /// The tier cannot be written.
    fn put_blob(&self, digest: &Digest, size: u64, from: &mut dyn Read) -> TierResult<()>;

    /// Whether the tier has a blob.
    ///
    /// # Errors
    /// The tier cannot be read.
    fn has_blob(&self, digest: &Digest) -> TierResult<bool>;

    /// The stored form of an action record.
    ///
    /// # Errors
    /// The tier cannot be read.
    fn get_action(&self, key: &TaskKey) -> TierResult<Option<Vec<u8>>>;

    /// Keeps an action record, after its blobs.
    ///
    /// # Errors
    /// The tier cannot be written.
    fn put_action(&self, key: &TaskKey, record: &[u8]) -> TierResult<()>;

    /// Names of the sealed row segments of a namespace.
    ///
    /// # Errors
    /// The tier cannot be read.
    fn row_segments(&self, namespace: &str) -> TierResult<Vec<String>>;

    /// The bytes of a row segment.
    ///
    /// # Errors
    /// The tier cannot be read.
    fn get_rows(&self, namespace: &str, segment: &str) -> TierResult<Option<Vec<u8>>>;

    /// Keeps a sealed row segment.
    ///
    /// # Errors
    /// The tier cannot be written.
    fn put_rows(&self, namespace: &str, segment: &str, bytes: &[u8]) -> TierResult<()>;
}

impl Store {
    /// Fetches the result of a task key, blobs first; `None` if the tier has none.
    ///
    /// # Errors
    /// The tier fails or gives damaged things, or this store cannot be written.
    pub fn pull(&self, tier: &dyn Tier, key: &TaskKey) -> TierResult<Option<ActionRecord>> {
        let Some(bytes) = tier.get_action(key)? else { return Ok(None) };
        let record = ActionRecord::decode(key, &bytes).map_err(|source| TierError::RecordDamaged {
            tier: tier.name(),
            key: *key,
            source,
        })?;
        for file in record.outputs.values().flat_map(|artifact| artifact.blobs().map(|(_, file)| file)) {
            if self.blob_size(&file.digest)? == Some(file.size) {
                continue;
            }
            let mut writer = self.blob_writer()?;
            if !tier.get_blob(&file.digest, &mut writer)? {
                return Ok(None);
            }
            let found = writer.digest();
            if found != file.digest {
                return Err(TierError::BlobDamaged { tier: tier.name(), digest: file.digest, found });
            }
            writer.finish()?;
        }
        Ok(Some(match self.put_action(&record)? {
            Published::Differs(visible) => *visible,
            _ => record,
        }))
    }

    /// Sends the result of a task key, blobs first; `false` if this store has no usable one.
    ///
    /// # Errors
    /// The tier fails, or this store cannot be read.
    pub fn push(&self, tier: &dyn Tier, key: &TaskKey) -> TierResult<bool> {
        let Lookup::Hit(record) = self.action(key)? else { return Ok(false) };
        let files = record.outputs.values().flat_map(|artifact| artifact.blobs().map(|(_, file)| file));
        let blobs: BTreeMap<Digest, u64> = files.map(|file| (file.digest, file.size)).collect();
        for (digest, size) in blobs {
            if !tier.has_blob(&digest)? {
                let path = self.blob_path(&digest);
                let mut file = fs::File::open(&path).map_err(|error| self.missing_or(&digest, error))?;
                tier.put_blob(&digest, size, &mut file)?;
            }
        }
        let bytes = record.encode().map_err(|error| StoreError::Encode { key: key.0, message: error.to_string() })?;
        tier.put_action(key, &bytes)?;
        Ok(true)
    }

    /// Fetches the row segments of a namespace that this store does not have; returns how many.
    ///
    /// # Errors
    /// The tier fails, or this store cannot be written.
    pub fn pull_rows(&self, tier: &dyn Tier, namespace: &str) -> TierResult<usize> {
        let here = Tier::row_segments(self, namespace)?;
        let mut fetched = 0;
        for segment in tier.row_segments(namespace)? {
            if !here.contains(&segment)
                && let Some(bytes) = tier.get_rows(namespace, &segment)?
            {
                self.put_rows(namespace, &segment, &bytes)?;
                fetched += 1;
            }
        }
        Ok(fetched)
    }

    /// Sends the row segments of a namespace that the tier does not have; returns how many.
    ///
    /// # Errors
    /// The tier fails, or this store cannot be read.
    pub fn push_rows(&self, tier: &dyn Tier, namespace: &str) -> TierResult<usize> {
        let there = tier.row_segments(namespace)?;
        let mut sent = 0;
        for segment in Tier::row_segments(self, namespace)? {
            if !there.contains(&segment)
                && let Some(bytes) = self.get_rows(namespace, &segment)?
            {
                tier.put_rows(namespace, &segment, &bytes)?;
                sent += 1;
            }
        }
        Ok(sent)
    }
}

/// A store elsewhere, such as one of a whole group on a network file system.
impl Tier for Store {
    fn name(&self) -> String {
        self.root().display().to_string()
    }

    fn get_blob(&self, digest: &Digest, into: &mut dyn Write) -> TierResult<bool> {
        let path = self.blob_path(digest);
        match fs::File::open(&path) {
            Ok(file) => {
                copy_all(file, into).map_err(StoreError::io("copy", &path))?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("open", &path)(error).into()),
        }
    }

    fn put_blob(&self, digest: &Digest, size: u64, from: &mut dyn Read) -> TierResult<()> {
        if self.refresh_blob(digest, size)? {
            return Ok(());
        }
        let mut writer = self.blob_writer()?;
        copy_all(from, &mut writer).map_err(StoreError::io("write", self.blob_path(digest)))?;
        let found = writer.digest();
        if found != *digest {
            return Err(TierError::BlobDamaged { tier: self.name(), digest: *digest, found });
        }
        writer.finish()?;
        Ok(())
    }

    fn has_blob(&self, digest: &Digest) -> TierResult<bool> {
        Ok(self.blob_size(digest)?.is_some())
    }

    fn get_action(&self, key: &TaskKey) -> TierResult<Option<Vec<u8>>> {
        read_if_there(&self.layout().action(key))
    }

    fn put_action(&self, key: &TaskKey, record: &[u8]) -> TierResult<()> {
        let record = ActionRecord::decode(key, record).map_err(|source| TierError::RecordDamaged {
            tier: self.name(),
            key: *key,
            source,
        })?;
        self.put_action(&record)?;
        self.sync()?;
        Ok(())
    }

    fn row_segments(&self, namespace: &str) -> TierResult<Vec<String>> {
        let paths = self.rows().sealed_segments(namespace)?;
        Ok(paths.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn get_rows(&self, namespace: &str, segment: &str) -> TierResult<Option<Vec<u8>>> {
        read_if_there(&self.rows().sealed_path(namespace, segment)?)
    }

    fn put_rows(&self, namespace: &str, segment: &str, bytes: &[u8]) -> TierResult<()> {
        self.check_writable()?;
        let path = self.rows().sealed_path(namespace, segment)?;
        let temporary = self.temporary();
        let mut file = temporary.create()?;
        file.write_all(bytes).map_err(StoreError::io("write", temporary.path()))?;
        file.sync_all().map_err(StoreError::io("flush", temporary.path()))?;
        temporary.rename(&path)?;
        sync_paths(&path.ancestors().skip(1).take(2).collect::<Vec<_>>())?;
        Ok(())
    }
}

fn read_if_there(path: &std::path::Path) -> TierResult<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error).into()),
    }
}
