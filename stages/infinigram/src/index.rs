//! An index on disk, open for questions.

use crate::{
    Backoff, CorpusCounts, Description, IndexError, Probability, TokenWidth,
    shard::{Shard, ShardFiles},
};
use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

/// A corpus of token ids, memory-mapped, in as many shards as it was built in. Counting an n-gram takes O(n log tokens) per
/// shard. Safe to use from many threads at once.
#[derive(Debug)]
pub struct Index {
    shards: Vec<Shard>,
    width: TokenWidth,
    description: Option<Description>,
}

/// Where an n-gram occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matches {
    /// Occurrences in all shards.
    pub count: u64,
    /// For each shard, the ranks of the suffixes that begin with the n-gram.
    pub ranks: Vec<Range<u64>>,
}

/// What follows a prompt, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NextTokens {
    /// Occurrences of the prompt: the sum of all that follows.
    pub prompt_count: u64,
    /// Token id → occurrences.
    pub tokens: BTreeMap<u32, u64>,
    /// Occurrences with which a document ends (the infini-gram package counts these as an end-of-sequence token's).
    pub document_ends: u64,
}

/// One occurrence of an n-gram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// Number of the document, counted through all shards.
    pub document: u64,
    /// Its first token in the document, from 0; nothing where it begins with the separator in front of the document.
    pub position: Option<u64>,
}

impl Index {
    /// Opens the index in `dir`, ours or one of the infini-gram package (version 4). `width` may be left out where the
    /// directory says it ([`Description`]).
    ///
    /// # Errors
    /// The directory holds no index, a damaged one, or one of another width.
    pub fn open(dir: &Path, width: Option<TokenWidth>) -> Result<Self, IndexError> {
        let files = shard_files(dir)?;
        let description = Description::read(dir)?;
        let width = match (&description, width) {
            (Some(Description { token_width: found, .. }), Some(given)) if *found != given => {
                return Err(IndexError::OtherWidth { path: dir.to_owned(), found: *found, given });
            }
            (Some(description), _) => description.token_width,
            (None, Some(width)) => width,
            (None, None) => return Err(IndexError::UnknownWidth { path: dir.to_owned() }),
        };
        let shards = files.iter().map(|files| Shard::open(dir, files, width)).collect::<Result<Vec<_>, _>>()?;
        let index = Self { shards, width, description };
        if let Some(said) = &index.description {
            let found = (index.shards.len() as u64, index.documents(), index.tokens());
            if found != (said.shards, said.documents, said.tokens) {
                let problem = format!(
                    "its files hold {} shards, {} documents and {} tokens, not the {}, {} and {} that its description says",
                    found.0, found.1, found.2, said.shards, said.documents, said.tokens
                );
                return Err(IndexError::damaged(dir, problem));
            }
        }
        Ok(index)
    }

    /// Joins several indexes of one width to one corpus; shards and documents are numbered in the order given.
    ///
    /// # Errors
    /// As [`open`](Self::open), or the widths differ.
    pub fn open_all<P: AsRef<Path>>(dirs: &[P], width: Option<TokenWidth>) -> Result<Self, IndexError> {
        let mut all: Option<Self> = None;
        for dir in dirs {
            let next = Self::open(dir.as_ref(), width)?;
            match &mut all {
                None => all = Some(next),
                Some(all) if all.width != next.width => {
                    let path = dir.as_ref().to_owned();
                    return Err(IndexError::OtherWidth { path, found: next.width, given: all.width });
                }
                Some(all) => {
                    all.shards.extend(next.shards);
                    all.description = None;
                }
            }
        }
        all.ok_or(IndexError::NoDocuments)
    }

    #[must_use]
    pub fn width(&self) -> TokenWidth {
        self.width
    }

