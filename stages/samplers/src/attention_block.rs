//! One block of `SamplingNetwork` on a tile of distinct logits: linear attention, feed-forward, two norms.
//!
//! Heads are blocks on the diagonal of one `[width, width + heads]` context matrix: `Σ φ(k)·vᵀ`, then `Σ φ(k)` in its head's
//! column; what lies outside the blocks is 0 and not looked at.

use crate::{
    architecture::SamplingNetwork,
    buffer::{Buffer, reserve},
    kernels::{View, add, feature_map, feature_map_backward, fill, multiply_add, product, sum},
    layout::Layout,
    linear::Linear,
    norm::LayerNorm,
    real::{Real, vectorised},
    swiglu::SwiGlu,
};

/// Added to the attention's denominator.
const EPS: f64 = 1e-6;

/// The layers of one block.
#[derive(Debug)]
pub(crate) struct Block {
    width: usize,
    heads: usize,
    /// The first third of `qkv_proj`.
    queries: Linear,
    /// The rest of it.
    keys_values: Linear,
    out: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    ffn: SwiGlu,
}

/// What the two passes of a block leave for the backward pass, per tile.
#[derive(Debug, Default)]
pub(crate) struct Activations<T> {
    /// φ(k), v: `[2·width, n]`.
    keys_values: Buffer<T>,
    /// φ(q): `[width, n]`.
    queries: Buffer<T>,
    attended: Buffer<T>,
    /// 1 / denominator of each head: `[heads, n]`.
    inverse: Buffer<T>,
    normal1: Buffer<T>,
    deviation1: Buffer<T>,
    middle: Buffer<T>,
    pre: Buffer<T>,
    normal2: Buffer<T>,
    deviation2: Buffer<T>,
}

/// Working memory of one tile.
#[derive(Debug, Default)]
pub(crate) struct Scratch<T> {
    pub hidden: Buffer<T>,
    wide: Buffer<T>,
    pub other: Buffer<T>,
    norm: Buffer<T>,
    /// d q, or d k and d v.
    slopes: Buffer<T>,
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

impl Block {
    pub fn new(config: &SamplingNetwork, index: usize, layout: &mut Layout) -> Self {
        let (width, name) = (config.d_model, |part: &str| format!("blocks.{index}.{part}"));
        let qkv = layout.linear(&name("qkv_proj"), width, 3 * width);
        let (weight, bias) = (qkv.weight + width * width, qkv.bias + width);
        Self {
            width,
            heads: config.n_heads,
            queries: Linear { outputs: width, ..qkv },
            keys_values: Linear { outputs: 2 * width, weight, bias, ..qkv },
            out: layout.linear(&name("attention.o_proj"), width, width),
            norm1: layout.layer_norm(&name("norm1"), width),
            norm2: layout.layer_norm(&name("norm2"), width),
            ffn: layout.swiglu(&name("ffn"), width, 0, config.d_ff, width),
        }
    }

    fn context_stride(&self) -> usize {
        self.width + self.heads
    }

    /// Elements of a context matrix.
    pub fn context_len(&self) -> usize {
        self.width * self.context_stride()
    }

    /// Where a head's `Σ φ(k)·vᵀ` begins in a context matrix.
    fn head_values(&self, head: usize) -> usize {
        let first = head * (self.width / self.heads);
        first * self.context_stride() + first
    }

    /// Where a head's `Σ φ(k)`, a column, begins in a context matrix.
    fn head_sums(&self, head: usize) -> usize {
        head * (self.width / self.heads) * self.context_stride() + self.width + head
    }

    /// Elements per column that [`Activations`] and the block's input take.
    pub fn activations(&self) -> usize {
        8 * self.width + self.heads + 2 * self.ffn.down.inputs + 2
    }

