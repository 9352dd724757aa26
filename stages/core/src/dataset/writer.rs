//! Writing a data set: rows come in any order, the bytes on disk depend only on which rows there are.

use super::{Compression, DataSetError, Schema, sort::Sorter};
use crate::record::{PromptId, Record};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
};

/// Encoded bytes per shard that the automatic shard count aims at.
const SHARD_BYTES: u64 = 64 << 20;
/// More shards than this would be too many files open at once.
const MAX_SHARDS: u32 = 256;
const ZSTD_LEVEL: i32 = 3;

/// How a data set is laid out.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteOptions {
    /// `None`: the smallest power of two that keeps shards under 64 MiB of JSON; a function of the rows alone.
    pub shards: Option<u32>,
    pub compression: Compression,
}

/// Takes rows in any order and writes them, sorted and sharded, when it is finished. Dropped before that, it leaves nothing.
pub struct DataSetWriter<R> {
    directory: PathBuf,
    work: tempfile::TempDir,
    options: WriteOptions,
    sorter: Sorter,
    rows: u64,
    bytes: u64,
    record: PhantomData<fn(R)>,
}

impl<R: Record> DataSetWriter<R> {
    /// Will write to `directory`, which must not exist while its parent does.
    ///
    /// # Errors
    /// The parent cannot be written to.
    pub fn create(directory: &Path) -> Result<Self, DataSetError> {
        Self::create_with(directory, WriteOptions::default())
    }

    /// Will write to `directory`, which must not exist while its parent does.
    ///
    /// # Errors
    /// The parent cannot be written to.
    pub fn create_with(directory: &Path, options: WriteOptions) -> Result<Self, DataSetError> {
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let work = tempfile::Builder::new()
            .prefix(".writing-")
            .tempdir_in(parent)
            .map_err(DataSetError::io("create a directory in", parent))?;
        let sorter = Sorter::new(work.path());
        Ok(Self { directory: directory.to_owned(), work, options, sorter, rows: 0, bytes: 0, record: PhantomData })
    }

    /// # Errors
    /// The row cannot be encoded, or the disk is full.
    pub fn push(&mut self, row: &R) -> Result<(), DataSetError> {
        let encoded = serde_json::to_vec(row).map_err(|source| DataSetError::Encode { record: R::TYPE, source })?;
        let mut key = row.prompt_id().0.as_bytes().to_vec();
        row.order(&mut key);
        self.rows += 1;
        self.bytes += encoded.len() as u64 + 1;
        self.sorter.push(key, encoded)
    }

    /// Rows pushed so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes everything and puts the directory in its place in one step.
    ///
    /// # Errors
    /// The disk is full, or something is already there.
    pub fn finish(self) -> Result<Schema, DataSetError> {
        let automatic = self.bytes.div_ceil(SHARD_BYTES).max(1).next_power_of_two().min(u64::from(MAX_SHARDS)) as u32;
        let shards = self.options.shards.unwrap_or(automatic).clamp(1, MAX_SHARDS);
        let mut schema = Schema::of::<R>(self.rows, 0, shards, self.options.compression);
        let finished = self.work.path().join("finished");
        fs::create_dir(&finished).map_err(DataSetError::io("create", &finished))?;
        let mut files = Vec::with_capacity(shards as usize);
        for index in 0..shards {
            files.push(ShardFile::create(finished.join(schema.shard_file(index)), self.options.compression)?);
        }
        let mut last = None;
        for entry in self.sorter.finish()? {
            let (key, row) = entry?;
            let mut id = [0; 32];
            id.copy_from_slice(&key[..32]);
            let prompt = PromptId(lsn_digest::Digest::from_bytes(id));
            if last != Some(prompt) {
                schema.prompts += 1;
                last = Some(prompt);
            }
            files[prompt.shard(shards) as usize].write(&row)?;
        }
        for file in files {
            file.finish()?;
        }
        schema.write(&finished)?;
        fs::rename(&finished, &self.directory).map_err(DataSetError::io("create", &self.directory))?;
        Ok(schema)
    }
}

enum Sink {
    Plain(BufWriter<File>),
    Zstd(Box<zstd::Encoder<'static, BufWriter<File>>>),
}

struct ShardFile {
    path: PathBuf,
    sink: Sink,
}

impl ShardFile {
    fn create(path: PathBuf, compression: Compression) -> Result<Self, DataSetError> {
        let file = BufWriter::new(File::create(&path).map_err(DataSetError::io("create", &path))?);
        let sink = match compression {
            Compression::None => Sink::Plain(file),
            Compression::Zstd => {
                Sink::Zstd(Box::new(zstd::Encoder::new(file, ZSTD_LEVEL).map_err(DataSetError::io("compress", &path))?))
            }
        };
        Ok(Self { path, sink })
    }

    fn write(&mut self, row: &[u8]) -> Result<(), DataSetError> {
        let out: &mut dyn Write = match &mut self.sink {
            Sink::Plain(out) => out,
            Sink::Zstd(out) => out,
        };
        out.write_all(row).and_then(|()| out.write_all(b"\n")).map_err(DataSetError::io("write", &self.path))
    }

    fn finish(self) -> Result<(), DataSetError> {
        let flushed = match self.sink {
            Sink::Plain(mut out) => out.flush(),
            Sink::Zstd(out) => out.finish().and_then(|mut out| out.flush()),
        };
        flushed.map_err(DataSetError::io("write", &self.path))
    }
}
