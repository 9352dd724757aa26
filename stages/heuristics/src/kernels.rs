//! Loops over a row of logits, compiled for each instruction set.
//!
//! Every result is the same bits on every instruction set: no fused multiply-add, and sums in a fixed order of lanes.

use crate::isa::per_isa;

/// Elements whose maximum is remembered together.
pub(crate) const BLOCK: usize = 64;
/// Independent partial results of a reduction, so that it vectorises.
const LANES: usize = 16;
/// e^x of less than this counts as 0.
const LOWEST: f32 = -87.0;

/// e^x for x ≤ 0 within 2 ulp, 0 below [`LOWEST`]: Cody and Waite's reduction and the polynomial of Cephes' `expf`.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "the published coefficients")]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_375;
    const LN2_LOW: f32 = -2.121_944_40e-4;
    let clamped = if x > LOWEST { x } else { LOWEST };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_15e-4;
    p = p * r + 1.398_199_95e-3;
    p = p * r + 8.333_451_9e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_55e-1;
    p = p * r + 5.000_000_12e-1;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    if x > LOWEST { (p * r * r + r + 1.0) * power } else { 0.0 }
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Combines lanes pairwise, in one order.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = combine(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The maximum of up to [`BLOCK`] logits, and whether all are below +inf and none is NaN.
#[inline(always)]
fn block_max(z: &[f32]) -> (f32, bool) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut bad = [0_u32; LANES];
    let (lines, rest) = z.as_chunks::<LANES>();
    for line in lines {
        for lane in 0..LANES {
            lanes[lane] = larger(line[lane], lanes[lane]);
            bad[lane] |= u32::from(line[lane] < f32::INFINITY) ^ 1;
        }
    }
    for (lane, &z) in rest.iter().enumerate() {
        lanes[lane] = larger(z, lanes[lane]);
        bad[lane] |= u32::from(z < f32::INFINITY) ^ 1;
    }
    (fold(lanes, larger), bad.iter().all(|&bad| bad == 0))
}

per_isa! {
    /// The maximum of each block; whether the row holds neither NaN nor +inf.
    pub(crate) fn block_maxima(z: &[f32], maxima: &mut [f32]) -> bool {
        let (blocks, rest) = z.as_chunks::<BLOCK>();
        let mut sane = true;
        // Blocks of constant length first: their inner loop unrolls.
        for (block, max) in blocks.iter().zip(&mut *maxima) {
            let (found, block_sane) = block_max(block);
            *max = found;
            sane &= block_sane;
        }
        if let (false, Some(max)) = (rest.is_empty(), maxima.last_mut()) {
            let (found, block_sane) = block_max(rest);
            *max = found;
            sane &= block_sane;
        }
        sane
    }
}

per_isa! {
    /// The maximum of a row, −inf where it is empty; `None` where it holds NaN or +inf.
    pub(crate) fn sane_max(z: &[f32]) -> Option<f32> {
        let mut all = f32::NEG_INFINITY;
        let mut sane = true;
        for block in z.chunks(BLOCK) {
            let (max, block_sane) = block_max(block);
            all = larger(max, all);
            sane &= block_sane;
        }
        sane.then_some(all)
    }
}

per_isa! {
    /// z / divisor in place, and the maximum of each block of the result.
    pub(crate) fn divide(z: &mut [f32], divisor: f32, maxima: &mut [f32]) {
        let (blocks, rest) = z.as_chunks_mut::<BLOCK>();
        for (block, max) in blocks.iter_mut().zip(&mut *maxima) {
            block.iter_mut().for_each(|z| *z /= divisor);
            *max = block_max(block).0;
        }
        if let (false, Some(max)) = (rest.is_empty(), maxima.last_mut()) {
            rest.iter_mut().for_each(|z| *z /= divisor);
            *max = block_max(rest).0;
        }
    }
}

/// Σ weight(z − max) over a row, in f64 over blocks of f32 sums.
#[inline(always)]
fn sum<const N: usize>(z: &[f32], max: f32, weights: impl Fn(f32) -> [f32; N]) -> [f64; N] {
    let mut total = [0.0; N];
    for block in z.chunks(BLOCK) {
        let mut lanes = [[0.0; LANES]; N];
        let (lines, rest) = block.as_chunks::<LANES>();
        for line in lines {
            for lane in 0..LANES {
                let weights = weights(line[lane] - max);
                for n in 0..N {
                    lanes[n][lane] += weights[n];
                }
            }
        }
        for (lane, &z) in rest.iter().enumerate() {
            let weights = weights(z - max);
            for n in 0..N {
                lanes[n][lane] += weights[n];
            }
        }
        for n in 0..N {
            total[n] += f64::from(fold(lanes[n], |a, b| a + b));
        }
    }
    total
}

