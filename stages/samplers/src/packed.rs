//! Training examples as bytes: what an [`Example`] is made of, a few bytes for each distinct logit instead of eight for each token.
//!
//! Version 1, little-endian; a *varint* is LEB128, seven bits a byte, the least significant first:
//! - `u8` version, `u8` flags (1: logits have 16 significant bits, as those of a bf16 model; 2: every multiplicity is 1);
//! - varints: size of the vocabulary, number of distinct logits; `f64` ln Σ e^z;
//! - per distinct logit, ascending, a varint: the first one's key, then by how much each key exceeds the one before, less 1. The
//!   key is the logit's bits made to order as the logit does, or their upper half;
//! - unless all are 1, per distinct logit a varint: its multiplicity less 1;
//! - varint: number of runs of kept logits. Per run: varint: its first distinct logit less the run's before it; varint: twice its
//!   length, plus 1 if it says how many tokens are kept; per distinct logit of the run, which follow each other: that number less
//!   1 as a varint, otherwise all of its tokens are kept; and the target's logit as the difference of its key to the one before,
//!   signs in the lowest bit;
//! - `u32` CRC-32 of all that.

use crate::{
    Example, Grouping, LogitSet, PackedError, RowError, Target,
    grouping::{Grouper, logit, ordered},
    loss::Kept,
};

const VERSION: u8 = 1;
/// Flag: keys are the upper halves of the logits' bits.
const HALVES: u8 = 1;
/// Flag: multiplicities are left out.
const SINGLE: u8 = 2;
/// Key of the logit 0, which the first target logit's is the difference to.
const ZERO: u32 = 1 << 31;

/// Packs examples; its working memory serves from one to the next.
#[derive(Debug, Default)]
pub struct Packer {
    set: LogitSet,
    grouper: Grouper,
}

impl Packer {
    /// Appends the packed form of [`Example::new`] of the same rows, `[V]` each, to `out`.
    ///
    /// # Errors
    /// As for [`Example::new`].
    pub fn pack(&mut self, raw: &[f32], target: &[f32], out: &mut Vec<u8>) -> Result<(), RowError> {
        let Self { set, grouper } = self;
        let normaliser = set.refill(raw, Grouping::Distinct, grouper)?;
        let kept = Target::kept(set, target)?;
        let start = out.len();
        let halves = grouper.values.iter().all(|value| value.to_bits() & 0xffff == 0);
        let single = set.counts().iter().all(|&count| count == 1);
        out.extend([VERSION, if halves { HALVES } else { 0 } | if single { SINGLE } else { 0 }]);
        put(raw.len() as u32, out);
        put(set.len() as u32, out);
        out.extend(normaliser.to_le_bytes());
        let shift = if halves { 16 } else { 0 };
        let mut least = 0;
        for &value in &grouper.values {
            let key = ordered(value) >> shift;
            put(key - least, out);
            least = key + 1;
        }
        if !single {
            set.counts().iter().for_each(|&count| put(count - 1, out));
        }
        put_kept(set.counts(), &kept, out);
        let check = crc32fast::hash(&out[start..]);
        out.extend(check.to_le_bytes());
        Ok(())
    }
}

/// Whether a run of kept logits that `last` belongs to goes on with `next`.
fn follows(counts: &[u32], last: &Kept, next: &Kept) -> bool {
    let whole = |kept: &Kept| kept.tokens == counts[kept.group as usize];
    next.group == last.group + 1 && whole(last) == whole(next)
}

fn put_kept(counts: &[u32], kept: &[Kept], out: &mut Vec<u8>) {
    let runs = || kept.chunk_by(|last, next| follows(counts, last, next));
    put(runs().count() as u32, out);
    let (mut group, mut key) = (0, ZERO);
    for run in runs() {
        let first = &run[0];
        let partial = first.tokens != counts[first.group as usize];
        put(first.group - group, out);
        // A run is no longer than the vocabulary, which has fewer than 2^31 tokens where twice that fits into memory.
        put((run.len() as u32) << 1 | u32::from(partial), out);
        for entry in run {
            if partial {
                put(entry.tokens - 1, out);
            }
            let next = ordered(entry.logit);
            put_long(zigzag(i64::from(next) - i64::from(key)), out);
            key = next;
        }
        group = first.group + run.len() as u32 - 1;
    }
}

fn zigzag(difference: i64) -> u64 {
    (difference << 1 ^ difference >> 63) as u64
}

fn put(value: u32, out: &mut Vec<u8>) {
    put_long(value.into(), out);
}

