//! Opening a data set and streaming its rows in global order.

use super::{DataSetError, Groups, Lookup, ReadOptions, Schema, rejected::Rejected, shard::Shard};
use crate::record::{PromptId, Record};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

/// An open data set of `R` rows. Rows are read when they are asked for.
pub struct DataSetReader<R> {
    directory: PathBuf,
    schema: Schema,
    rejected: Arc<Rejected>,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> DataSetReader<R> {
    /// Opens the data set at `directory`; one malformed row is an error.
    ///
    /// # Errors
    /// It is not a data set, or one of another record type.
    pub fn open(directory: &Path) -> Result<Self, DataSetError> {
        Self::open_with(directory, ReadOptions::default())
    }

    /// Opens the data set at `directory`.
    ///
    /// # Errors
    /// It is not a data set, or one of another record type.
    pub fn open_with(directory: &Path, options: ReadOptions) -> Result<Self, DataSetError> {
        let schema = Schema::read(directory)?;
        schema.expect::<R>(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            schema,
            rejected: Arc::new(Rejected::new(options)),
            record: PhantomData,
        })
    }

    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Malformed rows met so far.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.count()
    }

    /// File, line and error of the first malformed rows met so far.
    #[must_use]
    pub fn rejected_examples(&self) -> Vec<String> {
        self.rejected.shown()
    }

    /// All rows, sorted by prompt and then as each shard is, whatever the number of shards.
    ///
    /// # Errors
    /// A shard cannot be opened.
    pub fn rows(&self) -> Result<Rows<R>, DataSetError> {
        Rows::new(self, 0..self.schema.shards, Some(self.count_check()))
    }

    /// The rows of one shard.
    ///
    /// # Errors
    /// The shard cannot be opened.
    pub fn shard_rows(&self, index: u32) -> Result<Rows<R>, DataSetError> {
        Rows::new(self, index..index + 1, None)
    }

    /// The rows of some shards, prompt by prompt; nothing says whether all are there.
    pub(super) fn part(&self, shards: std::ops::Range<u32>) -> Result<Groups<R>, DataSetError> {
        Ok(Groups::new(Rows::new(self, shards, None)?))
    }

    /// What says whether so many well-formed rows, and those rejected by then, are all that there should be.
    pub(super) fn count_check(&self) -> CountCheck {
        CountCheck { expected: self.schema.rows, directory: self.directory.clone(), rejected: self.rejected.clone() }
    }

    /// All rows, prompt by prompt.
    ///
    /// # Errors
    /// A shard cannot be opened.
    pub fn groups(&self) -> Result<Groups<R>, DataSetError> {
        Ok(Groups::new(self.rows()?))
    }

    /// For joining this table to another one: the rows of ever later prompts.
    ///
    /// # Errors
    /// A shard cannot be opened.
    pub fn lookup(&self) -> Result<Lookup<R>, DataSetError> {
        Ok(Lookup::new(self.groups()?))
    }
}

/// How many rows there should be.
pub(super) struct CountCheck {
    expected: u64,
    directory: PathBuf,
    rejected: Arc<Rejected>,
}

impl CountCheck {
    /// After `read` well-formed rows.
    pub fn of(self, read: u64) -> Result<(), DataSetError> {
        let Self { expected, directory: path, rejected } = self;
        let found = read + rejected.count();
        if found < expected || (rejected.count() == 0 && found != expected) {
            return Err(DataSetError::RowCount { path, expected, found });
        }
        Ok(())
    }
}

/// Rows of several shards, merged by prompt. Ends after the first error.
pub struct Rows<R> {
    shards: Vec<Shard<R>>,
    heads: Vec<Option<R>>,
    queue: BinaryHeap<Reverse<(PromptId, usize)>>,
    read: u64,
    /// The count to verify at the end, where all shards are read.
    check: Option<CountCheck>,
    failed: Option<DataSetError>,
    done: bool,
}

impl<R: Record> Rows<R> {
    fn new(
        reader: &DataSetReader<R>,
        indices: std::ops::Range<u32>,
        check: Option<CountCheck>,
    ) -> Result<Self, DataSetError> {
        // As many as there are, not as many as a damaged schema says.
        let mut shards = Vec::new();
        for index in indices {
            shards.push(Shard::open(&reader.directory, &reader.schema, index, reader.rejected.clone())?);
        }
        let mut new = Self {
            heads: shards.iter().map(|_| None).collect(),
            queue: BinaryHeap::with_capacity(shards.len()),
            read: 0,
            check,
            failed: None,
            done: false,
            shards,
        };
        for shard in 0..new.shards.len() {
            new.refill(shard)?;
        }
        Ok(new)
    }

    fn refill(&mut self, shard: usize) -> Result<(), DataSetError> {
        if let Some(row) = self.shards[shard].next_row()? {
            self.read += 1;
            self.queue.push(Reverse((row.prompt_id(), shard)));
            self.heads[shard] = Some(row);
        }
        Ok(())
    }

    fn finish(&mut self) -> Option<Result<R, DataSetError>> {
        self.done = true;
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        self.check.take().and_then(|check| check.of(self.read).err()).map(Err)
    }
}

impl<R: Record> Iterator for Rows<R> {
    type Item = Result<R, DataSetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.failed.is_some() {
            return self.finish();
        }
        let Some(Reverse((_, shard))) = self.queue.pop() else {
            return self.finish();
        };
        let row = self.heads[shard].take();
        if let Err(error) = self.refill(shard) {
            self.failed = Some(error);
        }
        row.map(Ok)
    }
}
