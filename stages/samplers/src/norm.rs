//! Layer normalisation over the features of each column.

use crate::{
    buffer::{Buffer, reserve},
    kernels::{dot, sum},
    real::{Real, vectorised},
};

const EPS: f64 = 1e-5;

/// `y = (x − mean) / √(var + 1e-5) · weight + bias`, over the `width` features of a column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerNorm {
    pub width: usize,
    /// Offsets into the flat parameters.
    pub weight: usize,
    pub bias: usize,
}

vectorised! {
    /// `x: [width, n]` → its normalised form in place; `deviation` becomes 1/√(var + eps) of each column.
    fn normalise<T: Real>(x: &mut [T], n: usize, mean: &mut [T], deviation: &mut [T]) {
        let inverse = T::ONE / T::of((x.len() / n) as f64);
        mean.fill(T::ZERO);
        deviation.fill(T::ZERO);
        for row in x.chunks_exact(n) {
            for (mean, &x) in mean.iter_mut().zip(row) {
                *mean += x * inverse;
            }
        }
        for row in x.chunks_exact_mut(n) {
            for ((x, &mean), variance) in row.iter_mut().zip(&*mean).zip(&mut *deviation) {
                *x = *x - mean;
                *variance += *x * *x * inverse;
            }
        }
        for variance in deviation.iter_mut() {
            *variance = T::ONE / (*variance + T::of(EPS)).sqrt();
        }
        for row in x.chunks_exact_mut(n) {
            for (x, &deviation) in row.iter_mut().zip(&*deviation) {
                *x *= deviation;
            }
        }
    }
}

vectorised! {
    /// Gradient through [`normalise`] in place: `dx = r·(g − mean g − x̂·mean(g·x̂))` with `g = dy·weight` over features.
    fn normalise_backward<T: Real>(
        normal: &[T],
        deviation: &[T],
        weight: &[T],
        n: usize,
        means: &mut [T],
        gradient: &mut [T],
    ) {
        let inverse = T::ONE / T::of(weight.len() as f64);
        means.fill(T::ZERO);
        let (plain, weighted) = means.split_at_mut(n);
        for ((row, normal), &weight) in gradient.chunks_exact_mut(n).zip(normal.chunks_exact(n)).zip(weight) {
            for (((g, &x), plain), weighted) in row.iter_mut().zip(normal).zip(&mut *plain).zip(&mut *weighted) {
                *g *= weight;
                *plain += *g * inverse;
                *weighted += *g * x * inverse;
            }
        }
        for (row, normal) in gradient.chunks_exact_mut(n).zip(normal.chunks_exact(n)) {
            let columns = row.iter_mut().zip(normal).zip(deviation).zip(&*plain).zip(&*weighted);
            for ((((g, &x), &r), &plain), &weighted) in columns {
                *g = r * (*g - plain - x * weighted);
            }
        }
    }
}

impl LayerNorm {
    /// `normal` holds the input `[width, n]` and becomes its normalised form; `y` becomes the output.
    pub fn forward<T: Real>(
        &self,
        params: &[T],
        n: usize,
        normal: &mut [T],
        deviation: &mut Buffer<T>,
        scratch: &mut Buffer<T>,
        y: &mut [T],
    ) {
        normalise(normal, n, reserve(scratch, n), reserve(deviation, n));
        for (feature, row) in normal.chunks_exact(n).enumerate() {
            let (weight, bias) = (params[self.weight + feature], params[self.bias + feature]);
            crate::kernels::scale_shift(weight, row, bias, &mut y[feature * n..(feature + 1) * n]);
        }
    }

    /// `gradient` holds dy and becomes dx; parameter gradients are added to `grads`.
    pub fn backward<T: Real>(
        &self,
        params: &[T],
        n: usize,
        (normal, deviation): (&[T], &[T]),
        scratch: &mut Buffer<T>,
        gradient: &mut [T],
        grads: &mut [T],
    ) {
        for (feature, row) in gradient.chunks_exact(n).enumerate() {
            grads[self.weight + feature] += dot(row, &normal[feature * n..(feature + 1) * n]);
            grads[self.bias + feature] += sum(row);
        }
        let weight = &params[self.weight..self.weight + self.width];
        normalise_backward(normal, deviation, weight, n, reserve(scratch, 2 * n), gradient);
    }
}
