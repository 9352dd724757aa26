//! Products of small matrices with tiles, in `f32`, with the accumulators of a block in registers.
//!
//! The networks' matrices are so small (32 to 96 rows) that they and a block's columns stay in the first-level cache: nothing is
//! packed, and a block of 8 × 48 (AVX-512) or 4 × 24 (AVX2) results is as many multiplications as the processor can issue.

use crate::{
    kernels::{Onto, View},
    real::VectorLevel,
};

/// Whether [`multiply_add`] knows the shapes, and the processor the instructions.
fn fits(onto: Onto<'_, f32>, a: &View<'_, f32>, b: &View<'_, f32>) -> Option<Shape> {
    if b.column_stride == 1 && b.columns >= 16 {
        Some(Shape::Tile)
    } else if a.column_stride == 1 && b.row_stride == 1 && !matches!(onto, Onto::Rows(_)) {
        Some(Shape::Dots)
    } else {
        None
    }
}

#[derive(Clone, Copy)]
enum Shape {
    /// A small matrix times a tile.
    Tile,
    /// Scalar products of the rows of two tiles.
    Dots,
}

/// `out = onto + a · b`; `false` where nothing was done.
///
/// # Safety
/// Every element that the views name lies within its slice, those of the result, rows `stride` apart, within `out`, and there is
/// a value of `onto` for each row.
pub(crate) unsafe fn multiply_onto(
    onto: Onto<'_, f32>,
    a: View<'_, f32>,
    b: View<'_, f32>,
    out: &mut [f32],
    stride: usize,
) -> bool {
    // SAFETY: the processor has the instructions that were detected; the rest is the caller's promise.
    unsafe { multiply_onto_at(VectorLevel::detected(), onto, a, b, out, stride) }
}

/// [`multiply_onto`] with the instructions of a level.
///
/// # Safety
/// As for [`multiply_onto`], and the processor has these instructions.
unsafe fn multiply_onto_at(
    level: VectorLevel,
    onto: Onto<'_, f32>,
    a: View<'_, f32>,
    b: View<'_, f32>,
    out: &mut [f32],
    stride: usize,
) -> bool {
    let Some(shape) = fits(onto, &a, &b) else { return false };
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: the processor has the instructions; the rest is the caller's promise.
        match (level, shape) {
            (VectorLevel::Avx512, Shape::Tile) => unsafe { avx512::tile(onto, a, b, out, stride) },
            (VectorLevel::Avx512, Shape::Dots) => unsafe { avx512::dots(onto, a, b, out, stride) },
            (VectorLevel::Avx2, Shape::Tile) => unsafe { avx2::tile(onto, a, b, out, stride) },
            (VectorLevel::Avx2, Shape::Dots) => unsafe { avx2::dots(onto, a, b, out, stride) },
            (VectorLevel::Baseline, _) => return false,
        }
        true
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (onto, shape, level, out, stride);
        false
    }
}

