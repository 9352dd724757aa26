//! `SamplingNetwork`: linear attention over the vocabulary, on tiles of distinct logits.
//!
//! Per block, a first pass over the tiles sums the context (multiplicities as weights), a second pass finishes the block, and goes
//! on at once to the first pass of the next one while the tile is in the cache; the backward pass mirrors both. Short rows keep
//! all activations for it. Long rows keep the inputs of a few blocks and recompute the rest tile by tile, so that memory does
//! not grow with the number of blocks.

use crate::{
    architecture::SamplingNetwork,
    attention_block::{Activations, Block, Scratch},
    buffer::{Buffer, reserve},
    gate::Gate,
    kernels::{add, axpy, dot, scale_shift, sum},
    layout::Layout,
    real::Real,
    row::Row,
    swiglu::SwiGlu,
};

/// Columns of a tile: the activations of one block and tile stay in the second-level cache. A multiple of the 48 columns that a
/// product works on at once, and an odd number of cache lines, so that the rows of a tile do not compete for the same ones.
const TILE: usize = 432;
/// The factor of a network without scaling head: softplus(1), a quirk of the reference.
const UNSCALED: f64 = 1.0;
/// Rows whose activations take more bytes than this recompute them in the backward pass.
const KEPT_BYTES: usize = 64 << 20;
/// How many blocks' inputs a recomputing backward pass starts from, besides the encoder's output.
const CHECKPOINTS: usize = 3;

/// The network's layers.
#[derive(Debug)]
pub(crate) struct Attention {
    width: usize,
    encoder: SwiGlu,
    blocks: Vec<Block>,
    transformation: SwiGlu,
    scaling: Option<SwiGlu>,
    truncation: SwiGlu,
}

/// What a forward pass leaves for the backward pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kept {
    /// No backward pass follows.
    #[default]
    Nothing,
    /// The input of every so many blocks.
    Inputs { every: usize },
    /// All activations, and the inputs of all blocks.
    Everything,
}

impl Kept {
    /// The input of every how many blocks is there.
    fn every(self) -> Option<usize> {
        match self {
            Self::Nothing => None,
            Self::Inputs { every } => Some(every),
            Self::Everything => Some(1),
        }
    }
}

#[derive(Debug, Default)]
struct Tile<T> {
    start: usize,
    n: usize,
    /// One per block where everything is kept.
    activations: Vec<Activations<T>>,
    /// The inputs of blocks `every`, `2·every`, and so on.
    inputs: Vec<Buffer<T>>,
    /// Input of the block at work, at last the output of the last one.
    x: Buffer<T>,
    head_pre: Buffer<T>,
    /// ℓ + modification.
    shifted: Buffer<T>,
    gradient: Buffer<T>,
}

/// Activations and working memory of one row.
#[derive(Debug, Default)]
pub(crate) struct AttentionState<T> {
    kept: Kept,
    tiles: Vec<Tile<T>>,
    /// Per block, its context matrix.
    contexts: Vec<Vec<T>>,
    head: Head<T>,
    /// Activations that are not kept.
    passing: Activations<T>,
    /// Input of the block at work in the backward pass.
    input: Buffer<T>,
    encoder_pre: Buffer<T>,
    scratch: Scratch<T>,
}

impl<T: Real> AttentionState<T> {
    /// The truncation of the row that was evaluated last.
    pub fn gate(&self) -> Gate<T> {
        self.head.gate()
    }
}

/// The parts that exist once per row.
#[derive(Debug, Default)]
struct Head<T> {
    mean: Vec<T>,
    raw_factor: T,
    factor: T,
    factor_pre: Vec<T>,
    raw_gate: [T; 2],
    gate_pre: Vec<T>,
}

impl<T: Real> Head<T> {
    fn gate(&self) -> Gate<T> {
        Gate { scale: self.raw_gate[0].softplus(), threshold: self.raw_gate[1].softplus() }
    }
}

fn copy<T: Real>(from: &[T], to: &mut Buffer<T>) {
    reserve(to, from.len()).copy_from_slice(from);
}

/// A tile's part of the multiplicities, which are empty where all are 1.
fn counts_of<T>(counts: &[T], start: usize, n: usize) -> &[T] {
    if counts.is_empty() { counts } else { &counts[start..start + n] }
}

