//! Digests of files, and of bytes on their way into a file.

use crate::{StoreError, StoreResult};
use lsn_digest::Digest;
use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
    sync::mpsc,
};

/// From here on a file is mapped and hashed by all cores; below, one read is faster.
const PARALLEL_SIZE: u64 = 1 << 20;

/// Bytes moved at once where content is copied.
pub(crate) const CHUNK: usize = 1 << 20;

/// From here on a second thread for the hashing pays.
const PARALLEL_COPY: u64 = 16 << 20;

/// Chunks on their way from the copying thread to the hashing one.
const CHUNKS_AHEAD: usize = 3;

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

/// Copies all of `reader` into `writer` and hashes what passes; gives digest and number of the bytes written.
///
/// Where `expected` bytes are worth it, another thread hashes each piece while this one copies the next.
pub(crate) fn copy_hashing(mut reader: impl Read, mut writer: impl Write, expected: u64) -> io::Result<(Digest, u64)> {
    if expected < PARALLEL_COPY {
        let mut writer = HashingWriter::new(writer);
        copy_all(reader, &mut writer)?;
        return Ok(writer.result());
    }
    std::thread::scope(|scope| {
        let (full, to_hash) = mpsc::channel::<(Vec<u8>, usize)>();
        let (hashed, free) = mpsc::channel();
        let mut spare: Vec<_> = (0..CHUNKS_AHEAD).map(|_| vec![0; CHUNK]).collect();
        let hashing = scope.spawn(move || {
            let mut hasher = blake3::Hasher::new();
            for (chunk, length) in to_hash {
                hasher.update(&chunk[..length]);
                // The copying thread needs no more chunks once it is done.
                let _ = hashed.send(chunk);
            }
            Digest::from(hasher.finalize())
        });
        let died = || io::Error::other("the hashing thread ended early");
        let mut total = 0;
        loop {
            let mut chunk = match spare.pop() {
                Some(chunk) => chunk,
                None => free.recv().map_err(|_| died())?,
            };
            match reader.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => {
                    writer.write_all(&chunk[..length])?;
                    total += length as u64;
                    full.send((chunk, length)).map_err(|_| died())?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => spare.push(chunk),
                Err(error) => return Err(error),
            }
        }
        drop(full);
        Ok((hashing.join().map_err(|_| died())?, total))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `most` bytes at once, and is interrupted now and then.
    struct Halting<'a> {
        bytes: &'a [u8],
        most: usize,
        reads: usize,
    }

    impl Read for Halting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            if self.reads.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let most = self.most.min(buffer.len());
            self.bytes.read(&mut buffer[..most])
        }
    }

    /// Accepts so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_copied_is_what_is_hashed_with_one_thread_or_two() {
        let bytes: Vec<u8> = (0..5 * CHUNK + 77).map(|i| ((i * i) >> 7) as u8).collect();
        for expected in [0, PARALLEL_COPY] {
            for most in [usize::MAX, CHUNK / 2 + 1] {
                let mut copy = Vec::new();
                let reader = Halting { bytes: &bytes, most, reads: 0 };
                let (digest, size) = copy_hashing(reader, &mut copy, expected).unwrap();
                assert!(copy == bytes);
                assert_eq!((digest, size), (Digest::of(&bytes), bytes.len() as u64));
            }
        }
    }

    #[test]
    fn a_full_disk_ends_both_threads() {
        let bytes = vec![1; 9 * CHUNK];
        for room in [0, 4 * CHUNK] {
            let error = copy_hashing(&*bytes, Full(room), PARALLEL_COPY).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