/// Defines `tile` and `dots` from a module's vector operations: `Vector`, `Mask`, `WIDTH`, `zero`, `load`, `store`, `mask`,
/// `load_some`, `store_some`, `splat`, `multiply_add`, `sum_4`; a block of `tile` has `$rows` rows.
#[cfg(target_arch = "x86_64")]
macro_rules! products {
    ($features:literal, $rows:literal, [$($rest:literal)*]) => {
        /// One block: `R` rows of the result, `C` vectors of columns; of each, the elements of `mask` where it is only a `PART`.
        #[target_feature(enable = $features)]
        unsafe fn tile_block<const R: usize, const C: usize, const PART: bool>(
            (a, row_stride, column_stride): (*const f32, usize, usize),
            (b, b_stride): (*const f32, usize),
            (out, out_stride): (*mut f32, usize),
            depth: usize,
            onto: Onto<'_, f32>,
            mask: Mask,
        ) {
            // SAFETY: the caller's promise, for each of the elements.
            unsafe {
                let mut sums = [[zero(); C]; R];
                match onto {
                    Onto::Zero => {}
                    Onto::Out => {
                        for (row, sums) in sums.iter_mut().enumerate() {
                            for (column, sum) in sums.iter_mut().enumerate() {
                                let from = out.add(row * out_stride + column * WIDTH).cast_const();
                                *sum = if PART { load_some(mask, from) } else { load(from) };
                            }
                        }
                    }
                    Onto::Rows(values) => {
                        for (sums, &value) in sums.iter_mut().zip(values) {
                            *sums = [splat(value); C];
                        }
                    }
                }
                for k in 0..depth {
                    let mut columns = [zero(); C];
                    for (column, values) in columns.iter_mut().enumerate() {
                        let from = b.add(k * b_stride + column * WIDTH);
                        *values = if PART { load_some(mask, from) } else { load(from) };
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let factor = splat(*a.add(row * row_stride + k * column_stride));
                        for (sum, &values) in sums.iter_mut().zip(&columns) {
                            *sum = multiply_add(factor, values, *sum);
                        }
                    }
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (column, &sum) in sums.iter().enumerate() {
                        let to = out.add(row * out_stride + column * WIDTH);
                        if PART {
                            store_some(mask, to, sum);
                        } else {
                            store(to, sum);
                        }
                    }
                }
            }
        }

        /// All rows of the result in some columns.
        #[target_feature(enable = $features)]
        unsafe fn tile_columns<const C: usize, const PART: bool>(
            a: &View<'_, f32>,
            (b, b_stride): (*const f32, usize),
            (out, out_stride): (*mut f32, usize),
            onto: Onto<'_, f32>,
            mask: Mask,
        ) {
            let strides = (a.row_stride, a.column_stride);
            let mut row = 0;
            while row < a.rows {
                let onto = match onto {
                    Onto::Rows(values) => Onto::Rows(&values[row..]),
                    all => all,
                };
                // SAFETY: the rows exist, by the loop's condition; the rest is the caller's promise.
                unsafe {
                    let factors = (a.data.as_ptr().add(row * strides.0), strides.0, strides.1);
                    let out = (out.add(row * out_stride), out_stride);
                    let b = (b, b_stride);
                    match a.rows - row {
                        $($rest => tile_block::<$rest, C, PART>(factors, b, out, a.columns, onto, mask),)*
                        _ => tile_block::<$rows, C, PART>(factors, b, out, a.columns, onto, mask),
                    }
                }
                row += $rows;
            }
        }

        /// # Safety
        /// As [`super::multiply_onto`], and the columns of `b` are neighbours.
        #[target_feature(enable = $features)]
        pub unsafe fn tile(onto: Onto<'_, f32>, a: View<'_, f32>, b: View<'_, f32>, out: &mut [f32], stride: usize) {
            let (n, b_stride, out) = (b.columns, b.row_stride, out.as_mut_ptr());
            let mut column = 0;
            while column < n {
                // SAFETY: the columns exist, by the choice of their number; the rest is the caller's promise.
                unsafe {
                    let (b, out) = ((b.data.as_ptr().add(column), b_stride), (out.add(column), stride));
                    column += match (n - column) / WIDTH {
                        0 => {
                            tile_columns::<1, true>(&a, b, out, onto, mask(n - column));
                            n - column
                        }
                        1 => {
                            tile_columns::<1, false>(&a, b, out, onto, mask(0));
                            WIDTH
                        }
                        2 => {
                            tile_columns::<2, false>(&a, b, out, onto, mask(0));
                            2 * WIDTH
                        }
                        _ => {
                            tile_columns::<3, false>(&a, b, out, onto, mask(0));
                            3 * WIDTH
                        }
                    };
                }
            }
        }

        /// Scalar products of `R` rows of one tile with four rows of another, a vector of four for each of the `R`.
        #[target_feature(enable = $features)]
        unsafe fn dots_block<const R: usize>(rows: [*const f32; R], others: [*const f32; 4], n: usize) -> [__m128; R] {
            let mut sums = [[zero(); 4]; R];
            // SAFETY: the caller's promise: every pointer is followed by `n` elements.
            unsafe {
                let mut at = 0;
                while at + WIDTH <= n {
                    let mut columns = [zero(); 4];
                    for (values, column) in columns.iter_mut().zip(others) {
                        *values = load(column.add(at));
                    }
                    for (sums, row) in sums.iter_mut().zip(rows) {
                        let values = load(row.add(at));
                        for (sum, &column) in sums.iter_mut().zip(&columns) {
                            *sum = multiply_add(values, column, *sum);
                        }
                    }
                    at += WIDTH;
                }
                if at < n {
                    let mask = mask(n - at);
                    let mut columns = [zero(); 4];
                    for (values, column) in columns.iter_mut().zip(others) {
                        *values = load_some(mask, column.add(at));
                    }
                    for (sums, row) in sums.iter_mut().zip(rows) {
                        let values = load_some(mask, row.add(at));
                        for (sum, &column) in sums.iter_mut().zip(&columns) {
                            *sum = multiply_add(values, column, *sum);
                        }
                    }
                }
            }
            let mut out = [_mm_setzero_ps(); R];
            for (out, sums) in out.iter_mut().zip(sums) {
                *out = sum_4(sums);
            }
            out
        }

        /// # Safety
        /// As [`super::multiply_onto`]; the columns of `a` and the rows of `b` are neighbours, and `onto` is not one of rows.
        #[target_feature(enable = $features)]
        pub unsafe fn dots(onto: Onto<'_, f32>, a: View<'_, f32>, b: View<'_, f32>, out: &mut [f32], stride: usize) {
            let n = a.columns;
            let mut row = 0;
            // The rows of a block stay in the first-level cache while all of `b` goes by.
            while row < a.rows {
                // SAFETY: the rows exist, by the choice of their number, and are `n` long.
                unsafe {
                    let pointer = |at: usize| a.data.as_ptr().add((row + at) * a.row_stride);
                    row += if a.rows - row >= DOT_ROWS {
                        dots_rows::<DOT_ROWS>(onto, std::array::from_fn(pointer), &b, &mut out[row * stride..], (stride, n));
                        DOT_ROWS
                    } else if a.rows - row >= 2 {
                        dots_rows::<2>(onto, std::array::from_fn(pointer), &b, &mut out[row * stride..], (stride, n));
                        2
                    } else {
                        dots_rows::<1>(onto, [pointer(0)], &b, &mut out[row * stride..], (stride, n));
                        1
                    };
                }
            }
        }

        /// Scalar products of `R` rows of one tile with all rows of another.
        #[target_feature(enable = $features)]
        unsafe fn dots_rows<const R: usize>(
            onto: Onto<'_, f32>,
            rows: [*const f32; R],
            b: &View<'_, f32>,
            out: &mut [f32],
            (stride, n): (usize, usize),
        ) {
            for first in (0..b.columns).step_by(4) {
                let columns = (b.columns - first).min(4);
                // Where fewer than four are left, the last one stands in, and its result is not used again.
                let mut others = [b.data.as_ptr(); 4];
                for (at, other) in others.iter_mut().enumerate() {
                    // SAFETY: the column exists.
                    *other = unsafe { other.add((first + at.min(columns - 1)) * b.column_stride) };
                }
                // SAFETY: the caller's promise, and the columns' strides.
                let sums = unsafe { dots_block::<R>(rows, others, n) };
                for (out, &sums) in out.chunks_mut(stride).zip(&sums) {
                    let mut values = [0.0; 4];
                    // SAFETY: four values have room for four.
                    unsafe { _mm_storeu_ps(values.as_mut_ptr(), sums) };
                    for (out, &value) in out[first..first + columns].iter_mut().zip(&values) {
                        *out = if let Onto::Zero = onto { value } else { *out + value };
                    }
                }
            }
        }
    };
}

