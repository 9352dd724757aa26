//! What the labellers have in common: remembered rows, and work in parallel over chunks of prompts.

use lsn_digest::Digest;
use lsn_stage::{
    RowCounts, RowKey, RowSpace, StageContext, StageError, StageResult,
    dataset::{DataSetReader, Group},
    record::Record,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Prompts that are in memory at a time.
const CHUNK: usize = 32;

/// A row memo that counts; safe to use from several threads.
pub struct LabelMemo {
    rows: Arc<dyn RowSpace>,
    reused: AtomicU64,
    computed: AtomicU64,
}

impl LabelMemo {
    pub fn open(ctx: &StageContext, namespace: &str) -> StageResult<Self> {
        Ok(Self { rows: ctx.rows(namespace)?, reused: AtomicU64::new(0), computed: AtomicU64::new(0) })
    }

    /// A remembered value, where there is one that still reads.
    pub fn get<T: DeserializeOwned>(&self, key: Digest) -> StageResult<Option<T>> {
        let found = self.rows.get(&RowKey(key))?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if found.is_some() {
            self.reused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(found)
    }

    /// Remembers a value.
    pub fn put<T: Serialize>(&self, key: Digest, value: &T) -> StageResult<()> {
        let bytes =
            serde_json::to_vec(value).map_err(|error| StageError::user(format!("cannot keep a row: {error}")))?;
        self.rows.put(&RowKey(key), &bytes)?;
        self.computed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes what was put durable.
    pub fn flush(&self) -> StageResult<()> {
        Ok(self.rows.flush()?)
    }

    pub fn get_or<T: Serialize + DeserializeOwned>(
        &self,
        key: Digest,
        compute: impl FnOnce() -> StageResult<T>,
    ) -> StageResult<T> {
        if let Some(found) = self.get(key)? {
            return Ok(found);
        }
        let value = compute()?;
        self.put(key, &value)?;
        Ok(value)
    }

    fn counts(&self) -> RowCounts {
        RowCounts {
            reused: self.reused.load(Ordering::Relaxed),
            computed: self.computed.load(Ordering::Relaxed),
            failed: 0,
        }
    }
}

/// A rayon pool of as many threads as the task was given.
pub fn pool(ctx: &StageContext) -> StageResult<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new().num_threads(ctx.threads()).build().map_err(|error| {
        StageError::new(lsn_stage::FailureClass::Infrastructure, format!("cannot start threads: {error}"))
    })
}

/// Hands the prompts of a data set to `label`, a chunk at a time and in order, while as many threads as the task has read on;
/// reports progress, keeps what was remembered durable after every chunk and stops between chunks when the run is interrupted.
pub fn for_each_chunk<R: Record>(
    ctx: &StageContext,
    reader: &DataSetReader<R>,
    memo: &LabelMemo,
    mut label: impl FnMut(Vec<Group<R>>) -> StageResult<()>,
) -> StageResult<()> {
    let total = reader.schema().rows;
    let mut done = 0;
    thread::scope(|scope| {
        let mut groups = reader.parallel_groups(scope, ctx.threads(), CHUNK)?;
        loop {
            let chunk: Vec<Group<R>> = groups.by_ref().take(CHUNK).collect::<Result<_, _>>()?;
            if chunk.is_empty() {
                return Ok(());
            }
            done += chunk.iter().map(|group| group.rows.len() as u64).sum::<u64>();
            let labelled = label(chunk);
            memo.flush()?;
            ctx.row_counts(memo.counts());
            labelled?;
            ctx.progress(done, Some(total), "rows");
            ctx.check_cancelled()?;
        }
    })
}
