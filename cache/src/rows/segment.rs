//! Reading segments: sealed ones by their index, others by a scan.
//!
//! ```text
//! index    entries sorted by key: key 32 bytes | offset u64 | length u32
//! trailer  number of entries u64 | crc32 of the entries | "lsnRend\n" | crc32 of the 20 bytes before
//! ```
//! Files are read with positioned reads, not mapped: on a network file system a segment that another machine compacted
//! away then gives an error, where a mapping would kill the process.

use super::frame::{self, HEADER, Location, Scan};
use crate::{StoreError, StoreResult};
use lsn_digest::Digest;
use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const ENTRY: usize = 44;
const TRAILER: usize = 24;
const TRAILER_MAGIC: &[u8; 8] = b"lsnRend\n";

/// Entries of a segment's index, sorted by key, as stored.
#[derive(Debug, Default)]
pub(crate) struct Entries(Vec<u8>);

impl Entries {
    /// Of several rows with one key the first is taken.
    pub fn new(rows: &[(Digest, Location)]) -> Self {
        let mut sorted: Vec<_> = rows.iter().collect();
        sorted.sort_by_key(|(key, location)| (*key, location.offset));
        sorted.dedup_by_key(|(key, _)| *key);
        let mut bytes = Vec::with_capacity(sorted.len() * ENTRY);
        for (key, location) in sorted {
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(&location.offset.to_le_bytes());
            bytes.extend_from_slice(&location.length.to_le_bytes());
        }
        Self(bytes)
    }

    pub fn len(&self) -> usize {
        self.0.len() / ENTRY
    }

    pub fn iter(&self) -> impl Iterator<Item = (Digest, Location)> {
        self.0.chunks_exact(ENTRY).map(parse)
    }

    pub fn find(&self, key: &Digest) -> Option<Location> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let entry = &self.0[middle * ENTRY..(middle + 1) * ENTRY];
            match entry[..32].cmp(key.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(parse(entry).1),
            }
        }
        None
    }

    /// Index and trailer, as they end a sealed segment.
    pub fn sealed(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.extend_from_slice(&(self.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&self.0).to_le_bytes());
        bytes.extend_from_slice(TRAILER_MAGIC);
        let checksum = crc32fast::hash(&bytes[self.0.len()..]);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

fn parse(entry: &[u8]) -> (Digest, Location) {
    let (mut key, mut offset) = ([0; 32], [0; 8]);
    key.copy_from_slice(&entry[..32]);
    offset.copy_from_slice(&entry[32..40]);
    let location = Location { offset: u64::from_le_bytes(offset), length: frame::u32_at(entry, 40) };
    (Digest::from_bytes(key), location)
}

/// A segment open for reading.
#[derive(Debug)]
pub(crate) struct Segment {
    pub path: PathBuf,
    file: File,
    pub entries: Entries,
    /// Bytes that belong to no sound row, known only after a scan.
    pub damaged: u64,
}

impl Segment {
    /// Opens a segment; `None` if a newer program wrote it. Its rows come from its index if it has a sound one, else
    /// from a scan.
    pub fn open(path: &Path) -> StoreResult<Option<Self>> {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        Self::read(path, file)
    }

    pub fn read(path: &Path, file: File) -> StoreResult<Option<Self>> {
        let size = file.metadata().map_err(StoreError::io("look at", path))?.len();
        let mut header = [0; HEADER];
        if size >= HEADER as u64 {
            file.read_exact_at(&mut header, 0).map_err(StoreError::io("read", path))?;
            if frame::is_newer(&header) {
                return Ok(None);
            }
        }
        let (entries, damaged) = match read_index(&file, size).map_err(StoreError::io("read", path))? {
            Some(entries) => (entries, 0),
            None => {
                let scan = scan_file(&file, path, size)?;
                (Entries::new(&scan.rows), scan.damaged)
            }
        };
        Ok(Some(Self { path: path.to_owned(), file, entries, damaged }))
    }

    /// The value of a row; `Ok(None)` if its bytes are damaged.
    pub fn value(&self, key: &Digest, location: Location) -> StoreResult<Option<Vec<u8>>> {
        read_value(&self.file, &self.path, key, location)
    }
}

/// The value of the frame at `location`; `Ok(None)` if its bytes are damaged or not there.
pub(crate) fn read_value(file: &File, path: &Path, key: &Digest, location: Location) -> StoreResult<Option<Vec<u8>>> {
    let mut bytes = vec![0; location.frame_size()];
    match file.read_exact_at(&mut bytes, location.offset) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    }
    if frame::decode(key, &bytes).is_none() {
        return Ok(None);
    }
    bytes.drain(..frame::FRAME_HEADER);
    Ok(Some(bytes))
}

/// Finds the sound rows of a segment without a sound index.
pub(crate) fn scan_file(file: &File, path: &Path, size: u64) -> StoreResult<Scan> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0).map_err(StoreError::io("read", path))?;
    Ok(frame::scan(&bytes))
}

fn read_index(file: &File, size: u64) -> std::io::Result<Option<Entries>> {
    let Some(trailer_at) = size.checked_sub(TRAILER as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, trailer_at)?;
    if trailer[12..20] != *TRAILER_MAGIC || frame::u32_at(&trailer, 20) != crc32fast::hash(&trailer[..20]) {
        return Ok(None);
    }
    let mut count = [0; 8];
    count.copy_from_slice(&trailer[..8]);
    let length = u64::from_le_bytes(count).checked_mul(ENTRY as u64);
    let Some((length, start)) = length.and_then(|length| Some((length, trailer_at.checked_sub(length)?))) else {
        return Ok(None);
    };
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, start)?;
    Ok((crc32fast::hash(&bytes) == frame::u32_at(&trailer, 8)).then_some(Entries(bytes)))
}