/// 512-bit vectors.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use crate::kernels::{Onto, View};
    use std::arch::x86_64::*;

    type Vector = __m512;
    type Mask = __mmask16;
    const WIDTH: usize = 16;
    const DOT_ROWS: usize = 6;

    #[target_feature(enable = "avx512f")]
    fn zero() -> Vector {
        _mm512_setzero_ps()
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const f32) -> Vector {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn store(to: *mut f32, values: Vector) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, values) }
    }

    /// The first `n` elements of a vector.
    fn mask(n: usize) -> Mask {
        (1 << n) - 1
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn load_some(mask: Mask, from: *const f32) -> Vector {
        // SAFETY: the caller's promise for the elements of the mask; others are not touched.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn store_some(mask: Mask, to: *mut f32, values: Vector) {
        // SAFETY: as for `load_some`.
        unsafe { _mm512_mask_storeu_ps(to, mask, values) }
    }

    #[target_feature(enable = "avx512f")]
    fn splat(value: f32) -> Vector {
        _mm512_set1_ps(value)
    }

    #[target_feature(enable = "avx512f")]
    fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
        _mm512_fmadd_ps(a, b, c)
    }

    /// The sum of each of four vectors.
    #[target_feature(enable = "avx512f")]
    fn sum_4([a, b, c, d]: [Vector; 4]) -> __m128 {
        let ab = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
        let cd = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
        let (low, high) = (_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd));
        let quarters = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
        let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(quarters)));
        let halves = _mm256_add_ps(_mm512_castps512_ps256(quarters), upper);
        _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves))
    }

    products!("avx2,fma,avx512f,avx512vl", 8, [1 2 3 4 5 6 7]);
}

