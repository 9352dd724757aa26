//! Working memory that is reused from row to row.

use crate::{isa::Isa, kernels::BLOCK, select};

/// Working memory of pipelines: one per thread, any vocabulary size.
///
/// Each buffer is as large as the vocabulary from its first use on, so rows of a size that was seen allocate nothing.
#[derive(Debug)]
pub struct Scratch {
    pub(crate) isa: Isa,
    pub(crate) candidates: Candidates,
    pub(crate) buffers: Buffers,
}

/// The candidates of a row in order of their token ids, once they are few.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    pub tokens: Vec<u32>,
    pub logits: Vec<f32>,
}

#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// The maximum of each block of the row.
    pub maxima: Vec<f32>,
    /// Sort keys.
    pub keys: Vec<u64>,
    /// Values to select from.
    pub values: Vec<f32>,
    /// Probabilities in descending order.
    pub probabilities: Vec<f64>,
    /// One number per token, all 0 between uses.
    pub counts: Vec<u32>,
    /// One number per token of a history.
    pub lengths: Vec<u32>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::with(Isa::detect())
    }
}

/// Empties `buffer` and makes room for `len` elements.
pub(crate) fn cleared<T>(buffer: &mut Vec<T>, len: usize) -> &mut Vec<T> {
    buffer.clear();
    buffer.reserve(len);
    buffer
}

impl Scratch {
    /// Working memory whose loops use no vector instructions beyond those that the program was compiled for: the same
    /// results bit for bit, only slower; for comparison.
    #[must_use]
    pub fn portable() -> Self {
        Self::with(Isa::PORTABLE)
    }

    fn with(isa: Isa) -> Self {
        Self { isa, candidates: Candidates::default(), buffers: Buffers::default() }
    }
}

impl Candidates {
    pub fn clear(&mut self, capacity: usize) {
        cleared(&mut self.tokens, capacity);
        cleared(&mut self.logits, capacity);
    }

    pub fn push(&mut self, token: usize, logit: f32) {
        self.tokens.push(token as u32);
        self.logits.push(logit);
    }

    /// Keeps those for which `keep(position, logit)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(usize, f32) -> bool) {
        let mut kept = 0;
        for position in 0..self.logits.len() {
            if keep(position, self.logits[position]) {
                self.tokens[kept] = self.tokens[position];
                self.logits[kept] = self.logits[position];
                kept += 1;
            }
        }
        self.tokens.truncate(kept);
        self.logits.truncate(kept);
    }
}

impl Buffers {
    /// A logit that at least `count` of the row's logits reach: the `count`-th largest block maximum. The smallest
    /// finite number where there are fewer blocks.
    pub fn floor_for(&mut self, count: usize) -> f32 {
        if count > self.maxima.len() {
            return f32::MIN;
        }
        let values = cleared(&mut self.values, self.maxima.len());
        values.extend_from_slice(&self.maxima);
        select::kth_largest(values, count).max(f32::MIN)
    }

    /// Blocks of `logits` that reach `floor`, with the position of their first logit.
    pub fn blocks<'a>(
        maxima: &'a [f32],
        logits: &'a [f32],
        floor: f32,
    ) -> impl DoubleEndedIterator<Item = (usize, &'a [f32])> {
        let blocks = logits.chunks(BLOCK).zip(maxima).enumerate();
        blocks.filter(move |(_, (_, max))| **max >= floor).map(|(block, (logits, _))| (block * BLOCK, logits))
    }
}