fn put_long(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], PackedError> {
        let (&head, rest) = self.0.split_first_chunk().ok_or(PackedError::Malformed("ends too early"))?;
        self.0 = rest;
        Ok(head)
    }

    fn long(&mut self) -> Result<u64, PackedError> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let [byte] = self.bytes()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(PackedError::Malformed("holds a number of more than 35 bits"))
    }

    fn int(&mut self) -> Result<u32, PackedError> {
        u32::try_from(self.long()?).map_err(|_| PackedError::Malformed("holds a number of more than 32 bits"))
    }

    /// A number of things that take at least a byte each.
    fn len(&mut self) -> Result<usize, PackedError> {
        let len = self.int()? as usize;
        if len > self.0.len() {
            return Err(PackedError::Malformed("announces more than it holds"));
        }
        Ok(len)
    }
}

impl Example {
    /// Reads what [`Packer::pack`] wrote: the example is the same to the bit.
    ///
    /// # Errors
    /// `bytes` are damaged, or of another version.
    pub fn unpack(bytes: &[u8]) -> Result<Self, PackedError> {
        let (content, check) = bytes.split_last_chunk().ok_or(PackedError::Malformed("ends too early"))?;
        if crc32fast::hash(content) != u32::from_le_bytes(*check) {
            return Err(PackedError::Checksum);
        }
        let mut reader = Reader(content);
        let [version, flags] = reader.bytes()?;
        if version != VERSION {
            return Err(PackedError::Version { found: version, expected: VERSION });
        }
        let vocabulary = reader.int()?;
        let len = reader.len()?;
        let normaliser = f64::from_le_bytes(reader.bytes()?);
        let values = read_values(&mut reader, len, flags & HALVES != 0)?;
        let counts = if flags & SINGLE != 0 {
            vec![1; len]
        } else {
            (0..len)
                .map(|_| reader.int()?.checked_add(1).ok_or(PackedError::Malformed("holds a multiplicity of 2^32")))
                .collect::<Result<_, _>>()?
        };
        if counts.iter().map(|&count| u64::from(count)).sum::<u64>() > u64::from(vocabulary) {
            return Err(PackedError::Malformed("has more tokens than its vocabulary"));
        }
        let kept = read_kept(&mut reader, &counts)?;
        if !reader.0.is_empty() {
            return Err(PackedError::Malformed("goes on after its end"));
        }
        let target = Target::of_kept(&counts, &kept);
        Ok(Self { set: LogitSet::of_values(&values, counts, normaliser, vocabulary as usize), target })
    }
}

fn read_values(reader: &mut Reader<'_>, len: usize, halves: bool) -> Result<Vec<f32>, PackedError> {
    let mut least = 0_u64;
    (0..len)
        .map(|_| {
            let key = least + reader.long()?;
            least = key + 1;
            let key = u32::try_from(key).ok().filter(|&key| !halves || key >> 16 == 0);
            let key = key.ok_or(PackedError::Malformed("holds a logit out of range"))?;
            // Of negative logits all bits are inverted, the lower half's too.
            let lower = if key < 1 << 15 { 0xffff } else { 0 };
            let value = logit(if halves { key << 16 | lower } else { key });
            if value.is_finite() { Ok(value) } else { Err(PackedError::Malformed("holds a logit that is not finite")) }
        })
        .collect()
}

