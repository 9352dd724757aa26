//! Digests of files, and of bytes on their way into a file.

use crate::{StoreError, StoreResult};
use lsn_digest::Digest;
use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

/// From here on a file is mapped and hashed by all cores; below, one read is faster.
const PARALLEL_SIZE: u64 = 1 << 20;

/// Bytes moved at once where content is copied.
pub(crate) const CHUNK: usize = 1 << 20;

/// Digest of a file's content; `file` stands at its start, `size` is what its metadata said.
pub(crate) fn digest_file(file: &fs::File, path: &Path, size: u64) -> StoreResult<Digest> {
    let mut hasher = blake3::Hasher::new();
    if size >= PARALLEL_SIZE {
        // Maps by path; callers compare metadata before and after, so a file swapped meanwhile is noticed.
        hasher.update_mmap_rayon(path).map_err(StoreError::io("read", path))?;
    } else {
        let mut buffer = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
        (&mut &*file).read_to_end(&mut buffer).map_err(StoreError::io("read", path))?;
        hasher.update(&buffer);
    }
    Ok(hasher.finalize().into())
}

/// Hashes what is written through it.
pub(crate) struct HashingWriter<W> {
    inner: W,
    hasher: blake3::Hasher,
    size: u64,
}

impl<W: Write> HashingWriter<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: blake3::Hasher::new(), size: 0 }
    }

    pub fn get_ref(&self) -> &W {
        &self.inner
    }

    /// Digest and number of the bytes written so far.
    pub fn result(&self) -> (Digest, u64) {
        (self.hasher.finalize().into(), self.size)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Copies all of `reader` into `writer`, in large pieces.
pub(crate) fn copy_all(mut reader: impl Read, mut writer: impl Write) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                writer.write_all(&buffer[..count])?;
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
