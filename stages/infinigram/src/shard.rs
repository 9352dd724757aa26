//! One shard of an index: three memory-mapped files and the searches over them.
//!
//! `tokenized`: token ids, little-endian, every document behind a separator. `offset`: where each document's separator is,
//! u64 byte offsets. `table`: the byte offsets of all tokens, in the lexicographic order of the *bytes* from there to the
//! end of the shard; each offset takes as few bytes as hold the largest. That is the layout of the infini-gram package,
//! index version 4. Nothing read from a file is trusted: a bad offset is an error, never an access out of bounds.

use crate::{IndexError, TokenWidth};
use memmap2::{Advice, Mmap};
use std::{
    cmp::Ordering,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
};

/// The names of a shard's files, without directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardFiles {
    pub text: String,
    pub offsets: String,
    pub table: String,
}

#[derive(Debug)]
pub(crate) struct Shard {
    text: Mmap,
    offsets: Mmap,
    table: Mmap,
    width: TokenWidth,
    /// Bytes per offset in the table.
    pointer_bytes: usize,
    tokens: u64,
    documents: u64,
    table_path: PathBuf,
    offsets_path: PathBuf,
}

impl Shard {
    pub fn open(dir: &Path, files: &ShardFiles, width: TokenWidth) -> Result<Self, IndexError> {
        let (text_path, offsets_path, table_path) =
            (dir.join(&files.text), dir.join(&files.offsets), dir.join(&files.table));
        let (text, offsets, table) = (map(&text_path)?, map(&offsets_path)?, map(&table_path)?);
        // Searches jump; reading ahead would only push other pages out. A kernel that cannot take advice loses nothing.
        for file in [&text, &table] {
            let _ = file.advise(Advice::Random);
        }
        if text.is_empty() {
            return Err(IndexError::damaged(&text_path, "it is empty"));
        }
        if !text.len().is_multiple_of(width.bytes()) {
            let problem = format!("{} bytes are no whole number of {width} tokens", text.len());
            return Err(IndexError::damaged(&text_path, problem));
        }
        let mut separator = Vec::new();
        width.encode(&[width.separator()], &mut separator)?;
        if !text.starts_with(&separator) {
            let problem = format!("it does not begin with the separator of {width} tokens");
            return Err(IndexError::damaged(&text_path, problem));
        }
        let tokens = text.len() / width.bytes();
        let pointer_bytes = table.len() / tokens;
        if !table.len().is_multiple_of(tokens) || !(1..=8).contains(&pointer_bytes) {
            let problem = format!("{} bytes for {tokens} tokens", table.len());
            return Err(IndexError::damaged(&table_path, problem));
        }
        let last = (text.len() - width.bytes()) as u64;
        if pointer_bytes < 8 && last >> (8 * pointer_bytes) != 0 {
            let problem = format!("its offsets of {pointer_bytes} bytes cannot reach byte {last} of the tokens");
            return Err(IndexError::damaged(&table_path, problem));
        }
        if offsets.is_empty() || !offsets.len().is_multiple_of(8) {
            let problem = format!("{} bytes are no list of u64 offsets", offsets.len());
            return Err(IndexError::damaged(&offsets_path, problem));
        }
        let (tokens, documents) = (tokens as u64, offsets.len() as u64 / 8);
        Ok(Self { text, offsets, table, width, pointer_bytes, tokens, documents, table_path, offsets_path })
    }

    /// Tokens, separators included.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// The ranks of all suffixes.
    pub fn all(&self) -> Range<u64> {
        0..self.tokens
    }

    /// The byte offset of the suffix of that rank, which must be below [`tokens`](Self::tokens).
    pub fn offset(&self, rank: u64) -> Result<usize, IndexError> {
        let at = rank as usize * self.pointer_bytes;
        let offset = match self.table.get(at..at + 8) {
            // One unaligned load; bytes of the next entries are cut off.
            Some(bytes) => {
                let mut word = [0; 8];
                word.copy_from_slice(bytes);
                u64::from_le_bytes(word) & (u64::MAX >> (64 - 8 * self.pointer_bytes))
            }
            None => {
                let mut word = [0; 8];
                word[..self.pointer_bytes].copy_from_slice(&self.table[at..at + self.pointer_bytes]);
                u64::from_le_bytes(word)
            }
        };
        if offset >= self.text.len() as u64 || !offset.is_multiple_of(self.width.bytes() as u64) {
            let problem = format!("entry {rank} points to byte {offset}, where no token begins");
            return Err(IndexError::damaged(&self.table_path, problem));
        }
        Ok(offset as usize)
    }

    fn suffix(&self, rank: u64) -> Result<&[u8], IndexError> {
        Ok(&self.text[self.offset(rank)?..])
    }

    /// The ranks, among `within`, of the suffixes that begin with `query`.
    pub fn find(&self, query: &[u8], within: Range<u64>) -> Result<Range<u64>, IndexError> {
        if query.is_empty() {
            return Ok(within);
        }
        let Range { start: mut low, end: mut high } = within;
        // What the query has in common with the suffixes on both sides, it has with all between (Manber and Myers 1993).
        let (mut low_common, mut high_common) = (0, 0);
        while low < high {
            let middle = low + (high - low) / 2;
            let (common, order) = compare(self.suffix(middle)?, query, low_common.min(high_common));
            match order {
                Ordering::Less => (low, low_common) = (middle + 1, common),
                Ordering::Greater => (high, high_common) = (middle, common),
                Ordering::Equal => {
                    let known = low_common.min(high_common);
                    let begins = |rank: u64| -> Result<bool, IndexError> {
                        Ok(compare(self.suffix(rank)?, query, known).1.is_eq())
                    };
                    let first = partition_point(low..middle, |rank| Ok(!begins(rank)?))?;
                    return Ok(first..partition_point(middle + 1..high, begins)?);
                }
            }
        }
        Ok(low..low)
    }