per_isa! {
    /// Σ e^(z − max).
    pub(crate) fn exp_sum(z: &[f32], max: f32) -> f64 {
        sum(z, max, |x| [exp(x)])[0]
    }
}

per_isa! {
    /// Σ e^(z − max)·(z − max), with 0 where the exponential is 0.
    pub(crate) fn weighted_exp_sum(z: &[f32], max: f32) -> f64 {
        sum(z, max, |x| [exp(x) * larger(x, LOWEST)])[0]
    }
}

per_isa! {
    /// Σ e^(2·(z − max)).
    pub(crate) fn squared_exp_sum(z: &[f32], max: f32) -> f64 {
        sum(z, max, |x| {
            let weight = exp(x);
            [weight * weight]
        })[0]
    }
}

/// ln cosh(d) for d ≥ 0, within 1e-5: d − ln 2 + ln(1 + e^(−2d)), the last by the series of the inverse hyperbolic tangent.
#[inline(always)]
fn ln_cosh(d: f32) -> f32 {
    let power = exp(-2.0 * d);
    let s = power / (2.0 + power);
    let square = s * s;
    let series = 1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square * (1.0 / 7.0 + square / 9.0)));
    d - std::f32::consts::LN_2 + 2.0 * s * series
}

/// d = |½(ln p − ln q)| and ½(p + q)·ln cosh d; 0 where p is.
#[inline(always)]
fn divergence_term(log_p: f32, log_q: f32) -> (f32, f32) {
    let candidate = log_p > f32::NEG_INFINITY;
    let d = if candidate { 0.5 * (log_p - log_q).abs() } else { 0.0 };
    let mean = 0.5 * (exp(log_p) + exp(log_q));
    (d, if candidate { mean * ln_cosh(d) } else { 0.0 })
}

per_isa! {
    /// Σ m·(ln m − ½(ln p + ln q)) with m = (p + q)/2, ln p = a − a_log_sum and ln q = b − b_log_sum, over `a` above −inf,
    /// and how far that may be off. As m = √(pq)·cosh ½(ln p − ln q), a term is m·ln cosh ½(ln p − ln q).
    pub(crate) fn layer_divergence(a: &[f32], a_log_sum: f32, b: &[f32], b_log_sum: f32) -> (f64, f64) {
        let (mut total, mut widest) = (0.0_f64, [0.0_f32; LANES]);
        for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
            let mut lanes = [0.0_f32; LANES];
            let ((a_lines, a_rest), (b_lines, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
            for (a, b) in a_lines.iter().zip(b_lines) {
                for lane in 0..LANES {
                    let (d, term) = divergence_term(a[lane] - a_log_sum, b[lane] - b_log_sum);
                    widest[lane] = larger(d, widest[lane]);
                    lanes[lane] += term;
                }
            }
            for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
                let (d, term) = divergence_term(a - a_log_sum, b - b_log_sum);
                widest[lane] = larger(d, widest[lane]);
                lanes[lane] += term;
            }
            total += f64::from(fold(lanes, |a, b| a + b));
        }
        (total, 1e-5 * (1.0 + f64::from(fold(widest, larger))))
    }
}

per_isa! {
    /// How many logits are above −inf.
    pub(crate) fn count(z: &[f32]) -> usize {
        z.iter().map(|&z| usize::from(z > f32::NEG_INFINITY)).sum()
    }
}

per_isa! {
    /// How many logits are at least `floor`.
    pub(crate) fn count_from(z: &[f32], floor: f32) -> usize {
        z.iter().map(|&z| usize::from(z >= floor)).sum()
    }
}

per_isa! {
    /// Σ (z − centre)^power for power 1 and 2, over the finite logits, in f64.
    pub(crate) fn central_sums(z: &[f32], centre: f64) -> [f64; 2] {
        let mut lanes = [[0.0_f64; 8]; 2];
        let mut add = |lane: usize, z: f32| {
            let d = if z > f32::NEG_INFINITY { f64::from(z) - centre } else { 0.0 };
            lanes[0][lane] += d;
            lanes[1][lane] += d * d;
        };
        let (lines, rest) = z.as_chunks::<8>();
        for line in lines {
            for (lane, &z) in line.iter().enumerate() {
                add(lane, z);
            }
        }
        for (lane, &z) in rest.iter().enumerate() {
            add(lane, z);
        }
        lanes.map(|lanes| lanes.iter().sum())
    }
}

