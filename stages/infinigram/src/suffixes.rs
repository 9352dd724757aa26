//! Sorting the suffixes of one shard.

use crate::{IndexError, TokenWidth};
use libsais::{SuffixArrayConstruction, suffix_array::AlphabetSize};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::Path,
};

/// The most tokens that one shard may have.
pub(crate) const MOST_TOKENS: u64 = i32::MAX as u64;

/// Peak memory of [`write_table`] per token: the tokens as the sorter takes them, and the suffix array. Beside it the
/// sorter takes a few megabytes, and at `u32` about 30 bytes per different token id.
pub(crate) const fn bytes_per_token(width: TokenWidth) -> u64 {
    let token = match width {
        TokenWidth::U8 => 1,
        TokenWidth::U16 => 2,
        TokenWidth::U32 => 4,
    };
    token + size_of::<i32>() as u64
}

/// Bytes that the offset of any of `tokens` tokens fits in.
fn pointer_bytes(tokens: u64, width: TokenWidth) -> usize {
    let last = tokens.saturating_sub(1) * width.bytes() as u64;
    (u64::BITS - last.leading_zeros()).div_ceil(8).max(1) as usize
}

/// Writes the table of a shard of `tokens` tokens, of which at least one and at most [`MOST_TOKENS`].
pub(crate) fn write_table(text: &Path, table: &Path, tokens: u64, width: TokenWidth) -> Result<(), IndexError> {
    let order = sort(text, tokens as usize, width)?;
    let pointer_bytes = pointer_bytes(tokens, width);
    let write = || -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(table)?);
        for token in &order {
            let offset = *token as u64 * width.bytes() as u64;
            out.write_all(&offset.to_le_bytes()[..pointer_bytes])?;
        }
        out.flush()
    };
    write().map_err(IndexError::io("write", table))
}

/// The places of all tokens in the lexicographic order of the bytes that begin there. Little-endian tokens compare by bytes
/// as the same bytes read big-endian compare by value.
fn sort(text: &Path, tokens: usize, width: TokenWidth) -> Result<Vec<i32>, IndexError> {
    let read = IndexError::io("read", text);
    let failed = |error: libsais::LibsaisError| IndexError::Sort { path: text.to_owned(), problem: error.to_string() };
    match width {
        TokenWidth::U8 => {
            let tokens: Vec<u8> = decode(text, tokens, u8::from_be_bytes).map_err(read)?;
            let order = SuffixArrayConstruction::for_text(&tokens).in_owned_buffer32().single_threaded().run();
            order.map(|order| order.into_vec()).map_err(failed)
        }
        TokenWidth::U16 => {
            let tokens: Vec<u16> = decode(text, tokens, u16::from_be_bytes).map_err(read)?;
            let order = SuffixArrayConstruction::for_text(&tokens).in_owned_buffer32().single_threaded().run();
            order.map(|order| order.into_vec()).map_err(failed)
        }
        TokenWidth::U32 => {
            let (mut tokens, different) = rank_values(text, tokens).map_err(read)?;
            let construction = SuffixArrayConstruction::for_text_mut(&mut tokens).in_owned_buffer32().single_threaded();
            // SAFETY: `rank_values` gives values from 0 to below the number of different ones.
            let construction = unsafe { construction.with_alphabet_size(AlphabetSize::new(different)) };
            construction.run().map(|order| order.into_vec()).map_err(failed)
        }
    }
}

/// Reads tokens of `N` bytes.
fn decode<const N: usize, T>(text: &Path, tokens: usize, value: impl Fn([u8; N]) -> T) -> io::Result<Vec<T>> {
    let mut decoded = Vec::with_capacity(tokens);
    for_each_token(text, |bytes| decoded.push(value(bytes)))?;
    Ok(decoded)
}

fn for_each_token<const N: usize>(text: &Path, mut each: impl FnMut([u8; N])) -> io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(text)?);
    loop {
        let (whole, rest) = file.fill_buf()?.as_chunks::<N>();
        whole.iter().for_each(|bytes| each(*bytes));
        let done = whole.len() * N;
        if done > 0 {
            file.consume(done);
        } else if rest.is_empty() {
            return Ok(());
        } else {
            // A token on both sides of the buffer's end.
            let mut token = [0; N];
            file.read_exact(&mut token)?;
            each(token);
        }
    }
}

/// Reads u32 tokens as the rank of their big-endian value among all different ones, and the number of these: the sorter's
/// memory grows with the largest value.
fn rank_values(text: &Path, tokens: usize) -> io::Result<(Vec<i32>, i32)> {
    let mut ranks: HashMap<u32, i32> = HashMap::new();
    for_each_token(text, |bytes| {
        ranks.entry(u32::from_be_bytes(bytes)).or_default();
    })?;
    let mut values: Vec<u32> = ranks.keys().copied().collect();
    values.sort_unstable();
    for (rank, value) in (0..).zip(&values) {
        ranks.insert(*value, rank);
    }
    Ok((decode(text, tokens, |bytes| ranks[&u32::from_be_bytes(bytes)])?, values.len() as i32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_take_as_few_bytes_as_hold_the_last() {
        let bytes = [1, 128, 129, 1 << 15, (1 << 15) + 1].map(|tokens| pointer_bytes(tokens, TokenWidth::U16));
        assert_eq!(bytes, [1, 1, 2, 2, 3]);
    }

    proptest! {
        #[test]
        fn suffixes_are_in_the_order_of_their_bytes(
            width in proptest::sample::select(TokenWidth::ALL.to_vec()),
            tokens in proptest::collection::vec(prop_oneof![0..4_u32, 250..260_u32, Just(u32::MAX)], 1..200),
        ) {
            let tokens: Vec<u32> = tokens.iter().map(|token| token & width.separator()).collect();
            let mut bytes = Vec::new();
            width.encode(&tokens, &mut bytes).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let text = dir.path().join("text");
            std::fs::write(&text, &bytes).unwrap();
            let order = sort(&text, tokens.len(), width).unwrap();
            let mut expected: Vec<i32> = (0..tokens.len() as i32).collect();
            expected.sort_by_key(|token| &bytes[*token as usize * width.bytes()..]);
            prop_assert_eq!(order, expected);
        }
    }
}