    /// How many tokens of `query` the suffix that has most in common with it begins with.
    pub fn longest_prefix(&self, query: &[u8]) -> Result<usize, IndexError> {
        let (mut low, mut high) = (0, self.tokens);
        let (mut low_common, mut high_common) = (0, 0);
        while low < high {
            let middle = low + (high - low) / 2;
            let (common, order) = compare(self.suffix(middle)?, query, low_common.min(high_common));
            match order {
                Ordering::Less => (low, low_common) = (middle + 1, common),
                Ordering::Greater => (high, high_common) = (middle, common),
                Ordering::Equal => return Ok(query.len() / self.width.bytes()),
            }
        }
        // The neighbours of the query's place were both compared; one of them has most in common with it.
        Ok(low_common.max(high_common) / self.width.bytes())
    }

    /// Calls `each` with every token that follows the first `prompt_bytes` bytes of the suffixes of `ranks`, and how often;
    /// a token may come more than once. No token (the shard ends) and the separator are both nothing.
    pub fn next_tokens(
        &self,
        prompt_bytes: usize,
        ranks: Range<u64>,
        mut each: impl FnMut(Option<u32>, u64),
    ) -> Result<(), IndexError> {
        let next = |rank| self.next_token(rank, prompt_bytes);
        let mut rank = ranks.start;
        while rank < ranks.end {
            let token = next(rank)?;
            // Equal tokens lie together: double the step until another one comes, then bisect.
            let (mut last, mut step) = (rank, 1);
            while ranks.end - last > step && next(last + step)? == token {
                last += step;
                step *= 2;
            }
            let end = partition_point(last + 1..ranks.end.min(last + step), |rank| Ok(next(rank)? == token))?;
            each(token, end - rank);
            rank = end;
        }
        Ok(())
    }

    /// The token behind the first `prompt_bytes` bytes of the suffix of a rank, nothing where a document ends.
    pub fn next_token(&self, rank: u64, prompt_bytes: usize) -> Result<Option<u32>, IndexError> {
        Ok(self.token_at(self.offset(rank)? + prompt_bytes))
    }

    /// The token at a byte offset, nothing where a document ends.
    fn token_at(&self, offset: usize) -> Option<u32> {
        let bytes = self.text.get(offset..offset + self.width.bytes())?;
        let token = bytes.iter().rev().fold(0_u32, |token, byte| (token << 8) | u32::from(*byte));
        (token != self.width.separator()).then_some(token)
    }

    /// The document that a byte offset lies in (its separator included), and the token's place in it: 0 is the separator.
    pub fn place(&self, offset: usize) -> Result<(u64, u64), IndexError> {
        let after = partition_point(0..self.documents, |document| Ok(self.document_offset(document)? <= offset))?;
        let Some(document) = after.checked_sub(1) else {
            return Err(IndexError::damaged(&self.offsets_path, "its first document is not at byte 0"));
        };
        Ok((document, ((offset - self.document_offset(document)?) / self.width.bytes()) as u64))
    }

    /// The tokens of a document, which must be below [`documents`](Self::documents).
    pub fn document(&self, document: u64) -> Result<Vec<u32>, IndexError> {
        let start = self.document_offset(document)? + self.width.bytes();
        let end = if document + 1 < self.documents { self.document_offset(document + 1)? } else { self.text.len() };
        let bytes = self.text.get(start..end).ok_or_else(|| {
            IndexError::damaged(&self.offsets_path, format!("document {document} ends at byte {end} before it begins"))
        })?;
        Ok(self.width.decode(bytes))
    }

    fn document_offset(&self, document: u64) -> Result<usize, IndexError> {
        let at = document as usize * 8;
        let mut word = [0; 8];
        word.copy_from_slice(&self.offsets[at..at + 8]);
        let offset = u64::from_le_bytes(word);
        if offset >= self.text.len() as u64 || !offset.is_multiple_of(self.width.bytes() as u64) {
            let problem = format!("document {document} is at byte {offset}, where no token begins");
            return Err(IndexError::damaged(&self.offsets_path, problem));
        }
        Ok(offset as usize)
    }
}

fn map(path: &Path) -> Result<Mmap, IndexError> {
    let file = File::open(path).map_err(IndexError::io("open", path))?;
    // SAFETY: the map is only read as bytes. Whoever changes the file meanwhile changes what is found, not what is safe;
    // whoever truncates it gets this process killed (SIGBUS), as with every map.
    unsafe { Mmap::map(&file) }.map_err(IndexError::io("map", path))
}

/// How many bytes a suffix and a query have in common, of which `known` are known, and how the suffix, cut to the query's
/// length, compares with it.
fn compare(suffix: &[u8], query: &[u8], known: usize) -> (usize, Ordering) {
    let shared = suffix.len().min(query.len());
    // In a damaged table a suffix may be shorter than its neighbours say.
    let known = known.min(shared);
    let common = known + suffix[known..shared].iter().zip(&query[known..shared]).take_while(|(a, b)| a == b).count();
    let order = match (suffix.get(common), query.get(common)) {
        (_, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    };
    (common, order)
}

/// The first of `range` for which `holds` does not hold, if it holds for a prefix of them.
fn partition_point(
    range: Range<u64>,
    mut holds: impl FnMut(u64) -> Result<bool, IndexError>,
) -> Result<u64, IndexError> {
    let Range { start: mut low, end: mut high } = range;
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
