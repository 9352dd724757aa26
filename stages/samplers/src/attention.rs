//! `SamplingNetwork`: linear attention over the vocabulary, on tiles of distinct logits.
//!
//! Per block, a first pass over the tiles sums the context (multiplicities as weights), a second pass finishes the block; the
//! backward pass mirrors both. Short rows keep all activations for it. Long rows keep the input of a few blocks and recompute
//! the rest tile by tile, so that memory does not grow with the number of blocks.

use crate::{
    architecture::SamplingNetwork,
    attention_block::{Activations, Block, Projection, Scratch},
    gate::Gate,
    kernels::{add, axpy, dot, reserve, scale_shift, sum},
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
    Inputs {
        every: usize,
    },
    Everything,
}

#[derive(Debug, Default)]
struct Tile<T> {
    start: usize,
    n: usize,
    /// One per block where everything is kept, otherwise one for the block at work.
    projections: Vec<Projection<T>>,
    /// One per block where everything is kept, otherwise none.
    activations: Vec<Activations<T>>,
    /// The inputs of blocks `every`, `2·every`, and so on.
    inputs: Vec<Vec<T>>,
    /// Output of the last block.
    x: Vec<T>,
    head_pre: Vec<T>,
    /// ℓ + modification.
    shifted: Vec<T>,
    gradient: Vec<T>,
    dqkv: Vec<T>,
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
    /// Values of a block that is only passed through on the way to another.
    passing_projection: Projection<T>,
    encoder_pre: Vec<T>,
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
        let blocks = self.blocks.len();
        let (projections, activations, inputs) = match kept {
            Kept::Nothing => (1, 0, 0),
            Kept::Inputs { every } => (1, 0, blocks.saturating_sub(1) / every.max(1)),
            Kept::Everything => (blocks, blocks, 0),
        };
        for (index, tile) in tiles.iter_mut().enumerate() {
            tile.start = index * TILE;
            tile.n = TILE.min(row.ell.len() - tile.start);
            tile.projections.resize_with(projections, Projection::default);
            tile.activations.resize_with(activations, Activations::default);
            tile.inputs.resize_with(inputs, Vec::new);
            let ell = &row.ell[tile.start..tile.start + tile.n];
            let x = reserve(&mut tile.x, self.width * tile.n);
            self.encoder.forward(params, (ell, &[]), tile.n, encoder_pre, &mut scratch.hidden, x);
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let context = &mut contexts[index];
            context.clear();
            context.resize(block.context_len(), T::ZERO);
            for tile in tiles.iter_mut() {
                if let Kept::Inputs { every } = kept
                    && index > 0
                    && index % every == 0
                {
                    tile.inputs[index / every - 1].clone_from(&tile.x);
                }
                let slot = if kept == Kept::Everything { index } else { 0 };
                let projection = &mut tile.projections[slot];
                block.project(params, tile.n, &tile.x, projection);
                block.add_context(tile.n, projection, counts_of(&row.counts, tile.start, tile.n), scratch, context);
            }
            for tile in tiles.iter_mut() {
                let (projection, saved) = match kept {
                    Kept::Everything => (&tile.projections[index], &mut tile.activations[index]),
                    _ => (&tile.projections[0], &mut *passing),
                };
                block.finish(params, tile.n, projection, context, saved, scratch, &mut tile.x);
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
        let mut dcontext = Vec::new();
        for (index, block) in self.blocks.iter().enumerate().rev() {
            dcontext.clear();
            dcontext.resize(block.context_len(), T::ZERO);
            for tile in 0..state.tiles.len() {
                if state.kept != Kept::Everything {
                    self.recompute(params, row, index, tile, state);
                }
                let AttentionState { kept, tiles, contexts, passing, scratch, .. } = &mut *state;
                let Tile { n, projections, activations, gradient, dqkv, .. } = &mut tiles[tile];
                let (projection, saved) = match kept {
                    Kept::Everything => (&projections[index], &mut activations[index]),
                    _ => (&projections[0], passing),
                };
                let gradients = (gradient, dqkv);
                let context = &contexts[index];
                block.finish_backward(params, *n, projection, context, saved, scratch, gradients, &mut dcontext, grads);
            }
            for Tile { start, n, projections, gradient, dqkv, .. } in &mut state.tiles {
                let projection = &projections[if state.kept == Kept::Everything { index } else { 0 }];
                let counts = counts_of(&row.counts, *start, *n);
                block.project_backward(params, *n, projection, counts, &dcontext, (gradient, dqkv), grads);
            }
        }
        let AttentionState { tiles, encoder_pre, scratch, .. } = state;
        for tile in tiles.iter_mut() {
            let ell = &row.ell[tile.start..tile.start + tile.n];
            self.encoder.forward(params, (ell, &[]), tile.n, encoder_pre, &mut scratch.hidden, &mut tile.x);
            let hidden = &mut scratch.hidden;
            self.encoder.backward(
                params,
                (ell, &[]),
                tile.n,
                encoder_pre,
                hidden,
                &tile.gradient,
                grads,
                &mut [],
                None,
            );
        }
    }

    /// Brings back what the forward pass of block `index` left for one tile: the projection in the tile, the activations in
    /// `passing`. Overwrites the tile's `x`.
    fn recompute<T: Real>(&self, params: &[T], row: &Row<T>, index: usize, tile: usize, state: &mut AttentionState<T>) {
        let AttentionState { kept, tiles, contexts, passing, passing_projection, encoder_pre, scratch, .. } = state;
        let tile = &mut tiles[tile];
        let every = if let Kept::Inputs { every } = kept { *every } else { self.blocks.len() };
        let first = index / every * every;
        if first == 0 {
            let ell = &row.ell[tile.start..tile.start + tile.n];
            self.encoder.forward(params, (ell, &[]), tile.n, encoder_pre, &mut scratch.hidden, &mut tile.x);
        } else {
            tile.x.clone_from(&tile.inputs[first / every - 1]);
        }
        for (block, context) in self.blocks[first..index].iter().zip(&contexts[first..index]) {
            block.project(params, tile.n, &tile.x, passing_projection);
            block.finish(params, tile.n, passing_projection, context, passing, scratch, &mut tile.x);
        }
        let (block, projection) = (&self.blocks[index], &mut tile.projections[0]);
        block.project(params, tile.n, &tile.x, projection);
        block.finish(params, tile.n, projection, &contexts[index], passing, scratch, &mut tile.x);
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
