//! Blobs: immutable contents, named by their digest.

use crate::{
    Store, StoreError, StoreEvent, StoreResult,
    hashing::{HashingWriter, copy_all, digest_file},
    store::Temporary,
};
use lsn_digest::Digest;
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A blob found in place is given the present as its time at most this often, so that gc sees that it is wanted again.
const REFRESH_AFTER: Duration = Duration::from_secs(60);

impl Store {
    /// Where the blob of `digest` lies if it is in the store. Read-only: whoever writes there breaks every user of it.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.layout().blob(digest)
    }

    /// Bytes of the blob, or `None` if it is not in the store.
    ///
    /// # Errors
    /// Its metadata cannot be read.
    pub fn blob_size(&self, digest: &Digest) -> StoreResult<Option<u64>> {
        let path = self.blob_path(digest);
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("look at", &path)(error)),
        }
    }

    /// Stores `bytes`. When it returns, the blob is complete and its bytes are durable (invariant 1).
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_bytes(&self, bytes: &[u8]) -> StoreResult<Digest> {
        self.check_writable()?;
        let digest = Digest::of(bytes);
        if !self.refresh_blob(&digest, bytes.len() as u64)? {
            let temporary = self.temporary();
            let mut file = temporary.create()?;
            file.write_all(bytes).map_err(StoreError::io("write", temporary.path()))?;
            self.publish_written(temporary, &file, &digest)?;
        }
        Ok(digest)
    }

    /// Stores all that `reader` gives; returns digest and number of bytes.
    ///
    /// # Errors
    /// The reader fails or the store cannot be written.
    pub fn put_reader(&self, reader: impl Read) -> StoreResult<(Digest, u64)> {
        let mut writer = self.blob_writer()?;
        copy_all(reader, &mut writer).map_err(StoreError::io("fill", writer.temporary.path()))?;
        writer.finish()
    }

    /// A writer that hashes what passes and becomes a blob with [`BlobWriter::finish`].
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn blob_writer(&self) -> StoreResult<BlobWriter<'_>> {
        self.check_writable()?;
        let temporary = self.temporary();
        let file = temporary.create()?;
        Ok(BlobWriter { store: self, temporary, writer: HashingWriter::new(file) })
    }

    /// Reads a blob and checks it against its name.
    ///
    /// # Errors
    /// It is missing, unreadable, or damaged; a damaged one is moved to quarantine and reported.
    pub fn read_blob(&self, digest: &Digest) -> StoreResult<Vec<u8>> {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).map_err(|error| self.missing_or(digest, error))?;
        let found = Digest::of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(self.quarantine(digest, found)) }
    }

    /// Reads the whole blob to check it against its name; returns its size.
    ///
    /// # Errors
    /// As [`Store::read_blob`].
    pub fn verify_blob(&self, digest: &Digest) -> StoreResult<u64> {
        let path = self.blob_path(digest);
        let file = fs::File::open(&path).map_err(|error| self.missing_or(digest, error))?;
        let size = file.metadata().map_err(StoreError::io("look at", &path))?.len();
        let found = digest_file(&file, &path, size)?;
        if found == *digest { Ok(size) } else { Err(self.quarantine(digest, found)) }
    }

    pub(crate) fn missing_or(&self, digest: &Digest, error: io::Error) -> StoreError {
        if error.kind() == io::ErrorKind::NotFound {
            StoreError::BlobMissing { digest: *digest }
        } else {
            StoreError::io("read", self.blob_path(digest))(error)
        }
    }

    /// Moves a damaged blob out of the way (where the store may be changed), tells of it, and returns the error.
    pub(crate) fn quarantine(&self, digest: &Digest, found: Digest) -> StoreError {
        let path = self.blob_path(digest);
        let mut quarantined = path.clone();
        if self.is_writable() {
            let aside = self.layout().quarantine().join(format!("{digest}-{:016x}", crate::store::nonce()));
            if fs::rename(&path, &aside).is_ok() {
                quarantined = aside;
            }
        }
        self.emit(StoreEvent::BlobQuarantined { digest: *digest, found, quarantined: quarantined.clone() });
        StoreError::BlobDamaged { digest: *digest, quarantined }
    }

    /// Whether the blob is there with the right size; if so, marks it as wanted now.
    pub(crate) fn refresh_blob(&self, digest: &Digest, size: u64) -> StoreResult<bool> {
        let path = self.blob_path(digest);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.len() == size => {
                let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
                if age.is_some_and(|age| age > REFRESH_AFTER) && set_time_to_now(&path).is_err() {
                    // Gone this instant, or owned by somebody else whose times we may not set: a second look decides.
                    if self.blob_size(digest)? != Some(size) {
                        return Ok(false);
                    }
                }
                // Another process may have named it without flushing the directory yet.
                self.pending().add_blob(&path, false);
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("look at", &path)(error)),
        }
    }

    fn publish_written(&self, temporary: Temporary, file: &fs::File, digest: &Digest) -> StoreResult<()> {
        make_read_only(file, false).map_err(StoreError::io("make read-only", temporary.path()))?;
        file.sync_all().map_err(StoreError::io("flush", temporary.path()))?;
        self.name_blob(temporary, digest)
    }

    /// Gives a complete, durable temporary file its blob name.
    pub(crate) fn name_blob(&self, temporary: Temporary, digest: &Digest) -> StoreResult<()> {
        let path = self.blob_path(digest);
        let new_parent = temporary.rename(&path)?;
        self.pending().add_blob(&path, new_parent);
        Ok(())
    }
}

pub(crate) fn set_time_to_now(path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = || Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now(), last_modification: now() };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Takes away everybody's right to write, keeping the right to execute if `executable`.
pub(crate) fn make_read_only(file: &fs::File, executable: bool) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(if executable { 0o555 } else { 0o444 }))
}

/// Writes a new blob; nothing of it is visible before [`BlobWriter::finish`], and dropping it leaves nothing behind.
pub struct BlobWriter<'a> {
    store: &'a Store,
    temporary: Temporary,
    writer: HashingWriter<fs::File>,
}

impl BlobWriter<'_> {
    /// Digest of the bytes written so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.writer.result().0
    }

    /// Makes the bytes durable and names them; returns digest and number of bytes.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn finish(self) -> StoreResult<(Digest, u64)> {
        let (digest, size) = self.writer.result();
        if !self.store.refresh_blob(&digest, size)? {
            self.store.publish_written(self.temporary, self.writer.get_ref(), &digest)?;
        }
        Ok((digest, size))
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