    /// What the directory says about itself; nothing for indexes of other software and for several together.
    #[must_use]
    pub fn description(&self) -> Option<&Description> {
        self.description.as_ref()
    }

    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Tokens, one separator per document included: the count of the empty n-gram.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.shards.iter().map(Shard::tokens).sum()
    }

    #[must_use]
    pub fn documents(&self) -> u64 {
        self.shards.iter().map(Shard::documents).sum()
    }

    fn encode(&self, tokens: &[u32]) -> Result<Vec<u8>, IndexError> {
        let mut bytes = Vec::with_capacity(tokens.len() * self.width.bytes());
        self.width.encode(tokens, &mut bytes)?;
        Ok(bytes)
    }

    /// Where an n-gram occurs. Across documents only where it holds the separator, and then only inside a shard.
    ///
    /// # Errors
    /// A token id does not fit the index, or the index is damaged.
    pub fn find(&self, ngram: &[u32]) -> Result<Matches, IndexError> {
        let query = self.encode(ngram)?;
        let ranks: Vec<_> =
            self.shards.iter().map(|shard| shard.find(&query, shard.all())).collect::<Result<_, _>>()?;
        Ok(Matches { count: ranks.iter().map(|ranks| ranks.end - ranks.start).sum(), ranks })
    }

    /// All that follows a prompt. Exact, however often the prompt occurs: O(log count) per different token.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn ntd(&self, prompt: &[u32]) -> Result<NextTokens, IndexError> {
        let matches = self.find(prompt)?;
        let prompt_bytes = prompt.len() * self.width.bytes();
        let mut next = NextTokens { prompt_count: matches.count, ..NextTokens::default() };
        for (shard, ranks) in self.shards.iter().zip(matches.ranks) {
            shard.next_tokens(prompt_bytes, ranks, |token, count| match token {
                Some(token) => *next.tokens.entry(token).or_default() += count,
                None => next.document_ends += count,
            })?;
        }
        Ok(next)
    }

    /// What follows a prompt as version 2.6.0 of the infini-gram package counts it: the end of a document is the token
    /// `eos`. And where the prompt ends both a shard and another document of it, and occurs there four times or more, all
    /// its occurrences in that shard count as ends: the end of the shard sorts first and separators sort last, and the
    /// package takes a range whose first and last tokens are equal for one of equal tokens. [`ntd`](Self::ntd) is exact.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn ntd_compat(&self, prompt: &[u32], eos: u32) -> Result<BTreeMap<u32, u64>, IndexError> {
        let prompt_bytes = prompt.len() * self.width.bytes();
        let mut tokens = BTreeMap::new();
        for (shard, ranks) in self.shards.iter().zip(self.find(prompt)?.ranks) {
            let count = ranks.end - ranks.start;
            if count >= 4
                && shard.next_token(ranks.start, prompt_bytes)?.is_none()
                && shard.next_token(ranks.end - 1, prompt_bytes)?.is_none()
            {
                *tokens.entry(eos).or_default() += count;
            } else {
                let add = |token: Option<u32>, count| *tokens.entry(token.unwrap_or(eos)).or_default() += count;
                shard.next_tokens(prompt_bytes, ranks, add)?;
            }
        }
        Ok(tokens)
    }

    /// All that follows the longest suffix of a prompt that occurs.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn infgram_ntd(&self, prompt: &[u32]) -> Result<Backoff<NextTokens>, IndexError> {
        let suffix_len = self.longest_suffix(prompt)?;
        Ok(Backoff { suffix_len, result: self.ntd(&prompt[prompt.len() - suffix_len..])? })
    }

    /// The place of the suffix of a rank, as [`find`](Self::find) gives it.
    ///
    /// # Errors
    /// The index is damaged.
    ///
    /// # Panics
    /// There is no such shard or rank.
    pub fn occurrence(&self, shard: usize, rank: u64) -> Result<Occurrence, IndexError> {
        let at = &self.shards[shard];
        assert!(rank < at.tokens(), "shard {shard} has {} ranks, not {rank}", at.tokens());
        let (document, place) = at.place(at.offset(rank)?)?;
        let before: u64 = self.shards[..shard].iter().map(Shard::documents).sum();
        Ok(Occurrence { document: before + document, position: place.checked_sub(1) })
    }

    /// The tokens of a document, numbered through all shards; nothing where there is no such document.
    ///
    /// # Errors
    /// The index is damaged.
    pub fn document(&self, mut document: u64) -> Result<Option<Vec<u32>>, IndexError> {
        for shard in &self.shards {
            if document < shard.documents() {
                return shard.document(document).map(Some);
            }
            document -= shard.documents();
        }
        Ok(None)
    }
}

