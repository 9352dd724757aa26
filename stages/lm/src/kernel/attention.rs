//! The two products of attention for one query position, over lines of cached positions.
//!
//! Keys are cached as lines of sixteen positions (`[positions/16][d][16]`), values row by row (`[positions][dv]`, `dv` a
//! multiple of 16), so that both products run along whole lines.

use super::{LANES, Line};

/// Positions that are accumulated side by side; each has a chain of its own.
const CHAINS: usize = 4;

/// `acc + factor · line`, lane by lane.
#[inline(always)]
fn accumulate(acc: &mut [f32; LANES], factor: f32, line: &Line) {
    for (acc, value) in acc.iter_mut().zip(&line.0) {
        *acc = factor.mul_add(*value, *acc);
    }
}

/// Writes `scale · sum`, lane by lane.
#[inline(always)]
fn store(sum: &[f32; LANES], scale: f32, out: &mut [f32]) {
    for (out, sum) in out.iter_mut().zip(sum) {
        *out = sum * scale;
    }
}

per_isa! {
    /// `out[t] = scale · Σ_i q[i] · k[t][i]` for all positions of `keys`, which holds `out.len() / 16` blocks of `d = q.len()` lines.
    pub fn score_span(q: &[f32], keys: &[Line], scale: f32, out: &mut [f32]) {
        let d = q.len();
        let blocks = out.len() / LANES;
        let (keys, out) = (&keys[..blocks * d], &mut out[..blocks * LANES]);
        let whole = blocks / 4 * 4;
        for (keys, out) in keys[..whole * d].chunks_exact(4 * d).zip(out[..whole * LANES].chunks_exact_mut(4 * LANES)) {
            let (a, rest) = keys.split_at(d);
            let (b, rest) = rest.split_at(d);
            let (c, e) = rest.split_at(d);
            let mut sums = [[0.0f32; LANES]; 4];
            for ((((value, a), b), c), e) in q.iter().zip(a).zip(b).zip(c).zip(e) {
                accumulate(&mut sums[0], *value, a);
                accumulate(&mut sums[1], *value, b);
                accumulate(&mut sums[2], *value, c);
                accumulate(&mut sums[3], *value, e);
            }
            for (out, sum) in out.chunks_exact_mut(LANES).zip(&sums) {
                store(sum, scale, out);
            }
        }
        for (keys, out) in keys[whole * d..].chunks_exact(d).zip(out[whole * LANES..].chunks_exact_mut(LANES)) {
            let mut sum = [0.0f32; LANES];
            for (value, key) in q.iter().zip(keys) {
                accumulate(&mut sum, *value, key);
            }
            store(&sum, scale, out);
        }
    }
}

per_isa! {
    /// Adds `Σ_t p[t] · v[t]` to `sums`, where `values` holds rows of `lines` lines. Position `t` of the span belongs to chain
    /// `t mod 4`; `sums` is `[4][lines]`. A span must start at a multiple of 16 positions and, but for the last one, end at one.
    pub fn value_span(p: &[f32], values: &[Line], lines: usize, sums: &mut [Line]) {
        for column in 0..lines {
            let mut acc = [[0.0f32; LANES]; CHAINS];
            for (chain, acc) in acc.iter_mut().enumerate() {
                *acc = sums[chain * lines + column].0;
            }
            let (groups, rest) = p.as_chunks::<CHAINS>();
            let mut at = column;
            for group in groups {
                for (chain, weight) in group.iter().enumerate() {
                    accumulate(&mut acc[chain], *weight, &values[at + chain * lines]);
                }
                at += CHAINS * lines;
            }
            for (chain, weight) in rest.iter().enumerate() {
                accumulate(&mut acc[chain], *weight, &values[at]);
                at += lines;
            }
            for (chain, acc) in acc.iter().enumerate() {
                sums[chain * lines + column].0 = *acc;
            }
        }
    }
}
