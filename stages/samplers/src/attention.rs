//! `SamplingNetwork`: linear attention over the vocabulary, on tiles of distinct logits.
//!
//! Per block, a first pass over the tiles sums `Σ φ(k)·vᵀ` and `Σ φ(k)` (multiplicities as weights), a second pass finishes the
//! block; the backward pass mirrors both. Heads are blocks on the diagonal of one `d × d` context matrix.

use crate::{
    architecture::SamplingNetwork,
    gate::Gate,
    kernels::{
        View, add, axpy, dot, feature_map, feature_map_backward, multiply_add, product, reserve, scale_shift, sum,
    },
    layout::Layout,
    linear::Linear,
    norm::LayerNorm,
    real::{Real, vectorised},
    row::Row,
    swiglu::SwiGlu,
};

/// Columns of a tile: the activations of one block and tile stay in the second-level cache.
const TILE: usize = 512;
/// Added to the attention's denominator.
const EPS: f64 = 1e-6;
/// The factor of a network without scaling head: softplus(1), a quirk of the reference.
const UNSCALED: f64 = 1.0;

#[derive(Debug)]
struct Block {
    qkv: Linear,
    out: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    ffn: SwiGlu,
}

/// The network's layers.
#[derive(Debug)]
pub(crate) struct Attention {
    width: usize,
    heads: usize,
    encoder: SwiGlu,
    blocks: Vec<Block>,
    transformation: SwiGlu,
    scaling: Option<SwiGlu>,
    truncation: SwiGlu,
}

/// What the forward pass of one block leaves for the backward pass, per tile.
#[derive(Debug, Default)]
struct BlockTile<T> {
    input: Vec<T>,
    /// φ(q), φ(k), v: `[3·width, n]`.
    qkv: Vec<T>,
    attended: Vec<T>,
    /// 1 / denominator of each head: `[heads, n]`.
    inverse: Vec<T>,
    normal1: Vec<T>,
    deviation1: Vec<T>,
    middle: Vec<T>,
    pre: Vec<T>,
    normal2: Vec<T>,
    deviation2: Vec<T>,
}

#[derive(Debug, Default)]
struct Tile<T> {
    start: usize,
    n: usize,
    encoder_pre: Vec<T>,
    blocks: Vec<BlockTile<T>>,
    /// Output of the last block.
    x: Vec<T>,
    head_pre: Vec<T>,
    /// ℓ + modification.
    shifted: Vec<T>,
    gradient: Vec<T>,
    dqkv: Vec<T>,
}

#[derive(Debug, Default)]
struct Scratch<T> {
    hidden: Vec<T>,
    wide: Vec<T>,
    other: Vec<T>,
    norm: Vec<T>,
}

/// Activations and working memory of one row.
#[derive(Debug, Default)]
pub(crate) struct AttentionState<T> {
    tiles: Vec<Tile<T>>,
    /// Per block, `[width, width + heads]`: `Σ φ(k)·vᵀ` in diagonal blocks, then `Σ φ(k)` in its head's column.
    contexts: Vec<Vec<T>>,
    head: Head<T>,
    scratch: Scratch<T>,
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

vectorised! {
    /// `attended = numerator · 1/(denominator + ε)` for one head of `size` features; `inverse` keeps the factor.
    fn divide_head<T: Real>(numerator: &[T], denominator: &[T], inverse: &mut [T], attended: &mut [T]) {
        let n = denominator.len();
        for (inverse, &denominator) in inverse.iter_mut().zip(denominator) {
            *inverse = T::ONE / (denominator + T::of(EPS));
        }
        for (attended, numerator) in attended.chunks_exact_mut(n).zip(numerator.chunks_exact(n)) {
            for ((attended, &numerator), &inverse) in attended.iter_mut().zip(numerator).zip(&*inverse) {
                *attended = numerator * inverse;
            }
        }
    }
}

vectorised! {
    /// Backward of [`divide_head`]: `gradient` holds d attended and becomes d numerator; `slope` becomes d denominator.
    fn divide_head_backward<T: Real>(attended: &[T], inverse: &[T], gradient: &mut [T], slope: &mut [T]) {
        let n = inverse.len();
        slope.fill(T::ZERO);
        for (gradient, attended) in gradient.chunks_exact_mut(n).zip(attended.chunks_exact(n)) {
            let columns = gradient.iter_mut().zip(attended).zip(inverse).zip(&mut *slope);
            for (((gradient, &attended), &inverse), slope) in columns {
                *gradient *= inverse;
                *slope += -(*gradient * attended);
            }
        }
    }
}

impl Attention {
    pub fn new(config: &SamplingNetwork, layout: &mut Layout) -> Self {
        let width = config.d_model;
        let encoder = layout.swiglu("encoder.mlp", 1, 0, width, width);
        let block = |index: usize, layout: &mut Layout| {
            let name = |part: &str| format!("blocks.{index}.{part}");
            Block {
                qkv: layout.linear(&name("qkv_proj"), width, 3 * width),
                out: layout.linear(&name("attention.o_proj"), width, width),
                norm1: layout.layer_norm(&name("norm1"), width),
                norm2: layout.layer_norm(&name("norm2"), width),
                ffn: layout.swiglu(&name("ffn"), width, 0, config.d_ff, width),
            }
        };
        Self {
            width,
            heads: config.n_heads,
            encoder,
            blocks: (0..config.n_blocks).map(|index| block(index, layout)).collect(),
            transformation: layout.swiglu("transformation_head", width, width, width, 1),
            scaling: config.scale.then(|| layout.swiglu("scaling_head", width, 0, width / 2, 1)),
            truncation: layout.swiglu("truncation_head", width, 0, width / 2, 2),
        }
    }