impl Attention {
    pub fn new(config: &SamplingNetwork, layout: &mut Layout) -> Self {
        let width = config.d_model;
        Self {
            width,
            encoder: layout.swiglu("encoder.mlp", 1, 0, width, width),
            blocks: (0..config.n_blocks).map(|index| Block::new(config, index, layout)).collect(),
            transformation: layout.swiglu("transformation_head", width, width, width, 1),
            scaling: config.scale.then(|| layout.swiglu("scaling_head", width, 0, width / 2, 1)),
            truncation: layout.swiglu("truncation_head", width, 0, width / 2, 2),
        }
    }

    /// What to keep of a row for its backward pass.
    fn kept<T>(&self, columns: usize) -> Kept {
        let per_column: usize = self.blocks.iter().map(Block::activations).sum();
        if per_column * columns * size_of::<T>() <= KEPT_BYTES {
            Kept::Everything
        } else {
            Kept::Inputs { every: self.blocks.len().div_ceil(CHECKPOINTS + 1) }
        }
    }

    /// `train`: whether a backward pass follows.
    pub fn forward<T: Real>(
        &self,
        params: &[T],
        row: &Row<T>,
        train: bool,
        state: &mut AttentionState<T>,
        modified: &mut [T],
        out: &mut [T],
    ) {
        let kept = if train { self.kept::<T>(row.ell.len()) } else { Kept::Nothing };
        self.forward_keeping(params, row, kept, state, modified, out);
    }

    fn forward_keeping<T: Real>(
        &self,
        params: &[T],
        row: &Row<T>,
        kept: Kept,
        state: &mut AttentionState<T>,
        modified: &mut [T],
        out: &mut [T],
    ) {
        state.kept = kept;
        let AttentionState { tiles, contexts, head, passing, encoder_pre, scratch, .. } = state;
        tiles.resize_with(row.ell.len().div_ceil(TILE), Tile::default);
        contexts.resize_with(self.blocks.len(), Vec::new);
        for (block, context) in self.blocks.iter().zip(&mut *contexts) {
            context.clear();
            context.resize(block.context_len(), T::ZERO);
        }
        let inputs = kept.every().map_or(0, |every| self.blocks.len().saturating_sub(1) / every);
        let activations = if kept == Kept::Everything { self.blocks.len() } else { 0 };
        for (index, tile) in tiles.iter_mut().enumerate() {
            tile.start = index * TILE;
            tile.n = TILE.min(row.ell.len() - tile.start);
            tile.inputs.resize_with(inputs, Buffer::default);
            tile.activations.resize_with(activations, Activations::default);
            let ell = &row.ell[tile.start..tile.start + tile.n];
            let x = reserve(&mut tile.x, self.width * tile.n);
            self.encoder.forward(params, (ell, &[]), tile.n, encoder_pre, &mut scratch.hidden, x);
            if let Some(block) = self.blocks.first() {
                let counts = counts_of(&row.counts, tile.start, tile.n);
                let saved = tile.activations.first_mut().unwrap_or(passing);
                block.project(params, tile.n, x, saved);
                block.add_context(tile.n, counts, saved, scratch, &mut contexts[0]);
            }
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let (contexts, next_contexts) = contexts.split_at_mut(index + 1);
            for tile in tiles.iter_mut() {
                let saved = tile.activations.get_mut(index).unwrap_or(passing);
                block.finish(params, tile.n, &contexts[index], saved, scratch, &mut tile.x);
                let Some(next) = self.blocks.get(index + 1) else { continue };
                if let Some(every) = kept.every()
                    && (index + 1).is_multiple_of(every)
                {
                    copy(&tile.x, &mut tile.inputs[(index + 1) / every - 1]);
                }
                let counts = counts_of(&row.counts, tile.start, tile.n);
                let saved = tile.activations.get_mut(index + 1).unwrap_or(passing);
                next.project(params, tile.n, &tile.x, saved);
                next.add_context(tile.n, counts, saved, scratch, &mut next_contexts[0]);
            }
        }
        self.forward_head(params, row, tiles, head);
        for tile in tiles.iter_mut() {
            let range = tile.start..tile.start + tile.n;
            let shifted = reserve(&mut tile.shifted, tile.n);
            let x = (&tile.x[..], &head.mean[..]);
            self.transformation.forward(params, x, tile.n, &mut tile.head_pre, &mut scratch.hidden, shifted);
            add(&row.ell[range.clone()], shifted);
            scale_shift(head.factor, shifted, T::ZERO, &mut modified[range]);
        }
        head.gate().forward(modified, out);
    }