fn read_kept(reader: &mut Reader<'_>, counts: &[u32]) -> Result<Vec<Kept>, PackedError> {
    let mut kept: Vec<Kept> = Vec::new();
    // Tokens of the last group that entries before have taken: one group may be kept with several logits.
    let (mut group, mut taken, mut key) = (0_u64, 0_u64, i64::from(ZERO));
    for run in 0..reader.len()? {
        let skip = u64::from(reader.int()?);
        let head = reader.int()?;
        for at in 0..head >> 1 {
            let step = if at == 0 { skip } else { 1 };
            if step > 0 || (run == 0 && at == 0) {
                taken = 0;
            }
            group += step;
            let count = usize::try_from(group).ok().and_then(|group| counts.get(group).copied());
            let count = count.ok_or(PackedError::Malformed("keeps a logit that it does not have"))?;
            let tokens = if head & 1 == 1 { u64::from(reader.int()?) + 1 } else { count.into() };
            taken += tokens;
            if taken > count.into() {
                return Err(PackedError::Malformed("keeps more tokens than there are"));
            }
            let code = reader.long()?;
            key += (code >> 1) as i64 ^ -((code & 1) as i64);
            let value = u32::try_from(key).ok().map(logit).filter(|value| value.is_finite());
            let logit = value.ok_or(PackedError::Malformed("has a target that is not finite"))?;
            kept.push(Kept { group: group as u32, tokens: tokens as u32, logit });
        }
    }
    if kept.is_empty() {
        return Err(PackedError::Malformed("keeps no token"));
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Raw logits with ties and −inf, fine or of bf16, and targets that scale, cut (within ties too) and shift single tokens.
    fn rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        let raw = prop_oneof![
            5 => (-40i8..40).prop_map(|step| f32::from(step) / 4.0),
            3 => -30.0f32..30.0,
            1 => any::<f32>().prop_filter("finite", |logit| logit.is_finite()),
            1 => Just(f32::NEG_INFINITY),
            1 => Just(-0.0),
        ];
        let row = prop::collection::vec((raw, 0u8..8), 1..400);
        (row, any::<bool>(), 1u8..4, 0.25f32..4.0).prop_map(|(row, coarse, kept, scale)| {
            let cut = |logit: f32| if coarse { f32::from_bits(logit.to_bits() & 0xffff_0000) } else { logit };
            let mut raw: Vec<f32> = row.iter().map(|&(logit, _)| cut(logit)).collect();
            raw[0] = if raw[0] == f32::NEG_INFINITY { 1.0 } else { raw[0] };
            let target = |(at, &(_, fate)): (usize, &(f32, u8))| match fate {
                _ if at == 0 => raw[0] / 4.0,
                7 => raw[at] / 4.0 - 0.125,
                fate if fate < 2 * kept => raw[at] / 4.0 * scale.min(1.0),
                _ => f32::NEG_INFINITY,
            };
            let target = row.iter().enumerate().map(target).collect();
            (raw, target)
        })
    }

    fn packed(raw: &[f32], target: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Packer::default().pack(raw, target, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn unpacking_gives_the_example_back_to_the_bit((raw, target) in rows()) {
            let bytes = packed(&raw, &target);
            let (example, unpacked) = (Example::new(&raw, &target).unwrap(), Example::unpack(&bytes).unwrap());
            let bits = |example: &Example| {
                example.set.log_probs().iter().map(|ell| ell.to_bits()).collect::<Vec<_>>()
            };
            prop_assert_eq!(bits(&unpacked), bits(&example));
            prop_assert_eq!(unpacked, example);
        }

        #[test]
        fn a_changed_byte_is_an_error((raw, target) in rows(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = packed(&raw, &target);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(Example::unpack(&bytes).is_err());
            bytes[at] ^= flip;
            prop_assert!(Example::unpack(&bytes[..at]).is_err());
        }

        /// Content that a checksum vouches for, but that nothing wrote: an error or an example, never a panic.
        #[test]
        fn whatever_the_checksum_covers_is_read_with_care(
            (raw, target) in rows(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = packed(&raw, &target);
            let content = bytes.len() - 4;
            bytes.truncate(content);
            for (at, byte) in changes {
                let at = at.index(content);
                bytes[at] = byte;
            }
            for len in [content, cut.index(content)] {
                let content = &bytes[..len];
                let whole = [content, &crc32fast::hash(content).to_le_bytes()].concat();
                if let Ok(Example { set, target }) = Example::unpack(&whole) {
                    prop_assert!(set.len() <= set.vocabulary());
                    prop_assert!(target.removed.iter().all(|&removed| removed >= 0.0));
                }
            }
        }
    }

    #[test]
    fn another_version_says_so() {
        let mut bytes = packed(&[1.0, 2.0], &[1.0, f32::NEG_INFINITY]);
        let content = bytes.len() - 4;
        bytes[0] = 2;
        let check = crc32fast::hash(&bytes[..content]);
        bytes[content..].copy_from_slice(&check.to_le_bytes());
        assert_eq!(Example::unpack(&bytes), Err(PackedError::Version { found: 2, expected: 1 }));
    }

    #[test]
    fn the_layout_is_the_one_described() {
        let removed = f32::NEG_INFINITY;
        // Keys 0xc000 and 0xbf80 of 2 and 1: one token of each logit is kept, with its own logit.
        let bytes = packed(&[2.0, 1.0, 1.0, removed], &[2.0, 1.0, removed, removed]);
        let normaliser = (2.0 + (1.0 + 2.0 * f64::exp(-1.0)).ln()).to_le_bytes();
        let values = [0x80, 0xff, 0x02, 0x7f];
        let first = [0, 3, 0, 0x80, 0x80, 0x80, 0xf8, 0x07];
        let second = [1, 2, 0x80, 0x80, 0x80, 0x08];
        let expected = [&[1, HALVES, 4, 2][..], &normaliser, &values, &[1, 0], &[2], &first, &second].concat();
        assert_eq!(bytes[..bytes.len() - 4], expected);
    }
}
