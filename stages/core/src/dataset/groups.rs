//! Rows prompt by prompt, and joining tables on the prompt.

use super::{DataSetError, Rows};
use crate::record::{PromptId, Record};
use std::iter::Peekable;

/// All rows of one prompt.
#[derive(Debug, Clone)]
pub struct Group<R> {
    pub prompt_id: PromptId,
    pub rows: Vec<R>,
}

/// Groups in the order of their prompts; holds one group at a time.
pub struct Groups<R: Record> {
    rows: Peekable<Rows<R>>,
}

impl<R: Record> Groups<R> {
    pub(super) fn new(rows: Rows<R>) -> Self {
        Self { rows: rows.peekable() }
    }
}

impl<R: Record> Iterator for Groups<R> {
    type Item = Result<Group<R>, DataSetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        let prompt_id = first.prompt_id();
        let mut rows = vec![first];
        // An error stays where it is and is what the next call returns.
        while let Some(Ok(row)) = self.rows.next_if(|next| next.as_ref().is_ok_and(|row| row.prompt_id() == prompt_id))
        {
            rows.push(row);
        }
        Some(Ok(Group { prompt_id, rows }))
    }
}

/// One side of a join: asked for the prompts of another data set in their order, it gives its own rows of each.
pub struct Lookup<R: Record> {
    groups: Peekable<Groups<R>>,
    unmatched: u64,
}

impl<R: Record> Lookup<R> {
    pub(super) fn new(groups: Groups<R>) -> Self {
        Self { groups: groups.peekable(), unmatched: 0 }
    }

    /// The rows of `prompt`, empty where there are none. Prompts must be asked for in ascending order.
    ///
    /// # Errors
    /// The table cannot be read on.
    pub fn take(&mut self, prompt: PromptId) -> Result<Vec<R>, DataSetError> {
        loop {
            match self.groups.next_if(|next| next.as_ref().map_or(true, |group| group.prompt_id <= prompt)) {
                None => return Ok(Vec::new()),
                Some(Err(error)) => return Err(error),
                Some(Ok(group)) if group.prompt_id == prompt => return Ok(group.rows),
                Some(Ok(group)) => self.unmatched += group.rows.len() as u64,
            }
        }
    }

    /// Reads to the end; how many rows belong to no prompt that was asked for.
    ///
    /// # Errors
    /// The table cannot be read on.
    pub fn finish(mut self) -> Result<u64, DataSetError> {
        for group in self.groups.by_ref() {
            self.unmatched += group?.rows.len() as u64;
        }
        Ok(self.unmatched)
    }
}
