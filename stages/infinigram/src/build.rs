//! Building an index: documents in, shards out, in bounded memory.

use crate::{
    Description, IndexError, TokenWidth,
    description::FORMAT,
    suffixes::{self, MOST_TOKENS},
};
use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

/// How to build an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildOptions {
    pub width: TokenWidth,
    /// Bytes of memory to sort in, all threads together. It decides how large shards are: a thread sorts one shard at a
    /// time and takes 5 (u8), 6 (u16) or 8 (u32) bytes per token for it, and a few megabytes.
    pub memory: u64,
    /// Threads that sort, beside the one that pushes documents. Fewer threads make larger shards, and these faster queries.
    pub threads: usize,
    /// What made the token ids; kept in the index's [`Description`].
    pub tokenizer: Option<String>,
}

impl BuildOptions {
    /// One sorting thread in 1 GiB.
    #[must_use]
    pub fn new(width: TokenWidth) -> Self {
        Self { width, memory: 1 << 30, threads: 1, tokenizer: None }
    }

    /// The most tokens of a shard, separators included.
    fn shard_tokens(&self) -> u64 {
        (self.memory / self.threads.max(1) as u64 / suffixes::bytes_per_token(self.width)).min(MOST_TOKENS)
    }
}

/// Takes documents one by one and leaves an index directory that [`Index`](crate::Index) and the infini-gram package
/// (version 4) open. Dropped before [`finish`](Self::finish), it removes what it wrote.
#[derive(Debug)]
pub struct IndexBuilder {
    dir: PathBuf,
    options: BuildOptions,
    open: Option<OpenShard>,
    sorting: VecDeque<JoinHandle<Result<(), IndexError>>>,
    shards: u64,
    documents: u64,
    tokens: u64,
    encoded: Vec<u8>,
    finished: bool,
}

/// The shard that documents go to.
#[derive(Debug)]
struct OpenShard {
    text_path: PathBuf,
    offsets_path: PathBuf,
    text: BufWriter<File>,
    offsets: BufWriter<File>,
    tokens: u64,
}

impl IndexBuilder {
    /// Starts an index in `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// The directory cannot be made, or holds an index.
    pub fn create(dir: &Path, options: BuildOptions) -> Result<Self, IndexError> {
        fs::create_dir_all(dir).map_err(IndexError::io("make", dir))?;
        for entry in fs::read_dir(dir).map_err(IndexError::io("read", dir))? {
            let name = entry.map_err(IndexError::io("read", dir))?.file_name();
            let taken = ["tokenized", "offset", "table", crate::DESCRIPTION_FILE];
            if name.to_str().is_some_and(|name| taken.iter().any(|taken| name.starts_with(taken))) {
                return Err(IndexError::Exists { path: dir.to_owned() });
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            options,
            open: None,
            sorting: VecDeque::new(),
            shards: 0,
            documents: 0,
            tokens: 0,
            encoded: Vec::new(),
            finished: false,
        })
    }

    fn path(&self, kind: &str, shard: u64) -> PathBuf {
        self.dir.join(format!("{kind}.{shard}"))
    }

