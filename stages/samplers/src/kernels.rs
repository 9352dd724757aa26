//! Loops over tiles: matrices `[features, n]` in row-major order, one column per distinct logit.

use crate::{
    microkernel,
    real::{Real, vectorised},
};
use gemm::Parallelism;
use std::any::TypeId;

/// A strided matrix for [`multiply_add`]: element (row, column) is `data[row * row_stride + column * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    pub data: &'a [T],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// `rows × columns` elements in row-major order, rows `stride` apart.
    pub fn new(data: &'a [T], rows: usize, columns: usize, stride: usize) -> Self {
        Self { data, rows, columns, row_stride: stride, column_stride: 1 }
    }

    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// The same view, if its elements are `f32`.
    fn single(&self) -> Option<View<'a, f32>>
    where
        T: 'static,
    {
        let Self { data, rows, columns, row_stride, column_stride } = *self;
        if TypeId::of::<T>() != TypeId::of::<f32>() {
            return None;
        }
        // SAFETY: it is the same type.
        let data = unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), data.len()) };
        Some(View { data, rows, columns, row_stride, column_stride })
    }

    fn last(&self) -> usize {
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
    }
}

/// The same slice, if its elements are `f32`.
fn single_mut<T: Real>(data: &mut [T]) -> Option<&mut [f32]> {
    // SAFETY: it is the same type.
    (TypeId::of::<T>() == TypeId::of::<f32>())
        .then(|| unsafe { std::slice::from_raw_parts_mut(data.as_mut_ptr().cast(), data.len()) })
}

/// `out = a · b` or, with `accumulate`, `out += a · b`; `out` is `[a.rows, b.columns]` in row-major order, rows `stride` apart.
///
/// One thread, so the rounding depends on the shapes only.
pub(crate) fn multiply_add<T: Real>(a: View<'_, T>, b: View<'_, T>, out: &mut [T], stride: usize, accumulate: bool) {
    multiply_onto(if accumulate { Onto::Out } else { Onto::Zero }, a, b, out, stride);
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(crate) enum Onto<'a, T> {
    Zero,
    /// What is there.
    Out,
    /// One value per row.
    Rows(&'a [T]),
}

impl<'a, T: Real> Onto<'a, T> {
    fn single(self) -> Option<Onto<'a, f32>> {
        Some(match self {
            Self::Zero => Onto::Zero,
            Self::Out => Onto::Out,
            Self::Rows(values) => Onto::Rows(View::new(values, 1, values.len(), values.len()).single()?.data),
        })
    }
}

/// `out = onto + a · b`, as [`multiply_add`].
pub(crate) fn multiply_onto<T: Real>(onto: Onto<'_, T>, a: View<'_, T>, b: View<'_, T>, out: &mut [T], stride: usize) {
    if let Onto::Rows(values) = onto {
        assert!(values.len() == a.rows, "one value per row");
    }
    assert!(a.columns == b.rows && stride >= b.columns, "matrix shapes do not fit");
    if a.rows == 0 || b.columns == 0 || a.columns == 0 {
        return;
    }
    let last_out = (a.rows - 1) * stride + b.columns - 1;
    assert!(a.last() < a.data.len() && b.last() < b.data.len() && last_out < out.len(), "matrix view out of bounds");
    if let (Some(onto), Some(a), Some(b), Some(out)) = (onto.single(), a.single(), b.single(), single_mut(out))
        // SAFETY: every element that the three strided views touch lies within its slice, by the assertion above.
        && unsafe { microkernel::multiply_onto(onto, a, b, out, stride) }
    {
        return;
    }
    if let Onto::Rows(values) = onto {
        for (out, &value) in out.chunks_mut(stride).zip(values) {
            fill(value, &mut out[..b.columns]);
        }
    }
    // SAFETY: as above.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            stride as isize,
            !matches!(onto, Onto::Zero),
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Independent partial sums of a reduction, so that it vectorises.
const LANES: usize = 32;

vectorised! {
    /// Σ x.
    pub(crate) fn sum<T: Real>(x: &[T]) -> T {
        let mut lanes = [T::ZERO; LANES];
        let chunks = x.chunks_exact(LANES);
        let rest: T = chunks.remainder().iter().copied().sum();
        for chunk in chunks {
            for lane in 0..LANES {
                lanes[lane] += chunk[lane];
            }
        }
        lanes.iter().copied().sum::<T>() + rest
    }
}

vectorised! {
    /// Σ x·y.
    pub(crate) fn dot<T: Real>(x: &[T], y: &[T]) -> T {
        let mut lanes = [T::ZERO; LANES];
        let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
        let rest: T = xs.remainder().iter().zip(ys.remainder()).map(|(&x, &y)| x * y).sum();
        for (x, y) in xs.zip(ys) {
            for lane in 0..LANES {
                lanes[lane] += x[lane] * y[lane];
            }
        }
        lanes.iter().copied().sum::<T>() + rest
    }
}

vectorised! {
    /// y = a.
    pub(crate) fn fill<T: Real>(a: T, y: &mut [T]) {
        for y in y.iter_mut() {
            *y = a;
        }
    }
}

vectorised! {
    /// y += a·x.
    pub(crate) fn axpy<T: Real>(a: T, x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += a * x;
        }
    }
}

