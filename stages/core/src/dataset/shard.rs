//! One shard file as a stream of typed rows, in the order they were written.

use super::{Compression, DataSetError, Schema, rejected::Rejected};
use crate::record::{PromptId, Record};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

const BUFFER: usize = 1 << 16;
/// The longest row that is read, in bytes: a few kilobytes of a damaged compressed file could fill any memory.
const MAX_ROW: u64 = 256 << 20;

/// Rows of one shard, checked for order and place.
pub(super) struct Shard<R> {
    file: PathBuf,
    lines: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    line: u64,
    index: u32,
    shards: u32,
    last: Option<PromptId>,
    max_row: u64,
    rejected: Arc<Rejected>,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Shard<R> {
    pub fn open(directory: &Path, schema: &Schema, index: u32, rejected: Arc<Rejected>) -> Result<Self, DataSetError> {
        let file = directory.join(schema.shard_file(index));
        let raw = File::open(&file).map_err(DataSetError::io("open", &file))?;
        let lines: Box<dyn BufRead + Send> = match schema.compression {
            Compression::None => Box::new(BufReader::with_capacity(BUFFER, raw)),
            Compression::Zstd => {
                let decoder = zstd::Decoder::new(raw).map_err(DataSetError::io("decompress", &file))?;
                Box::new(BufReader::with_capacity(BUFFER, decoder))
            }
        };
        Ok(Self {
            file,
            lines,
            buffer: Vec::new(),
            line: 0,
            index,
            shards: schema.shards,
            last: None,
            max_row: MAX_ROW,
            rejected,
            record: PhantomData,
        })
    }

    /// The next well-formed row, `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<R>, DataSetError> {
        loop {
            self.buffer.clear();
            let mut line = (&mut self.lines).take(self.max_row + 1);
            let read = line.read_until(b'\n', &mut self.buffer).map_err(DataSetError::io("read", &self.file))?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if read as u64 > self.max_row {
                return Err(DataSetError::LongRow { file: self.file.clone(), line: self.line, max: self.max_row });
            }
            let row = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
            match serde_json::from_slice::<R>(row) {
                Ok(row) => {
                    self.check_place(row.prompt_id())?;
                    return Ok(Some(row));
                }
                Err(error) => self.rejected.add(&self.file, self.line, row, &error.to_string())?,
            }
        }
    }

    fn check_place(&mut self, prompt: PromptId) -> Result<(), DataSetError> {
        let expected = prompt.shard(self.shards);
        let (file, line) = (self.file.clone(), self.line);
        if expected != self.index {
            return Err(DataSetError::WrongShard { file, line, prompt: prompt.to_string(), expected });
        }
        if self.last.is_some_and(|last| last > prompt) {
            return Err(DataSetError::Unsorted { file, line, prompt: prompt.to_string() });
        }
        self.last = Some(prompt);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dataset::{DataSetWriter, ReadOptions, WriteOptions},
        record::Prompt,
    };

    #[test]
    fn a_row_without_end_is_not_read_into_memory() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("rows");
        let options = WriteOptions { compression: Compression::Zstd, ..WriteOptions::default() };
        let mut writer = DataSetWriter::create_with(&directory, options).unwrap();
        writer.push(&Prompt::new("d", "x".repeat(1 << 20), None)).unwrap();
        let schema = writer.finish().unwrap();
        let open = |max_row| {
            let rejected = Arc::new(Rejected::new(ReadOptions::default()));
            let mut shard = Shard::<Prompt>::open(&directory, &schema, 0, rejected).unwrap();
            shard.max_row = max_row;
            shard
        };
        assert!(open(MAX_ROW).next_row().unwrap().is_some());
        let mut short = open(1 << 16);
        let error = short.next_row().err().unwrap();
        assert!(matches!(error, DataSetError::LongRow { line: 1, max: 65536, .. }), "{error}");
        assert!(short.buffer.capacity() < 1 << 18);
    }
}