    /// The keys and values of a tile.
    pub fn project<T: Real>(&self, params: &[T], n: usize, input: &[T], saved: &mut Activations<T>) {
        let keys_values = reserve(&mut saved.keys_values, 2 * self.width * n);
        self.keys_values.forward(params, input, &[], n, keys_values);
        feature_map(&mut keys_values[..self.width * n]);
    }

    /// First pass: adds a tile's keys and values to the context; `counts` are empty where all are 1.
    pub fn add_context<T: Real>(
        &self,
        n: usize,
        counts: &[T],
        saved: &Activations<T>,
        scratch: &mut Scratch<T>,
        context: &mut [T],
    ) {
        let (width, stride) = (self.width, self.context_stride());
        let (mut keys, values) = saved.keys_values.split_at(width * n);
        if !counts.is_empty() {
            let weighted = reserve(&mut scratch.wide, width * n);
            for (out, keys) in weighted.chunks_exact_mut(n).zip(keys.chunks_exact(n)) {
                product(keys, counts, out);
            }
            keys = weighted;
        }
        let size = width / self.heads;
        for (head, (keys, values)) in keys.chunks_exact(size * n).zip(values.chunks_exact(size * n)).enumerate() {
            let (keys, values) = (View::new(keys, size, n, n), View::new(values, size, n, n));
            multiply_add(keys, values.transposed(), &mut context[self.head_values(head)..], stride, true);
        }
        for (feature, keys) in keys.chunks_exact(n).enumerate() {
            context[feature * stride + width + feature / size] += sum(keys);
        }
    }

    /// Second pass: attention, feed-forward and both norms of a tile; `x: [width, n]`, the block's input, becomes its output.
    pub fn finish<T: Real>(
        &self,
        params: &[T],
        n: usize,
        context: &[T],
        saved: &mut Activations<T>,
        scratch: &mut Scratch<T>,
        x: &mut [T],
    ) {
        let (width, heads, stride) = (self.width, self.heads, self.context_stride());
        let queries = reserve(&mut saved.queries, width * n);
        self.queries.forward(params, x, &[], n, queries);
        feature_map(queries);
        let mixed = reserve(&mut scratch.wide, stride * n);
        let (numerators, denominators) = mixed.split_at_mut(width * n);
        let size = width / heads;
        for (head, queries) in queries.chunks_exact(size * n).enumerate() {
            let queries = View::new(queries, size, n, n);
            let values = View::new(&context[self.head_values(head)..], size, size, stride).transposed();
            multiply_add(values, queries, &mut numerators[head * size * n..], n, false);
            let sums = View::new(&context[self.head_sums(head)..], size, 1, stride).transposed();
            multiply_add(sums, queries, &mut denominators[head * n..], n, false);
        }
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
        self.out.forward(params, attended, &[], n, normal1);
        add(x, normal1);
        let middle = reserve(&mut saved.middle, width * n);
        self.norm1.forward(params, n, normal1, &mut saved.deviation1, &mut scratch.norm, middle);
        let normal2 = reserve(&mut saved.normal2, width * n);
        self.ffn.forward(params, (middle, &[]), n, &mut saved.pre, &mut scratch.hidden, normal2);
        add(middle, normal2);
        self.norm2.forward(params, n, normal2, &mut saved.deviation2, &mut scratch.norm, x);
    }

