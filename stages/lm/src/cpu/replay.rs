//! Teacher-forced passes: logits and hidden states of given tokens, continuations of a shared prompt, their log-probabilities.

use super::{CpuModel, Prefix, Segment, Workspace};
use crate::{LmError, LmResult, kernel};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of one pass; bounds the memory of long sequences and gives each thread a few tiles.
const CHUNK: usize = 192;
/// Rows whose logits are held at once.
const LOGIT_ROWS: usize = 48;

/// Result of a teacher-forced pass over `T` tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Raw logits `[positions, vocab]`, row-major: row `i` predicts the token after position `positions.start + i`.
    pub logits: Vec<f32>,
    /// For each hidden state asked for, `[T, hidden]`.
    pub hidden: Vec<Vec<f32>>,
}

impl CpuModel {
    /// Logits at `positions` and the hidden states of some layers, in one pass over `ids`.
    ///
    /// Hidden state 0 is the embeddings, `i` the residual stream after layer `i`, the last one after the final norm.
    ///
    /// # Errors
    /// No tokens, more than the model has positions, an id outside the vocabulary, or an unknown layer.
    pub fn forward_all(&self, ids: &[u32], positions: Range<usize>, hidden: &[usize]) -> LmResult<Forward> {
        self.check(ids, 0)?;
        let (d, layers) = (self.config().hidden_size, self.config().layers.len());
        if let Some(layer) = hidden.iter().find(|layer| **layer > layers) {
            return Err(LmError::NoSuchLayer { layer: *layer, layers });
        }
        let mut states = vec![Vec::with_capacity(ids.len() * d); hidden.len()];
        let mut logits = Vec::new();
        let (mut cache, mut work, mut rows) = (self.cache(ids.len()), Workspace::default(), Vec::new());
        for (index, tokens) in ids.chunks(CHUNK).enumerate() {
            let segment = Segment { cache: &mut cache, tokens };
            self.forward(&mut [segment], &mut work, true, |layer, stream| {
                for (wanted, state) in hidden.iter().zip(&mut states) {
                    if *wanted == layer && layer == layers {
                        state.extend(self.final_hidden(stream));
                    } else if *wanted == layer {
                        state.extend_from_slice(stream);
                    }
                }
            })?;
            let first = index * CHUNK;
            let wanted = positions.start.max(first)..positions.end.min(first + tokens.len());
            if !wanted.is_empty() {
                self.logits(&work, wanted.start - first..wanted.end - first, true, &mut rows);
                logits.extend_from_slice(&rows);
            }
        }
        Ok(Forward { logits, hidden: states })
    }

    /// Computes a prompt once, so that many continuations can start from it.
    ///
    /// # Errors
    /// As [`CpuModel::forward_all`].
    pub fn prefill(&self, ids: &[u32], parallel: bool) -> LmResult<Prefix> {
        self.check(ids, 0)?;
        let (mut cache, mut work, mut logits) = (self.cache(ids.len()), Workspace::default(), Vec::new());
        let mut last = 0..0;
        for tokens in ids.chunks(CHUNK) {
            self.forward(&mut [Segment { cache: &mut cache, tokens }], &mut work, parallel, |_, _| {})?;
            last = tokens.len() - 1..tokens.len();
        }
        self.logits(&work, last, parallel, &mut logits);
        Ok(cache.into_prefix(logits))
    }