    /// The mean over the vocabulary, and what follows from it alone.
    fn forward_head<T: Real>(&self, params: &[T], row: &Row<T>, tiles: &[Tile<T>], head: &mut Head<T>) {
        head.mean.clear();
        head.mean.resize(self.width, T::ZERO);
        for tile in tiles {
            for (mean, x) in head.mean.iter_mut().zip(tile.x.chunks_exact(tile.n)) {
                *mean += if row.counts.is_empty() { sum(x) } else { dot(x, &row.counts[tile.start..][..tile.n]) };
            }
        }
        head.mean.iter_mut().for_each(|mean| *mean = *mean / row.total);
        head.gate_pre = self.truncation.forward_vector(params, &head.mean, &mut head.raw_gate);
        head.raw_factor = T::of(UNSCALED);
        if let Some(scaling) = &self.scaling {
            head.factor_pre = scaling.forward_vector(params, &head.mean, std::slice::from_mut(&mut head.raw_factor));
        }
        head.factor = head.raw_factor.softplus();
    }

    /// After a forward pass with `train`: `gradient` holds d out and is used up; parameter gradients are added to `grads`.
    pub fn backward<T: Real>(
        &self,
        params: &[T],
        row: &Row<T>,
        state: &mut AttentionState<T>,
        modified: &[T],
        gradient: &mut [T],
        grads: &mut [T],
    ) {
        self.backward_head(params, row, state, modified, gradient, grads);
        // Of the block at work, and of the one after it, whose first pass is still to be gone back through.
        let (mut dcontext, mut dnext) = (Vec::new(), Vec::new());
        for (index, block) in self.blocks.iter().enumerate().rev() {
            std::mem::swap(&mut dcontext, &mut dnext);
            dcontext.clear();
            dcontext.resize(block.context_len(), T::ZERO);
            for tile in 0..state.tiles.len() {
                self.recompute(params, row, index, tile, state);
                let AttentionState { tiles, contexts, passing, input, scratch, .. } = &mut *state;
                let Tile { start, n, x, gradient, activations, inputs, .. } = &mut tiles[tile];
                if let Some(next) = self.blocks.get(index + 1) {
                    let counts = counts_of(&row.counts, *start, *n);
                    let (output, saved) = match activations.get(index + 1) {
                        Some(saved) => (&inputs[index], saved),
                        None => {
                            next.project(params, *n, x, passing);
                            (&*x, &*passing)
                        }
                    };
                    next.context_backward(params, *n, output, counts, &dnext, saved, scratch, gradient, grads);
                }
                let saved = activations.get_mut(index).unwrap_or(passing);
                let context = &contexts[index];
                block.finish_backward(params, *n, input, context, saved, scratch, gradient, &mut dcontext, grads);
            }
        }
        let AttentionState { tiles, passing, encoder_pre, scratch, .. } = state;
        for Tile { start, n, x, gradient, .. } in tiles.iter_mut() {
            let (ell, counts) = (&row.ell[*start..*start + *n], counts_of(&row.counts, *start, *n));
            self.encoder.forward(params, (ell, &[]), *n, encoder_pre, &mut scratch.hidden, x);
            if let Some(first) = self.blocks.first() {
                first.project(params, *n, x, passing);
                first.context_backward(params, *n, x, counts, &dcontext, passing, scratch, gradient, grads);
            }
            let hidden = &mut scratch.hidden;
            self.encoder.backward(params, (ell, &[]), *n, encoder_pre, hidden, gradient, grads, &mut [], None);
        }
    }

    /// Brings back, for one tile, the input of block `index` and, unless they were kept, its activations (in `passing`) and its
    /// output (in the tile's `x`).
    fn recompute<T: Real>(&self, params: &[T], row: &Row<T>, index: usize, tile: usize, state: &mut AttentionState<T>) {
        let AttentionState { kept, tiles, contexts, passing, input, encoder_pre, scratch, .. } = state;
        let Tile { start, n, inputs, x, .. } = &mut tiles[tile];
        // A backward pass follows only a forward pass that kept something.
        let every = kept.every().unwrap_or(1);
        let first = index / every * every;
        if first == 0 {
            let ell = &row.ell[*start..*start + *n];
            let input = reserve(input, self.width * *n);
            self.encoder.forward(params, (ell, &[]), *n, encoder_pre, &mut scratch.hidden, input);
        } else {
            copy(&inputs[first / every - 1], input);
        }
        if *kept == Kept::Everything {
            return;
        }
        for (block, context) in self.blocks[first..index].iter().zip(&contexts[first..index]) {
            block.finish(params, *n, context, passing, scratch, input);
        }
        copy(input, x);
        self.blocks[index].finish(params, *n, &contexts[index], passing, scratch, x);
    }