    fn context_stride(&self) -> usize {
        self.width + self.heads
    }

    /// Zeroes what a context matrix holds outside the heads' own blocks.
    fn mask<T: Real>(&self, context: &mut [T]) {
        let size = self.width / self.heads;
        for (feature, row) in context.chunks_exact_mut(self.context_stride()).enumerate() {
            let head = feature / size;
            let (values, sums) = row.split_at_mut(self.width);
            values[..head * size].fill(T::ZERO);
            values[(head + 1) * size..].fill(T::ZERO);
            for (other, sum) in sums.iter_mut().enumerate() {
                if other != head {
                    *sum = T::ZERO;
                }
            }
        }
    }

    /// `keep`: whether a backward pass follows; without it, blocks share their memory.
    pub fn forward<T: Real>(
        &self,
        params: &[T],
        row: &Row<T>,
        keep: bool,
        state: &mut AttentionState<T>,
        modified: &mut [T],
        out: &mut [T],
    ) {
        let AttentionState { tiles, contexts, head, scratch } = state;
        let count = row.ell.len().div_ceil(TILE);
        tiles.resize_with(count, Tile::default);
        contexts.resize_with(self.blocks.len(), Vec::new);
        let slots = if keep { self.blocks.len() } else { self.blocks.len().min(1) };
        for (index, tile) in tiles.iter_mut().enumerate() {
            tile.start = index * TILE;
            tile.n = TILE.min(row.ell.len() - tile.start);
            tile.blocks.resize_with(slots, BlockTile::default);
            let ell = &row.ell[tile.start..tile.start + tile.n];
            let x = reserve(&mut tile.x, self.width * tile.n);
            self.encoder.forward(params, (ell, &[]), tile.n, &mut tile.encoder_pre, &mut scratch.hidden, x);
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let slot = if keep { index } else { 0 };
            let context = &mut contexts[index];
            context.clear();
            context.resize(self.width * self.context_stride(), T::ZERO);
            for tile in tiles.iter_mut() {
                self.gather(block, params, row, slot, tile, scratch, context);
            }
            self.mask(context);
            for tile in tiles.iter_mut() {
                self.finish_block(block, params, slot, tile, scratch, context);
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

    /// First pass of a block: queries, keys and values of a tile, and its share of the context.
    #[expect(clippy::too_many_arguments, reason = "one tile's share of a block")]
    fn gather<T: Real>(
        &self,
        block: &Block,
        params: &[T],
        row: &Row<T>,
        slot: usize,
        tile: &mut Tile<T>,
        scratch: &mut Scratch<T>,
        context: &mut [T],
    ) {
        let (n, width) = (tile.n, self.width);
        let saved = &mut tile.blocks[slot];
        saved.input.clone_from(&tile.x);
        let qkv = reserve(&mut saved.qkv, 3 * width * n);
        block.qkv.forward(params, &saved.input, &[], n, qkv);
        let (qk, values) = qkv.split_at_mut(2 * width * n);
        feature_map(qk);
        let mut keys = &qk[width * n..];
        if !row.counts.is_empty() {
            let counts = &row.counts[tile.start..tile.start + n];
            let weighted = reserve(&mut scratch.wide, width * n);
            for (out, keys) in weighted.chunks_exact_mut(n).zip(keys.chunks_exact(n)) {
                product(keys, counts, out);
            }
            keys = weighted;
        }
        let stride = self.context_stride();
        let (keys_view, values_view) = (View::new(keys, width, n, n), View::new(values, width, n, n));
        multiply_add(keys_view, values_view.transposed(), context, stride, true);
        let size = width / self.heads;
        for (feature, keys) in keys.chunks_exact(n).enumerate() {
            context[feature * stride + width + feature / size] += sum(keys);
        }
    }

    /// Second pass of a block: attention, feed-forward and both norms of a tile.
    fn finish_block<T: Real>(
        &self,
        block: &Block,
        params: &[T],
        slot: usize,
        tile: &mut Tile<T>,
        scratch: &mut Scratch<T>,
        context: &[T],
    ) {
        let (n, width, heads) = (tile.n, self.width, self.heads);
        let stride = self.context_stride();
        let saved = &mut tile.blocks[slot];
        let mixed = reserve(&mut scratch.wide, stride * n);
        let queries = View::new(&saved.qkv[..width * n], width, n, n);
        multiply_add(View::new(context, width, stride, stride).transposed(), queries, mixed, n, false);
        let (numerators, denominators) = mixed.split_at(width * n);
        let attended = reserve(&mut saved.attended, width * n);
        let inverse = reserve(&mut saved.inverse, heads * n);
        let size = width / heads * n;
        for head in 0..heads {
            divide_head(
                &numerators[head * size..(head + 1) * size],
                &denominators[head * n..(head + 1) * n],
                &mut inverse[head * n..(head + 1) * n],
                &mut attended[head * size..(head + 1) * size],
            );
        }
        let normal1 = reserve(&mut saved.normal1, width * n);
        block.out.forward(params, attended, &[], n, normal1);
        add(&saved.input, normal1);
        let middle = reserve(&mut saved.middle, width * n);
        block.norm1.forward(params, n, normal1, &mut saved.deviation1, &mut scratch.norm, middle);
        let normal2 = reserve(&mut saved.normal2, width * n);
        block.ffn.forward(params, (middle, &[]), n, &mut saved.pre, &mut scratch.hidden, normal2);
        add(middle, normal2);
        block.norm2.forward(params, n, normal2, &mut saved.deviation2, &mut scratch.norm, &mut tile.x);
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

    /// After a forward pass with `keep`: `gradient` holds d out and is used up; parameter gradients are added to `grads`.
    pub fn backward<T: Real>(
        &self,
        params: &[T],
        row: &Row<T>,
        state: &mut AttentionState<T>,
        modified: &[T],
        gradient: &mut [T],
        grads: &mut [T],
    ) {
        let AttentionState { tiles, contexts, head, scratch } = state;
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
        let mut dcontext = Vec::new();
        for (index, block) in self.blocks.iter().enumerate().rev() {
            dcontext.clear();
            dcontext.resize(self.width * self.context_stride(), T::ZERO);
            for tile in tiles.iter_mut() {
                self.finish_block_backward(block, params, index, tile, scratch, &contexts[index], &mut dcontext, grads);
            }
            self.mask(&mut dcontext);
            for tile in tiles.iter_mut() {
                self.gather_backward(block, params, row, index, tile, &dcontext, grads);
            }
        }
        for tile in tiles.iter_mut() {
            let ell = &row.ell[tile.start..tile.start + tile.n];
            let (pre, hidden) = (&mut tile.encoder_pre, &mut scratch.hidden);
            self.encoder.backward(params, (ell, &[]), tile.n, pre, hidden, &tile.gradient, grads, &mut [], None);
        }
    }

    /// From the gradient of the block's output to that of φ(q), of the context, and of the residual input.
    #[expect(clippy::too_many_arguments, reason = "one tile's share of a block")]
    fn finish_block_backward<T: Real>(
        &self,
        block: &Block,
        params: &[T],
        index: usize,
        tile: &mut Tile<T>,
        scratch: &mut Scratch<T>,
        context: &[T],
        dcontext: &mut [T],
        grads: &mut [T],
    ) {
        let (n, width, heads) = (tile.n, self.width, self.heads);
        let stride = self.context_stride();
        let saved = &mut tile.blocks[index];
        let norm2 = (&saved.normal2[..], &saved.deviation2[..]);
        block.norm2.backward(params, n, norm2, &mut scratch.norm, &mut tile.gradient, grads);
        let dmiddle = reserve(&mut scratch.other, width * n);
        dmiddle.copy_from_slice(&tile.gradient);
        block.ffn.backward(
            params,
            (&saved.middle, &[]),
            n,
            &mut saved.pre,
            &mut scratch.hidden,
            &tile.gradient,
            grads,
            &mut [],
            Some((&mut *dmiddle, true)),
        );
        let norm1 = (&saved.normal1[..], &saved.deviation1[..]);
        block.norm1.backward(params, n, norm1, &mut scratch.norm, dmiddle, grads);
        block.out.backward_params(params, (&saved.attended, &[]), dmiddle, n, grads, &mut []);
        let dmixed = reserve(&mut scratch.wide, stride * n);
        block.out.backward_input(params, dmiddle, n, dmixed, false);
        std::mem::swap(&mut tile.gradient, &mut scratch.other);
        let (dnumerators, ddenominators) = dmixed.split_at_mut(width * n);
        let size = width / heads * n;
        for head in 0..heads {
            divide_head_backward(
                &saved.attended[head * size..(head + 1) * size],
                &saved.inverse[head * n..(head + 1) * n],
                &mut dnumerators[head * size..(head + 1) * size],
                &mut ddenominators[head * n..(head + 1) * n],
            );
        }
        let queries = &saved.qkv[..width * n];
        let dmixed = View::new(dmixed, stride, n, n);
        multiply_add(View::new(queries, width, n, n), dmixed.transposed(), dcontext, stride, true);
        let dqkv = reserve(&mut tile.dqkv, 3 * width * n);
        multiply_add(View::new(context, width, stride, stride), dmixed, dqkv, n, false);
        feature_map_backward(queries, &mut dqkv[..width * n]);
    }

    /// From the gradient of the context to that of keys and values, and on to the block's input.
    #[expect(clippy::too_many_arguments, reason = "one tile's share of a block")]
    fn gather_backward<T: Real>(
        &self,
        block: &Block,
        params: &[T],
        row: &Row<T>,
        index: usize,
        tile: &mut Tile<T>,
        dcontext: &[T],
        grads: &mut [T],
    ) {
        let (n, width) = (tile.n, self.width);
        let stride = self.context_stride();
        let saved = &tile.blocks[index];
        let (keys, values) = saved.qkv[width * n..].split_at(width * n);
        let (dkeys, dvalues) = tile.dqkv[width * n..].split_at_mut(width * n);
        let size = width / self.heads;
        for (feature, dkeys) in dkeys.chunks_exact_mut(n).enumerate() {
            dkeys.fill(dcontext[feature * stride + width + feature / size]);
        }
        let slope = View::new(dcontext, width, width, stride);
        multiply_add(slope, View::new(values, width, n, n), dkeys, n, true);
        multiply_add(slope.transposed(), View::new(keys, width, n, n), dvalues, n, false);
        feature_map_backward(keys, dkeys);
        if !row.counts.is_empty() {
            let counts = &row.counts[tile.start..tile.start + n];
            for gradient in dkeys.chunks_exact_mut(n).chain(dvalues.chunks_exact_mut(n)) {
                for (gradient, &count) in gradient.iter_mut().zip(counts) {
                    *gradient *= count;
                }
            }
        }
        block.qkv.backward_params(params, (&saved.input, &[]), &tile.dqkv, n, grads, &mut []);
        block.qkv.backward_input(params, &tile.dqkv, n, &mut tile.gradient, true);
    }
}