    /// Raw logits that predicted each token of each continuation of one prompt, which is computed once.
    ///
    /// `visit(c, first, logits)` gets `[rows, vocab]` logits that predict tokens `first ..` of continuation `c`; calls for one
    /// continuation come in order, calls for different ones from different threads of the current rayon pool.
    ///
    /// # Errors
    /// As [`CpuModel::forward_all`].
    pub fn replay(
        &self,
        prompt: &[u32],
        continuations: &[&[u32]],
        visit: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> LmResult<()> {
        let prefix = self.prefill(prompt, true)?;
        for ids in continuations {
            if !ids.is_empty() {
                self.check(ids, prompt.len())?;
            }
        }
        // Neighbours go through the network together, up to a chunk of rows.
        let mut groups: Vec<Range<usize>> = Vec::new();
        let mut rows = CHUNK;
        for (index, ids) in continuations.iter().enumerate() {
            match groups.last_mut() {
                Some(group) if rows + ids.len() <= CHUNK => {
                    group.end = index + 1;
                    rows += ids.len();
                }
                _ => {
                    groups.push(index..index + 1);
                    rows = ids.len();
                }
            }
        }
        groups
            .into_par_iter()
            .map_init(Workspace::default, |work, group| self.replay_group(&prefix, continuations, group, work, &visit))
            .collect()
    }

    fn replay_group(
        &self,
        prefix: &Prefix,
        continuations: &[&[u32]],
        group: Range<usize>,
        work: &mut Workspace,
        visit: &(impl Fn(usize, usize, &mut [f32]) + Sync),
    ) -> LmResult<()> {
        let mut caches = Vec::new();
        for index in group {
            let ids = continuations[index];
            if let Some((_, fed)) = ids.split_last() {
                visit(index, 0, &mut prefix.logits.to_vec());
                let mut cache = self.cache(0);
                cache.restart(prefix, prefix.len() + fed.len());
                caches.push((index, cache, fed));
            }
        }
        let (mut first, mut logits) = (0, Vec::new());
        // A group of several fits one chunk; a single long continuation takes several.
        loop {
            let mut segments: Vec<Segment<'_>> = caches
                .iter_mut()
                .map(|(_, cache, fed)| Segment {
                    cache,
                    tokens: &fed[first.min(fed.len())..(first + CHUNK).min(fed.len())],
                })
                .collect();
            let lengths: Vec<usize> = segments.iter().map(|segment| segment.tokens.len()).collect();
            if lengths.iter().all(|length| *length == 0) {
                return Ok(());
            }
            self.forward(&mut segments, work, false, |_, _| {})?;
            let mut row = 0;
            for ((index, _, _), length) in caches.iter().zip(lengths) {
                for start in (0..length).step_by(LOGIT_ROWS) {
                    let end = (start + LOGIT_ROWS).min(length);
                    self.logits(work, row + start..row + end, false, &mut logits);
                    visit(*index, 1 + first + start, &mut logits);
                }
                row += length;
            }
            first += CHUNK;
        }
    }

    /// Natural log-probability of every token of every continuation of one prompt.
    ///
    /// # Errors
    /// As [`CpuModel::forward_all`].
    pub fn score_continuations(&self, prompt: &[u32], continuations: &[&[u32]]) -> LmResult<Vec<Vec<f32>>> {
        let scores: Vec<_> =
            continuations.iter().map(|ids| std::sync::Mutex::new(Vec::with_capacity(ids.len()))).collect();
        let vocab = self.config().vocab_size;
        self.replay(prompt, continuations, |index, first, logits| {
            // No panic can happen under this lock, so it is never poisoned.
            let mut scores = scores[index].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (row, id) in logits.chunks_exact(vocab).zip(&continuations[index][first..]) {
                let sum = kernel::log_sum_exp(self.isa, row);
                scores.push((f64::from(row[*id as usize]) - sum) as f32);
            }
        })?;
        Ok(scores
            .into_iter()
            .map(|scores| scores.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
            .collect())
    }

    /// Whether `ids` can follow `before` other tokens.
    fn check(&self, ids: &[u32], before: usize) -> LmResult<()> {
        let config = self.config();
        if ids.is_empty() {
            return Err(LmError::EmptyPrompt);
        }
        if before + ids.len() > config.max_positions {
            return Err(LmError::TooLong { tokens: before + ids.len(), limit: config.max_positions });
        }
        match ids.iter().find(|id| **id as usize >= config.vocab_size) {
            Some(id) => Err(LmError::TokenOutOfRange { id: *id, vocab: config.vocab_size }),
            None => Ok(()),
        }
    }
}
