//! Elementwise and small kernels of the model, forward and backward, on row-major f32 slices.
//!
//! All are `inline(always)` so that they are compiled with the vector instructions of the function that calls them (see
//! [`crate::vector`]). Sums run in a fixed order of lanes: the result does not depend on the number of threads.

use gemm::Parallelism;

/// Lanes of a vectorised sum.
const LANES: usize = 16;

/// A matrix inside a slice: element `(i, j)` is at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(crate) struct Strides {
    pub row: usize,
    pub column: usize,
}

/// Rows of `width` elements, one after another.
pub(crate) const fn rows(width: usize) -> Strides {
    Strides { row: width, column: 1 }
}

/// The transpose of [`rows`].
pub(crate) const fn columns(width: usize) -> Strides {
    Strides { row: 1, column: width }
}

/// `dst[m, n] (+)= lhs[m, k] · rhs[k, n]` on one thread.
#[inline]
#[expect(clippy::too_many_arguments, reason = "the operands of a matrix product")]
pub(crate) fn matmul(
    [m, n, k]: [usize; 3],
    dst: &mut [f32],
    dst_strides: Strides,
    accumulate: bool,
    lhs: &[f32],
    lhs_strides: Strides,
    rhs: &[f32],
    rhs_strides: Strides,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let last = |strides: Strides, i: usize, j: usize| (i - 1) * strides.row + (j - 1) * strides.column;
    assert!(last(dst_strides, m, n) < dst.len(), "destination of a matrix product is too short");
    assert!(last(lhs_strides, m, k) < lhs.len(), "left operand of a matrix product is too short");
    assert!(last(rhs_strides, k, n) < rhs.len(), "right operand of a matrix product is too short");
    // SAFETY: the largest index of each operand was checked against its slice, and `dst` is borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            dst_strides.column.cast_signed(),
            dst_strides.row.cast_signed(),
            accumulate,
            lhs.as_ptr(),
            lhs_strides.column.cast_signed(),
            lhs_strides.row.cast_signed(),
            rhs.as_ptr(),
            rhs_strides.column.cast_signed(),
            rhs_strides.row.cast_signed(),
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `y[n, out] (+)= x[n, in] · w[out, in]ᵀ`
#[inline(always)]
pub(crate) fn linear(y: &mut [f32], x: &[f32], w: &[f32], n: usize, out: usize, input: usize, accumulate: bool) {
    matmul([n, out, input], y, rows(out), accumulate, x, rows(input), w, columns(input));
}

/// Gradients of [`linear`]: `dx[n, in] = dy · w` and `dw[out, in] += dyᵀ · x`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "three operands, three shapes and two results")]
pub(crate) fn linear_backward(
    dx: &mut [f32],
    dw: &mut [f32],
    dy: &[f32],
    x: &[f32],
    w: &[f32],
    n: usize,
    out: usize,
    input: usize,
) {
    matmul([n, input, out], dx, rows(input), false, dy, rows(out), w, rows(input));
    matmul([out, input, n], dw, rows(input), true, dy, columns(out), x, rows(input));
}

/// `eˣ` by a degree-6 polynomial on `[-ln 2 / 2, ln 2 / 2]` and exact scaling; relative error below 3e-7.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 · 2²³ rounds to the nearest integer without a call.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    #[expect(clippy::cast_possible_truncation, reason = "n is an integer between -126 and 127")]
    let exponent = (n as i32 + 127) << 23;
    p * f32::from_bits(exponent.cast_unsigned())
}

/// Inner product, summed in [`LANES`] lanes.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    fold(lanes) + tail
}

/// Sum, in [`LANES`] lanes.
#[inline(always)]
pub(crate) fn sum(a: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = a.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().sum();
    for x in chunks {
        for lane in 0..LANES {
            lanes[lane] += x[lane];
        }
    }
    fold(lanes) + tail
}

