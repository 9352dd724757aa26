//! The bytes of a row in a segment, and finding rows again among damaged bytes.
//!
//! ```text
//! segment  header, frames, and once it is sealed an index
//! header   "lsn-rows" | version u32 | crc32 of the 12 bytes before
//! frame    "lsnR" | length u32 | key 32 bytes | crc32 of value | crc32 of the 44 bytes before | value
//! ```
//! Numbers are little-endian. The header of a frame has its own checksum, so a damaged value does not hide where the
//! next frame begins.

use lsn_digest::Digest;

/// The version of the segment format that this program writes.
///
/// Rule: segments of a newer version are neither read nor removed; their rows are computed again.
pub(crate) const SEGMENT_VERSION: u32 = 1;

pub(crate) const HEADER: usize = 16;
pub(crate) const FRAME_HEADER: usize = 48;
const SEGMENT_MAGIC: &[u8; 8] = b"lsn-rows";
const FRAME_MAGIC: &[u8; 4] = b"lsnR";

/// Where a row's frame lies in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub offset: u64,
    /// Bytes of the value.
    pub length: u32,
}

impl Location {
    /// Bytes of header and value.
    pub fn frame_size(&self) -> usize {
        FRAME_HEADER + self.length as usize
    }
}

pub(crate) fn segment_header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(SEGMENT_MAGIC);
    header[8..12].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Whether the segment's header, if it is intact, names a version that we cannot read.
pub(crate) fn is_newer(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes[..8] == *SEGMENT_MAGIC
        && u32_at(bytes, 12) == crc32fast::hash(&bytes[..12])
        && u32_at(bytes, 8) > SEGMENT_VERSION
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// The whole frame of a row. `value` has at most `u32::MAX` bytes.
pub(crate) fn encode(key: &Digest, value: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEADER + value.len());
    frame.extend_from_slice(FRAME_MAGIC);
    frame.extend_from_slice(&(value.len() as u32).to_le_bytes());
    frame.extend_from_slice(key.as_bytes());
    frame.extend_from_slice(&crc32fast::hash(value).to_le_bytes());
    let checksum = crc32fast::hash(&frame);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame.extend_from_slice(value);
    frame
}

/// Key and length in the frame header that `bytes` start with, if it is intact.
fn header(bytes: &[u8]) -> Option<(Digest, u32)> {
    let header = bytes.get(..FRAME_HEADER)?;
    if header[..4] != *FRAME_MAGIC || u32_at(header, 44) != crc32fast::hash(&header[..44]) {
        return None;
    }
    let mut key = [0; 32];
    key.copy_from_slice(&header[8..40]);
    Some((Digest::from_bytes(key), u32_at(header, 4)))
}

/// The value of a frame that must be the one of `key`; `None` if anything in it is damaged.
pub(crate) fn decode<'a>(key: &Digest, frame: &'a [u8]) -> Option<&'a [u8]> {
    let (found, length) = header(frame)?;
    let value = frame.get(FRAME_HEADER..)?;
    (found == *key && value.len() == length as usize && u32_at(frame, 40) == crc32fast::hash(value)).then_some(value)
}

/// What a scan of a segment's frames found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Sound rows in the order they were written.
    pub rows: Vec<(Digest, Location)>,
    /// Bytes that belong to no sound row.
    pub damaged: u64,
}

/// Finds every sound row between the segment's header and `bytes`' end, whatever lies between them.
pub(crate) fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    let mut at = HEADER.min(bytes.len());
    while at < bytes.len() {
        let rest = &bytes[at..];
        if let Some((key, length)) = header(rest) {
            let location = Location { offset: at as u64, length };
            let end = location.frame_size();
            if rest.get(..end).is_some_and(|frame| decode(&key, frame).is_some()) {
                scan.rows.push((key, location));
                at += end;
                continue;
            }
            // A damaged value: the next frame begins behind it, if this frame was ever written to its end.
            if rest.len() == end || rest.get(end..).is_some_and(|next| header(next).is_some()) {
                scan.damaged += end as u64;
                at += end;
                continue;
            }
        }
        let next = find_header(&rest[1..]).map_or(rest.len(), |skipped| skipped + 1);
        scan.damaged += next as u64;
        at += next;
    }
    scan
}

fn find_header(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(FRAME_MAGIC.len())
        .enumerate()
        .filter(|(_, window)| *window == FRAME_MAGIC)
        .map(|(at, _)| at)
        .find(|at| header(&bytes[*at..]).is_some())
}
