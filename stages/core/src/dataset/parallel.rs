//! Shards read side by side: as many readers as asked for, each of some of the shards, and one stream of prompts in global order.

use super::{DataSetError, DataSetReader, Group, reader::CountCheck};
use crate::record::Record;
use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread::Scope,
};

/// Groups in the order of their prompts, read on threads of their own. Ends after the first error.
pub struct ParallelGroups<R> {
    streams: Vec<Stream<R>>,
    /// The count to verify at the end.
    check: Option<CountCheck>,
    read: u64,
}

type Read<R> = Result<Group<R>, DataSetError>;

/// What one reader reads, and the group that is next.
struct Stream<R> {
    groups: Receiver<Read<R>>,
    next: Option<Read<R>>,
}

impl<R> Stream<R> {
    fn advance(&mut self) -> Option<Read<R>> {
        std::mem::replace(&mut self.next, self.groups.recv().ok())
    }
}

impl<R: Record> DataSetReader<R> {
    /// All rows, prompt by prompt, read by `readers` threads of `scope`, which read on up to `ahead` prompts together. The same
    /// groups as those of [`DataSetReader::groups`].
    ///
    /// # Errors
    /// A shard cannot be opened.
    pub fn parallel_groups<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        readers: usize,
        ahead: usize,
    ) -> Result<ParallelGroups<R>, DataSetError>
    where
        R: 'scope,
    {
        let shards = self.schema().shards;
        let share = shards.div_ceil(u32::try_from(readers).unwrap_or(u32::MAX).clamp(1, shards.max(1))).max(1);
        let starts: Vec<u32> = (0..shards).step_by(share as usize).collect();
        let ahead = ahead.div_ceil(starts.len().max(1));
        let mut streams = Vec::with_capacity(starts.len());
        for start in starts {
            let part = self.part(start..shards.min(start.saturating_add(share)))?;
            let (sender, groups) = sync_channel(ahead);
            scope.spawn(move || {
                for group in part {
                    let failed = group.is_err();
                    // Nobody listens any more where the work on the groups failed.
                    if sender.send(group).is_err() || failed {
                        return;
                    }
                }
            });
            streams.push(groups);
        }
        let streams = streams.into_iter().map(|groups| Stream { next: groups.recv().ok(), groups }).collect();
        Ok(ParallelGroups { streams, check: Some(self.count_check()), read: 0 })
    }
}

impl<R: Record> Iterator for ParallelGroups<R> {
    type Item = Read<R>;

    fn next(&mut self) -> Option<Read<R>> {
        // An error comes before any prompt.
        let first =
            self.streams.iter_mut().filter(|stream| stream.next.is_some()).min_by_key(|stream| {
                stream.next.as_ref().and_then(|next| next.as_ref().ok()).map(|group| group.prompt_id)
            });
        let Some(stream) = first else {
            return self.check.take()?.of(self.read).err().map(Err);
        };
        let group = stream.advance();
        match &group {
            Some(Ok(group)) => self.read += group.rows.len() as u64,
            _ => {
                self.streams.clear();
                self.check = None;
            }
        }
        group
    }
}