per_isa! {
    /// Sets logits below `floor` to −inf.
    pub(crate) fn mask(z: &mut [f32], floor: f32) {
        z.iter_mut().for_each(|z| *z = if *z < floor { f32::NEG_INFINITY } else { *z });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use proptest::prelude::*;

    #[test]
    fn exp_is_within_two_ulp_of_the_exact_value() {
        for step in 0..86_990 {
            let x = step as f32 * -1e-3;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 2.4e-7, "exp({x}) is off by {error:e} relative");
        }
        assert_eq!((exp(0.0), exp(-88.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_same_bits(
            z in prop::collection::vec(prop_oneof![9 => -30.0_f32..30.0, 1 => Just(f32::NEG_INFINITY)], 1..400),
            floor in -30.0_f32..30.0,
        ) {
            let run = |isa: Isa| {
                let mut maxima = vec![0.0; z.len().div_ceil(BLOCK)];
                let mut scaled = z.clone();
                divide(isa, &mut scaled, 0.7, &mut maxima);
                let max = sane_max(isa, &scaled).unwrap_or(f32::NAN);
                let sums = [
                    exp_sum(isa, &scaled, max),
                    weighted_exp_sum(isa, &scaled, max),
                    squared_exp_sum(isa, &scaled, max),
                    central_sums(isa, &scaled, 0.5)[1],
                ];
                let counts = [count(isa, &scaled), count_from(isa, &scaled, floor)];
                let mut again = maxima.clone();
                let sane = block_maxima(isa, &scaled, &mut again);
                mask(isa, &mut scaled, floor);
                let bits = |values: &[f32]| values.iter().map(|z| z.to_bits()).collect::<Vec<_>>();
                let sums = sums.map(f64::to_bits);
                (bits(&scaled), bits(&maxima), bits(&again), max.to_bits(), sums, counts, sane)
            };
            prop_assume!(z.iter().any(|z| z.is_finite()));
            let portable = run(Isa::PORTABLE);
            prop_assert_eq!(&portable.1, &portable.2);
            for isa in Isa::available() {
                prop_assert_eq!(&run(isa), &portable);
            }
        }

        #[test]
        fn the_divergence_of_layers_is_as_near_as_it_says(
            pairs in prop::collection::vec((prop_oneof![9 => -30.0_f32..30.0, 1 => Just(f32::NEG_INFINITY)], -30.0_f32..30.0), 1..400),
            far in -1e5_f32..1e5,
        ) {
            let (mut a, mut b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            a.push(1.0);
            b.push(far);
            let log_sum = |z: &[f32]| {
                let max = f64::from(z.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                max + z.iter().map(|&z| (f64::from(z) - max).exp()).sum::<f64>().ln()
            };
            let (a_sum, b_sum) = (log_sum(&a), log_sum(&b));
            let terms = a.iter().zip(&b).filter(|(a, _)| **a > f32::NEG_INFINITY).map(|(&a, &b)| {
                let (p, q) = (f64::from(a) - a_sum, f64::from(b) - b_sum);
                let mean = 0.5 * (p.exp() + q.exp());
                if mean > 0.0 { mean * (mean.ln() - 0.5 * (p + q)) } else { 0.0 }
            });
            let exact: f64 = terms.sum();
            let portable = layer_divergence(Isa::PORTABLE, &a, a_sum as f32, &b, b_sum as f32);
            let (found, error) = portable;
            prop_assert!((found - exact).abs() <= error, "{found} for {exact}, which is off by more than {error}");
            for isa in Isa::available() {
                prop_assert_eq!(layer_divergence(isa, &a, a_sum as f32, &b, b_sum as f32), portable);
            }
        }

        #[test]
        fn nan_and_infinity_are_found_anywhere(len in 1_usize..200, at in any::<prop::sample::Index>(), nan in any::<bool>()) {
            let mut z = vec![0.5; len];
            let mut maxima = vec![0.0; len.div_ceil(BLOCK)];
            prop_assert!(block_maxima(Isa::detect(), &z, &mut maxima));
            z[at.index(len)] = if nan { f32::NAN } else { f32::INFINITY };
            prop_assert!(!block_maxima(Isa::detect(), &z, &mut maxima));
            prop_assert_eq!(sane_max(Isa::detect(), &z), None);
        }
    }
}
