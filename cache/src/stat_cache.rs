//! Digests of files that have not changed since they were last read.

use crate::{
    FileEntry, Index, StoreError, StoreResult, Table,
    capture::assemble,
    hashing::digest_file,
    walk::{Found, walk},
};
use lsn_digest::{Canonical, Digest};
use rayon::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Time stamps may lag behind the clock by one tick of the kernel (10 ms at 100 Hz); twice that, in nanoseconds.
const TICK: i128 = 20_000_000;

/// Some file systems keep whole seconds, or two (FAT); a time without a fraction may be one of theirs.
const COARSE: i128 = 2_000_000_000;

/// Digest of a file or directory, with what was seen of it on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathDigest {
    /// As [`crate::Artifact::digest`] of the same content.
    pub digest: Digest,
    /// Bytes of all files.
    pub size: u64,
    /// Number of files.
    pub files: u64,
    /// What the metadata were when the digest was taken.
    pub stamp: Stamp,
}

/// What the metadata of a file, or of everything in a directory, look like: if two stamps of a path are equal, nothing
/// was written in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(Digest);

impl Stamp {
    /// # Errors
    /// The path or something in it cannot be read.
    pub fn of(path: &Path) -> StoreResult<Self> {
        Ok(Self::of_found(&walk(path)?))
    }

    fn of_found(found: &[Found]) -> Self {
        let mut encoder = Canonical::new("lsn/stamp/1");
        encoder.seq(found.len());
        for found in found {
            let identity = Identity::of(&found.metadata);
            encoder.str(&found.relative).bytes(&identity.key()).bytes(&identity.state()).bool(found.executable());
        }
        Self(encoder.finish())
    }
}

/// Which file, and in what state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    /// Nanoseconds since the epoch.
    modified: i128,
    changed: i128,
}

impl Identity {
    pub fn of(metadata: &fs::Metadata) -> Self {
        let time = |seconds: i64, nanoseconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: time(metadata.mtime(), metadata.mtime_nsec()),
            changed: time(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Names the file: its place in the index.
    pub fn key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.device.to_be_bytes());
        key[8..].copy_from_slice(&self.inode.to_be_bytes());
        key
    }

    /// Everything that changes when the file is written to.
    pub fn state(&self) -> [u8; 40] {
        let mut state = [0; 40];
        state[..8].copy_from_slice(&self.size.to_be_bytes());
        state[8..24].copy_from_slice(&self.modified.to_be_bytes());
        state[24..].copy_from_slice(&self.changed.to_be_bytes());
        state
    }

    /// As [`Identity::state`] without the change time, which also moves when a file gets another hard link.
    pub fn content_state(&self) -> [u8; 24] {
        let mut state = [0; 24];
        state[..8].copy_from_slice(&self.size.to_be_bytes());
        state[8..].copy_from_slice(&self.modified.to_be_bytes());
        state
    }

    /// Whether the file could be written to once more after `now` and keep its times: git calls such an entry racily
    /// clean. It was read, but what was read must not be remembered.
    pub fn is_racy(&self, now: i128) -> bool {
        [self.modified, self.changed].into_iter().any(|time| {
            let granularity = if time % 1_000_000_000 == 0 { COARSE } else { TICK };
            time + granularity > now
        })
    }
}

/// The time that the kernel stamps files with, in nanoseconds since the epoch.
pub(crate) fn file_time_now() -> i128 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

/// Digest of a file or directory, reading only files that the index does not know in their present state.
pub fn digest_path(index: &dyn Index, path: &Path) -> StoreResult<PathDigest> {
    let found = walk(path)?;
    let stamp = Stamp::of_found(&found);
    let files: Vec<_> = found.iter().filter(|found| !found.is_dir()).collect();
    let entries = if let [file] = files.as_slice() {
        vec![digest_found(index, file)?]
    } else {
        files.par_iter().map(|file| digest_found(index, file)).collect::<StoreResult<Vec<_>>>()?
    };
    let (size, count) = (entries.iter().map(|entry| entry.size).sum(), entries.len() as u64);
    Ok(PathDigest { digest: assemble(&found, entries).digest(), size, files: count, stamp })
}

fn digest_found(index: &dyn Index, found: &Found) -> StoreResult<FileEntry> {
    let identity = Identity::of(&found.metadata);
    let entry = |digest| FileEntry { digest, size: identity.size, executable: found.executable(), inline: None };
    if let Some(value) = index.get(Table::Stat, &identity.key())?
        && let Some((state, digest)) = value.split_first_chunk::<40>()
        && *state == identity.state()
        && let Ok(digest) = <[u8; 32]>::try_from(digest)
    {
        return Ok(entry(Digest::from_bytes(digest)));
    }
    let now = file_time_now();
    let file = fs::File::open(&found.path).map_err(StoreError::io("open", &found.path))?;
    let digest = digest_file(&file, &found.path, identity.size)?;
    let after = fs::metadata(&found.path).map_err(StoreError::io("look at", &found.path))?;
    if Identity::of(&after) != identity {
        return Err(StoreError::Changed { path: found.path.clone() });
    }
    if !identity.is_racy(now) {
        let mut value = identity.state().to_vec();
        value.extend_from_slice(digest.as_bytes());
        index.put(Table::Stat, &identity.key(), &value)?;
    }
    Ok(entry(digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i128 = 1_000_000_000;
    const NOW: i128 = 1_700_000_000 * SECOND + 500_000_000;

    fn identity(modified: i128, changed: i128) -> Identity {
        Identity { device: 1, inode: 2, size: 3, modified, changed }
    }

    #[test]
    fn a_file_is_clean_once_another_write_would_show() {
        let old = NOW - 3600 * SECOND;
        assert!(!identity(old, old).is_racy(NOW));
        assert!(!identity(NOW - TICK, NOW - TICK).is_racy(NOW));
        for (modified, changed) in [(NOW, NOW), (old, NOW), (NOW - TICK + 1, old), (NOW + SECOND, old)] {
            assert!(identity(modified, changed).is_racy(NOW), "{modified} {changed}");
        }
        // A whole second may be all that the file system keeps.
        let whole = NOW - 500_000_000;
        assert!(identity(whole, whole).is_racy(NOW + SECOND));
        assert!(!identity(whole, whole).is_racy(NOW + 2 * SECOND));
    }

    proptest! {
        /// A file system keeps times in steps of `step`; a file was written, read at `read`, and written again later
        /// within the same step: its times are then the same, so what was read must not have been remembered.
        #[test]
        fn a_second_write_that_leaves_no_trace_was_reckoned_with(
            step in prop::sample::select(vec![4_000_000i128, 10_000_000, SECOND, 2 * SECOND]),
            written in 0i128..100 * SECOND,
            waited in 0i128..3 * SECOND,
            again in 0i128..3 * SECOND,
        ) {
            let stamp = |time: i128| time / step * step;
            let read = written + waited;
            if stamp(written) == stamp(read + again) {
                prop_assert!(identity(stamp(written), stamp(written)).is_racy(read));
            }
        }
    }
}
