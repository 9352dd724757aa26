//! Norms, activations, rotary embedding and soft-max over rows.

use super::LANES;

/// `log₂ e`.
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// `ln 2` in two parts, the first exact in few bits, so that `x − n·ln 2` keeps its precision.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Adding and subtracting this rounds to the nearest integer.
const ROUND: f32 = 12_582_912.0;
/// Below this, `e^x` is under the normal range and taken as 0.
const EXP_MIN: f32 = -87.33;
const EXP_MAX: f32 = 88.37;

/// `e^x` by range reduction and the polynomial of Cephes' `expf`; within 2 ulp, 0 below −87.33.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let clamped = x.clamp(EXP_MIN, EXP_MAX);
    let shifted = clamped.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 5e-1);
    let p = p.mul_add(r * r, r) + 1.0;
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    if x < EXP_MIN { 0.0 } else { p * scale }
}

/// `tanh x`: a series near 0, where the quotient would cancel, and `1 − 2/(e^{2x} + 1)` elsewhere.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let s = x * x;
    let p = 2.186_948_8e-2_f32;
    let p = p.mul_add(s, -5.396_825_4e-2);
    let p = p.mul_add(s, 1.333_333_3e-1);
    let p = p.mul_add(s, -3.333_333_4e-1);
    let near = (x * s).mul_add(p, x);
    let far = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
    if s < 0.0625 { near } else { far }
}

/// Folds sixteen lanes into one sum, always in the same order.
#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}

/// The non-linearity of the feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · σ(x)`.
    Silu,
    /// `½x(1 + tanh(√(2/π)(x + 0.044715x³)))`.
    GeluTanh,
}

per_isa! {
    /// Root-mean-square norm (Zhang and Sennrich 2019) of each row of `x`, `[.., d]` with `d = weight.len()`, into `out`:
    /// `x / sqrt(mean(x²) + eps) · weight`.
    pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let d = weight.len();
        for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            let mut lanes = [0.0f32; LANES];
            let (lines, rest) = x.as_chunks::<LANES>();
            for line in lines {
                for lane in 0..LANES {
                    lanes[lane] = line[lane].mul_add(line[lane], lanes[lane]);
                }
            }
            for (lane, value) in rest.iter().enumerate() {
                lanes[lane] = value.mul_add(*value, lanes[lane]);
            }
            let scale = 1.0 / (fold(lanes) / d as f32 + eps).sqrt();
            for ((x, w), out) in x.iter().zip(weight).zip(out) {
                *out = x * scale * w;
            }
        }
    }
}

per_isa! {
    /// `act(gate) · up` for rows `[gate | up]` of width `2f`, into rows of width `f`.
    pub fn gate(gate_up: &[f32], f: usize, activation: Activation, out: &mut [f32]) {
        for (row, out) in gate_up.chunks_exact(2 * f).zip(out.chunks_exact_mut(f)) {
            let (gate, up) = row.split_at(f);
            match activation {
                Activation::Silu => {
                    for ((g, u), out) in gate.iter().zip(up).zip(out) {
                        *out = g / (1.0 + exp(-g)) * u;
                    }
                }
                Activation::GeluTanh => {
                    for ((g, u), out) in gate.iter().zip(up).zip(out) {
                        let inner = 0.797_884_6 * (0.044_715 * g * g).mul_add(*g, *g);
                        *out = 0.5 * g * (1.0 + tanh(inner)) * u;
                    }
                }
            }
        }
    }
}

per_isa! {
    /// Rotary position embedding (Su et al. 2021) of one position, in place: every head of `heads` (`[.., d]`) is rotated in
    /// the pairs `(i, i + d/2)` by the angles whose cosines and sines are given (`[d/2]` each).
    pub fn rotate(heads: &mut [f32], cos: &[f32], sin: &[f32]) {
        let half = cos.len();
        for head in heads.chunks_exact_mut(2 * half) {
            let (low, high) = head.split_at_mut(half);
            for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let (x, y) = (*a, *b);
                *a = x * c - y * s;
                *b = y * c + x * s;
            }
        }
    }
}

per_isa! {
    /// `cap · tanh(x / cap)` in place.
    pub fn soft_cap(values: &mut [f32], cap: f32) {
        for value in values {
            *value = cap * tanh(*value / cap);
        }
    }
}

per_isa! {
    /// Soft-max in place over `scores[first .. last]`; everything else, including the padding of the last line, becomes 0.
    ///
    /// Lanes are those of the whole slice, so that the order of summation depends on the position alone.
    pub fn softmax_masked(scores: &mut [f32], first: usize, last: usize) {
        let max = scores[first..last].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores[..first].fill(0.0);
        scores[last..].fill(0.0);
        let mut lanes = [0.0f32; LANES];
        for (index, line) in scores.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let start = index * LANES;
            if start >= first && start + LANES <= last {
                for lane in 0..LANES {
                    line[lane] = exp(line[lane] - max);
                    lanes[lane] += line[lane];
                }
            } else {
                for lane in 0..LANES {
                    if (first..last).contains(&(start + lane)) {
                        line[lane] = exp(line[lane] - max);
                        lanes[lane] += line[lane];
                    }
                }
            }
        }
        let scale = 1.0 / fold(lanes);
        for score in scores {
            *score *= scale;
        }
    }
}

per_isa! {
    /// `weights[i] = e^{logits[i] − max}` and the sum of all of them in f64, over sixteen lanes folded in a fixed order.
    ///
    /// The weight of a logit of −∞ is 0. `max` must be finite.
    pub fn exp_sum(logits: &[f32], max: f32, weights: &mut [f32]) -> f64 {
        let mut lanes = [0.0f64; LANES];
        let (lines, rest) = logits.as_chunks::<LANES>();
        let (out_lines, out_rest) = weights[..logits.len()].as_chunks_mut::<LANES>();
        for (line, out) in lines.iter().zip(out_lines) {
            for lane in 0..LANES {
                out[lane] = exp(line[lane] - max);
                lanes[lane] += f64::from(out[lane]);
            }
        }
        for (lane, (value, out)) in rest.iter().zip(out_rest).enumerate() {
            *out = exp(value - max);
            lanes[lane] += f64::from(*out);
        }
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
        }
        lanes[0]
    }
}

per_isa! {
    /// `ln Σ e^{logits[i]}` in f64, summed as in [`exp_sum`].
    pub fn log_sum_exp(logits: &[f32]) -> f64 {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut lanes = [0.0f64; LANES];
        let (lines, rest) = logits.as_chunks::<LANES>();
        for line in lines {
            for lane in 0..LANES {
                lanes[lane] += f64::from(exp(line[lane] - max));
            }
        }
        for (lane, value) in rest.iter().enumerate() {
            lanes[lane] += f64::from(exp(value - max));
        }
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
        }
        f64::from(max) + lanes[0].ln()
    }
}