/// 256-bit vectors.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use crate::kernels::{Onto, View};
    use std::arch::x86_64::*;

    type Vector = __m256;
    type Mask = __m256i;
    const WIDTH: usize = 8;
    const DOT_ROWS: usize = 2;

    #[target_feature(enable = "avx2")]
    fn zero() -> Vector {
        _mm256_setzero_ps()
    }

    #[target_feature(enable = "avx2")]
    unsafe fn load(from: *const f32) -> Vector {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[target_feature(enable = "avx2")]
    unsafe fn store(to: *mut f32, values: Vector) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(to, values) }
    }

    /// The first `n` elements of a vector.
    #[target_feature(enable = "avx2")]
    fn mask(n: usize) -> Mask {
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
    }

    #[target_feature(enable = "avx2")]
    unsafe fn load_some(mask: Mask, from: *const f32) -> Vector {
        // SAFETY: the caller's promise for the elements of the mask; others are not touched.
        unsafe { _mm256_maskload_ps(from, mask) }
    }

    #[target_feature(enable = "avx2")]
    unsafe fn store_some(mask: Mask, to: *mut f32, values: Vector) {
        // SAFETY: as for `load_some`.
        unsafe { _mm256_maskstore_ps(to, mask, values) }
    }

    #[target_feature(enable = "avx2")]
    fn splat(value: f32) -> Vector {
        _mm256_set1_ps(value)
    }

    #[target_feature(enable = "avx2,fma")]
    fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
        _mm256_fmadd_ps(a, b, c)
    }

    /// The sum of each of four vectors.
    #[target_feature(enable = "avx2")]
    fn sum_4([a, b, c, d]: [Vector; 4]) -> __m128 {
        let halves = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves))
    }

    products!("avx2,fma", 4, [1 2 3]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The levels that the running processor has.
    fn levels() -> Vec<VectorLevel> {
        let mut levels = vec![VectorLevel::detected()];
        #[cfg(target_arch = "x86_64")]
        if levels[0] == VectorLevel::Avx512 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            levels.push(VectorLevel::Avx2);
        }
        levels
    }

    /// All four ways of laying out the factors, all remainders of rows and columns, onto nothing, what is there, or a value per row.
    #[test]
    fn products_are_those_of_the_definition() {
        let number = |seed: usize| ((seed * 37 + seed * seed % 11) % 61) as f32 / 16.0 - 1.5;
        for (rows, depth, columns) in
            [(1, 1, 16), (5, 3, 17), (8, 8, 48), (13, 32, 100), (36, 33, 67), (3, 50, 4), (9, 100, 6), (7, 19, 1)]
        {
            for layout in 0..4 {
                let (a_data, b_data): (Vec<f32>, Vec<f32>) = (
                    (0..rows * depth).map(number).collect(),
                    (0..depth * columns).map(|seed| number(seed + 7)).collect(),
                );
                let a = match layout % 2 {
                    0 => View::new(&a_data, rows, depth, depth),
                    _ => View::new(&a_data, depth, rows, rows).transposed(),
                };
                let b = match layout / 2 {
                    0 => View::new(&b_data, depth, columns, columns),
                    _ => View::new(&b_data, columns, depth, depth).transposed(),
                };
                let element = |view: &View<'_, f32>, row: usize, column: usize| {
                    f64::from(view.data[row * view.row_stride + column * view.column_stride])
                };
                let stride = columns + 3;
                let starts: Vec<f32> = (0..rows).map(|row| number(row + 5)).collect();
                let ontos = [Onto::Zero, Onto::Out, Onto::Rows(&starts)];
                for (level, onto) in levels().into_iter().flat_map(|level| ontos.map(|onto| (level, onto))) {
                    let before: Vec<f32> = (0..rows * stride).map(|seed| number(seed + 3)).collect();
                    let mut out = before.clone();
                    // SAFETY: the processor has the level; factors and result lie within their slices.
                    if !unsafe { multiply_onto_at(level, onto, a, b, &mut out, stride) } {
                        crate::kernels::multiply_onto(onto, a, b, &mut out, stride);
                    }
                    for row in 0..rows {
                        for column in 0..stride {
                            let at = row * stride + column;
                            let start = match onto {
                                Onto::Zero => 0.0,
                                Onto::Out => f64::from(before[at]),
                                Onto::Rows(starts) => f64::from(starts[row]),
                            };
                            let sum: f64 =
                                (0..depth).map(|k| element(&a, row, k) * element(&b, k, column.min(columns - 1))).sum();
                            let expected = if column < columns { start + sum } else { f64::from(before[at]) };
                            assert!((f64::from(out[at]) - expected).abs() < 1e-4, "{rows} {depth} {columns} {layout}");
                        }
                    }
                }
            }
        }
    }
}