    /// From the gradient of the output to that of the last block's output, in each tile's `gradient`.
    fn backward_head<T: Real>(
        &self,
        params: &[T],
        row: &Row<T>,
        state: &mut AttentionState<T>,
        modified: &[T],
        gradient: &mut [T],
        grads: &mut [T],
    ) {
        let AttentionState { tiles, head, scratch, .. } = state;
        let gate = head.gate().backward(modified, gradient);
        let mut dmean = vec![T::ZERO; self.width];
        let mut dfactor = T::ZERO;
        for tile in tiles.iter_mut() {
            let dmodified = &gradient[tile.start..tile.start + tile.n];
            dfactor += dot(dmodified, &tile.shifted);
            let dshifted = reserve(&mut scratch.other, tile.n);
            scale_shift(head.factor, dmodified, T::ZERO, dshifted);
            let dx = reserve(&mut tile.gradient, self.width * tile.n);
            let x = (&tile.x[..], &head.mean[..]);
            let (pre, hidden) = (&mut tile.head_pre, &mut scratch.hidden);
            let dx = Some((dx, false));
            self.transformation.backward(params, x, tile.n, pre, hidden, dshifted, grads, &mut dmean, dx);
        }
        let draw = [gate.scale * head.raw_gate[0].sigmoid(), gate.threshold * head.raw_gate[1].sigmoid()];
        let pre = std::mem::take(&mut head.gate_pre);
        self.truncation.backward_vector(params, &head.mean, pre, &draw, grads, &mut dmean);
        if let Some(scaling) = &self.scaling {
            let draw = [dfactor * head.raw_factor.sigmoid()];
            let pre = std::mem::take(&mut head.factor_pre);
            scaling.backward_vector(params, &head.mean, pre, &draw, grads, &mut dmean);
        }
        for tile in tiles.iter_mut() {
            for (dx, &dmean) in tile.gradient.chunks_exact_mut(tile.n).zip(&dmean) {
                let share = dmean / row.total;
                if row.counts.is_empty() {
                    dx.iter_mut().for_each(|dx| *dx += share);
                } else {
                    axpy(share, &row.counts[tile.start..][..tile.n], dx);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recomputed_activations_give_the_same_gradient_to_the_bit() {
        for n_blocks in [1, 2, 4, 5, 9] {
            let config = SamplingNetwork { d_model: 12, d_ff: 20, n_blocks, n_heads: 3, scale: true };
            let mut layout = Layout::default();
            let network = Attention::new(&config, &mut layout);
            let params: Vec<f32> =
                (0..layout.len()).map(|index| ((index * 37 % 101) as f32 / 50.0 - 1.0) * 0.3).collect();
            let ell: Vec<f32> = (0..1300).map(|index| -((index % 251) as f32) / 9.0 - 1.0).collect();
            let counts = vec![];
            let row = Row { total: ell.len() as f32, ell, counts, statistics: vec![] };
            let slopes: Vec<f32> = (0..1300).map(|index| (index % 17) as f32 / 9.0 - 1.0).collect();
            let backward = |kept: Kept| {
                let mut state = AttentionState::default();
                let (mut modified, mut out) = (vec![0.0; row.ell.len()], vec![0.0; row.ell.len()]);
                network.forward_keeping(&params, &row, kept, &mut state, &mut modified, &mut out);
                let mut grads = vec![0.0; params.len()];
                network.backward(&params, &row, &mut state, &modified, &mut slopes.clone(), &mut grads);
                (out, grads)
            };
            let (out, grads) = backward(Kept::Everything);
            for every in 1..=n_blocks {
                let (same_out, same_grads) = backward(Kept::Inputs { every });
                assert!(out == same_out && grads == same_grads, "{n_blocks} blocks, every {every}");
            }
            assert!(grads.iter().filter(|gradient| **gradient == 0.0).count() < grads.len() / 4);
        }
    }
}
