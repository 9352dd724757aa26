//! Teacher-forced passes: logits and hidden states of given tokens, continuations of a shared prompt, their log-probabilities.

use super::{CpuModel, KvCache, Prefix, Segment, Workspace};
use crate::{LmError, LmResult, kernel};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of one pass; bounds the memory of long sequences and gives each thread a few tiles.
const CHUNK: usize = 192;
/// Rows whose logits are held at once.
const LOGIT_ROWS: usize = 48;

/// Neighbours that go through the network together, up to a chunk of rows.
fn groups(lengths: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut rows = CHUNK;
    for (index, length) in lengths.enumerate() {
        match groups.last_mut() {
            Some(group) if rows + length <= CHUNK => {
                group.end = index + 1;
                rows += length;
            }
            _ => {
                groups.push(index..index + 1);
                rows = length;
            }
        }
    }
    groups
}

/// Continuations of one prefix on their way through the network. A group of several fits one chunk; a single long continuation
/// takes several.
struct Group<'a> {
    members: Vec<(usize, KvCache, &'a [u32])>,
    first: usize,
}

/// Rows of a pass that belong to one continuation.
struct Span {
    continuation: usize,
    /// Which of its tokens the first row is.
    first: usize,
    rows: Range<usize>,
}

impl<'a> Group<'a> {
    fn start(model: &CpuModel, prefix: &Prefix, members: Vec<(usize, &'a [u32])>) -> Self {
        let member = |(index, ids): (usize, &'a [u32])| {
            let mut cache = model.cache(0);
            cache.restart(prefix, prefix.len() + ids.len());
            (index, cache, ids)
        };
        Self { members: members.into_iter().map(member).collect(), first: 0 }
    }

    /// The tokens of the next pass; none when all are through.
    fn segments(&mut self) -> Option<Vec<Segment<'_>>> {
        let first = self.first;
        let mut segments = Vec::with_capacity(self.members.len());
        for member in &mut self.members {
            let tokens = &member.2[first.min(member.2.len())..(first + CHUNK).min(member.2.len())];
            segments.push(Segment { cache: &mut member.1, tokens });
        }
        segments.iter().any(|segment| !segment.tokens.is_empty()).then_some(segments)
    }

    /// Where the rows of the pass that was made lie.
    fn advance(&mut self) -> Vec<Span> {
        let (first, mut row) = (self.first, 0);
        self.first += CHUNK;
        let span = |(index, _, ids): &(usize, KvCache, &[u32])| {
            let rows = row..row + ids.len().saturating_sub(first).min(CHUNK);
            row = rows.end;
            Span { continuation: *index, first, rows }
        };
        self.members.iter().map(span).filter(|span| !span.rows.is_empty()).collect()
    }
}

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
        groups(continuations.iter().map(|ids| ids.len()))
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
        let fed = |index: usize| continuations[index].split_last().map(|(_, fed)| (index, fed));
        let members: Vec<(usize, &[u32])> = group.filter_map(fed).collect();
        members.iter().for_each(|(index, _)| visit(*index, 0, &mut prefix.logits.to_vec()));
        let mut group = Group::start(self, prefix, members);
        let mut logits = Vec::new();
        while let Some(mut segments) = group.segments() {
            self.forward(&mut segments, work, false, |_, _| {})?;
            for Span { continuation, first, rows } in group.advance() {
                for start in rows.clone().step_by(LOGIT_ROWS) {
                    let end = (start + LOGIT_ROWS).min(rows.end);
                    self.logits(work, start..end, false, &mut logits);
                    visit(continuation, 1 + first + start - rows.start, &mut logits);
                }
            }
        }
        Ok(())
    }

    /// Means over its tokens of the hidden states of each continuation of one prompt, which is computed once; empty for a
    /// continuation without tokens. Layers count as in [`CpuModel::forward_all`].
    ///
    /// # Errors
    /// As [`CpuModel::forward_all`].
    pub fn embed_continuations(
        &self,
        prompt: &[u32],
        continuations: &[&[u32]],
        layer: usize,
    ) -> LmResult<Vec<Vec<f64>>> {
        let layers = self.config().layers.len();
        if layer > layers {
            return Err(LmError::NoSuchLayer { layer, layers });
        }
        let prefix = self.prefill(prompt, true)?;
        continuations.iter().filter(|ids| !ids.is_empty()).try_for_each(|ids| self.check(ids, prompt.len()))?;
        let embed = |work: &mut Workspace, group: Range<usize>| {
            let mut sums = vec![Vec::new(); group.len()];
            let first_member = group.start;
            let members = group.map(|index| (index, continuations[index])).filter(|(_, ids)| !ids.is_empty()).collect();
            let mut group = Group::start(self, &prefix, members);
            let mut states = Vec::new();
            while let Some(mut segments) = group.segments() {
                self.forward(&mut segments, work, false, |seen, stream| {
                    if seen == layer {
                        states = if layer == layers { self.final_hidden(stream) } else { stream.to_vec() };
                    }
                })?;
                for Span { continuation, rows, .. } in group.advance() {
                    let d = self.config().hidden_size;
                    let sum = &mut sums[continuation - first_member];
                    sum.resize(d, 0.0);
                    for row in states[rows.start * d..rows.end * d].chunks_exact(d) {
                        sum.iter_mut().zip(row).for_each(|(sum, x): (&mut f64, _)| *sum += f64::from(*x));
                    }
                }
            }
            for (sum, ids) in sums.iter_mut().zip(&continuations[first_member..]) {
                sum.iter_mut().for_each(|x| *x /= ids.len() as f64);
            }
            Ok(sums)
        };
        let embedded: Vec<Vec<Vec<f64>>> = groups(continuations.iter().map(|ids| ids.len()))
            .into_par_iter()
            .map_init(Workspace::default, embed)
            .collect::<LmResult<_>>()?;
        Ok(embedded.into_iter().flatten().collect())
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
