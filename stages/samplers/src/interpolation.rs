//! Rows of all-distinct logits on a grid: once its sums over the vocabulary are known, a network is a function of one number.
//!
//! Each token is split between the two knots around its logit, in proportion to how near they are. The network is evaluated
//! exactly on the knots with these weights, so its sums over the vocabulary are those of its functions interpolated linearly;
//! and what it modifies is interpolated linearly back to the tokens. The truncation, which can be steep, is exact per token.
//!
//! Error: linear interpolation of `f` between knots `h` apart is off by at most `h²/8·max |f″|`, for each summand and for the
//! result. The values on the knots say how large that is: `h²·f″` is their second difference. Where the result could be off by
//! more than half of [`TOLERANCE`], the row is evaluated exactly; the other half is left to the sums, which average over the
//! vocabulary. Tested on networks as initialised and on trained ones.

use crate::{
    RowError, Statistic,
    real::{Real, vectorised},
    row::Row,
};

/// Distance of two knots in nats.
const STEP: f32 = 1.0 / 64.0;
/// Rows that span more knots than this are evaluated exactly.
const MOST_KNOTS: usize = 8192;
/// What an output may be off by, relative to the largest output of the row, 1 at least.
pub const TOLERANCE: f64 = 1e-4;

/// The grid of one row; reused from row to row.
#[derive(Debug, Default)]
pub(crate) struct Grid {
    least: f32,
    terms: Vec<f32>,
}

vectorised! {
    /// `terms = exp(x − max)`, 0 for −inf.
    fn exponentials<T: Real>(x: &[T], max: T, terms: &mut [T]) {
        for (term, &x) in terms.iter_mut().zip(x) {
            *term = (x - max).exp();
        }
    }
}

impl Grid {
    /// Fills `row` with the knots and their weights; `false` where the row spans too many.
    ///
    /// # Errors
    /// The row holds NaN or +inf, or no finite logit.
    pub fn fill<T: Real>(
        &mut self,
        logits: &[f32],
        statistics: &[Statistic],
        row: &mut Row<T>,
    ) -> Result<bool, RowError> {
        let (mut least, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
        for (token, &logit) in logits.iter().enumerate() {
            if logit.is_nan() || logit == f32::INFINITY {
                return Err(RowError::NotANumber { token, value: logit });
            }
            if logit != f32::NEG_INFINITY {
                least = least.min(logit);
                max = max.max(logit);
            }
        }
        if max == f32::NEG_INFINITY {
            return Err(RowError::NoCandidate);
        }
        let span = (max - least) / STEP;
        if span >= (MOST_KNOTS - 2) as f32 {
            return Ok(false);
        }
        self.least = least;
        self.terms.resize(logits.len(), 0.0);
        let terms = &mut self.terms[..];
        exponentials(logits, max, terms);
        // In f64, chunk by chunk: the rounding of each f32 chunk is relative to the chunk.
        let sum: f64 = terms.chunks(256).map(|chunk| f64::from(crate::kernels::sum(chunk))).sum();
        let normaliser = f64::from(max) + sum.ln();
        let knots = span as usize + 2;
        row.ell.clear();
        row.ell.extend((0..knots).map(|knot| T::of(f64::from(least) + knot as f64 * f64::from(STEP) - normaliser)));
        row.counts.clear();
        row.counts.resize(knots, T::ZERO);
        let mut candidates = 0_usize;
        for &logit in logits.iter().filter(|logit| **logit != f32::NEG_INFINITY) {
            let (knot, part) = self.place(logit);
            row.counts[knot] += T::of(f64::from(1.0 - part));
            row.counts[knot + 1] += T::of(f64::from(part));
            candidates += 1;
        }
        row.total = T::of(candidates as f64);
        let entropy = || {
            let weighted = row.ell.iter().zip(&row.counts).map(|(ell, count)| (ell.f64(), count.f64()));
            -weighted.map(|(ell, count)| count * ell.exp() * ell).sum::<f64>()
        };
        let statistic = |statistic: &Statistic| match statistic {
            Statistic::MaxLogProb => T::of(f64::from(max) - normaliser),
            Statistic::Entropy => T::of(entropy()),
        };
        row.statistics = statistics.iter().map(statistic).collect();
        Ok(true)
    }

    /// The knot at or below a finite logit, and how far the logit is on its way to the next.
    fn place(&self, logit: f32) -> (usize, f32) {
        let place = (logit - self.least) / STEP;
        (place as usize, place.fract())
    }

    /// The most that linear interpolation between values on the knots can be off, by their second differences.
    pub fn error<T: Real>(values: &[T]) -> f64 {
        let bend = |knots: &[T]| (knots[0].f64() - 2.0 * knots[1].f64() + knots[2].f64()).abs();
        values.windows(3).map(bend).fold(0.0, f64::max) / 8.0
    }

    /// Spreads values on the knots over the tokens; `out` holds one element per token, that of a −inf token is not changed.
    pub fn interpolate<T: Real>(&self, values: &[T], logits: &[f32], out: &mut [T]) {
        for (out, &logit) in out.iter_mut().zip(logits).filter(|(_, logit)| **logit != f32::NEG_INFINITY) {
            let (knot, part) = self.place(logit);
            let (low, high) = (values[knot], values[knot + 1]);
            *out = low + T::of(f64::from(part)) * (high - low);
        }
    }
}