impl CorpusCounts<u32> for Index {
    type Error = IndexError;

    fn count(&self, ngram: &[u32]) -> Result<u64, IndexError> {
        let query = self.encode(ngram)?;
        self.shards.iter().try_fold(0, |count, shard| {
            let ranks = shard.find(&query, shard.all())?;
            Ok(count + (ranks.end - ranks.start))
        })
    }

    fn prob(&self, prompt: &[u32], next: &u32) -> Result<Probability, IndexError> {
        let mut query = self.encode(prompt)?;
        let prompt_bytes = query.len();
        self.width.encode(&[*next], &mut query)?;
        let mut found = Probability { prompt_count: 0, next_count: 0 };
        for shard in &self.shards {
            let ranks = shard.find(&query[..prompt_bytes], shard.all())?;
            found.prompt_count += ranks.end - ranks.start;
            // Whatever goes on with the token begins with the prompt.
            let ranks = shard.find(&query, ranks)?;
            found.next_count += ranks.end - ranks.start;
        }
        Ok(found)
    }

    fn longest_prefix(&self, tokens: &[u32], most: usize) -> Result<usize, IndexError> {
        let query = self.encode(&tokens[..most.min(tokens.len())])?;
        self.shards.iter().try_fold(0, |longest, shard| Ok(shard.longest_prefix(&query)?.max(longest)))
    }

    fn longest_matches(&self, tokens: &[u32], most: usize) -> Result<Vec<usize>, IndexError> {
        let text = self.encode(tokens)?;
        let most = most.saturating_mul(self.width.bytes());
        let mut matches = vec![0; tokens.len()];
        for shard in &self.shards {
            for (start, longest) in matches.iter_mut().enumerate() {
                let rest = &text[start * self.width.bytes()..];
                *longest = shard.longest_prefix(&rest[..most.min(rest.len())])?.max(*longest);
            }
        }
        Ok(matches)
    }
}

/// The shards of an index directory, in the order in which the infini-gram package numbers them: that of the file names.
fn shard_files(dir: &Path) -> Result<Vec<ShardFiles>, IndexError> {
    let mut names = fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>())
        .map_err(IndexError::io("read", dir))?;
    names.sort_unstable();
    let names: Vec<String> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
    // `tokenized.0`, `tokenized.1` and so on, or `tokenized` alone.
    let suffixes = names.iter().filter_map(|name| name.strip_prefix("tokenized"));
    let suffixes: Vec<&str> = suffixes.filter(|suffix| suffix.is_empty() || suffix.starts_with('.')).collect();
    if suffixes.is_empty() {
        let problem = "there is no file `tokenized.0`".to_owned();
        return Err(IndexError::NoIndex { path: dir.to_owned(), problem });
    }
    let shards = suffixes.iter().map(|suffix| {
        let [text, offsets, table] = ["tokenized", "offset", "table"].map(|kind| format!("{kind}{suffix}"));
        for wanted in [&offsets, &table] {
            if !names.contains(wanted) {
                let problem = format!("there is a file `{text}`, but no `{wanted}`");
                return Err(IndexError::NoIndex { path: PathBuf::from(dir), problem });
            }
        }
        Ok(ShardFiles { text, offsets, table })
    });
    shards.collect()
}