    /// Backward of [`Block::finish`]: `gradient` holds that of the block's output and becomes that of its input, but for the
    /// way through keys and values, which begins in `dcontext`.
    #[expect(clippy::too_many_arguments, reason = "one tile's share of a block")]
    pub fn finish_backward<T: Real>(
        &self,
        params: &[T],
        n: usize,
        input: &[T],
        context: &[T],
        saved: &mut Activations<T>,
        scratch: &mut Scratch<T>,
        gradient: &mut Buffer<T>,
        dcontext: &mut [T],
        grads: &mut [T],
    ) {
        let (width, heads, stride) = (self.width, self.heads, self.context_stride());
        let norm2 = (&saved.normal2[..], &saved.deviation2[..]);
        self.norm2.backward(params, n, norm2, &mut scratch.norm, gradient, grads);
        let dmiddle = reserve(&mut scratch.other, width * n);
        dmiddle.copy_from_slice(gradient);
        self.ffn.backward(
            params,
            (&saved.middle, &[]),
            n,
            &mut saved.pre,
            &mut scratch.hidden,
            gradient,
            grads,
            &mut [],
            Some((&mut *dmiddle, true)),
        );
        let norm1 = (&saved.normal1[..], &saved.deviation1[..]);
        self.norm1.backward(params, n, norm1, &mut scratch.norm, dmiddle, grads);
        self.out.backward_params(params, (&saved.attended, &[]), dmiddle, n, grads, &mut []);
        let dmixed = reserve(&mut scratch.wide, stride * n);
        self.out.backward_input(params, dmiddle, n, dmixed, false);
        std::mem::swap(gradient, &mut scratch.other);
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
        let slopes = reserve(&mut scratch.slopes, width * n);
        let size = width / heads;
        for (head, queries) in saved.queries.chunks_exact(size * n).enumerate() {
            let (values, sums) = (self.head_values(head), self.head_sums(head));
            let queries = View::new(queries, size, n, n);
            let dnumerators = View::new(&dnumerators[head * size * n..], size, n, n);
            let ddenominator = View::new(&ddenominators[head * n..], 1, n, n);
            multiply_add(queries, dnumerators.transposed(), &mut dcontext[values..], stride, true);
            multiply_add(queries, ddenominator.transposed(), &mut dcontext[sums..], stride, true);
            let dqueries = &mut slopes[head * size * n..];
            multiply_add(View::new(&context[values..], size, size, stride), dnumerators, dqueries, n, false);
            multiply_add(View::new(&context[sums..], size, 1, stride), ddenominator, dqueries, n, true);
        }
        feature_map_backward(&saved.queries, slopes);
        self.queries.backward_params(params, (input, &[]), slopes, n, grads, &mut []);
        self.queries.backward_input(params, slopes, n, gradient, true);
    }

    /// Backward of the first pass: adds to `gradient`, that of the block's input, the way through keys and values to the context.
    #[expect(clippy::too_many_arguments, reason = "one tile's share of a block")]
    pub fn context_backward<T: Real>(
        &self,
        params: &[T],
        n: usize,
        input: &[T],
        counts: &[T],
        dcontext: &[T],
        saved: &Activations<T>,
        scratch: &mut Scratch<T>,
        gradient: &mut [T],
        grads: &mut [T],
    ) {
        let (width, stride) = (self.width, self.context_stride());
        let (keys, values) = saved.keys_values.split_at(width * n);
        let slopes = reserve(&mut scratch.slopes, 2 * width * n);
        let (dkeys, dvalues) = slopes.split_at_mut(width * n);
        let size = width / self.heads;
        for (feature, dkeys) in dkeys.chunks_exact_mut(n).enumerate() {
            fill(dcontext[feature * stride + width + feature / size], dkeys);
        }
        for head in 0..self.heads {
            let rows = head * size * n;
            let slope = View::new(&dcontext[self.head_values(head)..], size, size, stride);
            multiply_add(slope, View::new(&values[rows..], size, n, n), &mut dkeys[rows..], n, true);
            multiply_add(slope.transposed(), View::new(&keys[rows..], size, n, n), &mut dvalues[rows..], n, false);
        }
        feature_map_backward(keys, dkeys);
        if !counts.is_empty() {
            for gradient in dkeys.chunks_exact_mut(n).chain(dvalues.chunks_exact_mut(n)) {
                for (gradient, &count) in gradient.iter_mut().zip(counts) {
                    *gradient *= count;
                }
            }
        }
        self.keys_values.backward_params(params, (input, &[]), slopes, n, grads, &mut []);
        self.keys_values.backward_input(params, slopes, n, gradient, true);
    }
}