vectorised! {
    /// y = a·x + b.
    pub(crate) fn scale_shift<T: Real>(a: T, x: &[T], b: T, y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = a * x + b;
        }
    }
}

vectorised! {
    /// y += x.
    pub(crate) fn add<T: Real>(x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

vectorised! {
    /// y = x·w.
    pub(crate) fn product<T: Real>(x: &[T], w: &[T], y: &mut [T]) {
        for ((y, &x), &w) in y.iter_mut().zip(x).zip(w) {
            *y = x * w;
        }
    }
}

vectorised! {
    /// SwiGLU's gate: `hidden = silu(gate) ⊙ up`.
    pub(crate) fn swiglu<T: Real>(gate: &[T], up: &[T], hidden: &mut [T]) {
        for ((h, &g), &u) in hidden.iter_mut().zip(gate).zip(up) {
            *h = g * g.sigmoid() * u;
        }
    }
}

vectorised! {
    /// Backward of [`swiglu`] in place: `hidden` holds its gradient and then its value, `gate` and `up` their values and then
    /// their gradients.
    pub(crate) fn swiglu_backward<T: Real>(gate: &mut [T], up: &mut [T], hidden: &mut [T]) {
        for ((h, g), u) in hidden.iter_mut().zip(gate).zip(up) {
            let s = g.sigmoid();
            let silu = *g * s;
            let (gradient, value) = (*h, silu * *u);
            *g = gradient * *u * s * (T::ONE + *g * (T::ONE - s));
            *u = gradient * silu;
            *h = value;
        }
    }
}

vectorised! {
    /// silu in place.
    pub(crate) fn silu<T: Real>(x: &mut [T]) {
        for x in x.iter_mut() {
            *x *= x.sigmoid();
        }
    }
}

vectorised! {
    /// Gradient through silu: `gradient *= silu'(x)`.
    pub(crate) fn silu_backward<T: Real>(x: &[T], gradient: &mut [T]) {
        for (gradient, &x) in gradient.iter_mut().zip(x) {
            let s = x.sigmoid();
            *gradient = *gradient * s * (T::ONE + x * (T::ONE - s));
        }
    }
}

vectorised! {
    /// The feature map of linear attention in place: `φ(x) = elu(x) + 1`, which is `x + 1` above 0 and `e^x` below.
    pub(crate) fn feature_map<T: Real>(x: &mut [T]) {
        for x in x.iter_mut() {
            *x = x.at_most(T::ZERO).exp() + x.at_least(T::ZERO);
        }
    }
}

vectorised! {
    /// Gradient through [`feature_map`], from its value: `φ' = min(φ, 1)`.
    pub(crate) fn feature_map_backward<T: Real>(value: &[T], gradient: &mut [T]) {
        for (gradient, &value) in gradient.iter_mut().zip(value) {
            *gradient *= value.at_most(T::ONE);
        }
    }
}