/// Largest element; −∞ for none.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let tail = chunks.remainder().iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
    for x in chunks {
        for lane in 0..LANES {
            lanes[lane] = if x[lane] > lanes[lane] { x[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().fold(tail, |m, &x| m.max(x))
}

#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    let mut lanes = lanes;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `y = x · inv · w` per row with `inv = (mean(x²) + eps)^(-1/2)` (RMSNorm, Zhang & Sennrich 2019, arXiv 1910.07467).
#[inline(always)]
pub(crate) fn rms_norm(y: &mut [f32], inverse: &mut [f32], x: &[f32], w: &[f32], eps: f32) {
    let d = w.len();
    for ((y, x), inverse) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(inverse) {
        let inv = (dot(x, x) / d as f32 + eps).sqrt().recip();
        *inverse = inv;
        for i in 0..d {
            y[i] = x[i] * inv * w[i];
        }
    }
}

/// Adds the gradient of [`rms_norm`] with respect to `x` onto `dx`, and to `w` onto `dw`.
#[inline(always)]
pub(crate) fn rms_norm_backward(dx: &mut [f32], dw: &mut [f32], dy: &[f32], x: &[f32], w: &[f32], inverse: &[f32]) {
    let d = w.len();
    let mut scaled = vec![0.0_f32; d];
    for (((dx, dy), x), &inv) in dx.chunks_exact_mut(d).zip(dy.chunks_exact(d)).zip(x.chunks_exact(d)).zip(inverse) {
        for i in 0..d {
            scaled[i] = dy[i] * w[i];
            dw[i] += dy[i] * x[i] * inv;
        }
        let along = dot(&scaled, x) * inv * inv * inv / d as f32;
        for i in 0..d {
            dx[i] += scaled[i] * inv - x[i] * along;
        }
    }
}

/// `h = silu(gate) · up` per row of `gate_up = [gate, up]` (SwiGLU, Shazeer 2020, arXiv 2002.05202).
#[inline(always)]
pub(crate) fn swiglu(h: &mut [f32], gate_up: &[f32], width: usize) {
    for (h, row) in h.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
        let (gate, up) = row.split_at(width);
        for i in 0..width {
            h[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
        }
    }
}

/// Replaces `gate_up` by its gradient, given the gradient of [`swiglu`]'s result.
#[inline(always)]
pub(crate) fn swiglu_backward(gate_up: &mut [f32], dh: &[f32], width: usize) {
    for (dh, row) in dh.chunks_exact(width).zip(gate_up.chunks_exact_mut(2 * width)) {
        let (gate, up) = row.split_at_mut(width);
        for i in 0..width {
            let (g, u) = (gate[i], up[i]);
            let sigmoid = 1.0 / (1.0 + exp(-g));
            let silu = g * sigmoid;
            gate[i] = dh[i] * u * (sigmoid + silu * (1.0 - sigmoid));
            up[i] = dh[i] * silu;
        }
    }
}

/// Rotates the heads of one row by its position: pair `(i, i + half)` by `position · theta^(-i / half)` (rotary embedding, Su et al.
/// 2021, arXiv 2104.09864, in Llama's half-split form). `sign` −1 rotates back, which is the gradient.
#[inline(always)]
pub(crate) fn rotate(heads: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], sign: f32) {
    let half = head_dim / 2;
    for head in heads.chunks_exact_mut(head_dim) {
        let (low, high) = head.split_at_mut(half);
        for i in 0..half {
            let (a, b, s) = (low[i], high[i], sin[i] * sign);
            low[i] = a * cos[i] - b * s;
            high[i] = b * cos[i] + a * s;
        }
    }
}

/// Replaces the first `visible` scores of a row by their softmax after scaling, and the rest by 0.
#[inline(always)]
pub(crate) fn causal_softmax(row: &mut [f32], visible: usize, scale: f32) {
    let (seen, hidden) = row.split_at_mut(visible);
    let top = max(seen);
    for x in seen.iter_mut() {
        *x = exp((*x - top) * scale);
    }
    let norm = sum(seen).recip();
    for x in seen.iter_mut() {
        *x *= norm;
    }
    hidden.fill(0.0);
}

/// Replaces logits by the gradient of `weight · −ln softmax(logits)[target]`; returns that loss.
#[inline(always)]
pub(crate) fn cross_entropy(logits: &mut [f32], target: usize, weight: f32) -> f32 {
    let top = max(logits);
    let chosen = logits[target] - top;
    for x in logits.iter_mut() {
        *x = exp(*x - top);
    }
    let total = sum(logits);
    let scale = weight / total;
    for x in logits.iter_mut() {
        *x *= scale;
    }
    logits[target] -= weight;
    weight * (total.ln() - chosen)
}