    /// Adds a document. One without tokens counts as a document.
    ///
    /// # Errors
    /// A token id does not fit, the document is longer than a shard may be, or a file cannot be written.
    pub fn push(&mut self, tokens: &[u32]) -> Result<(), IndexError> {
        let width = self.options.width;
        if tokens.contains(&width.separator()) {
            return Err(IndexError::SeparatorInDocument { document: self.documents, width });
        }
        self.encoded.clear();
        width.encode(&[width.separator()], &mut self.encoded)?;
        width.encode(tokens, &mut self.encoded)?;
        let (added, most) = (tokens.len() as u64 + 1, self.options.shard_tokens());
        if added > most {
            let document = self.documents;
            return Err(IndexError::DocumentTooLong {
                document,
                tokens: tokens.len() as u64,
                most: most.saturating_sub(1),
            });
        }
        if self.open.as_ref().is_some_and(|open| open.tokens + added > most) {
            self.close_shard()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let (text, offsets) = (self.path("tokenized", self.shards), self.path("offset", self.shards));
                self.shards += 1;
                self.open.insert(OpenShard::create(text, offsets)?)
            }
        };
        open.push(&self.encoded, width)?;
        open.tokens += added;
        self.tokens += added;
        self.documents += 1;
        Ok(())
    }

    /// Sends the open shard to be sorted, when a thread is free for it.
    fn close_shard(&mut self) -> Result<(), IndexError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        open.text.flush().map_err(IndexError::io("write", &open.text_path))?;
        open.offsets.flush().map_err(IndexError::io("write", &open.offsets_path))?;
        while self.sorting.len() >= self.options.threads.max(1) {
            self.join_one()?;
        }
        let table = self.path("table", self.shards - 1);
        let width = self.options.width;
        self.sorting
            .push_back(thread::spawn(move || suffixes::write_table(&open.text_path, &table, open.tokens, width)));
        Ok(())
    }

    fn join_one(&mut self) -> Result<(), IndexError> {
        match self.sorting.pop_front().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(sorted)) => sorted,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    /// Sorts what is left and describes the index.
    ///
    /// # Errors
    /// There were no documents, or a file cannot be written.
    pub fn finish(mut self) -> Result<Description, IndexError> {
        if self.documents == 0 {
            return Err(IndexError::NoDocuments);
        }
        self.close_shard()?;
        while !self.sorting.is_empty() {
            self.join_one()?;
        }
        self.name_in_order()?;
        let description = Description {
            format: FORMAT,
            token_width: self.options.width,
            shards: self.shards,
            documents: self.documents,
            tokens: self.tokens,
            tokenizer: self.options.tokenizer.take(),
        };
        description.write(&self.dir)?;
        self.finished = true;
        Ok(description)
    }

    /// Readers number shards in the order of their names: from the eleventh shard on, numbers get leading zeros.
    fn name_in_order(&self) -> Result<(), IndexError> {
        let digits = self.shards.saturating_sub(1).to_string().len();
        for shard in (0..self.shards).filter(|shard| shard.to_string().len() < digits) {
            for kind in ["tokenized", "offset", "table"] {
                let (from, to) = (self.path(kind, shard), self.dir.join(format!("{kind}.{shard:0digits$}")));
                fs::rename(&from, to).map_err(IndexError::io("rename", &from))?;
            }
        }
        Ok(())
    }
}

impl Drop for IndexBuilder {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        for sorting in self.sorting.drain(..) {
            let _ = sorting.join();
        }
        let digits = self.shards.saturating_sub(1).to_string().len();
        for shard in 0..self.shards {
            for kind in ["tokenized", "offset", "table"] {
                // Whatever cannot be removed is in the way of the next build, which says so.
                let _ = fs::remove_file(self.path(kind, shard));
                let _ = fs::remove_file(self.dir.join(format!("{kind}.{shard:0digits$}")));
            }
        }
    }
}

impl OpenShard {
    fn create(text_path: PathBuf, offsets_path: PathBuf) -> Result<Self, IndexError> {
        let create = |path: &Path| {
            let file = File::create_new(path).map_err(IndexError::io("create", path))?;
            Ok(BufWriter::with_capacity(1 << 18, file))
        };
        Ok(Self { text: create(&text_path)?, offsets: create(&offsets_path)?, text_path, offsets_path, tokens: 0 })
    }

    fn push(&mut self, encoded: &[u8], width: TokenWidth) -> Result<(), IndexError> {
        let offset = self.tokens * width.bytes() as u64;
        self.offsets.write_all(&offset.to_le_bytes()).map_err(IndexError::io("write", &self.offsets_path))?;
        self.text.write_all(encoded).map_err(IndexError::io("write", &self.text_path))
    }
}

/// Builds an index of all documents in `dir`; see [`IndexBuilder`].
///
/// # Errors
/// As [`IndexBuilder`]'s methods.
pub fn build<D: AsRef<[u32]>>(
    dir: &Path,
    options: BuildOptions,
    documents: impl IntoIterator<Item = D>,
) -> Result<Description, IndexError> {
    let mut builder = IndexBuilder::create(dir, options)?;
    for document in documents {
        builder.push(document.as_ref())?;
    }
    builder.finish()
}
